/**
 * Loads the library with a call at each place where V8 may interrupt it: at the start of each function, and in each loop. Where
 * a call is terminated no `catch` and no `finally` runs on the way out, and so each of them begins with another call.
 *
 * Given to `module.register`, with the address of the library's folder.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

let library

export function initialize({ url }) {
  library = url
}

const KEYWORDS =
  /^\s*(\} )?(if|else|for|while|do|switch|catch|try|finally|return|class|export class|static \{|const|let)\b/

/** Calls of the runtime's own functions. */
const BUILTIN = /(?<![\w.])(min|max|ceil|floor|clz32)\(/g

export function instrumented(source) {
  return source
    .split('\n')
    .map(line => {
      if (/^\s*(\/?\*|\/\/)/.test(line)) return line
      return atStart(line.replace(BUILTIN, '(globalThis.tick?.(), $1)('))
    })
    .join('\n')
}

/** A line of the source, with a call where it begins a function, a loop, a `catch` or a `finally`. */
function atStart(line) {
  if (/^\s*(finally|catch( \(\w+\))?) \{$/.test(line)) return `${line} globalThis.unwind?.();`
  const isFunction =
    /^\s*(export )?(static |get |set |async |function )*[\w#]+\(.*\) \{$/.test(line) && !KEYWORDS.test(line)
  const isCallback = /=> \{$/.test(line)
  if (isFunction || isCallback || /^\s*(for|while) \(.*\) \{$/.test(line) || /^\s*do \{$/.test(line))
    return `${line} globalThis.tick?.();`
  const loop = /^(\s*)((?:for|while) \(.*\))$/.exec(line)
  return loop === null ? line : `${line} if (globalThis.tick?.(), true)`
}

export async function load(url, context, next) {
  if (!url.startsWith(library) || !url.endsWith('.js')) return next(url, context)
  return {
    format: 'module',
    shortCircuit: true,
    source: instrumented(await readFile(fileURLToPath(url), 'utf8')),
  }
}
