/** What the build makes shorter, and what it must leave: the names that users meet. */
import { readdirSync, readFileSync } from 'node:fs'
import { type ESTree, parseSync, Visitor } from 'rolldown/utils'
import { describe, expect, it } from 'vitest'
import { minify } from '../minify.config.js'
import { DIST } from './support/process.js'

const COMPILED = new URL('../.compiled/', import.meta.url)

/** Whether V8 gives this the name of the variable that it is assigned to. */
function isNameless({ type, ...node }: ESTree.Node): boolean {
  if (type === 'ArrowFunctionExpression') return true
  return (
    (type === 'FunctionExpression' || type === 'ClassExpression') && (!('id' in node) || node.id === null)
  )
}

/** The names of functions, classes, methods, properties and private fields, in the order of the text. */
function namesIn(file: string, code: string): string[] {
  const { program, errors } = parseSync(file, code)
  expect(errors).toEqual([])
  const names: string[] = []
  const add = (node: ESTree.Node | null) => {
    if (node?.type === 'Identifier') names.push(node.name)
  }
  const addAssigned = (target: ESTree.Node, value: ESTree.Node | null) => {
    if (value !== null && isNameless(value)) add(target)
  }
  new Visitor({
    FunctionDeclaration: ({ id }) => add(id),
    FunctionExpression: ({ id }) => add(id),
    ClassDeclaration: ({ id }) => add(id),
    ClassExpression: ({ id }) => add(id),
    MethodDefinition: ({ key, computed }) => computed || add(key),
    PropertyDefinition: ({ key, computed }) => computed || add(key),
    MemberExpression: ({ property, computed }) => computed || add(property),
    Property: ({ key, computed }) => computed || add(key),
    PrivateIdentifier: ({ name }) => names.push(`#${name}`),
    VariableDeclarator: ({ id, init }) => addAssigned(id, init),
    AssignmentExpression: ({ left, right }) => addAssigned(left, right),
    AssignmentPattern: ({ left, right }) => addAssigned(left, right),
  }).visit(program)
  return names
}

describe('minify', () => {
  it('leaves the names of functions, classes, methods and fields', () => {
    const files = readdirSync(COMPILED, { recursive: true, encoding: 'utf8' }).filter(file =>
      file.endsWith('.js'),
    )
    expect(files.length).toBeGreaterThan(100)
    for (const file of files) {
      const code = readFileSync(new URL(file, COMPILED), 'utf8')
      const short = minify(file, code)
      expect(namesIn(file, short), file).toEqual(namesIn(file, code))
      expect(short.length).toBeLessThan(code.length)
    }
  })

  it('shortens variables, parameters and imports', () => {
    const code = `
      import { imported } from 'node:module'
      const constant = imported(1)
      export const doubled = parameter => parameter * constant
    `
    expect(minify('a.js', code)).not.toMatch(/\b(constant|parameter)\b/)
    expect(minify('a.js', code)).toMatch(/^import{imported as \w}from"node:module";/)
  })

  it('does to private names what the code does to them, and leaves what only looks like one', () => {
    const code = `
      class Counter {
        #count = 1
        static has(value) { return #count in value }
        get #next() { return this.#count++ }
        take() { return [this.#next, '#count', \`#\${this.#next}\`, /#count/.source] }
      }
      return [new Counter().take(), Counter.has(new Counter()), Counter.has({})]
    `
    const run = (text: string) => new Function(text)()
    const short = minify('a.cjs', code)
    expect(run(short)).toEqual([[1, '#count', '#2', '#count'], true, false])
    expect(run(short)).toEqual(run(code))
  })

  it('refuses what it cannot shorten', () => {
    expect(() => minify('a.cjs', 'const private$x = 1')).toThrow('a.cjs contains "private$"')
    expect(() => minify('a.cjs', 'const = 1')).toThrow('a.cjs: ')
  })

  it('leaves stack traces as they were', async () => {
    const { Arena } = await import(new URL('index.js', DIST).href)
    const arena = new Arena({ name: 'frames' })
    const stack = (() => {
      try {
        return arena.free(Buffer.alloc(1))
      } catch (error) {
        return (error as Error).stack
      } finally {
        arena.close()
      }
    })()
    // The caller of this library, and what it called. Above that are functions and methods of the library.
    expect(stack).toMatch(/ at Arena\.free \(.*\/dist\/arena\/arena\.cjs:\d+:\d+\)\n.*minify\.test/)
    expect(stack).toMatch(/ at #freeRefused \(.*\/dist\/arena\/arena\.cjs:/)
    expect(stack).toMatch(/ at bufferMisuse \(.*\/dist\/arena\/arena\.cjs:/)
  })
})
