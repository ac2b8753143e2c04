/** What every benchmark says to `--help`. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * Prints the comment at the head of a program, which says what it does and how to call it, and ends the process, if it was asked for
 * help. Otherwise does nothing.
 * @param {string} url of the program: `import.meta.url`
 */
export function answerHelp(url) {
  const args = process.argv.slice(2)
  if (!args.includes('--help') && !args.includes('-h')) return
  const [, comment] =
    /^(?:#!.*\n)?\/\*\*\n([\s\S]*?)\n \*\/$/m.exec(readFileSync(fileURLToPath(url), 'utf8')) ?? []
  if (comment === undefined) throw new Error(`${url} does not begin with a comment`)
  console.log(comment.replaceAll(/^ \* ?/gm, ''))
  process.exit()
}
