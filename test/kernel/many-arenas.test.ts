/** Arenas by the thousand: what each costs, by the counts of the kernel and of V8. */
import { describe, expect, it } from 'vitest'
import { runFunction, type Tools } from '../support/child.js'
import { stepsOf } from '../support/extent.js'

const KIB = 2 ** 10
const MIB = 2 ** 20

/** What the kernel and V8 count, once what can be collected is gone. */
function setUp({ gc, sleep }: Tools) {
  const { readFileSync } = process.getBuiltinModule('node:fs')
  const residentBytes = () =>
    1024 * Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))?.[1])
  const mappingCount = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1
  const settle = async () => {
    for (let i = 0; i < 4; i++) {
      gc()
      await sleep(50)
    }
  }
  const measure = (): Measure => ({
    residentBytes: residentBytes(),
    externalBytes: process.memoryUsage().external,
    mappings: mappingCount(),
  })
  return { settle, measure }
}

interface Measure {
  residentBytes: number
  externalBytes: number
  mappings: number
}

/** Runs `body`, and has what it returns. */
async function run<Args, Result>(
  body: (tools: Tools & ReturnType<typeof setUp>, args: Args) => Promise<Result>,
  args: Args,
): Promise<Result> {
  const { code, stdout, stderr } = await runFunction(
    async (tools, { setUp, body, args }) => {
      console.log(JSON.stringify(await body({ ...tools, ...setUp(tools) }, args)))
    },
    { setUp, body, args },
    { nodeArgs: ['--expose-gc'] },
  )
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

/** A sample of them: a twentieth. */
const COUNT = stepsOf(20_000, 20)

describe.concurrent(`${COUNT} arenas with a small block each`, () => {
  it('are open at once, and are gone when they are closed', async () => {
    const { before, opened, closed, areIntact } = await run(
      async ({ Arena, settle, measure }, { count }) => {
        const open = (i: number) => {
          const arena = new Arena()
          return { arena, block: arena.alloc(100).fill(i) }
        }
        for (const { arena } of Array.from({ length: 500 }, (_, i) => open(i))) arena.close()
        await settle()
        const before = measure()
        let all = Array.from({ length: count }, (_, i) => open(i))
        await settle()
        const opened = measure()
        const areIntact = all.every(({ block }, i) => block.every(byte => byte === i % 256))
        for (let i = 0; i < all.length; i += 500) all[i].arena.check()
        for (const { arena } of all) arena.close()
        all = []
        await settle()
        const closed = measure()
        return { before, opened, closed, areIntact }
      },
      { count: COUNT },
    )
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
    const { before, after } = await run(
      async ({ Arena, settle, measure }, { count }) => {
        const serve = () => {
          const arena = new Arena()
          arena.alloc(1_000)
          arena.close()
        }
        for (let i = 0; i < 2_000; i++) serve()
        await settle()
        const before = measure()
        for (let i = 0; i < count; i++) serve()
        const after = measure()
        return { before, after }
      },
      { count: COUNT },
    )
    expect(after.residentBytes - before.residentBytes).toBeLessThan(300 * MIB)
    expect(after.externalBytes - before.externalBytes).toBeLessThan(64 * MIB)
  })

  it('see nothing of each other: new blocks are zero, whatever earlier arenas wrote', async () => {
    const { areIntact } = await run(
      async ({ Arena, turn }, { count }) => {
        let areIntact = true
        for (let i = 0; i < count; i++) {
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
        return { areIntact }
      },
      { count: stepsOf(3_000) },
    )
    expect(areIntact).toBe(true)
  })
})
