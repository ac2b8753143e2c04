/** The built command line, run as users run it (`npm test` builds first). */
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { someOf } from '../support/extent.js'
import { MAIN, offheap } from './run.js'

// Each test starts processes, some of which wait for a second.
vi.setConfig({ testTimeout: 30_000 })

const TRACE = 'a 0 100\na 1 3000000\na 2 16\nr 0 9000\nr 1 20\nf 2\na 3 0\nf 0\n'
const directory = mkdtempSync(join(tmpdir(), 'offheap-cli-'))
const path = join(directory, 'small.trace')
writeFileSync(path, TRACE)
afterAll(() => rmSync(directory, { recursive: true }))

const packageRoot = fileURLToPath(new URL('../../', import.meta.url))

describe.concurrent('offheap', () => {
  it('shows its help', async () => {
    for (const option of someOf(['--help', '-h'], 1)) {
      const { code, stdout, stderr } = await offheap([option])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^Usage: offheap COMMAND/)
      expect(stdout).toMatch(/demo[\s\S]*replay FILE[\s\S]*report PID/)
    }
  })

  it.each(['demo', 'replay', 'report'])('shows the help of %s', async command => {
    for (const option of someOf(['--help', '-h'], 1)) {
      const { code, stdout } = await offheap([command, option])
      expect(code).toBe(0)
      expect(stdout).toMatch(new RegExp(`^Usage: offheap ${command}`))
    }
  })

  it('shows the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'))
    expect(await offheap(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  const wrong: [args: string[], message: RegExp, help: string][] = [
    [[], /a command is missing/, 'offheap --help'],
    [['fly'], /unknown command "fly"/, 'offheap --help'],
    [['constructor'], /unknown command/, 'offheap --help'],
    [['--fly'], /unknown option "--fly"/, 'offheap --help'],
    [['demo', '--fly'], /Unknown option '--fly'/, 'offheap demo --help'],
    [['demo', 'extra'], /takes no arguments/, 'offheap demo --help'],
    [['replay'], /takes one FILE/, 'offheap replay --help'],
    [['replay', 'a', 'b'], /takes one FILE/, 'offheap replay --help'],
    [
      ['demo', '--sorce', 'sbrk'],
      /Unknown option '--sorce'; did you mean '--source'\?/,
      'offheap demo --help',
    ],
    [['report'], /report takes one PID/, 'offheap report --help'],
    [['report', '1', '2'], /report takes one PID/, 'offheap report --help'],
    [['report', '--watch'], /report takes one PID/, 'offheap report --help'],
    [['report', '0'], /PID is a whole number of at least 1; got "0"/, 'offheap report --help'],
    [['report', 'self'], /PID is a whole number of at least 1; got "self"/, 'offheap report --help'],
    [
      ['report', '1', '--watch=soon'],
      /--watch takes a number of seconds from 0.1 to 86400; got "soon"/,
      'offheap report --help',
    ],
    [['report', '--watch', '0', '1'], /--watch takes a number of seconds/, 'offheap report --help'],
    [['report', '1', '--jso'], /Unknown option '--jso'; did you mean '--json'\?/, 'offheap report --help'],
    [['relpay'], /unknown command "relpay"; did you mean "replay"\?/, 'offheap --help'],
    [['replay', '--fly', 'a'], /Unknown option '--fly'/, 'offheap replay --help'],
    [['replay', 'a', '--allocator', 'slab'], /arena, buffer, heap; got "slab"/, 'offheap replay --help'],
    [['replay', 'a', '--allocator'], /--allocator/, 'offheap replay --help'],
    [['replay', 'a', '--passes', 'many'], /--passes takes a whole number/, 'offheap replay --help'],
    [['replay', 'a', '--passes', '-1'], /--passes/, 'offheap replay --help'],
    [['replay', 'a', '--passes', 'Infinity'], /--passes takes/, 'offheap replay --help'],
    [['replay', 'a', '--release-after-ms', '1.5'], /or Infinity; got "1.5"/, 'offheap replay --help'],
    [
      ['replay', 'a', '--source', 'brk'],
      /--source takes one of mmap, sbrk; got "brk"/,
      'offheap replay --help',
    ],
    [
      ['replay', 'a', '--allocator', 'buffer', '--source', 'sbrk'],
      /--source is for --allocator arena only/,
      'offheap replay --help',
    ],
    [['demo', '--source', 'heap'], /--source takes one of mmap, sbrk; got "heap"/, 'offheap demo --help'],
    [['replay', 'a', '--detach-from-bytes', ''], /or Infinity; got ""/, 'offheap replay --help'],
    [
      ['replay', 'a', '--allocator', 'heap', '--release-after-ms', '5'],
      /--release-after-ms is for --allocator arena only/,
      'offheap replay --help',
    ],
  ]
  // A sample of them.
  it.each(someOf(wrong, 5))(
    'refuses %j with one line and the way to the help',
    async (args, message, help) => {
      const { code, stdout, stderr } = await offheap(args)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toMatch(message)
      expect(stderr).toMatch(new RegExp(`^offheap: [^\n]+\nTry: ${help}\n$`))
    },
  )

  it('keeps its internal command to itself', async () => {
    expect((await offheap(['internal-memory-run', '{}'])).code).toBe(2)
    expect((await offheap(['--help'])).stdout).not.toContain('internal')
  })

  it('says in plain words that the addon cannot be loaded', async () => {
    // A copy of the package without its addon; symbolic links would lead back to the addon.
    const copy = join(directory, 'copy')
    cpSync(join(packageRoot, 'dist'), join(copy, 'dist'), { recursive: true })
    cpSync(join(packageRoot, 'package.json'), join(copy, 'package.json'))
    symlinkSync(join(packageRoot, 'node_modules'), join(copy, 'node_modules'))
    const main = join(copy, 'dist/cli/main.cjs')
    for (const args of someOf([['demo'], ['replay', path]], 1)) {
      const child = spawn(process.execPath, [main, ...args])
      let stderr = ''
      child.stderr.on('data', text => {
        stderr += text
      })
      const code = await new Promise(resolve => child.on('close', resolve))
      expect(code).toBe(1)
      expect(stderr).toMatch(/^offheap: the native addon does not work here, so there is no Arena: [^\n]+\n$/)
    }
  })

  it.each([['replay', '-', '--allocator', 'heap'], ['demo']])(
    'ends quietly when its reader goes away: %s',
    async (...args) => {
      const child = spawn(process.execPath, [MAIN, ...args])
      let stderr = ''
      child.stderr.on('data', text => {
        stderr += text
      })
      child.stdout.destroy()
      await new Promise(resolve => child.stdout.on('close', resolve))
      child.stdin.end(TRACE)
      // Stays open for as long as any process that was started has it.
      const code = await new Promise(resolve => child.on('close', resolve))
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    },
  )
})

describe.concurrent('offheap replay', () => {
  it.each(['arena', 'buffer'])('prints one JSON object for %s', async allocator => {
    const { code, stdout, stderr } = await offheap(['replay', path, '--allocator', allocator, '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^[^\n]+\n$/)
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({
      trace: path,
      allocator,
      operations: 8,
      allocations: 4,
      resizes: 2,
      frees: 2,
      peakLiveBytes: 3_009_016,
      endLiveBytes: 20,
      endLiveBlocks: 2,
      checkedBlocks: 6,
      passes: 9,
      nsPerOperation: expect.any(Number),
      peakResidentBytes: expect.any(Number),
      endResidentBytes: expect.any(Number),
      afterFreeResidentBytes: expect.any(Number),
      afterWaitResidentBytes: expect.any(Number),
      waitedMs: 1250,
      garbageCollected: false,
    })
    // Every page of the large block was written to. The rest of the process may have shrunk a little meanwhile.
    expect(result.peakResidentBytes).toBeGreaterThan(2_000_000)
    if (allocator === 'arena') {
      expect(result.peakArenaBytes).toBeGreaterThanOrEqual(3_000_000)
      expect(result.peakCommittedBytes).toBeGreaterThanOrEqual(result.peakArenaBytes)
      expect(result.afterWaitArenaBytes).toBe(0)
      expect(result.arenaUtilisation).toBeCloseTo(result.peakLiveBytes / result.peakArenaBytes, 3)
    } else {
      expect(result).toMatchObject({ peakArenaBytes: null, peakCommittedBytes: null, arenaUtilisation: null })
    }
  })

  it('prints one JSON object for heap', async () => {
    const { code, stdout } = await offheap(['replay', path, '--allocator', 'heap', '--json', '--passes', '0'])
    expect(code).toBe(0)
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({
      checkedBlocks: 6,
      passes: 0,
      nsPerOperation: null,
      peakResidentBytes: null,
    })
    expect(result.peakCommittedBytes).toBeGreaterThanOrEqual(result.peakLiveBytes)
    expect(result.utilisation).toBeCloseTo(result.peakLiveBytes / result.peakCommittedBytes, 3)
  })

  it('prints a table for people', async () => {
    const { code, stdout } = await offheap(['replay', path, '--allocator', 'buffer', '--passes', '2'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/time per operation +[\d.]+ ns {2}median of 2 passes/)
    expect(stdout).toMatch(/peak live +2.9 MiB/)
    expect(stdout).toMatch(/No explicit garbage collection/)
  })

  it('collects garbage where it can, and says so', async () => {
    const args = ['replay', path, '--allocator', 'buffer', '--passes', '0', '--json']
    const { stdout } = await offheap(args, '', ['--expose-gc'])
    expect(JSON.parse(stdout).garbageCollected).toBe(true)
  })

  it('passes on the arena options, and waits for the pages that are due', async () => {
    const args = ['replay', path, '--json', '--passes', '1']
    const soon = await offheap([...args, '--release-after-ms', '0', '--detach-from-bytes', '0'])
    expect(JSON.parse(soon.stdout)).toMatchObject({ waitedMs: 250, checkedBlocks: 6 })
    const never = await offheap([
      ...args,
      '--release-after-ms',
      'Infinity',
      '--detach-from-bytes',
      'Infinity',
    ])
    expect(JSON.parse(never.stdout)).toMatchObject({ waitedMs: 250, checkedBlocks: 6 })
  })

  it('takes the pages from the program break, where asked to', async () => {
    const args = ['replay', path, '--source', 'sbrk', '--passes', '1']
    const { code, stdout, stderr } = await offheap([...args, '--json'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({
      allocator: 'arena',
      source: 'sbrk',
      checkedBlocks: 6,
      afterWaitArenaBytes: 0,
    })
    expect(result.peakArenaBytes).toBeGreaterThanOrEqual(3_000_000)
    expect((await offheap(args)).stdout).toMatch(/^\S+small.trace on arena over the program break\n/)
    const other = await offheap([
      'replay',
      path,
      '--json',
      '--passes',
      '1',
      '--detach-from-bytes',
      'Infinity',
    ])
    expect(JSON.parse(other.stdout)).toMatchObject({ source: 'mmap' })
  })

  it('reads standard input, plain and gzip', async () => {
    for (const input of [TRACE, gzipSync(TRACE)]) {
      const { code, stdout } = await offheap(['replay', '-', '--allocator', 'heap', '--json'], input)
      expect(code).toBe(0)
      expect(JSON.parse(stdout)).toMatchObject({ trace: '-', operations: 8 })
    }
  })

  it('refuses a malformed line with its number', async () => {
    const { code, stdout, stderr } = await offheap(['replay', '-'], 'a 0 1\n# note\nf 9\n')
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe('offheap: standard input, line 3: block 9 is not live; got "f 9"\n')
  })

  it('fails with 1 where the file cannot be read or the allocator cannot do it', async () => {
    const absent = await offheap(['replay', join(directory, 'absent')])
    expect(absent).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^offheap: ENOENT[^\n]+\n$/),
    })
    const huge = await offheap(['replay', '-', '--allocator', 'heap'], 'a 0 9007199254740991\n')
    expect(huge).toMatchObject({ code: 1, stderr: expect.stringMatching(/^offheap: [^\n]+\n$/) })
  })
})
