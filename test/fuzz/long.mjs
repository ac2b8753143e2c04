/**
 * `npm run fuzz`: the model fuzz of the heap and of arenas with 100,000 steps a scenario, over 2 million in all; some
 * minutes. `npm run fuzz -- 20000` takes another number. A failure prints its seed and the command that runs it again.
 */
import { spawn } from 'node:child_process'

const steps = process.argv[2] ?? '100000'
if (!/^[1-9][0-9]*$/.test(steps)) {
  console.error(`usage: npm run fuzz -- [STEPS], a positive integer. Received ${steps}`)
  process.exit(2)
}
const child = spawn('npx', ['vitest', 'run', 'test/fuzz', '--testTimeout=0'], {
  stdio: 'inherit',
  env: { ...process.env, OFFHEAP_TESTS: 'all', OFFHEAP_FUZZ_STEPS: steps },
})
child.on('close', code => {
  process.exitCode = code ?? 1
})
