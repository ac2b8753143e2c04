/**
 * A cache of sessions: many small values, most of which expire. Each value is a record of a `Store`, named by a number. So what
 * is left moves together, and all other pages go back to the kernel. With Buffers, the few that are left keep the memory of many.
 *
 * ```sh
 * node examples/session-cache.mjs          # 500,000 sessions
 * node examples/session-cache.mjs 20000
 * ```
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Store } from 'offheap'
import { assertResidentBelow, collectGarbage, rssBytes } from 'offheap/testing'

const MIB = 2 ** 20

// #region cache
/** A record has the time at which its session expires, in 8 bytes, and then the session as JSON. */
const HEADER_BYTES = 8

class SessionCache {
  store = new Store({ name: 'sessions', limitBytes: 512 * MIB })
  /** A number for each session, not an object. In TypeScript: `Map<string, Ref>`. */
  #refs = new Map()

  set(id, session, expiresMs) {
    const json = Buffer.from(JSON.stringify(session))
    // The new record first. If there is no room for it, this throws, and the old one is still there.
    const ref = this.store.allocUnsafe(HEADER_BYTES + json.length)
    this.store.writeDoubleLE(ref, expiresMs, 0)
    this.store.write(ref, json, HEADER_BYTES)
    this.delete(id)
    this.#refs.set(id, ref)
  }

  /** A view is good until you await or change the store. This one is used up at once. */
  get(id) {
    const ref = this.#refs.get(id)
    return ref === undefined ? undefined : JSON.parse(this.store.view(ref).toString('utf8', HEADER_BYTES))
  }

  /** The socket reads later, when the record may lie elsewhere. So it gets a copy. */
  send(id, response) {
    response.end(this.store.copy(this.#refs.get(id)).subarray(HEADER_BYTES))
  }

  /** Without a copy: while a record is lent it does not move, and its memory stays, even if `delete` frees it. */
  async append(id, file) {
    await this.store.lend(this.#refs.get(id), bytes => file.write(bytes.subarray(HEADER_BYTES)))
  }

  delete(id) {
    const ref = this.#refs.get(id)
    if (ref === undefined) return
    this.#refs.delete(id)
    this.store.free(ref)
  }

  /** Reads one number of each record, without a view. */
  expire(nowMs) {
    for (const [id, ref] of this.#refs) {
      if (this.store.readDoubleLE(ref, 0) <= nowMs) this.delete(id)
    }
  }

  get size() {
    return this.#refs.size
  }
}
// #endregion

/** The same with Buffers. Its records end when the garbage collector has noticed that nobody holds them. */
class BufferCache {
  #buffers = new Map()

  set(id, session, expiresMs) {
    const json = Buffer.from(JSON.stringify(session))
    const buffer = Buffer.allocUnsafe(HEADER_BYTES + json.length)
    buffer.writeDoubleLE(expiresMs, 0)
    buffer.set(json, HEADER_BYTES)
    this.#buffers.set(id, buffer)
  }

  expire(nowMs) {
    for (const [id, buffer] of this.#buffers) {
      if (buffer.readDoubleLE(0) <= nowMs) this.#buffers.delete(id)
    }
  }

  get size() {
    return this.#buffers.size
  }

  get bytes() {
    let bytes = 0
    for (const buffer of this.#buffers.values()) bytes += buffer.length
    return bytes
  }
}

// ---- load: all sessions come, and 63 of 64 expire -----------------------------------------------------------

const MINUTE_MS = 60_000
const startMs = Date.now()

function sessionOf(i) {
  return {
    user: `user-${i}`,
    roles: ['reader', 'writer'],
    visited: Array.from({ length: i % 15 }, (_, n) => `/page/${i + n}`),
  }
}

function fill(cache, count) {
  for (let i = 0; i < count; i++) {
    cache.set(`session-${i}`, sessionOf(i), startMs + (i % 64 === 0 ? 120 : 1) * MINUTE_MS)
  }
}

/** What the process holds without garbage. */
async function settledRss() {
  await collectGarbage()
  await sleep(300)
  return rssBytes()
}

async function runWithBuffers(count) {
  fill(new BufferCache(), 1000)
  const baseBytes = await settledRss()
  const cache = new BufferCache()
  fill(cache, count)
  const fullBytes = (await settledRss()) - baseBytes
  cache.expire(startMs + 2 * MINUTE_MS)
  const expiredBytes = (await settledRss()) - baseBytes
  return { liveBytes: cache.bytes, fullBytes, expiredBytes }
}

async function runWithStore(count) {
  const warmUp = new SessionCache()
  fill(warmUp, 1000)
  await warmUp.store.closeWhenIdle()
  const baseBytes = await settledRss()
  const cache = new SessionCache()
  fill(cache, count)
  const fullBytes = (await settledRss()) - baseBytes
  const storeFullBytes = cache.store.residentBytes()
  cache.expire(startMs + 2 * MINUTE_MS)
  await promised(cache.store)
  const expiredBytes = (await settledRss()) - baseBytes
  const storeBytes = cache.store.residentBytes()
  const { liveBytes } = cache.store.stats()

  await use(cache)
  await cache.store.closeWhenIdle()
  return { liveBytes, fullBytes, storeFullBytes, expiredBytes, storeBytes }
}

/**
 * Waits until the store holds at most 1.2 times what is live and 1 MiB. That comes by itself: it begins to move records within
 * `releaseAfterMs` after the last call, in slices of a millisecond.
 */
function promised(store) {
  return assertResidentBelow(1.2 * store.stats().liveBytes + MIB, { arenas: [store], withinMs: 120_000 })
}

/** Reads a session that has moved in each of the three ways. */
async function use(cache) {
  const id = `session-${64 * Math.floor((cache.size - 1) / 2)}`
  const session = sessionOf(Number(id.slice(8)))
  assert.deepEqual(cache.get(id), session)

  const server = createServer((request, response) => cache.send(request.url.slice(1), response)).listen(0)
  await once(server, 'listening')
  const response = await fetch(`http://localhost:${server.address().port}/${id}`)
  assert.deepEqual(await response.json(), session)
  server.close()
  server.closeAllConnections()

  const folder = await mkdtemp(join(tmpdir(), 'sessions-'))
  const file = await open(join(folder, 'log'), 'w')
  await cache.append(id, file)
  await file.close()
  assert.deepEqual(JSON.parse(await readFile(join(folder, 'log'), 'utf8')), session)
  await rm(folder, { recursive: true })
}

const [count, kind] = [Number(process.argv[2] ?? 500_000), process.argv[3]]
if (kind !== undefined) {
  console.log(JSON.stringify(await (kind === 'Store' ? runWithStore : runWithBuffers)(count)))
} else {
  const rows = []
  // Each in a process of its own: what one leaves behind would serve the other.
  for (const kind of ['Buffers', 'Store']) {
    const args = [fileURLToPath(import.meta.url), String(count), kind]
    const { stdout } = await promisify(execFile)(process.execPath, args)
    rows.push([kind, JSON.parse(stdout)])
  }
  const mib = bytes => (bytes === undefined ? '' : (bytes / MIB).toFixed(1))
  console.log(
    `${count} sessions, of which 1 in 64 is left. MiB; "process" is the growth of its Rss, Map and keys included:`,
  )
  console.table(
    Object.fromEntries(
      rows.map(([kind, seen]) => [
        kind,
        {
          'live, in the end': mib(seen.liveBytes),
          'process, full': mib(seen.fullBytes),
          'process, in the end': mib(seen.expiredBytes),
          'store, full': mib(seen.storeFullBytes),
          'store, in the end': mib(seen.storeBytes),
        },
      ]),
    ),
  )
}
