/** How the command ends where the process of its memory pass fails. Each run has a time limit: what fails must not wait. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { MAIN } from '../cli/run.js'
import { someOf } from '../support/extent.js'
import { NODES } from '../support/process.js'

vi.setConfig({ testTimeout: 30_000 })

const LIMIT_MS = 15_000
const directory = mkdtempSync(join(tmpdir(), 'offheap-child-'))
afterAll(() => rmSync(directory, { recursive: true }))

/** Starts `offheap replay` of `trace`; `inChild` is script that the process of the memory pass runs before all else. */
function start(trace: string, inChild = '', node = process.execPath, options: string[] = []): ChildProcess {
  const args = [MAIN, 'replay', '-', '--passes', '0', '--release-after-ms', '0', ...options]
  if (inChild !== '') {
    const preload = join(directory, `${Math.random()}.cjs`)
    writeFileSync(preload, `if (process.argv[2] === 'internal-memory-run') { ${inChild} }`)
    args.unshift('--require', preload)
  }
  const child = spawn(node, args, { env: { ...process.env, NODE_NO_WARNINGS: '1' } })
  child.stdin?.on('error', () => {})
  child.stdin?.end(trace)
  return child
}

/** A process that ended counts as such before anybody has asked how. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
  } catch {
    return false
  }
}

interface End {
  code: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

/** How it ends. As a process that is left behind keeps standard error open, nothing is left once this returns. */
async function endOf(child: ChildProcess): Promise<End> {
  let stderr = ''
  child.stderr?.on('data', text => {
    stderr += text
  })
  child.stdout?.resume()
  const timer = setTimeout(() => child.kill('SIGTERM'), LIMIT_MS)
  const [code, signal] = await once(child, 'close')
  clearTimeout(timer)
  return { code, signal, stderr }
}

/** For ever, in one call: nothing else is heard of. */
const SLEEP = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)'
const GOOD = 'a 0 100\nf 0\n'
const PREFIX = 'offheap: the memory pass'
/** The child has sent its result when this runs `then`. */
const afterResult = (then: string) => `
  const send = process.send.bind(process)
  process.send = message => { send(message); if (message.kind === 'result') { ${then} } }`

describe.concurrent.each(NODES)('offheap replay on $version', ({ path }) => {
  it('ends with 1 and the message where an allocation is refused', async () => {
    for (const trace of [
      'a 1 34359738369\n',
      'a 0 10\na 1 9007199254740991\n',
      'a 0 10\nr 0 34359738369\n',
    ]) {
      const { code, stderr } = await endOf(start(trace, '', path))
      expect(code).toBe(1)
      expect(stderr).toMatch(/^offheap: the memory pass failed: [^\n]*out of range[^\n]*\n$/)
    }
  })
})

describe.concurrent('offheap replay', () => {
  const failures: [what: string, inChild: string, message: string][] = [
    ['throws', "throw new Error('no such luck')", ' ended early, with exit code 1\n'],
    ['throws later', "setTimeout(() => { throw new Error('later') }, 5)", ' ended early, with exit code 1\n'],
    ['exits', 'process.exit(7)', ' ended early, with exit code 7\n'],
    ['exits as if all were well', 'process.exit(0)', ' ended early, without a result\n'],
    ['is killed', "process.kill(process.pid, 'SIGKILL')", ' ended early, with SIGKILL: '],
    ['faults', "process.kill(process.pid, 'SIGSEGV')", ' ended early, with SIGSEGV\n'],
    ['sends something else', "process.send('hello')", " sent a wrong message: 'hello'\n"],
    ['sends nothing', 'process.send(null)', ' sent a wrong message: null\n'],
    ['sends half a result', "process.send({ kind: 'result', result: {} })", ' sent a wrong message'],
    [
      'sends a result of the wrong shape',
      "process.send({ kind: 'result', result: { samples: [{}], endIndex: 0, afterIndex: 0 } })",
      ' sent a wrong message',
    ],
    ['goes silent', `process.disconnect(); setImmediate(() => ${SLEEP})`, ' ended early, without a result\n'],
    ['never sends its result', 'process.send = () => true', ' ended early, without a result\n'],
    ['fails after its result', afterResult('process.exitCode = 3'), ' ended early, with exit code 3\n'],
  ]
  // A sample of them.
  it.each(someOf(failures, 3))(
    'ends with 1 and a message where the child %s',
    async (_, inChild, message) => {
      const { code, stderr } = await endOf(start(GOOD, inChild))
      expect(stderr).toContain(PREFIX + message)
      expect(code).toBe(1)
    },
  )

  it('takes the result of a child that does not end', async () => {
    const end = await endOf(start(GOOD, afterResult('setInterval(() => {}, 1000)')))
    expect(end).toMatchObject({ code: 0, stderr: '' })
  })

  it.each(someOf(['SIGINT', 'SIGTERM', 'SIGHUP'] as const, 1))(
    'leaves no child behind on %s',
    async signal => {
      const asleep = `process.stderr.write(String(process.pid)); ${SLEEP}`
      const child = start(GOOD, asleep)
      const [pid] = await once(child.stderr as NodeJS.ReadableStream, 'data')
      child.kill(signal)
      expect(await endOf(child)).toMatchObject({ code: null, signal })
      await vi.waitFor(() => expect(isRunning(Number(pid))).toBe(false))
    },
  )

  it('leaves no child behind where the command itself is killed', async () => {
    const child = start(GOOD, 'process.stderr.write(String(process.pid)); setInterval(() => {}, 1000)')
    const [pid] = await once(child.stderr as NodeJS.ReadableStream, 'data')
    // Its channel must be there by then.
    await sleep(200)
    child.kill('SIGKILL')
    expect(await endOf(child)).toMatchObject({ signal: 'SIGKILL' })
    await vi.waitFor(() => expect(isRunning(Number(pid))).toBe(false))
  })
})
