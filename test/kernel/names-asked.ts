/** What the kernel is asked about names of mappings, in real processes with a library before its `prctl`. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect } from 'vitest'
import { runNode } from '../support/process.js'

const CHILD = fileURLToPath(new URL('children/naming.mjs', import.meta.url))
const SOURCE = fileURLToPath(new URL('children/prctl.c', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'offheap-naming-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** What the kernel was asked, as `0 NAME`, where it answers with that error number. */
export async function askedBy(way: string, errno: number): Promise<string[]> {
  const library = join(folder, `${errno}.so`)
  execFileSync('gcc', ['-shared', '-fPIC', `-DANSWER=${errno}`, '-o', library, SOURCE])
  const { code, stdout, stderr } = await runNode([CHILD, way], '', process.execPath, { LD_PRELOAD: library })
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'true\n' })
  return stderr.split('\n').flatMap(line => /^(\d+) \d+ (.*)$/.exec(line)?.slice(1).join(' ') ?? [])
}
