/**
 * The one distinction the command line makes between failures: what the caller got wrong (arguments, a malformed trace)
 * ends with exit code 2, everything else with 1. `main.ts` turns both into one line on stderr.
 */

/** The caller's input is at fault: shown without a stack, exit code 2. */
export class InputError extends Error {}

/** Wrong arguments: an `InputError` after which the way to the help is shown too. */
export class UsageError extends InputError {
  /** The command whose help explains it; absent when no command was recognised. */
  readonly command: string | undefined

  constructor(message: string, command?: string) {
    super(message)
    this.command = command
  }
}

/** Something went wrong while running that needs a message but no stack: exit code 1. */
export class RunError extends Error {}

/** What to say of an error: the message of one that was foreseen or has a code, else the stack, as it is a defect. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const isForeseen = error instanceof InputError || error instanceof RunError || 'code' in error
  return isForeseen ? error.message : (error.stack ?? error.message)
}
