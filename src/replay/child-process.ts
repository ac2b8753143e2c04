/**
 * A process of our own that is started for one answer. Any failure of it becomes a `RunError` here, and it
 * never outlives this process. This file does not know what is asked.
 *
 *  1. The answer is the first that was read, or the first failure. Nothing that comes later changes it.
 *  2. This process kills the other before it ends itself, by a signal or otherwise. If this one is killed
 *     (SIGKILL), the other sees its channel close.
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
  /**
   * Returns the answer, or undefined if the message is not the answer. An error that it throws is the
   * failure.
   */
  read(message: unknown): T | undefined
}

/**
 * Starts the process and waits until it has ended. Throws `RunError` if it gave no answer, or failed after
 * that.
 */
export async function askProcess<T>({ name, args, feed, read }: Question<T>): Promise<T> {
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'inherit', 'inherit', 'ipc'] })
  const release = endWithUs(child)
  try {
    return await new Promise<T>((resolve, reject) => {
      let answer: { value: T } | undefined
      let failure: unknown
      let isSettled = false
      let isKilled = false
      /**
       * Notes that the process has answered or failed. Returns true the first time. The process gets time to
       * end by itself, because it may have profiles to write.
       */
      const settle = () => {
        if (isSettled) return false
        isSettled = true
        setTimeout(() => {
          isKilled = child.kill('SIGKILL')
        }, END_MS).unref()
        return true
      }
      child.on('error', error => reject(new RunError(`${name} cannot be started: ${error.message}`)))
      // A process that fails early does not read its input. How it ended is reported below.
      child.stdin?.on('error', () => {})
      child.on('message', message => {
        try {
          const value = read(message)
          if (value !== undefined && settle()) answer = { value }
        } catch (thrown) {
          if (settle()) failure = thrown
        }
      })
      // A process that has just died disconnects, too. Then the way it ended, which `close` tells, is the
      // better message.
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
  // Only the kernel's log says which of the two it was.
  if (signal === 'SIGKILL')
    return 'with SIGKILL: another process killed it, or the kernel did because memory was short'
  if (signal !== null) return `with ${signal}`
  return code === 0 ? 'without a result' : `with exit code ${code}`
}

/** Kills `child` when this process ends (invariant 2). Returns a function that undoes that. */
function endWithUs(child: ChildProcess): () => void {
  const kill = () => void child.kill('SIGKILL')
  const onSignal = (signal: NodeJS.Signals) => {
    release()
    kill()
    // Sends the signal again without listeners, so that the parent sees that this process ended by a signal.
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
