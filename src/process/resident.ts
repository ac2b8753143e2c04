/** What the kernel says this process holds, read without holding up the event loop. */
import { readFile } from 'node:fs'

/** Summed from the page tables at the moment of reading. `statm` is batched per CPU and lags by megabytes. */
const ROLLUP = '/proc/self/smaps_rollup'

const { memoryUsage } = process
const read = readFile

/**
 * Resolves to the resident bytes of this process. They come from the kernel's file, which a thread of libuv's pool
 * reads. Where there is no such file, they are those of `process.memoryUsage.rss()`.
 */
export function residentBytes(): Promise<number> {
  return new Promise(resolve => {
    read(ROLLUP, 'latin1', (error, text) => {
      const kilobytes = error === null ? /^Rss:\s+(\d+) kB$/m.exec(text)?.[1] : undefined
      resolve(kilobytes === undefined ? memoryUsage.rss() : Number(kilobytes) * 1024)
    })
  })
}
