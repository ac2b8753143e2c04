/** What the build publishes: two modules that are loaded, in which V8 can do what the source counts on (docs/v8.md). */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { parseAst } from 'rolldown/parseAst'
import { describe, expect, it } from 'vitest'
import { bindRequired, constantFunctions, guardFilename, padNoinline } from '../rolldown.config.js'
import { DIST } from './support/process.js'

const HEAP = new URL('heap/heap.cjs', DIST)
const PREBUILDS = new URL('memory/prebuilds.cjs', DIST)
const ARENA = new URL('arena/arena.cjs', DIST)

/** What a module loads that is no part of Node. */
function requiredBy(module: URL): string[] {
  const names = [...readFileSync(module, 'utf8').matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name]) => name)
  return names.filter(name => !name.startsWith('node:'))
}

describe('the modules that are published', () => {
  it('name the binaries, so that bundlers find them', () => {
    expect(requiredBy(ARENA)).toContain('../memory/prebuilds.cjs')
    expect(
      [...readFileSync(PREBUILDS, 'utf8').matchAll(/\brequire\('([^']+)'\)/g)].map(([, name]) => name),
    ).toEqual(['../../prebuilds/linux-arm64/offheap.node', '../../prebuilds/linux-x64/offheap.node'])
  })

  it.each([HEAP, ARENA])('are strict, and take what they need of others when they are loaded: %s', module => {
    const text = readFileSync(module, 'utf8')
    expect(text).toMatch(/^"use strict";/)
    expect(text).toMatch(/;const\{[^}]*\}=require\("node:\w+"\);/)
    expect(text.match(/[;}](?:let|const) \w+=require\([^;]*;/g)).toBeNull()
    expect(text).not.toContain('sourceMappingURL')
  })

  it('import each other downwards', () => {
    expect(requiredBy(HEAP)).toEqual([])
    expect(requiredBy(ARENA)).toContain('../heap/heap.cjs')
  })

  it.each([HEAP, ARENA])('export no small integer, which V8 would load at each use: %s', async module => {
    const exported = Object.values((await import(module.href)) as object)
    expect(exported.length).toBeGreaterThan(1)
    expect(exported.filter(value => typeof value === 'number' && (value | 0) === value)).toEqual([])
  })

  it('declare the functions of the heap as constants', () => {
    const text = readFileSync(HEAP, 'utf8')
    expect(parseAst(text).body.filter(({ type }) => type === 'FunctionDeclaration')).toEqual([])
    expect(text).toMatch(/;const [\w$]+=function takeShort\(/)
  })

  it.each(['index', 'heap/index'])('have one of each name, however they are imported: %s', async entry => {
    const imported = { ...(await import(new URL(`${entry}.js`, DIST).href)) }
    const required = createRequire(import.meta.url)(fileURLToPath(new URL(`${entry}.cjs`, DIST)))
    expect(Object.keys(imported)).toContain('ArenaError')
    for (const name of Object.keys(imported)) expect(imported[name]).toBe(required[name])
    expect(Object.keys(imported).sort()).toEqual(Object.keys(required).sort())
  })

  it('have one ArenaError, whichever entry it comes from', async () => {
    const [whole, heap] = await Promise.all(
      ['index.js', 'heap/index.js'].map(entry => import(new URL(entry, DIST).href)),
    )
    expect(heap.ArenaError).toBe(whole.ArenaError)
  })
})

describe('padNoinline', () => {
  const tagged = (head: string) => `/**\n * Text.\n *\n * @noinline\n */\n${head}\n  body()\n}\n`

  it.each([
    'function f(size: number): number {',
    'export function f(\n  a: A,\n  b: B,\n): C {',
    '  private f(a: A): B {',
  ])('makes a tagged function longer, on the line of its head: %s', head => {
    const padded = padNoinline(tagged(head))
    expect(padded).toContain('=== undefined) {')
    expect(padded.split('\n').length).toBe(tagged(head).split('\n').length)
  })

  it('leaves what is not tagged, and what only names the tag', () => {
    const text = '/** Like `@noinline`. */\nfunction f(a) {\n}\n'
    expect(padNoinline(text)).toBe(text)
  })

  it('refuses a tag that it cannot follow', () => {
    expect(() => padNoinline(tagged('const f = () => {'))).toThrow('1 tags @noinline, but 0 functions')
    expect(() => padNoinline(tagged('function f() {'))).toThrow('0 functions')
  })
})

describe('constantFunctions', () => {
  it('makes constants of the functions of a module, each on its line, and of no others', () => {
    const text = 'function f(a) {\n  function g() {}\n}\nclass C {\n  h() {}\n}\n'
    const constant = 'const f = function f(a) {\n  function g() {}\n}\nclass C {\n  h() {}\n}\n'
    expect(constantFunctions(text)).toBe(constant)
  })
})

describe('bindRequired', () => {
  it('makes constants of the properties that a module uses of another', () => {
    const text = 'let a = require("x");\nconst b = a.c + (0, a.d)(a.c, "a.e", q.a.f);\n'
    expect(bindRequired(text)).toBe(
      'const { c: a$c, d: a$d } = require("x");\nconst b = a$c + a$d(a$c, "a.e", q.a.f);\n',
    )
  })

  it('leaves a module of which nothing is used', () => {
    const text = 'let a = require("x");\nuse(a);\n'
    expect(bindRequired(text)).toBe(text)
  })
})

describe('guardFilename', () => {
  it('asks whether there is a name', () => {
    expect(guardFilename('const file = __filename;')).toBe(
      'const ownFilename = typeof __filename === "string" ? __filename : undefined;\nconst file = ownFilename;',
    )
    expect(guardFilename('const file = 1;')).toBe('const file = 1;')
  })
})
