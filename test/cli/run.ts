/** Runs the built command line as users do: a process of its own, its streams collected. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs `offheap ...args` with `input` as its standard input; `nodeArgs` go to Node itself. */
export function offheap(args: string[], input: string | Uint8Array = '', nodeArgs: string[] = []) {
  return new Promise<Outcome>((resolve, reject) => {
    const child = spawn(process.execPath, [...nodeArgs, MAIN, ...args])
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', text => {
      stderr += text
    })
    child.on('error', reject)
    child.on('close', code => resolve({ code, stdout, stderr }))
    // A command that fails early does not read its input.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}
