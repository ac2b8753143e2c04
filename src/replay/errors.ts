/**
 * The two kinds of failure of the command line. Faults of the caller (arguments, a malformed recording) end
 * with exit code 2, all others with 1. `main.ts` turns both into one line on stderr.
 */

/** The caller's input is at fault. It is shown without a stack, with exit code 2. */
export class InputError extends Error {}

/** Wrong arguments: an `InputError` after which the way to the help is shown, too. */
export class UsageError extends InputError {
  /** The command whose help explains the arguments; absent if no command was recognised. */
  readonly command: string | undefined

  constructor(message: string, command?: string) {
    super(message)
    this.command = command
  }
}

/** A failure while running that needs a message but no stack: exit code 1. */
export class RunError extends Error {}

/**
 * Returns the text for an error: its message if it was foreseen or has a code. Any other error is a defect,
 * so its stack is returned.
 */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const isForeseen = error instanceof InputError || error instanceof RunError || 'code' in error
  return isForeseen ? error.message : (error.stack ?? error.message)
}
