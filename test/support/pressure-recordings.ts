/**
 * Contents of the kernel's files, by path. `RECORDED` is what a machine said; the others follow the formats that Linux
 * documents (cgroup-v2.rst, psi.rst), with the figures of a container of 512 MiB, and can be moved by a test.
 */
export type Files = Record<string, string>

/**
 * Recorded: Linux 6.18, a virtual machine whose memory controller is on cgroup v1, so that its cgroup v2 hierarchy has a
 * pressure file and no other of memory.
 */
export const RECORDED: Files = {
  '/proc/self/cgroup': '9:name=systemd:/\n4:memory:/services/worker\n1:cpu:/\n0::/\n',
  '/proc/self/mountinfo': [
    '31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755',
    '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
    '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
    '',
  ].join('\n'),
  '/sys/fs/cgroup/unified/memory.pressure':
    'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n',
  '/proc/pressure/memory':
    'some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n',
  '/proc/meminfo':
    'MemTotal:       24683656 kB\nMemFree:        22909364 kB\nMemAvailable:   24016540 kB\nBuffers:           44612 kB\n',
}

const MIB = 2 ** 20

export interface ContainerState {
  currentBytes?: number
  inactiveFileBytes?: number
  maxBytes?: number | 'max'
  highBytes?: number | 'max'
  events?: { high?: number; max?: number; oom?: number }
  stallUs?: number
}

/** As documented: a process in a container with a cgroup namespace, whose files are at the mount itself. */
export function container(state: ContainerState = {}): Files {
  const { currentBytes = 100 * MIB, inactiveFileBytes = 0, maxBytes = 512 * MIB, highBytes = 'max' } = state
  const { high = 0, max = 0, oom = 0 } = state.events ?? {}
  const folder = '/sys/fs/cgroup'
  return {
    '/proc/self/cgroup': '0::/\n',
    '/proc/self/mountinfo': `31 23 0:28 / ${folder} ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n`,
    [`${folder}/memory.current`]: `${currentBytes}\n`,
    [`${folder}/memory.max`]: `${maxBytes}\n`,
    [`${folder}/memory.high`]: `${highBytes}\n`,
    [`${folder}/memory.stat`]: `anon 52428800\nfile 73400320\ninactive_anon 0\nactive_anon 52400128\ninactive_file ${inactiveFileBytes}\nactive_file 1048576\n`,
    [`${folder}/memory.events`]: `low 0\nhigh ${high}\nmax ${max}\noom ${oom}\noom_kill 0\noom_group_kill 0\n`,
    [`${folder}/memory.pressure`]: `some avg10=0.00 avg60=0.00 avg300=0.00 total=${state.stallUs ?? 0}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n`,
    '/proc/meminfo': RECORDED['/proc/meminfo'],
  }
}

/** As documented: a service of systemd without a namespace, three levels below the mount; the slice has the limit. */
export function service(currentBytes: number, sliceMaxBytes: number): Files {
  const root = '/sys/fs/cgroup'
  return {
    '/proc/self/cgroup': '0::/system.slice/app.service\n',
    '/proc/self/mountinfo': `31 23 0:28 / ${root} rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw\n`,
    [`${root}/system.slice/app.service/memory.current`]: `${currentBytes}\n`,
    [`${root}/system.slice/app.service/memory.max`]: 'max\n',
    [`${root}/system.slice/app.service/memory.high`]: 'max\n',
    [`${root}/system.slice/memory.current`]: `${currentBytes}\n`,
    [`${root}/system.slice/memory.max`]: `${sliceMaxBytes}\n`,
    [`${root}/system.slice/memory.high`]: 'max\n',
  }
}

/** Without these files. */
export function without(files: Files, ...names: string[]): Files {
  return Object.fromEntries(
    Object.entries(files).filter(([path]) => !names.some(name => path.endsWith(name))),
  )
}
