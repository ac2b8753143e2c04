/**
 * `offheap report`: where the memory of another process is, as the kernel shows it, once or as a live table. This file
 * has the options, the table and the ticks. `report/other-process.ts` reads.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { RunError, UsageError } from '../replay/errors.js'
import {
  hasNoMemory,
  PARTS,
  type Part,
  type ProcessMemory,
  readProcess,
  startOf,
} from '../report/other-process.js'
import { parseOptions } from './options.js'
import { formatBytes, formatCount, formatTable } from './report.js'

const COMMAND = 'report'
const DEFAULT_SECONDS = '1'
const MIN_SECONDS = 0.1
const MAX_SECONDS = 86_400
const MAX_COMMAND = 60

export const reportHelp = `Usage: offheap report PID [options]

Shows where the memory of a process of yours is, as the kernel reports it: what
is resident, mapped and swapped out, by part. The process need not use offheap.
Inside a process, memoryReport() of the package says more: what malloc and V8
use of their memory, and which arena has which pages.

Options:
  --watch [SECONDS]  show it again every SECONDS (default ${DEFAULT_SECONDS}) until the process
                     ends: in place on a terminal, else one table after the
                     other
  --json             print one JSON object; with --watch one a line
  -h, --help         show this help

Parts:
  arenas             of offheap, with names where the kernel has names
  malloc, break      what malloc has below the program break
  malloc, mappings   heaps of threads and long blocks; all other anonymous
                     memory, too
  V8                 heaps and compiled code, also of Workers; small books of
                     arenas, too
  code and files     programs, libraries and other files; mostly shared with
                     other processes
  stacks             of all threads
  rest               shared memory, and memory shared with the kernel

Fields of the JSON object. They are in bytes unless they say otherwise.
  pid, command, threads            the process; threads is a count
  residentBytes                    Rss, the sum of the parts
  peakResidentBytes                the most it ever was; null: not known
  swappedBytes                     not resident, but on the disk
  parts                            arenas, mallocBreak, mallocMappings, v8, files,
                                   stacks, rest: for each residentBytes,
                                   swappedBytes, mappedBytes and mappings (a count)
  names                            the same by names of arenas, where the kernel
                                   has names
`

const PART_NAMES: Record<Part, string> = {
  arenas: 'arenas',
  mallocBreak: 'malloc, break',
  mallocMappings: 'malloc, mappings',
  v8: 'V8',
  files: 'code and files',
  stacks: 'stacks',
  rest: 'rest',
}

/** Runs `offheap report` with the arguments after the command's name. */
export async function processReport(args: string[]): Promise<void> {
  const { values, positionals } = parseOptions(COMMAND, withSeconds(args), {
    watch: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  })
  if (values.help) {
    process.stdout.write(reportHelp)
    return
  }
  const pid = pidIn(positionals)
  if (values.watch === undefined) (values.json ? showJson : showTable)(lookAt(pid))
  else await watch(pid, secondsIn(values.watch), values.json ? showJson : liveTable())
}

/** Gives `--watch` the seconds that it lacks. A number behind it is the PID if there is no other. */
function withSeconds(args: string[]): string[] {
  const at = args.indexOf('--watch')
  if (at === -1) return args
  const others = args.filter((arg, index) => index !== at && index !== at + 1 && !arg.startsWith('-'))
  const hasSeconds = /^[\d.]+$/.test(args[at + 1] ?? '') && others.length > 0
  return hasSeconds ? args : args.toSpliced(at + 1, 0, DEFAULT_SECONDS)
}

function pidIn(positionals: string[]): number {
  if (positionals.length !== 1) throw new UsageError('report takes one PID', COMMAND)
  const [text] = positionals
  const pid = /^\d+$/.test(text) ? Number(text) : 0
  if (pid >= 1 && pid <= 2 ** 31 - 1) return pid
  throw new UsageError(`PID is a whole number of at least 1; got ${JSON.stringify(text)}`, COMMAND)
}

function secondsIn(text: string): number {
  const seconds = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN
  if (seconds >= MIN_SECONDS && seconds <= MAX_SECONDS) return seconds
  throw new UsageError(
    `--watch takes a number of seconds from ${MIN_SECONDS} to ${MAX_SECONDS}; got ${JSON.stringify(text)}`,
    COMMAND,
  )
}

/** Reads the process. Throws a `RunError` that says what is wrong. */
function lookAt(pid: number): ProcessMemory {
  if (process.platform !== 'linux') throw new RunError('report reads /proc, which only Linux has')
  try {
    const memory = readProcess(pid)
    if (memory.residentBytes === 0 && hasNoMemory(pid))
      throw new RunError(`process ${pid} has no memory: it has ended, or it is a thread of the kernel`)
    return memory
  } catch (error) {
    if (isGone(error)) throw new RunError(`there is no process ${pid}`)
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EACCES' && code !== 'EPERM') throw error
    throw new RunError(
      `process ${pid} cannot be read (${code}): it is another user's, or protected. Try as root`,
    )
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOENT' || code === 'ESRCH'
}

/** Shows the process until it ends, or until somebody interrupts. */
async function watch(pid: number, seconds: number, show: (memory: ProcessMemory) => void): Promise<void> {
  const first = lookAt(pid)
  const start = startOf(pid)
  const stopped = new AbortController()
  const stop = () => stopped.abort()
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    show(first)
    while (true) {
      await sleep(seconds * 1000, undefined, { signal: stopped.signal })
      if (hasEnded(pid, start)) break
      show(lookAt(pid))
    }
  } catch (error) {
    if (stopped.signal.aborted) return
    // It may end between two looks.
    if (!hasEnded(pid, start)) throw error
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
  }
  process.stderr.write(`process ${pid} has ended\n`)
}

function hasEnded(pid: number, start: string): boolean {
  try {
    return startOf(pid) !== start || hasNoMemory(pid)
  } catch (error) {
    if (isGone(error)) return true
    throw error
  }
}

function showJson(memory: ProcessMemory): void {
  process.stdout.write(`${JSON.stringify(memory)}\n`)
}

function showTable(memory: ProcessMemory): void {
  process.stdout.write(`${tableOf(memory)}\n`)
}

/** Shows one table after the other, on a terminal in the same place. With the change since the first one. */
function liveTable(): (memory: ProcessMemory) => void {
  let first: ProcessMemory | undefined
  let lines = 0
  return memory => {
    first ??= memory
    const text = tableOf(memory, first)
    const isTerminal = process.stdout.isTTY === true
    // Up to where the last one began, and clear all below.
    const back = isTerminal && lines > 0 ? `\u001b[${lines}A\u001b[0J` : ''
    process.stdout.write(`${back}${text}\n${isTerminal ? '' : '\n'}`)
    lines = text.split('\n').length
  }
}

/** The table for people. `first`: what the process had when it was first looked at. */
function tableOf(memory: ProcessMemory, first?: ProcessMemory): string {
  const { pid, command, threads, residentBytes, peakResidentBytes, swappedBytes, parts, names } = memory
  const peak = peakResidentBytes === null ? '' : `, ${formatBytes(peakResidentBytes)} at most`
  const head = [
    `${short(command)} (PID ${pid}), ${formatCount(threads)} ${threads === 1 ? 'thread' : 'threads'}`,
    `${formatBytes(residentBytes)} resident${peak}; ${formatBytes(swappedBytes)} swapped out`,
  ]
  const columns = ['', 'resident', ...(first ? ['change'] : []), 'swapped', 'mapped', 'mappings']
  const rows = PARTS.map(part => rowOf(PART_NAMES[part], parts[part], first?.parts[part]))
  const named = Object.entries(names).map(([name, sums]) =>
    rowOf(`  ${short(name)}`, sums, first?.names[name]),
  )
  rows.splice(
    1,
    0,
    ...named.map(row => (first && row.length < columns.length ? row.toSpliced(2, 0, '') : row)),
  )
  return [...head, '', formatTable([columns, ...rows])].join('\n')
}

function rowOf(
  name: string,
  sums: ProcessMemory['parts'][Part],
  first?: ProcessMemory['parts'][Part],
): string[] {
  const change = first === undefined ? [] : [signed(sums.residentBytes - first.residentBytes)]
  return [
    name,
    formatBytes(sums.residentBytes),
    ...change,
    formatBytes(sums.swappedBytes),
    formatBytes(sums.mappedBytes),
    formatCount(sums.mappings),
  ]
}

function signed(bytes: number): string {
  return bytes > 0 ? `+${formatBytes(bytes)}` : formatBytes(bytes)
}

/** The text without what a terminal would take for commands, and not too long. */
function short(text: string): string {
  const plain = text.replace(/[^\x20-\x7e]/g, '?')
  return plain.length > MAX_COMMAND ? `${plain.slice(0, MAX_COMMAND - 3)}...` : plain
}
