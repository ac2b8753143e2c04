/**
 * The kernel's files about memory: which of them exist here, and what they say. It knows formats, and no
 * policy. The reader is an argument, so that recorded files can be read.
 *
 * Formats: Linux, Documentation/admin-guide/cgroup-v2.rst and Documentation/accounting/psi.rst.
 */

// Taken once at load. A program may replace the globals later; its replacement must not run within a change.
const { max, min } = Math

/** Returns the text of a file, or undefined if it does not exist or may not be read. */
export type FileReader = (path: string) => string | undefined

/** What the files say of one cgroup that this process is in and whose memory is accounted. */
export interface CgroupReading {
  /** The lesser of `memory.high` and `memory.max`; `Infinity` if neither is set. */
  readonly limitBytes: number
  /** `memory.current`, without the file cache that the kernel would drop first (`inactive_file`). */
  readonly usedBytes: number
  /**
   * How often the kernel held the cgroup up, or killed a process of it, because of its limits: the sum of
   * `high`, `max` and `oom` in `memory.events`.
   */
  readonly events: number | undefined
}

/** Microseconds in which some task waited for memory, ever: `total` of the `some` line of a pressure file. */
export type StallUs = number

/** The files that can be read here. */
export interface PressureFiles {
  /** The folders of the cgroups, the innermost first. */
  readonly cgroups: readonly string[]
  readonly hasEvents: boolean
  /** The pressure file to read: the cgroup's own, or that of the system if the cgroup has none. */
  readonly stall: string | undefined
}

const MOUNT = /^\S+ \S+ \S+ (\S+) (\S+) .* - cgroup2 /
const SYSTEM_STALL = '/proc/pressure/memory'

/** Finds the files that can be read. To be called once. */
export function findPressureFiles(read: FileReader): PressureFiles {
  const levels = cgroupFolders(read)
  const cgroups = levels.filter(folder => numberOf(read(`${folder}/memory.current`)) !== undefined)
  const candidates = [...levels.slice(0, 1).map(folder => `${folder}/memory.pressure`), SYSTEM_STALL]
  return {
    cgroups,
    hasEvents: cgroups.some(folder => eventsOf(read(`${folder}/memory.events`)) !== undefined),
    stall: candidates.find(path => stallOf(read(path)) !== undefined),
  }
}

/** Returns the folders of this process's cgroup and of those around it, as far as they are mounted here. */
function cgroupFolders(read: FileReader): string[] {
  const path = /^0::(.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1]
  const mount = (read('/proc/self/mountinfo') ?? '').split('\n').flatMap(line => MOUNT.exec(line) ?? [])
  if (path === undefined || mount.length === 0) return []
  const [, root, mountPoint] = mount
  // Only cgroups below the mounted part of the hierarchy have files here.
  const below = root === '/' ? path : path.startsWith(root) ? path.slice(root.length) : ''
  const names = below.split('/').filter(name => name !== '' && name !== '..')
  return names.map((_, i) => [mountPoint, ...names.slice(0, names.length - i)].join('/')).concat(mountPoint)
}

/** Returns what a cgroup's files say now, or undefined if they are gone. */
export function readCgroup(read: FileReader, folder: string): CgroupReading | undefined {
  const currentBytes = numberOf(read(`${folder}/memory.current`))
  if (currentBytes === undefined) return undefined
  const limits = ['high', 'max'].map(name => numberOf(read(`${folder}/memory.${name}`)))
  const droppable = numberOf(/^inactive_file (\d+)$/m.exec(read(`${folder}/memory.stat`) ?? '')?.[1])
  return {
    limitBytes: min(...limits.map(limit => limit ?? Number.POSITIVE_INFINITY)),
    usedBytes: max(0, currentBytes - (droppable ?? 0)),
    events: eventsOf(read(`${folder}/memory.events`)),
  }
}

export function readStall(read: FileReader, path: string): StallUs | undefined {
  return stallOf(read(path))
}

/**
 * Returns the bytes that the whole system can still hand out (`MemAvailable`), and those that it has
 * (`MemTotal`).
 */
export function readSystem(read: FileReader): { availableBytes: number; totalBytes: number } | undefined {
  const text = read('/proc/meminfo') ?? ''
  const [total, available] = ['MemTotal', 'MemAvailable'].map(name =>
    numberOf(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]),
  )
  if (total === undefined || available === undefined) return undefined
  return { availableBytes: available * 1024, totalBytes: total * 1024 }
}

function numberOf(text: string | undefined): number | undefined {
  const digits = text?.trim()
  if (digits === 'max') return Number.POSITIVE_INFINITY
  return digits !== undefined && /^\d+$/.test(digits) ? Number(digits) : undefined
}

function eventsOf(text: string | undefined): number | undefined {
  const counts = [...(text ?? '').matchAll(/^(?:high|max|oom) (\d+)$/gm)].map(match => Number(match[1]))
  return counts.length === 0 ? undefined : counts.reduce((sum, count) => sum + count)
}

function stallOf(text: string | undefined): StallUs | undefined {
  return numberOf(/^some .*\btotal=(\d+)$/m.exec(text ?? '')?.[1])
}
