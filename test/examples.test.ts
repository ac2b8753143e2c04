/** The examples run as they stand, and the docs show their code as it is. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { someOf } from './support/extent.js'
import { NODES, runNode } from './support/process.js'

/** The programs take seconds, and longer on a machine that is busy with others. */
const LIMIT_MS = 300_000

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const EXAMPLES = join(ROOT, 'examples')
const DOCS = join(ROOT, 'docs')

/** Programs that run with less than they do for a reader. */
const LESS: Record<string, string[]> = { 'session-cache.mjs': ['20000'] }

const programs = readdirSync(EXAMPLES).filter(file => file.endsWith('.mjs'))
const pagesOfDocs = readdirSync(DOCS, { recursive: true, encoding: 'utf8' }).filter(file =>
  file.endsWith('.md'),
)
/** Each program on each line of Node; in a sample, each on one of them. */
const runs = programs.flatMap(file => someOf(NODES, 1).map(node => ({ file, ...node })))

describe('examples', { timeout: LIMIT_MS }, () => {
  it.concurrent.each(runs)('$file runs as it stands on $version', async ({ file, path }) => {
    const { code, stdout, stderr } = await runNode([join(EXAMPLES, file), ...(LESS[file] ?? [])], '', path)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).not.toBe('')
  })

  it.concurrent('of tests pass in node:test', async () => {
    const { code, stdout, stderr } = await runNode([
      '--test',
      '--test-reporter=tap',
      join(EXAMPLES, 'testing/service.node.mjs'),
    ])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('# pass 2\n')
  })

  it.concurrent('of tests pass in vitest', async () => {
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs')
    const args = [vitest, 'run', '--root', join(EXAMPLES, 'testing'), '--reporter=json']
    const { code, stdout, stderr } = await runNode(args)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({ numPassedTests: 2, numTotalTests: 2 })
  })
})

/** The code of a region, without the indent of its first line; of the whole file if no region is named. */
function regionOf(file: string, name: string | undefined): string {
  const text = readFileSync(join(ROOT, file), 'utf8')
  if (name === undefined) return text.trimEnd()
  const [, indent, code] =
    new RegExp(`^( *)// #region ${name}\\n([\\s\\S]*?)^ *// #endregion$`, 'm').exec(text) ?? []
  if (code === undefined) throw new Error(`${file} has no region ${name}`)
  return code.replaceAll(new RegExp(`^${indent}`, 'gm'), '').trimEnd()
}

interface Shown {
  page: string
  file: string
  region: string | undefined
  code: string
}

/** The code blocks that name where their code is, as in `<!-- examples/cache.mjs: send -->`. */
function shownIn(page: string): Shown[] {
  const text = readFileSync(join(DOCS, page), 'utf8')
  const fences = text.matchAll(/^<!-- (examples\/[\w./-]+)(?:: (\w+))? -->\n```\w+\n([\s\S]*?)\n```$/gm)
  return [...fences].map(([, file, region, code]) => ({ page, file, region, code }))
}

describe('the docs', () => {
  const shown = pagesOfDocs.flatMap(shownIn)

  it.each(shown)('show the code as it runs: $page, $file $region', ({ file, region, code }) => {
    expect(code).toBe(regionOf(file, region))
  })

  it('show every region, and leave no comment that names one without its code', () => {
    const named = pagesOfDocs.flatMap(page => [
      ...readFileSync(join(DOCS, page), 'utf8').matchAll(/^<!-- (examples\/.*) -->$/gm),
    ])
    expect(named).toHaveLength(shown.length)
    const regions = programs.flatMap(file =>
      [...readFileSync(join(EXAMPLES, file), 'utf8').matchAll(/^ *\/\/ #region (\w+)$/gm)].map(
        ([, region]) => `examples/${file}: ${region}`,
      ),
    )
    expect(shown.map(({ file, region }) => `${file}: ${region}`)).toEqual(expect.arrayContaining(regions))
  })

  it('link to files and headings that exist', () => {
    const broken = pagesOfDocs.flatMap(page => brokenLinksIn(join(DOCS, page)))
    expect(broken).toEqual([])
  })
})

/** Links in a page, to other files of the package, whose file or heading is missing. */
function brokenLinksIn(path: string): string[] {
  const text = readFileSync(path, 'utf8').replaceAll(/^```[\s\S]*?^```$/gm, '')
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link)
  return links.filter(link => !/^https?:/.test(link) && !isThere(path, link)).map(link => `${path}: ${link}`)
}

function isThere(path: string, link: string): boolean {
  const [file, heading] = link.split('#')
  const target = file === '' ? path : join(path, '..', file)
  return existsSync(target) && (heading === undefined || headingsOf(target).has(heading))
}

/** The anchors of a page, as GitHub makes them of its headings. */
function headingsOf(path: string): Set<string> {
  const text = readFileSync(path, 'utf8').replaceAll(/^```[\s\S]*?^```$/gm, '')
  const anchors = new Set([...text.matchAll(/<a id="([^"]+)"><\/a>/g)].map(([, id]) => id))
  for (const [, heading] of text.matchAll(/^#+ (.*)$/gm)) {
    const plain = heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    const anchor = plain.replaceAll(' ', '-')
    let unique = anchor
    for (let i = 1; anchors.has(unique); i++) unique = `${anchor}-${i}`
    anchors.add(unique)
  }
  return anchors
}
