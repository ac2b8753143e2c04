/** Whether the check of the binaries finds what it is for: each fault by itself, in libraries that are made here with g++'s `gcc`. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { faultsOf } from '../../native/check-binaries.mjs'
import { isMusl } from '../support/libc.js'

const source = fileURLToPath(new URL('faulty.c', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-check-'))
afterAll(() => rmSync(folder, { recursive: true }))

const LINKED = ['-z,now', '-z,relro', '-z,nodelete', '-z,noexecstack'].map(option => `-Wl,${option}`)
const GOOD = [
  '-shared',
  '-fPIC',
  '-O1',
  '-nostdlib',
  '-fvisibility=hidden',
  '-fstack-protector-all',
  '-s',
  ...LINKED,
]

let made = 0
/** Later options win over earlier ones. */
function make(more: string[] = [], without: string[] = []): string {
  const file = join(folder, `${++made}.node`)
  const options = GOOD.filter(option => !without.includes(option))
  execFileSync('gcc', [...options, ...more, '-o', file, source], { encoding: 'utf8' })
  return file
}

const arch = process.arch
const other = arch === 'x64' ? 'arm64' : 'x64'

/** What to find, what makes it, and what keeps it away. */
type Case = [fault: string, more: string[], without?: string[]]

/** musl has no versions of symbols, and its compiler no indirect functions. */
const OF_GLIBC: Case[] = [
  ['has versions of symbols (VERNEED)', ['-Wl,--no-as-needed', '-lc']],
  ['asks for a version: __stack_chk_fail@', ['-Wl,--no-as-needed', '-lc']],
  ['has an indirect function (IFUNC)', ['-DINDIRECT']],
]
if (isMusl) console.warn(`${OF_GLIBC.length} cases are left out: they are of glibc`)

describe('check:binaries', () => {
  it('finds nothing wrong with a library that is as it should be', () => {
    expect(faultsOf(make(), arch)).toEqual([])
  })

  it('finds nothing wrong with the addon that was built here', () => {
    const built = fileURLToPath(new URL('../../build/Release/offheap.node', import.meta.url))
    expect(faultsOf(built, arch, false)).toEqual([])
  })

  it.each<Case>([
    ...(isMusl ? [] : OF_GLIBC),
    ['needs a library: ', ['-Wl,--no-as-needed', '-lc']],
    ['names a folder to look for libraries in: ', ['-Wl,-rpath,/opt']],
    ['has static TLS', ['-DSTATIC_TLS']],
    ['has no GNU hash table', ['-Wl,--hash-style=sysv']],
    ['is bound lazily', ['-Wl,-z,lazy']],
    ['has no RELRO segment', ['-Wl,-z,norelro']],
    ['has relocations in its code (TEXTREL)', ['-DTEXT_RELOCATION', '-Wl,-z,notext']],
    ['may be unloaded', [], ['-Wl,-z,nodelete']],
    ['makes the stack executable', ['-Wl,-z,execstack']],
    ['has no stack protector', ['-fno-stack-protector']],
    ['exports something_else', ['-DEXPORT']],
    ['does not export node_api_module_get_api_version_v1', ['-DFORGET']],
    ['uses getentropy, which is on no list', ['-DUNKNOWN']],
    ['uses pthread_mutex_lock where it is there (weak), which is on no list', ['-DWEAK']],
    ['has 4', ['-DLONG']],
    ['is not stripped', [], ['-s']],
  ])('finds what %s', (fault, more, without) => {
    const faults = faultsOf(make(more, without), arch)
    expect(
      faults.find(found => found.startsWith(fault)),
      faults.join('\n'),
    ).toBeDefined()
  })

  it('finds a library for another processor', () => {
    expect(faultsOf(make(), other)[0]).toMatch(/^is for .*, not for /)
  })

  it('finds a default build of g++ wrong in many ways, and exits with 1', () => {
    const file = join(folder, `linux-${arch}.node`)
    execFileSync('gcc', ['-shared', '-fPIC', '-o', file, source])
    expect(faultsOf(file, arch).length).toBeGreaterThan(5)
    const program = fileURLToPath(new URL('../../native/check-binaries.mjs', import.meta.url))
    const check = () => execFileSync(process.execPath, [program, file], { stdio: 'pipe' })
    expect(check).toThrow(expect.objectContaining({ status: 1 }))
  })

  it('throws for a file that is no library', () => {
    expect(() => faultsOf(source, arch)).toThrow(/readelf: .*Not an ELF file/)
  })
})
