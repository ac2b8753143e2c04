/**
 * Names of mappings, in real processes with a library before the kernel's `prctl`: this tells what the kernel is asked, and answers
 * as kernels with and without names do.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { constants as os, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { runNode } from '../support/process.js'

const CHILD = fileURLToPath(new URL('children/naming.mjs', import.meta.url))
const SOURCE = fileURLToPath(new URL('children/prctl.c', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-naming-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What the kernel was asked, as `0 NAME`, where it answers with that error number. */
async function askedBy(way: string, errno: number): Promise<string[]> {
  const library = join(folder, `${errno}.so`)
  execFileSync('gcc', ['-shared', '-fPIC', `-DANSWER=${errno}`, '-o', library, SOURCE])
  const { code, stdout, stderr } = await runNode([CHILD, way], '', process.execPath, { LD_PRELOAD: library })
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'true\n' })
  return stderr.split('\n').flatMap(line => /^(\d+) \d+ (.*)$/.exec(line)?.slice(1).join(' ') ?? [])
}

describe('each mapping of an arena', () => {
  it('is named after it, and those of books as books', async () => {
    const asked = await askedBy('one', 0)
    expect(new Set(asked)).toEqual(new Set(['0 offheap: up_loads_', '0 offheap: books']))
  })

  it('is named in a Worker, too', async () => {
    const asked = await askedBy('worker', 0)
    expect(asked).toEqual(expect.arrayContaining(['0 offheap: of a worker', '0 offheap: main']))
  })

  it('has no name where it is a piece of a slab, which many arenas share', async () => {
    expect(await askedBy('small', 0)).toEqual(['0 offheap: books'])
  })

  it('has none after some thousand', async () => {
    expect((await askedBy('thousands', 0)).length).toBe(4096)
  })
})

describe('a kernel without names', () => {
  it.each(['EINVAL', 'EPERM', 'ENOSYS'] as const)('is asked once: %s', async code => {
    expect((await askedBy('one', os.errno[code])).length).toBe(1)
    expect((await askedBy('worker', os.errno[code])).length).toBe(1)
  })

  it('is asked again where it only had no room', async () => {
    expect((await askedBy('one', os.errno.ENOMEM)).length).toBeGreaterThan(1)
  })
})
