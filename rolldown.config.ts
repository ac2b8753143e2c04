/**
 * How `src` becomes what is published: two CommonJS modules that are loaded, one with the heap, one with the arena over it, and
 * the command line beside them. ES modules that hand on their names: so there is one of each class, however it is imported.
 * `tsc` writes the declarations before, and `declarations.config.ts` joins them. `minify.config.ts` makes the modules short. Why there
 * are two modules, and what `@noinline` is for: docs/v8.md.
 *
 * A module that was `src/room/file.ts` is in `dist/room/`, so that its distance from the package's folder is the same.
 */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { defineConfig } from 'rolldown'
import { joinDeclarations } from './declarations.config.js'
import { minify } from './minify.config.js'

/** Compiles to more than 460 bytecodes, which V8 never inlines: patterns are the most for their length. */
const LONG_CODE =
  'const [[a, ...b], [c, ...d], [e, ...f]] = [[0], [0], [0]]; throw new RangeError([a, b, c, d, e, f].join());'

const TAG = /^ *\* @noinline$/gm
/** The rest of a doc comment that ends with the tag, and the head of the function or method behind it, up to its brace. */
const TAGGED_HEAD =
  / \* @noinline\n *\*\/\n *(?:export |private |protected )*(?:function )?\w+\(\s*(\w+)[^{]*\{$/gm

/** Makes functions that are tagged `@noinline` too long for V8 to inline, by a branch that is never taken. */
export function padNoinline(code: string): string {
  let count = 0
  const padded = code.replace(TAGGED_HEAD, (head: string, parameter: string) => {
    count++
    return `${head} if (${parameter} === undefined) { ${LONG_CODE} }`
  })
  const tags = code.match(TAG)?.length ?? 0
  if (count !== tags)
    throw new Error(
      `${tags} tags @noinline, but ${count} functions with parameters: the tag must be last in a comment`,
    )
  return padded
}

/**
 * Declares the functions of a module as constants. V8 loads and compares a function that is declared each time it is called,
 * because it may be assigned to; a constant it knows. Nothing moves to another line.
 */
export function constantFunctions(code: string): string {
  return code.replace(/^function (\w+)\(/gm, 'const $1 = function $1(')
}

/**
 * Binds what a CommonJS module takes of another one when it is loaded: `node_fs.openSync` becomes a constant `node_fs$openSync`.
 * As a property it would be looked up at each use, and other code could replace it meanwhile.
 */
export function bindRequired(code: string): string {
  let bound = code
  for (const [line, name, call] of code.matchAll(/^(?:let|const) (\w+) = (require\("[^"]+"\));$/gm)) {
    const uses = new RegExp(`(?<![\\w$."'])(?:\\(0, ${name}\\.(\\w+)\\)|${name}\\.(\\w+))`, 'g')
    const names = new Set([...bound.matchAll(uses)].map(([, called, read]) => called ?? read))
    if (names.size === 0) continue
    const taken = [...names].map(property => `${property}: ${name}$${property}`)
    bound = bound
      .replace(uses, (_, called, read) => `${name}$${called ?? read}`)
      .replace(line, `const { ${taken.join(', ')} } = ${call};`)
  }
  return bound
}

/** Where another bundler makes an ES module of this one, there is no `__filename`. */
export function guardFilename(code: string): string {
  if (!code.includes('__filename')) return code
  const guard = 'const ownFilename = typeof __filename === "string" ? __filename : undefined;'
  return `${guard}\n${code.replaceAll('__filename', 'ownFilename')}`
}

/** An ES module with the names of the CommonJS module `file` beside it. */
function wrapperOf(file: string, names: readonly string[]): string {
  return `import all from './${file}'\n\nexport const { ${names.join(', ')} } = all\n`
}

const ENTRIES = {
  index: 'src/index.ts',
  'heap/index': 'src/heap/index.ts',
  'testing/index': 'src/testing/index.ts',
}
/** Names the binaries of the addon. In `dist` it has the same path from their folder as in `src`. */
const PREBUILDS = 'memory/prebuilds.cjs'
const COMMAND = { 'cli/main': 'src/cli/main.ts' }

export default defineConfig({
  input: { ...ENTRIES, ...COMMAND },
  platform: 'node',
  tsconfig: 'tsconfig.build.json',
  plugins: [
    {
      name: 'prebuilds',
      // Published as it is.
      resolveId: {
        filter: { id: /prebuilds\.cjs$/ },
        handler: () => ({ id: `../${PREBUILDS}`, external: true }),
      },
      generateBundle() {
        const source = readFileSync(join(import.meta.dirname, 'src', PREBUILDS), 'utf8')
        this.emitFile({ type: 'asset', fileName: PREBUILDS, source })
      },
    },
    {
      name: 'pad-noinline',
      transform: { filter: { code: TAG }, handler: code => ({ code: padNoinline(code), map: null }) },
    },
    {
      name: 'bind-at-load',
      renderChunk: (code, { name, fileName }) => {
        const isLoaded = fileName === 'heap/heap.cjs' || fileName === 'arena/arena.cjs'
        const guarded = isLoaded ? guardFilename(code) : code
        const bound = bindRequired(name === 'heap' ? constantFunctions(guarded) : guarded)
        return { code: minify(fileName, bound.replace(/^(#!.*\n)?/, '$1"use strict";\n')), map: null }
      },
    },
    {
      name: 'declarations',
      writeBundle: ({ dir = 'dist' }) =>
        joinDeclarations(
          Object.keys(ENTRIES),
          join(import.meta.dirname, '.compiled'),
          join(import.meta.dirname, dir),
        ),
    },
    {
      name: 'wrappers',
      generateBundle(_, bundle) {
        for (const output of Object.values(bundle)) {
          if (output.type !== 'chunk' || !Object.hasOwn(ENTRIES, output.name)) continue
          const fileName = output.fileName.replace(/\.cjs$/, '.js')
          this.emitFile({
            type: 'asset',
            fileName,
            source: wrapperOf(basename(output.fileName), output.exports.toSorted()),
          })
        }
      },
    },
  ],
  // A constant that another module exports is loaded each time it is used, and a literal is not.
  optimization: { inlineConst: { mode: 'all', pass: 3 } },
  output: {
    dir: 'dist',
    format: 'cjs',
    comments: false,
    minifyInternalExports: false,
    minify: false,
    entryFileNames: '[name].cjs',
    chunkFileNames: ({ name }) =>
      name === 'heap' || name === 'arena' ? `${name}/${name}.cjs` : 'cli/[name].cjs',
    codeSplitting: {
      groups: [
        { name: 'heap', test: /\/src\/(heap|base)\// },
        { name: 'arena', test: /\/src\/(index\.ts|(arena|process|supply|buffers|release|memory|notices)\/)/ },
      ],
    },
  },
})
