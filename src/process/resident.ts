/** What the kernel says this process holds, read without holding up the event loop. */
import type { MallocRelease } from '../memory/malloc.js'

const { memoryUsage } = process

/**
 * Resolves to the resident bytes of this process: those of `/proc/self/smaps_rollup`, which the addon reads on a thread of
 * libuv's pool. `statm` is batched per CPU and lags by megabytes. Where there is no addon or no such file, they are those of
 * `process.memoryUsage.rss()`.
 */
export async function residentBytes(
  addon: Pick<MallocRelease, 'processResidentBytes'> | undefined,
): Promise<number> {
  return (await addon?.processResidentBytes()) || memoryUsage.rss()
}
