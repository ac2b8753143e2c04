/** `offheap report` of real processes. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { ProcessMemory } from '../../src/report/other-process.js'
import { DIST } from '../support/process.js'
import { MAIN, offheap } from './run.js'

vi.setConfig({ testTimeout: 30_000 })

const MIB = 2 ** 20
const folder = mkdtempSync(join(tmpdir(), 'offheap-report-cli-'))
const started: ChildProcessWithoutNullStreams[] = []
afterAll(() => {
  for (const child of started) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

function start(command: string, args: string[]): ChildProcessWithoutNullStreams {
  const child = spawn(command, args)
  started.push(child)
  return child
}

/** Resolves to what it printed once that contains `text`. */
function printed(child: ChildProcessWithoutNullStreams, text: string | RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let all = ''
    let errors = ''
    child.stderr.on('data', data => {
      errors += data
    })
    child.stdout.on('data', data => {
      all += data
      if (typeof text === 'string' ? all.includes(text) : text.test(all)) resolve(all)
    })
    child.once('error', reject)
    child.once('close', code => reject(new Error(`ended with ${code}: ${all}${errors}`)))
  })
}

/** A process with 32 MiB in an arena, 48 in Buffers and 16 in V8's heap. */
let subject: ChildProcessWithoutNullStreams
beforeAll(async () => {
  const program = `
    const { Arena } = require(${JSON.stringify(new URL('index.cjs', DIST).pathname)})
    globalThis.held = [
      Array.from({ length: 32 }, () => new Arena({ name: 'subject' }).alloc(${MIB}).fill(1)),
      Array.from({ length: 768 }, () => Buffer.allocUnsafeSlow(65536).fill(1)),
      Array.from({ length: 16 }, () => Array.from({ length: ${MIB / 8} }, (_, i) => i + 0.5)),
    ]
    setInterval(() => {}, 1000)
    console.log('ready')`
  subject = start(process.execPath, ['-e', program, 'an argument'])
  await printed(subject, 'ready')
})

async function reportOf(pid: number | undefined): Promise<ProcessMemory> {
  const { code, stdout, stderr } = await offheap(['report', String(pid), '--json'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

describe('offheap report', () => {
  it('says as JSON where the memory of a process is', async () => {
    const memory = await reportOf(subject.pid)
    expect(memory).toMatchObject({ pid: subject.pid, command: expect.stringContaining('an argument') })
    expect(memory.threads).toBeGreaterThan(4)
    const { arenas, mallocBreak, mallocMappings, v8, files, stacks, rest } = memory.parts
    const all = [arenas, mallocBreak, mallocMappings, v8, files, stacks, rest]
    expect(all.reduce((sum, part) => sum + part.residentBytes, 0)).toBe(memory.residentBytes)
    expect(memory.peakResidentBytes).toBeGreaterThan(0.9 * memory.residentBytes)
    for (const part of all) {
      expect(part.residentBytes).toBeLessThanOrEqual(part.mappedBytes)
      expect(Number.isSafeInteger(part.mappings)).toBe(true)
    }
    expect(arenas.residentBytes / MIB).toBeGreaterThanOrEqual(32)
    expect(arenas.residentBytes / MIB).toBeLessThan(36)
    expect((mallocBreak.residentBytes + mallocMappings.residentBytes) / MIB).toBeGreaterThan(48)
    expect((mallocBreak.residentBytes + mallocMappings.residentBytes) / MIB).toBeLessThan(60)
    expect(v8.residentBytes / MIB).toBeGreaterThan(16)
    expect(files.residentBytes / MIB).toBeGreaterThan(20)
    expect(stacks.mappings).toBeGreaterThanOrEqual(memory.threads)
    expect(rest.residentBytes / MIB).toBeLessThan(2)
    for (const name of Object.keys(memory.names)) expect(['subject', 'books']).toContain(name)
  })

  it('says it as a table', async () => {
    const { code, stdout, stderr } = await offheap(['report', String(subject.pid)])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const lines = stdout.split('\n')
    expect(lines[0]).toMatch(/^\S*node -e .*\.\.\. \(PID \d+\), \d+ threads$/)
    expect(lines[1]).toMatch(/^[\d.]+ MiB resident, [\d.]+ MiB at most; [\d.]+ \w+ swapped out$/)
    expect(lines[3]).toMatch(/^ +resident +swapped +mapped +mappings$/)
    expect(stdout).toMatch(/^arenas +3\d\.\d MiB/m)
    for (const part of ['malloc, break', 'malloc, mappings', 'V8', 'code and files', 'stacks', 'rest'])
      expect(stdout).toContain(`\n${part} `)
  })

  it('shows no control characters of a command', async () => {
    const child = start('sh', ['-c', 'echo ready; read line', '\u001b[31mred'])
    await printed(child, 'ready')
    const { stdout } = await offheap(['report', String(child.pid)])
    expect(stdout.split('\n')[0]).toContain('?[31mred')
  })

  it('says that there is no such process', async () => {
    const { pid } = spawnSync('true')
    expect(await offheap(['report', String(pid)])).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: `offheap: there is no process ${pid}\n`,
    })
  })

  it('says that a process has ended that its parent still has to ask for', async () => {
    const parent = start('sh', ['-c', 'true & echo "child $!."; exec sleep 60'])
    const pid = /child (\d+)\./.exec(await printed(parent, /child \d+\./))?.[1] ?? ''
    // The shell may have asked for it before it became `sleep`.
    const { code, stdout, stderr } = await offheap(['report', pid])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect([
      `offheap: process ${pid} has no memory: it has ended, or it is a thread of the kernel\n`,
      `offheap: there is no process ${pid}\n`,
    ]).toContain(stderr)
  })

  const isRoot = process.getuid?.() === 0
  if (!isRoot) console.warn('a case is left out: only root can run a process as another user')
  it.skipIf(!isRoot)("says that a process is another user's", () => {
    // The package may lie in a folder that only root can read. So it is loaded as root, and runs as the other user.
    const program = `
      const main = process.argv[1]
      require(main)
      require.cache[main].require('./process-report.cjs')
      process.setgid(65534)
      process.setuid(65534)`
    const args = ['-e', program, MAIN, 'report', String(subject.pid)]
    const { status, stdout, stderr, error } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    expect(error).toBeUndefined()
    expect({ status, stdout }, stderr).toEqual({ status: 1, stdout: '' })
    expect(stderr).toBe(
      `offheap: process ${subject.pid} cannot be read (EACCES): it is another user's, or protected. Try as root\n`,
    )
  })

  it('says that it needs Linux', async () => {
    const preload = join(folder, 'darwin.cjs')
    writeFileSync(preload, "Object.defineProperty(process, 'platform', { value: 'darwin' })")
    expect(await offheap(['report', '1'], '', ['--require', preload])).toMatchObject({
      code: 1,
      stderr: 'offheap: report reads /proc, which only Linux has\n',
    })
  })
})

describe('offheap report --watch', () => {
  const brief = () => start(process.execPath, ['-e', 'setTimeout(() => {}, 2500); console.log("ready")'])

  it('shows one table after the other where it is no terminal, until the process ends', async () => {
    const child = brief()
    await printed(child, 'ready')
    const { code, stdout, stderr } = await offheap(['report', '--watch', '0.2', String(child.pid)])
    expect({ code, stderr }).toEqual({ code: 0, stderr: `process ${child.pid} has ended\n` })
    const tables = stdout.trimEnd().split(/\n\n(?=\S*node )/)
    expect(tables.length).toBeGreaterThan(1)
    expect(stdout).not.toContain('\u001b')
    for (const table of tables) expect(table).toMatch(/^ +resident +change +swapped +mapped +mappings$/m)
    expect(tables[0]).toMatch(/^V8 +[\d.]+ MiB +0 B /m)
  })

  it('shows one object a line with --json, and takes the number behind it for the PID', async () => {
    const child = brief()
    await printed(child, 'ready')
    const { code, stdout } = await offheap(['report', '--json', '--watch', String(child.pid)])
    expect(code).toBe(0)
    const objects = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(objects.length).toBeGreaterThan(1)
    for (const each of objects) expect(each).toMatchObject({ pid: child.pid, threads: expect.any(Number) })
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('ends at %s', async signal => {
    const watcher = start(process.execPath, [MAIN, 'report', String(subject.pid), '--watch', '0.1'])
    await printed(watcher, /resident[\s\S]*resident/)
    const ended = new Promise(resolve => watcher.once('close', (code, by) => resolve({ code, by })))
    watcher.kill(signal)
    expect(await ended).toEqual({ code: 0, by: null })
  })

  const hasScript = existsSync('/usr/bin/script')
  if (!hasScript) console.warn('a case is left out: /usr/bin/script makes a terminal, and is not installed')
  it.skipIf(!hasScript)('shows one table in place on a terminal', async () => {
    const child = brief()
    await printed(child, 'ready')
    const command = `${process.execPath} ${MAIN} report ${child.pid} --watch 0.2`
    const { stdout, status } = spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8' })
    expect(status).toBe(0)
    // Up by as many lines as the table has, and clear.
    const [first, ...others] = stdout.replaceAll('\r', '').split('\u001b[0J')
    expect(others.length).toBeGreaterThan(1)
    expect(first.endsWith(`\u001b[${first.split('\n').length - 1}A`)).toBe(true)
  })
})
