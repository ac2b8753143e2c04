/** How an `ArrayBuffer` leaves our hands: somebody takes it away, or the collector has it. */
import { ReadableStream } from 'node:stream/web'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Runtime } from '../../src/memory/runtime.js'
import { turns } from './world.js'

/** What byte streams do to a view on every line of Node: its whole buffer, detached here, moves into another one. */
export async function takeAway(buffer: ArrayBuffer): Promise<ArrayBuffer> {
  const stream = new ReadableStream({
    type: 'bytes',
    start: controller => controller.enqueue(new Uint8Array(buffer)),
  })
  const { value } = await stream.getReader().read()
  return (value as Uint8Array<ArrayBuffer>).buffer
}

/** Whoever took it drops it, and its finalizer runs. */
export async function giveBack(taken: ArrayBuffer, runtime: Runtime): Promise<void> {
  runtime.detach(taken)
  await turns()
}

/** Collects until what nothing refers to any more is gone and its finalizers have run. */
export async function collect(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  for (let i = 0; i < 3; i++) {
    // A weak reference holds its target until the end of the task in which it was read.
    await turns(1)
    gc()
  }
  await turns()
}
