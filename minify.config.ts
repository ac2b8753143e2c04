/**
 * Makes JavaScript short for the package: without whitespace, and with short names for variables, parameters and imports. V8 makes
 * the same bytecode of it.
 *
 * What users meet keeps its name: functions, classes and methods in stack traces, and fields in heap snapshots.
 */
import { type ESTree, minifySync, parseSync, Visitor } from 'rolldown/utils'

/** Stands for the `#` of a private name meanwhile. No source contains it. */
const PRIVATE = 'private$'

interface Kept {
  /** Where private names begin, in order. */
  privateStarts: number[]
  /**
   * Variables to which a function without a name is assigned: V8 gives it that of the variable. `keepNames` sees this only where
   * the variable is declared.
   */
  assigned: string[]
}

/** Finds what the minifier would shorten, and should not. */
function findKept(file: string, code: string): Kept {
  const [privateStarts, assigned]: [number[], string[]] = [[], []]
  const visitAssigned = ({ left, right }: ESTree.AssignmentExpression | ESTree.AssignmentPattern) => {
    if (left.type === 'Identifier' && /Function|Class/.test(right.type)) assigned.push(left.name)
  }
  new Visitor({
    PrivateIdentifier: ({ start }) => privateStarts.push(start),
    AssignmentExpression: visitAssigned,
    AssignmentPattern: visitAssigned,
  }).visit(parseSync(file, code).program)
  return { privateStarts: privateStarts.sort((a, b) => a - b), assigned }
}

/** Makes properties of all private names: the minifier has no option to leave these. Nothing runs in this form. */
function hidePrivateNames(code: string, starts: readonly number[]): string {
  const ends = [...starts, code.length]
  const pieces = starts.map((start, i) => code.slice(start + '#'.length, ends[i + 1]))
  return [code.slice(0, ends[0]), ...pieces].join(PRIVATE)
}

/**
 * Returns `code` in its short form. `file` is its name; the ending says what kind of module it is. Throws an `Error` if it cannot be
 * read.
 */
export function minify(file: string, code: string): string {
  if (code.includes(PRIVATE)) throw new Error(`${file} contains "${PRIVATE}", which the build uses itself`)
  const { privateStarts, assigned } = findKept(file, code)
  const { code: short, errors } = minifySync(file, hidePrivateNames(code, privateStarts), {
    // Compressing would change what V8 may inline (docs/v8.md).
    compress: false,
    mangle: { toplevel: true, keepNames: true, reserved: ['exports', 'module', ...assigned] },
    codegen: { removeWhitespace: true, legalComments: 'none' },
  })
  if (errors.length > 0) throw new Error(errors.map(({ message }) => `${file}: ${message}`).join('\n'))
  return short.replaceAll(PRIVATE, '#')
}
