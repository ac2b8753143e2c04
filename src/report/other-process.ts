/**
 * What the kernel says of any process from outside: its mappings by kind, threads and swap. It asks nothing of the
 * process itself, so it does not know what malloc and V8 use of their memory, nor which arena has which pages, unless
 * the kernel has names of mappings.
 */
import { readFileSync } from 'node:fs'
import { KIB } from '../base/units.js'
import { type Kind, kindsOf } from './kinds.js'
import { type Mapping, parseSmaps } from './smaps.js'

/** The parts, in the order in which they are shown. */
export const PARTS = ['arenas', 'mallocBreak', 'mallocMappings', 'v8', 'files', 'stacks', 'rest'] as const
export type Part = (typeof PARTS)[number]

const PART_OF: Record<Kind, Part> = {
  arena: 'arenas',
  kept: 'arenas',
  break: 'mallocBreak',
  mapping: 'mallocMappings',
  v8: 'v8',
  file: 'files',
  stack: 'stacks',
  rest: 'rest',
}

/** Bytes of mappings, and their number. */
export interface Sums {
  residentBytes: number
  swappedBytes: number
  mappedBytes: number
  mappings: number
}

export interface ProcessMemory {
  pid: number
  /** What it was started with, as words with spaces between them. */
  command: string
  /** Its threads, a count. */
  threads: number
  /** `Rss`, the sum of the parts. */
  residentBytes: number
  /** The most that it ever was; null where the kernel does not tell. */
  peakResidentBytes: number | null
  swappedBytes: number
  parts: Record<Part, Sums>
  /** By the name of the arena, where the kernel has names of mappings. */
  names: Record<string, Sums>
}

const OWN_NAME = /^\[anon:offheap: (.*)\]$/

/**
 * Reads what the kernel says of a process. Throws the system error of a file of /proc that cannot be read: `ENOENT` or
 * `ESRCH` where there is no such process, `EACCES` where it is another user's.
 */
export function readProcess(pid: number): ProcessMemory {
  const status = read(pid, 'status')
  const mappings = parseSmaps(read(pid, 'smaps'))
  const { parts, names } = sumUp(mappings)
  const sum = (of: 'residentBytes' | 'swappedBytes') =>
    PARTS.reduce((bytes, part) => bytes + parts[part][of], 0)
  const peak = fieldOf(status, 'VmHWM')
  return {
    pid,
    command: commandOf(pid, status),
    threads: Number(fieldOf(status, 'Threads')),
    residentBytes: sum('residentBytes'),
    peakResidentBytes: peak === undefined ? null : Number.parseInt(peak, 10) * KIB,
    swappedBytes: sum('swappedBytes'),
    parts,
    names,
  }
}

/** Sums of mappings by part, and by the names that this library gave. */
export function sumUp(mappings: readonly Mapping[]): Pick<ProcessMemory, 'parts' | 'names'> {
  const parts = Object.fromEntries(PARTS.map(part => [part, noSums()])) as Record<Part, Sums>
  const names: Record<string, Sums> = Object.create(null)
  for (const [index, kind] of kindsOf(mappings).entries()) {
    const mapping = mappings[index]
    addTo(parts[PART_OF[kind]], mapping)
    const name = OWN_NAME.exec(mapping.path)?.[1]
    if (name === undefined) continue
    names[name] ??= noSums()
    addTo(names[name], mapping)
  }
  return { parts, names }
}

function noSums(): Sums {
  return { residentBytes: 0, swappedBytes: 0, mappedBytes: 0, mappings: 0 }
}

function addTo(sums: Sums, { start, end, residentBytes, swappedBytes }: Mapping): void {
  sums.residentBytes += residentBytes
  sums.swappedBytes += swappedBytes
  sums.mappedBytes += end - start
  sums.mappings++
}

/** When the process began, in ticks of the kernel's clock since the system did. No two processes of a PID have the same. */
export function startOf(pid: number): string {
  // The name of the command, in parentheses, may contain anything.
  return read(pid, 'stat')
    .replace(/^.*\) /s, '')
    .split(' ')[19]
}

/** Whether it has ended, but its parent has not asked for it yet, or is a thread of the kernel: both have no memory. */
export function hasNoMemory(pid: number): boolean {
  return fieldOf(read(pid, 'status'), 'VmSize') === undefined
}

function commandOf(pid: number, status: string): string {
  const words = read(pid, 'cmdline').split('\0').join(' ').trim()
  return words === '' ? (fieldOf(status, 'Name') ?? '') : words
}

function fieldOf(status: string, name: string): string | undefined {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]
}

function read(pid: number, file: string): string {
  return readFileSync(`/proc/${pid}/${file}`, 'latin1')
}
