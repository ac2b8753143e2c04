import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { runNode } from './support/process.js'

const EXAMPLES = new URL('../examples/', import.meta.url)

describe('examples', () => {
  it.each(readdirSync(EXAMPLES))('%s runs as it stands', async file => {
    const { code, stdout, stderr } = await runNode([fileURLToPath(new URL(file, EXAMPLES))])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).not.toBe('')
  })
})
