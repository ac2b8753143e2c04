/** Where the binary is found, and under Node's permission model what to allow. In processes, with copies of the package. */
import { execFile } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { NODES, type NodeLine, type Outcome, runNode } from '../support/process.js'
import { strangerPath } from '../support/stranger.js'

const packageRoot = fileURLToPath(new URL('../../', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-binary-'))
afterAll(() => rmSync(folder, { recursive: true }))

const USE = `
  import { Arena, onPressure, pressureSource } from 'offheap'
  const arena = new Arena({ limitBytes: 2 ** 26 })
  arena.free(arena.alloc(2 ** 20).fill(1))
  const stop = onPressure(() => {})
  const kept = arena.allocUnsafe(1000).fill(2)
  arena.trim()
  console.log(pressureSource(), kept[999], arena.residentBytes() > 0, arena.stats().liveBlocks)
  // Longer than the time after which it would look for pressure.
  setTimeout(() => { stop(); arena.close() }, 600)
`

/** A program that uses the package, in a folder of that name, which no other test uses. Returns the program. */
function install(name: string, binary = 'build/Release/offheap.node'): string {
  const app = join(folder, name)
  const root = join(app, 'node_modules/offheap')
  mkdirSync(dirname(join(root, binary)), { recursive: true })
  cpSync(join(packageRoot, 'dist'), join(root, 'dist'), { recursive: true })
  copyFileSync(join(packageRoot, 'package.json'), join(root, 'package.json'))
  copyFileSync(join(packageRoot, 'build/Release/offheap.node'), join(root, binary))
  writeFileSync(join(app, 'use.mjs'), USE)
  return join(app, 'use.mjs')
}

function permissionFlag({ major }: NodeLine): string {
  return major < 22 ? '--experimental-permission' : '--permission'
}

/** What an error says of the flags to run Node with, as printed. */
function adviceOf({ stderr }: Outcome): string {
  return /run node with (.*)/.exec(stderr)?.[1] ?? ''
}

const quote = (text: string) => `'${text.replaceAll("'", "'\\''")}'`

/** Runs it through a shell, as somebody would who copies the advice. */
async function runInShell(
  node: NodeLine,
  flags: string[],
  advice: string,
  program: string,
): Promise<Outcome> {
  const words = [node.path, ...flags].map(quote).join(' ')
  const command = `${words} --no-warnings ${advice} ${quote(program)}`
  const { stdout, stderr } = await promisify(execFile)('/bin/sh', ['-c', command])
  return { code: 0, signal: null, stdout, stderr }
}

describe.concurrent.each(NODES)('under the permission model of $version', node => {
  const flags = [permissionFlag(node), '--no-warnings']

  it.each(['plain', 'with spaces, commas', "it's $HOME `or` (not)"])(
    'the advice works as printed: %s',
    async name => {
      const program = install(join(`${node.major}`, name))
      const app = dirname(program)
      const refused = await runNode([...flags, `--allow-fs-read=${app}`, program], '', node.path)
      expect(refused.code).toBe(1)
      expect(refused.stderr).toContain("code: 'ERR_ARENA_NOT_SUPPORTED'")
      const advice = adviceOf(refused)
      const done = await runInShell(node, [permissionFlag(node), `--allow-fs-read=${app}`], advice, program)
      expect(done).toMatchObject({ stdout: 'none 2 true 1\n', stderr: '' })
    },
  )

  it('the advice works where only the script of the package may be read', async () => {
    const program = install(join(`${node.major}`, 'script-only'))
    const root = join(dirname(program), 'node_modules/offheap')
    const allowed = [program, join(root, 'dist'), join(root, 'package.json')].map(
      path => `--allow-fs-read=${path}`,
    )
    for (const given of [allowed, [...allowed, '--allow-addons']]) {
      const first = await runNode([...flags, ...given, program], '', node.path)
      // Older lines ask nobody before they load an addon whose path they are given.
      if (first.code === 0) continue
      const done = await runInShell(node, [permissionFlag(node), ...given], adviceOf(first), program)
      expect(done).toMatchObject({ stdout: 'none 2 true 1\n', stderr: '' })
    }
  })

  it('a package that is linked to needs no more than its real folder', async () => {
    const program = install(join(`${node.major}`, 'linked-to'))
    const app = join(folder, `linking-${node.major}`)
    mkdirSync(join(app, 'node_modules'), { recursive: true })
    writeFileSync(join(app, 'use.mjs'), USE)
    symlinkSync(join(dirname(program), 'node_modules/offheap'), join(app, 'node_modules/offheap'))
    const given = [
      `--allow-fs-read=${app}`,
      `--allow-fs-read=${join(dirname(program), 'node_modules/offheap')}`,
    ]
    const refused = await runNode([...flags, ...given, join(app, 'use.mjs')], '', node.path)
    const done = await runInShell(
      node,
      [permissionFlag(node), ...given],
      adviceOf(refused),
      join(app, 'use.mjs'),
    )
    expect(done).toMatchObject({ stdout: 'none 2 true 1\n', stderr: '' })
  })
})

describe.concurrent('the binary', () => {
  const PREBUILT = `prebuilds/${process.platform}-${process.arch}/offheap.node`

  it('is found among those that are published', async () => {
    expect(await runNode([install('own', PREBUILT)])).toMatchObject({ code: 0, stderr: '' })
  })

  it('that was built from source in the package comes before a published one', async () => {
    const program = install('built', 'native/build/Release/offheap.node')
    mkdirSync(dirname(join(dirname(program), 'node_modules/offheap', PREBUILT)), { recursive: true })
    writeFileSync(join(dirname(program), 'node_modules/offheap', PREBUILT), 'no binary')
    expect(await runNode([program])).toMatchObject({ code: 0, stderr: '' })
  })

  it('is absent, and the error says how to build one', async () => {
    const program = install('absent', 'elsewhere/offheap.node')
    const { stderr } = await runNode([program])
    const platform = `${process.platform}-${process.arch}`
    expect(stderr).toContain(
      `Cannot load the native addon: there is no binary for ${platform}. Build one with`,
    )
    expect(stderr).toContain("code: 'ERR_ARENA_NOT_SUPPORTED'")
  })

  it('is where the environment says', async () => {
    const program = install('named', 'elsewhere/offheap.node')
    const path = join(dirname(program), 'node_modules/offheap/elsewhere/offheap.node')
    const run = (named: string) => runNode([program], '', process.execPath, { OFFHEAP_NATIVE_BINDING: named })
    expect(await run(path)).toMatchObject({ code: 0, stderr: '' })
    expect((await run('elsewhere/offheap.node')).stderr).toContain(
      'the path that nativeBinding or OFFHEAP_NATIVE_BINDING names must be absolute; it is elsewhere/offheap.node',
    )
    expect((await run('')).stderr).toContain('there is no binary for')
  })

  it('is named wrongly, and the error says what is wrong with the file', async () => {
    const program = install('faulty', 'elsewhere/offheap.node')
    const binary = join(dirname(program), 'node_modules/offheap/elsewhere/offheap.node')
    const bytes = readFileSync(binary)
    const otherCpu = Buffer.from(bytes)
    otherCpu.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 18)
    const files: [name: string, content: string | Buffer | undefined, message: string][] = [
      ['absent.node', undefined, 'there is no such file'],
      ['copy', bytes, 'its name must end with ".node"'],
      ['script.js', 'throw null', 'its name must end with ".node"'],
      ['text.node', 'text', 'it is not a native addon for Linux (an ELF file); it has 4 bytes'],
      ['empty.node', '', 'it is not a native addon for Linux (an ELF file); it has 0 bytes'],
      [
        'cpu.node',
        otherCpu,
        `it is for ${process.arch === 'arm64' ? 'x64' : 'arm64'}, and this process runs on`,
      ],
      ['cut.node', bytes.subarray(0, 5000), `it is cut off: it has 5000 of ${bytes.length} bytes`],
    ]
    mkdirSync(join(dirname(program), 'folder.node'))
    files.push(['folder.node', undefined, 'it is not a file'])
    for (const [name, content, message] of files) {
      const path = join(dirname(program), name)
      if (content !== undefined) writeFileSync(path, content)
      const { stderr, signal } = await runNode([program], '', process.execPath, {
        OFFHEAP_NATIVE_BINDING: path,
      })
      expect(signal).toBe(null)
      expect(stderr).toContain(`Cannot load the native addon: ${path}: ${message}`)
      expect(stderr).toContain("code: 'ERR_ARENA_NOT_SUPPORTED'")
    }
  })

  it('is that of another addon, and only new Arena() says so', async () => {
    const program = install('another', 'elsewhere/offheap.node')
    const path = strangerPath()
    writeFileSync(
      program,
      `import { Arena, processLimit, setProcessLimit, totals } from 'offheap'
       setProcessLimit(2 ** 20)
       console.log(totals().arenas, processLimit().limitBytes)
       new Arena()`,
    )
    const outcome = await runNode([program], '', process.execPath, { OFFHEAP_NATIVE_BINDING: path })
    expect(outcome.stdout).toBe('0 1048576\n')
    expect(outcome.stderr).toContain(
      `${path} is not the addon of this version of offheap: its interface is none, not 3.`,
    )
  })

  it('is not published for another CPU, and the error says what to do', async () => {
    const program = install('other-cpu', 'elsewhere/offheap.node')
    const pretend = "Object.defineProperty(process, 'arch', { value: 'riscv64' })"
    const { stderr } = await runNode(['--import', `data:text/javascript,${pretend}`, program])
    expect(stderr).toContain("code: 'ERR_ARENA_UNSUPPORTED_PLATFORM'")
    expect(stderr).toContain(
      'There is no binary for linux-riscv64, only for linux-x64 and linux-arm64. Build one with "npm install',
    )
  })

  it('is where the option nativeBinding of the first arena says, for the whole thread', async () => {
    const program = install('option', 'elsewhere/offheap.node')
    const path = join(dirname(program), 'node_modules/offheap/elsewhere/offheap.node')
    writeFileSync(
      program,
      `import { Arena } from 'offheap'
       const codes = []
       const make = nativeBinding => {
         try {
           new Arena({ nativeBinding }).alloc(10)
           codes.push('ok')
         } catch (error) {
           codes.push(error.code)
         }
       }
       for (const path of ['relative.node', 7, '/nowhere.node', ${JSON.stringify(path)}, undefined, ${JSON.stringify(path)}, '/nowhere.node'])
         make(path)
       console.log(codes.join(' '))`,
    )
    expect((await runNode([program])).stdout.split(/\s/)).toEqual([
      'ERR_INVALID_ARG_VALUE',
      'ERR_INVALID_ARG_TYPE',
      'ERR_ARENA_NOT_SUPPORTED',
      'ok',
      'ok',
      'ok',
      'ERR_ARENA_NOT_SUPPORTED',
      '',
    ])
  })

  it('is not loaded where addons are disabled, and the error says how they are', async () => {
    const { stderr } = await runNode(['--no-addons', install('no-addons')])
    expect(stderr).toContain(
      'Cannot load the native addon: addons are disabled; run node without --no-addons.',
    )
  })
})
