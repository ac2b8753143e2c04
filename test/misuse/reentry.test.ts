/** Script that ends blocks while Node's own C++ holds a pointer into them. */
import { describe, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { expectToSurvive } from './processes.js'

const END = {
  'frees the block': 'arena.free(block)',
  'resets the arena': 'arena.reset()',
  'closes the arena': 'arena.close()',
  'moves the block': 'arena.realloc(block, 10)',
  'frees and trims': 'arena.free(block); arena.trim()',
}

// What must hold afterwards: whether the other blocks live depends on what was ended.
const AFTER = `
  arena.check()
  if (arena.stats().liveBlocks > 0) assertIntact()
  await turn(); await turn()
  arena.check()
`

const CALLS = {
  fill: 'block.fill({ valueOf() { end(); return 7 } })',
  'fill from an offset': 'block.fill(1, { valueOf() { end(); return 1 } })',
  'fill with text': 'block.fill("ab", 0, { valueOf() { end(); return 50 } })',
  write: 'block.write("some text", { valueOf() { end(); return 0 } })',
  writeUInt32LE: 'block.writeUInt32LE({ valueOf() { end(); return 7 } }, 0)',
  copy: 'block.copy(Buffer.alloc(50), 0, { valueOf() { end(); return 0 } })',
  'copy into it': 'Buffer.alloc(50, 3).copy(block, 0, { valueOf() { end(); return 0 } })',
  toString: 'block.toString("latin1", 0, { valueOf() { end(); return 50 } })',
  'typed-array fill': 'Uint8Array.prototype.fill.call(block, { valueOf() { end(); return 7 } })',
  set: 'block.set([1, { valueOf() { end(); return 2 } }, 3])',
  sort: 'block.sort(() => { if (!ended) { ended = true; end() } return 0 })',
  map: 'block.map(byte => { if (!ended) { ended = true; end() } return byte })',
  indexOf: 'block.indexOf(1, { valueOf() { end(); return 0 } })',
  subarray: 'block.subarray({ valueOf() { end(); return 1 } }, 5)',
  'Buffer.from of a list': 'Buffer.from({ length: 2, get 0() { end(); return 1 }, 1: block })',
}

// One of the sizes in a sample.
describe.concurrent.each(someOf([64, 20_000, 300_000], 1))(
  'a block of %i bytes survives script that',
  size => {
    it.each(Object.entries(END))('%s within a call of its Buffer', async (_, end) => {
      const calls = Object.values(CALLS).map(
        call => `{
        const arena = new Arena({ name: 'inner' })
        const neighbour = arena.allocUnsafe(${size}).fill(0x55)
        const block = arena.allocUnsafe(${size}).fill(0x66)
        let ended = false
        const end = () => { ${end} }
        codeOf(() => ${call})
        arena.check()
        if (neighbour.length > 0) assert.ok(neighbour.every(byte => byte === 0x55), ${JSON.stringify(call)})
        await turn()
        codeOf(() => block.fill(1))
        arena.check()
        arena.close()
        await turn()
      }`,
      )
      await expectToSurvive(`${calls.join('\n')}; const end = () => {}; ${AFTER}`)
    })
  },
)

describe.concurrent('a use after free', () => {
  // A sample of the sizes.
  it.each(someOf([64, 20_000, 70_000, 300_000], 2))(
    'of %i bytes never faults, and never reaches the books',
    async size => {
      await expectToSurvive(`
        const stale = arena.allocUnsafe(${size}).fill(1)
        const view = stale.subarray(1)
        const data = new DataView(stale.buffer, stale.byteOffset, ${size})
        arena.free(stale)
        arena.trim()
        await turn()
        for (const use of [
          () => stale.fill(9), () => view.fill(9), () => stale.toString(), () => stale[0] = 1,
          () => Buffer.concat([stale]), () => Buffer.compare(stale, view), () => data.setUint8(0, 9), () => stale.swap16(),
        ]) codeOf(use)
        assertIntact()
        arena.reset()
        arena.trim()
        await turn()
        for (const use of [() => stale.fill(9), () => view.fill(9), () => data.setUint8(0, 9)]) codeOf(use)
        arena.check()
        arena.close()
        await turn()
        assert.equal(stale.length, 0)
        assert.equal(view.length, 0)
        assert.throws(() => data.byteLength, TypeError)
      `)
    },
  )

  it('of a closed arena never faults, on any turn', async () => {
    await expectToSurvive(`
      const views = live.flatMap(block => [block, block.subarray(1), new Uint8Array(block.buffer)])
      arena.close()
      for (let i = 0; i < 5; i++) {
        for (const view of views) { assert.equal(view.length, 0); codeOf(() => view.fill(1)); view[0] = 1 }
        await turn()
      }
    `)
  })
})
