/**
 * Finds V8's `gc` function, also in a process that was started without `--expose-gc`. Knows nothing of what it
 * is called for.
 */
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * V8's `gc`. Without an argument it is a full collection. What it makes of an object depends on the line of
 * Node: up to Node 20, any object asks for a minor collection.
 */
export type Gc = (options?: object) => void

/** With this flag, any change of flags ends the process. */
const FREEZES = /^--?freeze[-_]flags[-_]after[-_]init$/

let found: Gc | undefined

/**
 * Returns V8's `gc`, or undefined if this runtime gives no access to it. The first call makes a context (150
 * KiB, half a millisecond). Contexts that are made later have no `gc`, unless the process has `--expose-gc`.
 */
export function findGc(): Gc | undefined {
  found ??= gcOfContext() ?? gcByFlag()
  return found
}

/** A new context has `gc` while the flag is set: from the command line, for example. */
function gcOfContext(): Gc | undefined {
  const gc: unknown = runInNewContext('typeof gc === "function" ? gc : undefined')
  return typeof gc === 'function' ? (gc as Gc) : undefined
}

/** Sets the flag for as long as one context is made. */
function gcByFlag(): Gc | undefined {
  if (hasFrozenFlags()) return undefined
  try {
    setFlagsFromString('--expose-gc')
  } catch {
    // Bun has no flags of V8. That is an answer, too.
    return undefined
  }
  try {
    return gcOfContext()
  } finally {
    setFlagsFromString('--no-expose-gc')
  }
}

/** A Worker may have arguments of its own, while the flags are those of the process. */
function hasFrozenFlags(): boolean {
  return [...process.execArgv, ...commandLine()].some(argument => FREEZES.test(argument))
}

function commandLine(): string[] {
  try {
    return readFileSync('/proc/self/cmdline', 'latin1').split('\0')
  } catch {
    // Another system, or a permission model that forbids it.
    return []
  }
}
