/**
 * Functions that run in processes of their own. Their text goes there, so a body may use its parameters and the runtime's globals
 * only: no name of its module, and no `import`. What it needs comes as an argument, or by `process.getBuiltinModule`.
 */
import type { AssertPredicate } from 'node:assert/strict'
import type * as library from '../../src/index.js'
import { DIST, type Outcome, runNode } from './process.js'

type Library = typeof library

/** The strict `assert`. Not as it declares itself: calls that narrow types need a name with a type of its own. */
export interface Assert {
  ok(value: unknown, message?: string): void
  equal(actual: unknown, expected: unknown, message?: string): void
  notEqual(actual: unknown, expected: unknown, message?: string): void
  deepEqual(actual: unknown, expected: unknown, message?: string): void
  match(text: string, pattern: RegExp, message?: string): void
  throws(call: () => unknown, expected: AssertPredicate): void
  rejects(promise: Promise<unknown>, expected: AssertPredicate): Promise<void>
}

/** An error, with what ours and the system's say besides. */
export interface Thrown extends Error {
  readonly code: string
  readonly cause: { readonly code: string; readonly errno: number; readonly syscall: string }
}

export interface WorkerTools {
  readonly Arena: Library['Arena']
  readonly post: (message: unknown) => void
}

export interface WorkerRun {
  readonly worker: import('node:worker_threads').Worker
  /** What it posts first: the code of an error, where its body throws. */
  readonly message: Promise<unknown>
  readonly exit: Promise<unknown>
}

/** What every body has at hand. */
export interface Tools extends Library {
  readonly assert: Assert
  /** A promise of the next turn. */
  readonly turn: () => Promise<void>
  readonly turns: (count: number) => Promise<void>
  readonly sleep: (ms: number) => Promise<void>
  /** The code of what a call throws, or what it returns. */
  readonly codeOf: (call: () => unknown) => unknown
  /** What a call throws. */
  readonly thrownBy: (call: () => unknown) => Thrown
  /** With `--expose-gc`. */
  readonly gc: () => void
  /** Takes a view away as byte streams do: its whole `ArrayBuffer` moves into another one. */
  readonly takeByStream: (view: Uint8Array) => Promise<Uint8Array<ArrayBuffer>>
  /** Imports the module at that address. */
  readonly load: (address: string) => Promise<unknown>
  /** Starts a Worker with that body, which may use its parameter only, as ours may. */
  readonly startWorker: (body: (tools: WorkerTools) => unknown) => WorkerRun
}

export interface ChildOptions {
  readonly nodeArgs?: string[]
  readonly node?: string | undefined
  readonly variables?: Record<string, string>
}

/** Runs `body` with the tools and `args`, which may be or hold functions with the same limits. */
export function runFunction<Args = unknown>(
  body: (tools: Tools, args: Args) => unknown,
  args?: Args,
  options: ChildOptions = {},
): Promise<Outcome> {
  return runProgram(programOf(body, args), options)
}

/** Runs the text of a module body that finds some of the tools under their names. For what is put together of texts. */
export function runScript(body: string, options: ChildOptions = {}): Promise<Outcome> {
  return runProgram(withTools(`const { Arena, assert, turn, sleep, codeOf } = tools\n${body}`), options)
}

function runProgram(text: string, { nodeArgs = [], node, variables }: ChildOptions): Promise<Outcome> {
  return runNode([...nodeArgs, '--no-warnings', '--input-type=module', '-e', text], '', node, variables)
}

/** The module that `runFunction` runs. */
function programOf<Args = unknown>(body: (tools: Tools, args: Args) => unknown, args?: Args): string {
  return withTools(`await (${textOf(body)})(tools, ${sourceOf(args)})`)
}

/** A module that runs `body` with `load` and nothing else: it has imported nothing before. */
export function bareProgramOf<Args>(body: (load: Tools['load'], args: Args) => unknown, args: Args): string {
  return `await (${textOf(body)})(address => import(address), ${sourceOf(args)})`
}

/** Text that names sbrk runs in a process that has room above its program break. */
function withTools(body: string): string {
  const room = body.includes('sbrk')
    ? `import ${JSON.stringify(new URL('break-room.mjs', import.meta.url))}`
    : ''
  const dist = JSON.stringify(new URL('index.js', DIST))
  return `${room}
    import * as library from ${dist}
    const tools = (${textOf(toolsOf)})(library, ${dist}, address => import(address))
    ${body}`
}

/** The text of a function that can stand alone. */
export function textOf(call: (...args: never[]) => unknown): string {
  const text = call.toString()
  // Where vitest has put something in the place of a module's import, or of the word itself.
  const foreign = /\b__vi\w*(\.\w+)?/.exec(text)
  if (foreign !== null)
    throw new Error(
      `a function for another process uses an import of its module (${foreign[0]}): give it what it needs as an argument, or use process.getBuiltinModule\n${text}`,
    )
  return text
}

/** A value as source text: as JSON, but with functions and infinite numbers. */
export function sourceOf(value: unknown): string {
  if (typeof value === 'function') return `(${textOf(value as () => unknown)})`
  if (Array.isArray(value)) return `[${value.map(sourceOf).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${sourceOf(each)}`)
    return `{ ${entries.join(', ')} }`
  }
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'undefined')
}

function toolsOf(library: Library, address: string, load: Tools['load']): Tools {
  const { Worker } = process.getBuiltinModule('node:worker_threads')
  const { setImmediate: turn, setTimeout: sleep } = process.getBuiltinModule('node:timers/promises')
  return {
    ...library,
    assert: process.getBuiltinModule('node:assert/strict'),
    turn,
    turns: async count => {
      for (let i = 0; i < count; i++) await turn()
    },
    sleep,
    codeOf: call => {
      try {
        return call()
      } catch (error) {
        const { code, message } = error as Thrown
        return code ?? message
      }
    },
    thrownBy: call => {
      try {
        call()
      } catch (error) {
        return error as Thrown
      }
      throw new Error('nothing was thrown')
    },
    gc: globalThis.gc as () => void,
    takeByStream: async view => {
      const stream = new ReadableStream({ type: 'bytes', start: controller => controller.enqueue(view) })
      return (await stream.getReader().read()).value as Uint8Array<ArrayBuffer>
    },
    load,
    startWorker: body => {
      const source = `
        import { parentPort } from 'node:worker_threads'
        const { Arena } = await import(${JSON.stringify(address)})
        const post = message => parentPort.postMessage(message)
        try { await (${body})({ Arena, post }) } catch (error) { post(error.code ?? error.message) }`
      const worker = new Worker(source, { eval: true })
      // Both at once: the exit may come in the same turn as the last message.
      const message = new Promise(resolve => worker.once('message', resolve))
      const exit = new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
      return { worker, message, exit }
    },
  }
}
