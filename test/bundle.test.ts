/** What the build publishes: two modules that are loaded, in which V8 can do what the source counts on (docs/v8.md). */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { constantFunctions, padNoinline } from '../rolldown.config.js'
import { DIST } from './support/process.js'

const HEAP = new URL('heap/heap.js', DIST)
const ARENA = new URL('arena/arena.js', DIST)

/** What a module imports that is no part of Node. */
function importsOf(module: URL): string[] {
  const text = readFileSync(module, 'utf8')
  const specifiers = [...text.matchAll(/^(?:import|export) [^;]*?from "([^"]+)"/gm)].map(([, from]) => from)
  return specifiers.filter(specifier => !specifier.startsWith('node:'))
}

describe('the modules that are published', () => {
  it('import each other downwards', () => {
    expect(importsOf(HEAP).filter(specifier => specifier.includes('/arena/'))).toEqual([])
    expect(importsOf(ARENA)).toContain('../heap/heap.js')
  })

  it.each([HEAP, ARENA])('export no small integer, which V8 would load at each use: %s', async module => {
    const exported = Object.values((await import(module.href)) as object)
    expect(exported.length).toBeGreaterThan(1)
    expect(exported.filter(value => typeof value === 'number' && (value | 0) === value)).toEqual([])
  })

  it('declare the functions of the heap as constants', () => {
    const text = readFileSync(HEAP, 'utf8')
    expect(text).not.toMatch(/^function /m)
    expect(text).toMatch(/^const takeShort = function takeShort\(/m)
  })

  it('have one ArenaError, whichever entry it comes from', async () => {
    const [whole, heap] = await Promise.all(
      ['index.js', 'heap/index.js'].map(entry => import(new URL(entry, DIST).href)),
    )
    expect(heap.ArenaError).toBe(whole.ArenaError)
  })

  it('name the lines of the source', () => {
    for (const module of [HEAP, ARENA]) {
      const map = JSON.parse(readFileSync(new URL(`${module.href}.map`), 'utf8'))
      expect(
        map.sources.some((source: string) => source.endsWith('/src/base/errors.ts')) || module === ARENA,
      ).toBe(true)
      expect(map.mappings.length).toBeGreaterThan(10_000)
    }
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
