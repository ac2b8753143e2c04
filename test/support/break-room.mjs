/**
 * Imported first by child programs that use the program break: ends the process at once if something is mapped close above the
 * break, and says so in the words that `runNode` knows, so that it is run again. V8 puts its code there in some 1 of 100
 * processes. What such a program would print itself depends on the program.
 */
import { readFileSync } from 'node:fs'

/** No test raises the break by more. */
const ROOM_BYTES = 256 * 2 ** 20

const mappings = readFileSync('/proc/self/maps', 'latin1').split('\n')
const at = mappings.findIndex(line => line.endsWith('[heap]'))
// Without that line nothing was allocated below the break yet: another malloc serves this process.
if (at >= 0 && at + 1 < mappings.length) {
  const end = Number.parseInt(mappings[at].split('-')[1], 16)
  const next = Number.parseInt(mappings[at + 1], 16)
  if (next - end < ROOM_BYTES) {
    process.stderr.write('no room above the program break here: mmap: File exists (EEXIST)\n')
    process.exit(1)
  }
}
