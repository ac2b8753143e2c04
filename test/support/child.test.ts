import { describe, expect, it } from 'vitest'
import { runFunction, sourceOf, textOf } from './child.js'

describe('a function that runs in a child process', () => {
  it('has tools, and arguments that may be infinite or functions', async () => {
    const outcome = await runFunction(
      ({ Arena, assert, codeOf }, { limit, sizes, double }) => {
        assert.equal(limit, Number.POSITIVE_INFINITY)
        const arena = new Arena({ detachFromBytes: limit })
        for (const size of sizes) assert.equal(arena.alloc(double(size)).length, 2 * size)
        console.log(codeOf(() => arena.alloc(-1)))
      },
      { limit: Number.POSITIVE_INFINITY, sizes: [1, 70_000], double: (size: number) => 2 * size },
    )
    expect(outcome).toEqual({ code: 0, signal: null, stdout: 'ERR_OUT_OF_RANGE\n', stderr: '' })
  })

  it('is refused where it uses an import of its module, or imports', () => {
    expect(() => textOf(() => sourceOf(1))).toThrow(/uses an import of its module .*sourceOf/)
    expect(() => textOf(() => import('node:fs'))).toThrow(/process\.getBuiltinModule/)
  })
})
