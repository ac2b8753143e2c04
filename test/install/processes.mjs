/**
 * Runs programs, each in a process group of its own. So a program that reaches its time limit, and all that this process started
 * when it ends, end with their children.
 */
import { spawn } from 'node:child_process'

const groups = new Set()

function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // All of them have ended.
    if (error.code !== 'ESRCH') throw error
  }
}

process.on('exit', () => {
  for (const pid of groups) endGroup(pid)
})

/** The environment of this process, without what npm, vitest and a shell put there for this program alone. */
export function cleanEnvironment() {
  const foreign =
    /^(npm_(?!config_(registry|nodedir|cafile|(https?_)?proxy)$)|VITEST|OFFHEAP_|NODE_OPTIONS$|JEST_|INIT_CWD$|CI$)/i
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)))
}

/**
 * Runs a program to its end. Resolves with its exit code and all that it printed. At the end of `seconds`, or when `signal`
 * aborts, it is killed, and the code is `undefined`.
 */
export function run(command, args, { cwd, env = cleanEnvironment(), seconds = 120, signal } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers?.() ?? withResolvers()
  const child = spawn(command, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  child.on('error', reject)
  if (child.pid === undefined) return promise
  groups.add(child.pid)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8')
    stream.on('data', text => {
      output += text
    })
  }
  const timer = setTimeout(() => {
    output += `\n(killed after ${seconds} s)`
    endGroup(child.pid)
  }, seconds * 1000)
  signal?.addEventListener('abort', () => endGroup(child.pid))
  child.on('exit', () => {
    clearTimeout(timer)
    // What it left running would hold its output open.
    endGroup(child.pid)
    groups.delete(child.pid)
  })
  child.on('close', code => resolve({ code: code ?? undefined, output }))
  return promise
}

function withResolvers() {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

/** As `run`. Throws an `Error` with all that it printed if the exit code is not 0. Resolves with what it printed. */
export async function runWell(command, args, options) {
  const { code, output } = await run(command, args, options)
  if (code !== 0) throw new Error(`exit code ${code} of ${[command, ...args].join(' ')}\n${output}`)
  return output
}
