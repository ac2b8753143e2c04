/** docs/api, and the program that makes it of the docstrings. */
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
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { someOf } from './support/extent.js'
import { DIST, type Outcome, runNode } from './support/process.js'

/** TypeDoc takes some seconds of a whole CPU. */
const LIMIT_MS = 300_000

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DOCS = join(ROOT, 'docs')
const folder = mkdtempSync(join(tmpdir(), 'offheap-api-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const check = (...args: string[]): Promise<Outcome> =>
  runNode([join(DOCS, 'make-api.mjs'), '--check', ...args])

/** A copy of a folder with one file changed. */
function changed(name: string, source: string, file: string, change: (text: string) => string): string {
  const copy = join(folder, name)
  cpSync(source, copy, { recursive: true, filter: path => !/\.(js|map)$/.test(path) })
  const text = readFileSync(join(copy, file), 'utf8')
  expect(change(text)).not.toBe(text)
  writeFileSync(join(copy, file), change(text))
  return copy
}

const FAULTS = [
  {
    if: 'if a page is not up to date',
    async refused() {
      const out = changed('stale', join(DOCS, 'api'), 'offheap.md', text => text.replace('Arena', 'arena'))
      const { code, stderr } = await check('--out', out)
      expect(stderr).toBe('docs/api is not up to date: offheap.md. Run npm run docs:api\n')
      expect(code).toBe(1)
    },
  },
  {
    if: 'if a name has no docstring, or one does not name a parameter',
    async refused() {
      const root = join(folder, 'root')
      mkdirSync(root)
      for (const each of ['tsconfig.json', 'tsconfig.docs.json'])
        copyFileSync(join(ROOT, each), join(root, each))
      symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'))
      changed('root/dist', fileURLToPath(DIST), 'index.d.cts', text =>
        text
          .replaceAll(
            /\/\*\*(?:(?!\*\/)[\s\S])*\*\/\nexport declare function processLimit/g,
            'export declare function processLimit',
          )
          .replaceAll('`limitBytes`', 'it'),
      )
      const { code, stdout, stderr } = await check('--root', root)
      const said = stdout + stderr
      expect(said).toMatch(/offheap\.processLimit .*does not have any documentation/)
      expect(said).toContain(
        'The docstring of offheap.setProcessLimit.setProcessLimit(limitBytes) does not name this parameter',
      )
      expect(code).toBe(1)
    },
  },
]

describe.concurrent('docs/api', () => {
  it('says when each code is thrown', () => {
    const [, section] = readFileSync(join(DOCS, 'api/offheap.md'), 'utf8').split('### ArenaErrorCode\n')
    const [type, table] = section.split('| code | thrown when |')
    const codesIn = (text: string) => [...text.matchAll(/ERR_ARENA_\w+/g)].map(([code]) => code).sort()
    const rows = [...table.split('\n***\n')[0].matchAll(/^\| `(\w+)` \| .+ \|$/gm)].map(([, code]) => code)
    expect(rows.length).toBeGreaterThan(15)
    expect(rows.sort()).toEqual(codesIn(type.replaceAll('\\_', '_')))
  })

  it(
    'is up to date, and has a docstring for every public name',
    async () => {
      expect(await check()).toEqual({ code: 0, signal: null, stdout: '', stderr: '' })
    },
    LIMIT_MS,
  )

  it.each(someOf(FAULTS, 1))('is refused $if', async ({ refused }) => await refused(), LIMIT_MS)
})
