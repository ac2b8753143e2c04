/**
 * A misuse, and the exact outcome of it. Each runs in a process of its own, once in an ordinary arena and once with
 * `debug: true`, over mappings and over the heap of the runtime; what must hold after every one of them is checked there too.
 */
import { runScript } from '../../support/child.js'
import { DIST } from '../../support/process.js'
import { preludeOf } from '../processes.js'

export interface MisuseCase {
  readonly name: string
  /**
   * The inside of an async function; what it returns, by way of JSON, is the outcome. At hand: what `processes.ts` and
   * `SUITE_PRELUDE` define.
   */
  readonly body: string
  readonly expected: unknown
  /** The outcome with `debug: true`, where that is another. */
  readonly debugExpected?: unknown
  /** The only source of pages with which it comes out so. Both by default. */
  readonly source?: 'mmap' | 'heap'
  /** Options of `arena`, as source text. */
  readonly options?: string
  /** Codes of the process warnings it brings about. None by default. */
  readonly warnings?: readonly string[]
  readonly debugWarnings?: readonly string[]
  /** How the process ends, for a case whose body ends it. `says` is part of its standard error; empty: all of that. */
  readonly exit?: { readonly code: number; readonly says: string }
}

export interface MisuseGroup {
  readonly title: string
  readonly cases: readonly MisuseCase[]
}

const SUITE_PRELUDE = `
  const node = name => process.getBuiltinModule('node:' + name)
  const OFFHEAP = ${JSON.stringify(new URL('index.js', DIST).href)}
  const SMALL = 1_000
  const LARGE = 100_000
  // The outcome of a call by its code, or by the kind of error where the runtime gives none.
  const kindOf = call => { try { return call() } catch (error) { return error.code ?? error.name } }
  const kindOfAsync = async call => { try { return await call() } catch (error) { return error.code ?? error.name } }
  // A block in a window, one with a buffer of its own.
  const both = call => [SMALL, LARGE].map(size => call(arena.allocUnsafe(size).fill(0x66), size))
  const bothInTurn = async call => [await call(arena.allocUnsafe(SMALL).fill(0x66)), await call(arena.allocUnsafe(LARGE).fill(0x66))]
  const isAll = (bytes, byte) => bytes.length > 0 && bytes.every(each => each === byte)
  const folder = () => {
    const path = node('fs').mkdtempSync(node('path').join(node('os').tmpdir(), 'offheap-'))
    process.on('exit', () => node('fs').rmSync(path, { recursive: true }))
    return path
  }
  // A pipe: a read of it waits until somebody has written, as long as the test likes.
  const pipe = () => {
    const path = node('path').join(folder(), 'pipe')
    node('child_process').execFileSync('mkfifo', [path])
    return node('fs').openSync(path, 'r+')
  }
  const warnings = []
  process.on('warning', ({ code }) => { if (code?.startsWith('OFFHEAP')) warnings.push(code) })
`

// Whatever was done: the books hold, the other blocks are as they were, and all of it can be given back.
const EPILOGUE = `
  arena.check()
  await turn()
  if (codeOf(() => arena.residentBytes()) !== 'ERR_ARENA_CLOSED') {
    assertIntact()
    for (const block of live) arena.free(block)
    arena.trim()
    arena.check()
    if (arena.stats().pinnedBlocks === 0) arena.close()
  }
  await turn()
  console.log(JSON.stringify({ result, warnings }))
`

/** Runs a case. Returns what came of it and what was to come, in the same shape. */
export async function runCase(
  { body, options = '{}', exit, ...expectations }: MisuseCase,
  isDebug: boolean,
  source: 'mmap' | 'heap',
): Promise<{ actual: unknown; expected: unknown }> {
  const expected =
    isDebug && 'debugExpected' in expectations ? expectations.debugExpected : expectations.expected
  const warnings = (isDebug ? expectations.debugWarnings : undefined) ?? expectations.warnings ?? []
  const script = `
    ${preludeOf(`{ source: '${source}', leaks: 'off', ...${options}${isDebug ? ', debug: true' : ''} }`)} ${SUITE_PRELUDE}
    const result = await (async () => { ${body} })()
    ${EPILOGUE}
  `
  const { code, signal, stdout, stderr } = await runScript(script, { nodeArgs: ['--expose-gc'] })
  if (exit !== undefined) {
    return {
      actual: {
        code,
        signal,
        stderr: exit.says !== '' && stderr.includes(exit.says) ? exit.says : stderr,
        stdout,
      },
      expected: { code: exit.code, signal: null, stderr: exit.says, stdout: expected },
    }
  }
  const outcome = stdout === '' ? undefined : JSON.parse(stdout)
  return {
    actual: { code, signal, stderr, outcome },
    expected: {
      code: 0,
      signal: null,
      stderr: '',
      outcome: expected === undefined ? { warnings } : { result: expected, warnings },
    },
  }
}
