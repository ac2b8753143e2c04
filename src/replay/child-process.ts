/**
 * A process of our own that is started for one answer. Owns its end: whatever goes wrong there is a `RunError` here, and it
 * never outlives this process. Knows nothing of what is asked.
 *
 * 1. The answer is the first that was read, or the first failure: nothing that comes later changes it.
 * 2. While the process lives, this one kills it before it ends itself, by a signal or otherwise. Where this one is killed
 *    (SIGKILL), the other sees its channel close.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import type { Writable } from 'node:stream'
import { RunError } from './errors.js'

/** How long a process that has answered may take to end by itself. */
const END_MS = 2_000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface Question<T> {
  /** What is asked, in the words of an error: "the memory pass". */
  readonly name: string
  /** Arguments of Node. */
  readonly args: readonly string[]
  /** Writes the standard input of the process, and ends it. */
  feed(stdin: Writable): void
  /** The answer, or undefined where the message is none yet. What it throws is the failure. */
  read(message: unknown): T | undefined
}

/** Starts the process and waits until it has ended. Throws `RunError` where it gave no answer, or failed after that. */
export async function askProcess<T>({ name, args, feed, read }: Question<T>): Promise<T> {
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'inherit', 'inherit', 'ipc'] })
  const release = endWithUs(child)
  try {
    return await new Promise<T>((resolve, reject) => {
      let answer: { value: T } | undefined
      let failure: unknown
      let isSettled = false
      let isKilled = false
      /** Returns true once. The process may end by itself then: it may have profiles to write. */
      const settle = () => {
        if (isSettled) return false
        isSettled = true
        setTimeout(() => {
          isKilled = child.kill('SIGKILL')
        }, END_MS).unref()
        return true
      }
      child.on('error', error => reject(new RunError(`${name} cannot be started: ${error.message}`)))
      // A process that fails early does not read its input; its end says so.
      child.stdin?.on('error', () => {})
      child.on('message', message => {
        try {
          const value = read(message)
          if (value !== undefined && settle()) answer = { value }
        } catch (thrown) {
          if (settle()) failure = thrown
        }
      })
      // Also how a process looks that is about to be found dead: how it ended is the better word then.
      child.on('disconnect', settle)
      child.on('close', (code, signal) => {
        if (failure !== undefined) reject(failure)
        else if (answer !== undefined && (code === 0 || isKilled)) resolve(answer.value)
        else reject(new RunError(`${name} ended early, ${endOf(code, signal, isKilled)}`))
      })
      feed(child.stdin as Writable)
    })
  } finally {
    release()
  }
}

function endOf(code: number | null, signal: NodeJS.Signals | null, isKilled: boolean): string {
  if (isKilled) return 'without a result'
  // Which of the two it was, the kernel tells nobody but its log.
  if (signal === 'SIGKILL') return 'with SIGKILL: killed by somebody, or by the kernel for want of memory'
  if (signal !== null) return `with ${signal}`
  return code === 0 ? 'without a result' : `with exit code ${code}`
}

/** Kills `child` when this process ends (invariant 2); returns what takes that back. */
function endWithUs(child: ChildProcess): () => void {
  const kill = () => void child.kill('SIGKILL')
  const onSignal = (signal: NodeJS.Signals) => {
    release()
    kill()
    // As if nobody had listened: whoever waits for us is to see that it was a signal.
    process.kill(process.pid, signal)
  }
  const release = () => {
    process.off('exit', kill)
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
  process.on('exit', kill)
  for (const signal of SIGNALS) process.on(signal, onSignal)
  return release
}
