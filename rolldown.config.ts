/**
 * How `src` becomes what is published: two modules that are loaded, one with the heap, one with the arena over it, and the
 * command line beside them. Types are written by `tsc`, before. Why there are two, and what `@noinline` is for: docs/v8.md.
 *
 * A module that was `src/room/file.ts` is in `dist/room/`, so that its distance from the package's folder is the same.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'rolldown'

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

/** Takes the base class `MadeOf` out of the published types: it adds nothing that users could see. */
function hideMadeOf(dist: string): void {
  for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.d.ts')) continue
    const text = readFileSync(join(dist, file), 'utf8')
    const hidden = text
      .replace(/^import \{ MadeOf \} from .*\n/m, '')
      .replace(/ extends MadeOf<.*?>(?= \{$| implements )/gm, '')
    if (hidden !== text) writeFileSync(join(dist, file), hidden)
  }
}

export default defineConfig({
  input: { index: 'src/index.ts', 'heap/index': 'src/heap/index.ts', 'cli/main': 'src/cli/main.ts' },
  platform: 'node',
  tsconfig: 'tsconfig.build.json',
  plugins: [
    {
      name: 'pad-noinline',
      // Nothing moves to another line: source maps stay right.
      transform: { filter: { code: TAG }, handler: code => ({ code: padNoinline(code), map: null }) },
    },
    {
      name: 'constant-functions',
      renderChunk: (code, { name }) =>
        name === 'heap' ? { code: constantFunctions(code), map: null } : null,
    },
    { name: 'hide-made-of', writeBundle: ({ dir = 'dist' }) => hideMadeOf(dir) },
  ],
  // A constant that another module exports is loaded each time it is used, and a literal is not.
  optimization: { inlineConst: { mode: 'all', pass: 3 } },
  output: {
    dir: 'dist',
    format: 'esm',
    sourcemap: true,
    comments: false,
    chunkFileNames: ({ name }) =>
      name === 'heap' || name === 'arena' ? `${name}/${name}.js` : 'cli/[name].js',
    codeSplitting: {
      groups: [
        { name: 'heap', test: /\/src\/(heap|base)\// },
        { name: 'arena', test: /\/src\/(arena|process|supply|buffers|release|memory|notices)\// },
      ],
    },
  },
})
