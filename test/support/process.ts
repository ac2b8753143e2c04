/** What the kernel says of this process, and processes of our own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The built package, for processes that have no TypeScript. */
export const DIST = new URL('../../dist/', import.meta.url)
/** Every module of src by itself, for what reaches below the package. */
export const COMPILED = new URL('../../.compiled/', import.meta.url)

/** Exact resident bytes of this process. */
export function rssBytes(): number {
  const match = /^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))
  return Number(match?.[1]) * 1024
}

/** Kernel mappings of this process. */
export function kernelMappingCount(): number {
  return readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1
}

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface NodeLine {
  /** As `process.version`. */
  readonly version: string
  readonly major: number
  /** The binary. */
  readonly path: string
}

/** The Node that runs the tests, and those whose binaries the variable `OFFHEAP_NODES` lists, separated by `:`. */
export const NODES: readonly NodeLine[] = [
  nodeLine(process.version, process.execPath),
  ...(process.env.OFFHEAP_NODES ?? '')
    .split(':')
    .filter(path => path !== '')
    .map(path => nodeLine(execFileSync(path, ['-v'], { encoding: 'utf8' }).trim(), path)),
]

function nodeLine(version: string, path: string): NodeLine {
  return { version, major: Number.parseInt(version.slice(1), 10), path }
}

/** What a process says that has no program break to move: V8 put its code right above it. */
export const BREAK_IN_THE_WAY = 'mmap: File exists (EEXIST)'
/** What else a program may say then, before it fails. */
const MAY_LACK_BREAK = /ERR_ARENA_BREAK_UNAVAILABLE|the arena got no more pages; the arena holds 0 bytes/
const ATTEMPTS = 20

/**
 * Runs Node with these arguments and `input` as its standard input, with those variables too, and collects what it says. Runs it
 * again where it ended because it had no program break: 1 or 2 processes in 100 have none, see break.ts.
 */
export async function runNode(
  args: string[],
  input: string | Uint8Array = '',
  node = process.execPath,
  variables: Record<string, string> = {},
): Promise<Outcome> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await runOnce(args, input, node, variables)
    const lacksBreak =
      outcome.stderr.includes(BREAK_IN_THE_WAY) ||
      (outcome.code !== 0 && MAY_LACK_BREAK.test(outcome.stderr) && attempt < 5)
    if (!lacksBreak || attempt === ATTEMPTS) return outcome
  }
}

/** Longer than any test takes. A child that waits in vain must not go on for ever. */
const MOST_MS = 15 * 60_000
const children = new Set<ChildProcess>()

// A test that has taken too long leaves its child behind.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

function runOnce(
  args: string[],
  input: string | Uint8Array,
  node: string,
  variables: Record<string, string>,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(node, args, {
      env: { ...process.env, ...variables },
      timeout: MOST_MS,
      killSignal: 'SIGKILL',
    })
    children.add(child)
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', text => {
      stderr += text
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      children.delete(child)
      resolve({ code, signal, stdout, stderr })
    })
    // A process that ends early does not read its input.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

/** Runs a script beside the caller (`import.meta.url`). */
export function runFile(
  path: string,
  base: string,
  args: string[] = [],
  nodeArgs: string[] = [],
): Promise<Outcome> {
  return runNode([...nodeArgs, fileURLToPath(new URL(path, base)), ...args])
}
