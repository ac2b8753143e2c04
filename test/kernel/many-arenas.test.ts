/** Arenas by the thousand: what each costs, by the counts of the kernel and of V8. */
import { describe, expect, it } from 'vitest'
import { stepsOf } from '../support/extent.js'
import { runScript } from '../support/process.js'

const KIB = 2 ** 10
const MIB = 2 ** 20

const MEASURES = `
  const { readFileSync } = await import('node:fs')
  const residentBytes = () =>
    1024 * Number(/^Rss:\\s+(\\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1])
  const mappingCount = () => readFileSync('/proc/self/maps', 'latin1').split('\\n').length - 1
  const settle = async () => {
    for (let i = 0; i < 4; i++) {
      gc()
      await sleep(50)
    }
  }
  const measure = () => ({
    residentBytes: residentBytes(),
    externalBytes: process.memoryUsage().external,
    mappings: mappingCount(),
  })
`

interface Measure {
  residentBytes: number
  externalBytes: number
  mappings: number
}

async function run(body: string): Promise<Record<string, Measure> & { areIntact: boolean }> {
  const { code, stdout, stderr } = await runScript(MEASURES + body, ['--expose-gc'])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

/** A sample of them: a twentieth. */
const COUNT = stepsOf(20_000, 20)

describe.concurrent(`${COUNT} arenas with a small block each`, () => {
  it('are open at once, and are gone when they are closed', async () => {
    const { before, opened, closed, areIntact } = await run(`
      const open = i => {
        const arena = new Arena()
        return { arena, block: arena.alloc(100).fill(i) }
      }
      for (const { arena } of Array.from({ length: 500 }, (_, i) => open(i))) arena.close()
      await settle()
      const before = measure()
      let all = Array.from({ length: ${COUNT} }, (_, i) => open(i))
      await settle()
      const opened = measure()
      const areIntact = all.every(({ block }, i) => block.every(byte => byte === i % 256))
      for (let i = 0; i < all.length; i += 500) all[i].arena.check()
      for (const { arena } of all) arena.close()
      all = null
      await settle()
      const closed = measure()
      console.log(JSON.stringify({ before, opened, closed, areIntact }))
    `)
    expect(areIntact).toBe(true)
    const each = (opened.residentBytes - before.residentBytes) / COUNT
    expect(each).toBeLessThan(48 * KIB)
    expect((opened.externalBytes - before.externalBytes) / COUNT).toBeLessThan(64 * KIB)
    expect(opened.mappings).toBeLessThan(8_000)
    expect(closed.externalBytes - before.externalBytes).toBeLessThan(16 * MIB)
    expect(closed.residentBytes - before.residentBytes).toBeLessThan(0.5 * COUNT * each)
  })
})

describe.concurrent('arenas that come and go', () => {
  it('leave little behind within one task, in which nothing can be collected', async () => {
    const { before, after } = await run(`
      const serve = () => {
        const arena = new Arena()
        arena.alloc(1_000)
        arena.close()
      }
      for (let i = 0; i < 2_000; i++) serve()
      await settle()
      const before = measure()
      for (let i = 0; i < ${COUNT}; i++) serve()
      const after = measure()
      console.log(JSON.stringify({ before, after }))
    `)
    expect(after.residentBytes - before.residentBytes).toBeLessThan(300 * MIB)
    expect(after.externalBytes - before.externalBytes).toBeLessThan(64 * MIB)
  })

  it('see nothing of each other: new blocks are zero, whatever earlier arenas wrote', async () => {
    const { areIntact } = await run(`
      let areIntact = true
      for (let i = 0; i < ${stepsOf(3_000)}; i++) {
        const arena = new Arena()
        const blocks = [100, 1_000, 5_000, 40_000].map(size => arena.alloc(size))
        areIntact &&= blocks.every(block => block.every(byte => byte === 0))
        for (const block of blocks) block.fill(0xff)
        if (i % 2 === 0) for (const block of blocks) arena.free(block)
        if (i % 100 === 0) arena.check()
        arena.close()
        arena.check()
        if (i % 7 === 0) await turn()
      }
      console.log(JSON.stringify({ areIntact }))
    `)
    expect(areIntact).toBe(true)
  })
})
