import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { runNode } from '../support/process.js'

const ROOT = new URL('../../', import.meta.url)
const { scripts } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8'))
/** The programs of all benchmarks, by the names of their scripts. */
const programs = Object.entries<string>(scripts)
  .filter(([name]) => /^(bench|plot):/.test(name))
  .map(([name, command]) => ({ name, path: command.split(' ').at(-1) ?? '' }))

it.concurrent.each(programs)(
  '$name --help says how to call it, and does nothing else',
  async ({ name, path }) => {
    const { code, stdout, stderr } = await runNode([fileURLToPath(new URL(path, ROOT)), '--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain(`npm run ${name}`)
  },
)
