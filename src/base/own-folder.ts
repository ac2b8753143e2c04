/** Which lines of a stack are this package's own, and where the package lies. */

/**
 * The path of this module's file. Undefined where another bundler made an ES module of this file: then it has
 * no name of its own.
 */
const file: string | undefined = import.meta.filename

/** The name of this file in the package: as it is published, as it is compiled for tests, and as source. */
const IN_PACKAGE = /[\\/](?:dist[\\/]heap[\\/]heap\.cjs|(?:\.compiled|src)[\\/]base[\\/]own-folder\.[jt]s)$/

/**
 * The folder `dist` of this package, or what is in its place, as a path without a slash at its end. Undefined
 * in a bundle of other code: there no line of a stack can be told from the program's.
 */
export const OWN_FOLDER: string | undefined =
  file !== undefined && IN_PACKAGE.test(file) ? file.replace(/[\\/][^\\/]*[\\/][^\\/]*$/, '') : undefined

/** Whether a line of a stack lies in this package. The line has the path of a file, or its URL. */
export function isOwnFrame(line: string): boolean {
  if (OWN_FOLDER === undefined) return false
  return line.includes(OWN_FOLDER) || line.includes(encodeURI(OWN_FOLDER.replaceAll('\\', '/')))
}
