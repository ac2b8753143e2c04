/** Runs the built command line as users do. */
import { fileURLToPath } from 'node:url'
import { DIST, type Outcome, runNode } from '../support/process.js'

export const MAIN = fileURLToPath(new URL('cli/main.cjs', DIST))

/** Runs `offheap ...args` with `input` as its standard input; `nodeArgs` go to Node itself. */
export function offheap(
  args: string[],
  input: string | Uint8Array = '',
  nodeArgs: string[] = [],
): Promise<Outcome> {
  return runNode([...nodeArgs, MAIN, ...args], input)
}
