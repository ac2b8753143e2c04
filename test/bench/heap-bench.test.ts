import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const MAIN = fileURLToPath(new URL('../../bench/heap/main.mjs', import.meta.url))
const REPLAYER = new URL('../../bench/heap/replayer.mjs', import.meta.url)
const PEERS = ['glibc', 'jemalloc', 'mimalloc', 'tcmalloc']

interface Outcome {
  code: number
  stdout: string
  stderr: string
}

function run(command: string, args: string[], env = process.env): Promise<Outcome> {
  return new Promise(resolve => {
    execFile(command, args, { env, maxBuffer: 2 ** 24 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

const bench = (args: string[], env = process.env) => run(process.execPath, [MAIN, ...args], env)

/** A few thousand blocks of mixed sizes, some resized, some live at the end; ends with more live than ever before. */
function generateTrace(): string {
  const lines: string[] = []
  for (let id = 0; id < 3000; id++) {
    lines.push(`a ${id} ${16 + ((id * 7919) % 3000)}`)
    if (id % 10 === 3) lines.push(`r ${id} ${4000 + id}`)
    if (id % 4 !== 0) lines.push(`f ${id}`)
  }
  return `${lines.join('\n')}\n`
}

let directory = ''
let tracePath = ''

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'offheap-test-bench-'))
  mkdirSync(join(directory, 'libraries'))
  tracePath = join(directory, 'generated.trace')
  writeFileSync(tracePath, generateTrace())
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe('npm run bench:heap', () => {
  it('measures every allocator there is and writes all figures as JSON', { timeout: 20_000 }, async () => {
    const file = join(directory, 'result.json')
    const args = ['--quick', '--check', '--traces', directory, '--json', file]
    const { code, stdout, stderr } = await bench(args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('load average')
    expect(stdout).toMatch(/^generated +/m)
    expect(stdout).toContain('the whole capacity was one block again: 1 of 1 recording.')

    const result = JSON.parse(readFileSync(file, 'utf8'))
    expect(result.machine).toMatchObject({ node: process.version, date: expect.any(String) })
    expect(result.machine.loadAverage).toHaveLength(3)
    expect(result.peers.map((peer: { name: string }) => peer.name)).toEqual(PEERS)
    expect(result.faults).toEqual([])
    const installed = PEERS.filter(name => !result.missingPeers.includes(name))
    const [trace] = result.traces
    expect(trace).toMatchObject({ name: 'generated', operationCount: 5550, resizeCount: 300 })
    expect(Object.keys(trace.results)).toEqual(['offheap', ...installed, 'thi.ng', 'bare-js', 'bare-c'])
    for (const name of ['offheap', ...installed, 'thi.ng']) {
      const { nsPerOperation, utilisation, failure } = trace.results[name]
      expect(failure).toBeUndefined()
      expect(nsPerOperation.median).toBeGreaterThan(0)
      expect(nsPerOperation.max).toBeGreaterThanOrEqual(nsPerOperation.min)
      expect(utilisation.median).toBeGreaterThan(0)
      expect(utilisation.median).toBeLessThanOrEqual(1.2)
    }
    expect(trace.results.offheap).toMatchObject({ endsWhole: true, metadataShare: expect.any(Number) })
    expect(trace.results.offheap.checks).toBeGreaterThan(50)
    const { geometricMeans } = result
    if (installed.length > 0) {
      expect(installed).toContain(trace.speed.bestPeer)
      expect(trace.speed.ratio).toBeGreaterThan(0)
      expect(geometricMeans.speedRatio).toBeCloseTo(trace.speed.ratio)
      expect(geometricMeans.utilisationRatio).toBeCloseTo(trace.utilisation.ratio)
    }
  })

  it('names peers that are not installed, and writes nothing but JSON to stdout with --json -', async () => {
    const libraries = join(directory, 'libraries')
    const args = ['--quick', '--libraries', libraries, '--json', '-', tracePath]
    const { code, stdout, stderr } = await bench(args)
    expect(code).toBe(0)
    expect(JSON.parse(stdout).missingPeers).toEqual(expect.arrayContaining(PEERS.slice(1)))
    for (const name of PEERS.slice(1)) expect(stderr).toContain(`MISSING: ${name} is not installed`)
  })

  it('says what to install where there is no C compiler', async () => {
    const { code, stderr } = await bench(['--quick', tracePath], { ...process.env, CC: 'no-such-compiler' })
    expect(code).toBe(1)
    expect(stderr).toContain('no C compiler')
  })

  it.each([
    [['--rounds', '0'], '--rounds must be a whole number'],
    [['--trace', 'no-such'], 'no recording "no-such"'],
    [['--unknown'], 'usage: '],
  ])('refuses %j', async (args, message) => {
    const { code, stderr } = await bench(args)
    expect(code).toBe(2)
    expect(stderr).toContain(message)
  })
})

describe('replay.c', () => {
  it.each([
    ['x 0 16\n', 'line 1: expected'],
    ['a 0 16\na 1\n', 'line 2: the SIZE'],
    ['a 0 16\n\n# free\nf 0 16\n', 'line 4: there is more'],
    ['a -1 16\n', 'line 1: the ID'],
    ['a 0 99999999999999999999\n', 'line 1: the SIZE'],
    ['f 0\n', 'operation 1: block 0 is not live'],
    ['a 0 16\na 0 16\n', 'operation 2: block 0 is live already'],
    ['a 0 16\nf 0\nr 0 32\n', 'operation 3: block 0 is not live'],
    ['', 'there is no operation'],
  ])('refuses %j', async (text, message) => {
    const { buildReplayer } = await import(REPLAYER.href)
    const path = join(directory, 'malformed.txt')
    writeFileSync(path, text)
    for (const mode of ['speed', 'memory', 'bare']) {
      const { code, stdout, stderr } = await run(await buildReplayer(), [mode, path])
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toContain(message)
    }
  })
})
