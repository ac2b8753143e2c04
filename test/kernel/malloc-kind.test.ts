/** Which malloc serves a process, in real processes: with each one preloaded, and with what only looks like one. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { isMusl } from '../support/libc.js'
import { libraryOf, PRELOADED } from '../support/mallocs.js'
import { NODES, runNode } from '../support/process.js'

const CHILD = fileURLToPath(new URL('children/malloc-name.mjs', import.meta.url))
const SOURCE = fileURLToPath(new URL('children/mallocs.c', import.meta.url))
const NATIVE = fileURLToPath(new URL('../../native/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-malloc-'))
afterAll(() => rmSync(folder, { recursive: true }))

async function nameUnder(preload: string, node = process.execPath): Promise<string> {
  const { code, stdout, stderr } = await runNode([CHILD], '', node, { LD_PRELOAD: preload })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout.trim()
}

/** Makes a library of `mallocs.c`. */
function library(macro: string, more: string[] = []): string {
  const file = join(folder, `${macro}${more.join('')}.so`)
  execFileSync('gcc', ['-shared', '-fPIC', '-O1', `-D${macro}`, ...more, '-o', file, SOURCE, '-ldl'])
  return file
}

describe.each(NODES.map(line => [line.version, line.path]))('the malloc of %s', (_version, node) => {
  it("is the C library's, unless another one was preloaded", async () => {
    expect(await nameUnder('', node)).toBe(isMusl ? 'none' : 'glibc')
  })

  for (const { name, file } of PRELOADED) {
    it(`is ${name} where it was preloaded`, async () => {
      expect(await nameUnder(file, node)).toBe(name)
    })
  }
})

describe('a preloaded library', () => {
  it.skipIf(isMusl)('that only contains functions of allocators is not believed', async () => {
    expect(await nameUnder(library('DECOY'))).toBe('glibc')
  })

  it('that stands before malloc makes it unknown', async () => {
    expect(await nameUnder(library('WRAPPER'))).toBe('none')
    expect(await nameUnder(library('WRAPPER', ['-Wl,--hash-style=sysv']))).toBe('none')
  })

  it('that stands before free alone does so, too', async () => {
    expect(await nameUnder(library('HALF'))).toBe('none')
  })

  const debug = libraryOf('c_malloc_debug.so.0')
  const hasDebug = existsSync(debug)
  if (!hasDebug) console.warn(`a case is left out: ${debug} comes with glibc 2.34 and later`)
  it.skipIf(!hasDebug)("that is glibc's own debugging malloc makes it unknown", async () => {
    expect(await nameUnder(debug)).toBe('none')
  })
})

describe('a program', () => {
  it('with an allocator of its own is known by that', () => {
    const glue = join(folder, 'glue.cc')
    const program = join(folder, 'program')
    const kept = join(folder, 'program.o')
    writeFileSync(
      glue,
      '#include "malloc_kind.h"\nextern "C" const char* malloc_name() { return offheap::MallocName(); }\n',
    )
    execFileSync('gcc', ['-c', '-O1', '-fno-builtin', '-DPROGRAM', '-o', kept, SOURCE])
    const sources = [glue, join(NATIVE, 'symbols.cc'), join(NATIVE, 'malloc_kind.cc'), kept]
    execFileSync('g++', ['-std=c++17', '-rdynamic', '-I', NATIVE, '-o', program, ...sources])
    expect(execFileSync(program, { encoding: 'utf8' }).trim()).toBe('jemalloc')
  })
})
