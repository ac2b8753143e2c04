/** Exact figures of this process, for the scripts beside this file. */
import { readFileSync } from 'node:fs'
import { getHeapStatistics } from 'node:v8'

/** Resident bytes, exact. */
export function rssBytes() {
  return Number(/^Rss:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/smaps_rollup', 'latin1'))[1]) * 1024
}

/** Resident bytes of everything but V8's own heap. */
export function restBytes() {
  return rssBytes() - getHeapStatistics().total_physical_size
}

/** The real addon, but for that it remembers where each ArrayBuffer lies. */
export function locatingAddon(addon) {
  const places = new WeakMap()
  const locating = Object.create(addon, {
    wrap: {
      value(mapping, offsetBytes, lengthBytes, wrapId) {
        const buffer = addon.wrap(mapping, offsetBytes, lengthBytes, wrapId)
        places.set(buffer, { mapping, offsetBytes })
        return buffer
      },
    },
  })
  // They read private fields, which only the real one has.
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(addon))) {
    if (name === 'constructor' || name === 'wrap' || typeof addon[name] !== 'function') continue
    Object.defineProperty(locating, name, { value: addon[name].bind(addon) })
  }
  /** Bytes of the pages that these Buffers lie on. */
  const pageBytesOf = buffers => {
    const pages = new Set()
    for (const buffer of buffers) {
      const { mapping, offsetBytes } = places.get(buffer.buffer)
      const start = offsetBytes + buffer.byteOffset
      for (
        let page = Math.floor(start / addon.pageBytes);
        page * addon.pageBytes < start + buffer.length;
        page++
      )
        pages.add(mapping * 2 ** 30 + page)
    }
    return pages.size * addon.pageBytes
  }
  return { addon: locating, pageBytesOf }
}
