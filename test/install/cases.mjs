/** Runs cases two at a time, prints what becomes of each, and counts. A case passes if it does not throw. */
import { availableParallelism } from 'node:os'

const passed = []
const failed = []
const waiting = []
let runningCount = 0

/** Runs `check` when it is its turn. Never rejects: what is thrown is printed, and the case has failed. */
export function runCase(name, check) {
  return new Promise(resolve => {
    waiting.push(async () => {
      const start = Date.now()
      try {
        const remark = await check()
        passed.push(name)
        const seconds = ((Date.now() - start) / 1000).toFixed(1)
        console.log(`ok      ${name}${remark === undefined ? '' : `: ${remark}`} (${seconds} s)`)
      } catch (error) {
        failed.push(name)
        console.log(
          `FAILED  ${name}\n${indented(error.stack?.includes(error.message) ? messageOf(error) : String(error))}`,
        )
      }
      resolve()
    })
    startWaiting()
  })
}

/** The message is enough where a program has failed: its own output is in it. */
function messageOf(error) {
  return error.constructor === Error ? error.message : error.stack
}

function startWaiting() {
  while (runningCount < Math.min(2, availableParallelism()) && waiting.length > 0) {
    runningCount++
    waiting
      .shift()()
      .finally(() => {
        runningCount--
        startWaiting()
      })
  }
}

function indented(text) {
  const lines = text.trimEnd().split('\n')
  const shown = lines.length > 60 ? [...lines.slice(0, 20), '…', ...lines.slice(-40)] : lines
  return shown.map(line => `        ${line}`).join('\n')
}

/** Prints the sum. Returns whether all passed. */
export function printSum() {
  if (failed.length > 0) console.log(`\nFailed:\n${failed.map(name => `  ${name}`).join('\n')}`)
  console.log(`${passed.length} passed, ${failed.length} failed`)
  return failed.length === 0 && passed.length > 0
}
