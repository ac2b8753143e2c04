/** Children that collect garbage and hear of leaks. */
import { expect } from 'vitest'
import type { LeakMessage } from '../../src/notices/notices.js'
import { runFunction, type Tools } from './child.js'

/** What is told of leaks, and ways to wait for it. */
function setUp({ gc, sleep, turn }: Tools) {
  const heard: LeakMessage[] = []
  const { subscribe } = process.getBuiltinModule('node:diagnostics_channel')
  subscribe('offheap:leak', message => heard.push(message as LeakMessage))
  const collect = async () => {
    for (let i = 0; i < 5; i++) {
      gc()
      await turn()
      await sleep(1)
    }
  }
  // Waits for what follows from a collection; a test that waits in vain ends by its own limit.
  const until = async (holds: () => boolean) => {
    while (!holds()) await collect()
  }
  return { heard, collect, until }
}

/** Runs `body` in a child with `--expose-gc`, and expects it to end without a word on stderr. */
export async function expectToPass<Args = unknown>(
  body: (tools: Tools & ReturnType<typeof setUp>, args: Args) => unknown,
  args?: Args,
): Promise<void> {
  const outcome = await runFunction(
    async (tools, { setUp, body, args }) => {
      await body({ ...tools, ...setUp(tools) }, args as Args)
      console.log('done')
    },
    { setUp, body, args },
    { nodeArgs: ['--expose-gc'] },
  )
  expect(outcome).toEqual({ code: 0, signal: null, stdout: 'done\n', stderr: '' })
}
