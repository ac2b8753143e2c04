#!/usr/bin/env node
/**
 * The command `offheap`. It finds the command, runs it, and turns an error into one line on stderr and an
 * exit code: 0 success, 1 a failure while running, 2 wrong usage or wrong input. Commands are loaded only
 * when they are called, so that help works wherever Node does.
 */
import { readFileSync } from 'node:fs'
import { nearest } from '../base/known-keys.js'
import { describeFailure, InputError, UsageError } from '../replay/errors.js'

const HELP = `Usage: offheap COMMAND [options]

Off-heap memory for Node that goes back to the operating system when you
free it.

Commands:
  demo           compare the memory that Buffers, an Arena and a Store hold
  replay FILE    replay a recording of allocations; show time and memory, and
                 verify the contents of blocks
  report PID     show where the memory of a process is

Options:
  -h, --help     show this help; after a command, show the help of that command
  --version      show the version

Exit codes: 0 success, 1 a failure while running, 2 wrong usage or wrong input.
`

const EXIT_FAILURE = 1
const EXIT_INPUT = 2

type Command = (args: string[]) => Promise<void>

/** The commands. With the last one, the others start processes of their own. */
const COMMANDS: Record<string, () => Promise<Command>> = {
  demo: async () => (await import('./demo.js')).demo,
  replay: async () => (await import('./replay.js')).replay,
  report: async () => (await import('./process-report.js')).processReport,
  'internal-memory-run': async () => (await import('./memory-run.js')).memoryRun,
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8')).version
}

async function run(args: string[]): Promise<void> {
  const [first, ...rest] = args
  if (first === '--help' || first === '-h') {
    process.stdout.write(HELP)
  } else if (first === '--version') {
    process.stdout.write(`${version()}\n`)
  } else if (first === undefined) {
    throw new UsageError('a command is missing; give demo, replay or report')
  } else if (!Object.hasOwn(COMMANDS, first)) {
    const [kind, known] = first.startsWith('-')
      ? ['option', ['--help', '--version']]
      : ['command', ['demo', 'replay', 'report']]
    const meant = nearest(first, known)
    throw new UsageError(
      `unknown ${kind} ${JSON.stringify(first)}${meant === undefined ? '' : `; did you mean ${JSON.stringify(meant)}?`}`,
    )
  } else {
    const command = await COMMANDS[first]()
    await command(rest)
  }
}

function report(error: unknown): void {
  process.stderr.write(`offheap: ${describeFailure(error)}\n`)
  if (error instanceof UsageError) {
    process.stderr.write(`Try: offheap ${error.command === undefined ? '' : `${error.command} `}--help\n`)
  }
  process.exitCode = error instanceof InputError ? EXIT_INPUT : EXIT_FAILURE
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // The reader has gone (`offheap … | head`). Nobody would see a message.
    if (error.code === 'EPIPE') process.exit()
    throw error
  })
}

run(process.argv.slice(2)).catch(report)
