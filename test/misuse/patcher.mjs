/**
 * Replaces every function and accessor of the runtime, one after the other, by one that first calls an arena and then does as
 * before, while calls of that arena, or of another, are under way. Whatever it asked for, both are unharmed afterwards: their
 * books are right, and no two live blocks share bytes.
 *
 *   node patcher.mjs DIST SEED OPTIONS
 */
import assert from 'node:assert/strict'
import { belowFrom } from '../support/below.mjs'

const [dist, seedText, optionsText] = process.argv.slice(2)
const { Arena } = await import(dist)
const options = JSON.parse(optionsText)
const { apply, defineProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect
const { fill } = Uint8Array.prototype
const { freeze } = Object

const below = belowFrom(Number(seedText))

const SIZES = freeze([0, 24, 24, 100, 1_000, 5_000, 40_000, 70_000, 300_000])
const ALLOWED = freeze({
  ERR_ARENA_BUSY: 1,
  ERR_ARENA_CLOSED: 1,
  ERR_ARENA_DOUBLE_FREE: 1,
  ERR_ARENA_PINNED: 1,
  ERR_ARENA_NOT_PINNED: 1,
  ERR_ARENA_POOLED: 1,
  ERR_ARENA_POOL_CLOSED: 1,
  ERR_ARENA_SCOPE_ENDED: 1,
})
/** What blocks are made of: made before anything is replaced. */
const SOURCES = freeze(SIZES.map(size => new Uint8Array(size)))
const PAIRS = freeze(SOURCES.map(source => freeze([source, source])))
const POOLED_BYTES = freeze([100, 70_000])

/** Two arenas, as those of a thread share timers and memory for their books; and what is known of the blocks of each. */
const worlds = freeze([
  { arena: null, pools: null, live: null, resets: 0, isClosed: true },
  { arena: null, pools: null, live: null, resets: 0, isClosed: true },
])
let lastTag = 0
const faults = []
let where = ''
let calls = 0

function renew(world) {
  world.arena = new Arena({ name: 'patched', ...options })
  world.pools = freeze([world.arena.pool(POOLED_BYTES[0]), world.arena.pool(POOLED_BYTES[1], { maxIdle: 2 })])
  world.live = { count: 0 }
  world.isClosed = false
}

/** Whether an error is one that the arena may give here; a scope tells of several at once. */
function isAllowed(error) {
  if (ALLOWED[error?.code] === 1) return true
  const errors = error?.errors
  if (errors === undefined) return false
  for (let i = 0; i < errors.length; i++) if (ALLOWED[errors[i].code] !== 1) return false
  return true
}

/** Does one thing with an arena. `below` decides which, and with which block. */
function act() {
  const world = worlds[below(4) === 0 ? 1 : 0]
  const { arena } = world
  const { live } = world
  const choice = below(40)
  const block = live.count > 0 ? live[below(live.count)] : undefined
  const resetsBefore = world.resets
  try {
    if (choice < 14 || block === undefined) {
      make(world, choice, below(9))
    } else if (choice < 26) {
      const isEnded = block.isEnded
      if (block.pool === undefined) arena.free(block.buffer)
      else block.pool.release(block.buffer)
      end(world, block, isEnded)
    } else if (choice < 31) {
      const isEnded = block.isEnded
      const size = SIZES[below(9)]
      const buffer = arena.realloc(block.buffer, size)
      end(world, block, isEnded)
      if (world.resets === resetsBefore) add(world, buffer, size, undefined)
    } else if (choice < 33) {
      arena.pin(block.buffer)
      arena.unpin(block.buffer)
    } else if (choice === 33) {
      world.pools[below(2)].use(() => {})
    } else if (choice < 36) {
      arena.lend(block.buffer, () => {})
    } else if (choice === 36) {
      arena.trim()
    } else if (choice === 37) {
      const scope = arena.scope()
      scope.alloc(100)
      scope.allocUnsafe(70_000)
      scope.end()
    } else if (choice === 38) {
      if (below(4) === 0) {
        // All end, whatever becomes of the call.
        world.resets++
        forgetAll(world)
        arena.reset()
        // What was allocated before it began, by a formatter of stacks, has ended too.
        world.resets++
        forgetAll(world)
      } else arena.stats()
    } else if (below(12) === 0) {
      arena.close()
      world.resets++
      world.isClosed = true
      forgetAll(world)
    }
  } catch (error) {
    if (!isAllowed(error)) faults[faults.length] = `${where}: ${error?.stack}`
    // A reset that was refused has ended nothing.
    if (choice === 38) forgetAll(world)
  }
}

/** Makes a block in one of the ways that there are. */
function make(world, way, index) {
  const { arena, pools, resets } = world
  let size = SIZES[index]
  let buffer
  let pool
  if (way % 3 === 0) buffer = arena.alloc(size)
  else if (way === 1) buffer = arena.allocUnsafe(size, { align: 64 })
  else if (way === 2) buffer = arena.from(SOURCES[index])
  else if (way === 4) {
    buffer = arena.concat(PAIRS[index])
    size *= 2
  } else if (way < 9) {
    pool = pools[way % 2]
    buffer = pool.acquire()
    size = POOLED_BYTES[way % 2]
  } else buffer = arena.allocUnsafe(size)
  if (world.resets === resets) add(world, buffer, size, pool)
}

/** Blocks that the model has forgotten may be live: the arena ends them. */
function forgetAll(world) {
  world.live = { count: 0 }
}

function add(world, buffer, size, pool) {
  const { live } = world
  lastTag = (lastTag % 250) + 1
  const tag = lastTag
  apply(fill, buffer, [tag])
  live[live.count] = { buffer, pool, tag, size, at: live.count, isEnded: false }
  live.count++
}

function end(world, block, wasEnded) {
  const { live } = world
  if (wasEnded || block.isEnded) faults[faults.length] = `${where}: a block was freed twice`
  block.isEnded = true
  const last = live[--live.count]
  if (last !== undefined && live[block.at] === block) {
    live[block.at] = last
    last.at = block.at
  } else live.count++
}

function verify({ arena, live }) {
  arena.check()
  for (let i = 0; i < live.count; i++) {
    const { buffer, tag, size } = live[i]
    assert.equal(buffer.length, size)
    for (let at = 0; at < size; at += 509) assert.equal(buffer[at], tag, `byte ${at} of ${size}`)
    if (size > 0) assert.equal(buffer[size - 1], tag, `the last of ${size} bytes`)
  }
}

let isOn = false
let depth = 0
function intrude() {
  if (!isOn || depth > 0) return
  depth++
  calls++
  act()
  depth--
}

/** A descriptor like that one, whose functions call `intrude` first. */
function replaced(descriptor) {
  const made = { ...descriptor }
  for (const name of ['value', 'get', 'set']) {
    const original = descriptor[name]
    if (typeof original !== 'function') continue
    made[name] = function (...args) {
      intrude()
      return new.target ? Reflect.construct(original, args, new.target) : apply(original, this, args)
    }
    Object.setPrototypeOf(made[name], original)
    if (original.prototype !== undefined) made[name].prototype = original.prototype
  }
  return made
}

/** Every object that has replaceable functions, and its name. */
function targets() {
  const found = new Map()
  const visit = (object, name) => {
    if ((typeof object !== 'object' && typeof object !== 'function') || object === null || found.has(object))
      return
    found.set(object, name)
    const prototype = getPrototypeOf(object)
    if (prototype !== null) visit(prototype, `the prototype of ${name}`)
    if (typeof object === 'function') visit(object.prototype, `${name}.prototype`)
  }
  for (const name of [
    'Array',
    'ArrayBuffer',
    'Buffer',
    'Error',
    'FinalizationRegistry',
    'Function',
    'Int32Array',
    'Iterator',
    'Map',
    'Math',
    'Number',
    'Object',
    'Promise',
    'RangeError',
    'Reflect',
    'Set',
    'String',
    'Symbol',
    'TypeError',
    'Uint16Array',
    'Uint8Array',
    'WeakMap',
    'WeakRef',
    'WeakSet',
    'performance',
    'process',
  ]) {
    if (globalThis[name] !== undefined) visit(globalThis[name], name)
  }
  visit(Buffer[Symbol.species], 'species of Buffer')
  visit([][Symbol.iterator](), 'an array iterator')
  visit(new Map()[Symbol.iterator](), 'a Map iterator')
  visit(new Set()[Symbol.iterator](), 'a Set iterator')
  visit((function* () {})(), 'a generator')
  visit(''[Symbol.iterator](), 'a string iterator')
  return found
}

/** What is replaced in turn: object, key, what to put there. */
function* patches() {
  for (const [object, name] of targets()) {
    if (name.endsWith('process') && object !== process) continue
    for (const key of ownKeys(object)) {
      const descriptor = getOwnPropertyDescriptor(object, key)
      const isFunction = typeof (descriptor.value ?? descriptor.get ?? descriptor.set) === 'function'
      if (!isFunction || !(descriptor.configurable || descriptor.writable)) continue
      if (object === process && !['emitWarning', 'nextTick', 'hrtime'].includes(key)) continue
      yield [object, key, descriptor, replaced(descriptor), `${name}.${String(key)}`]
    }
  }
  for (const key of [
    'setTimeout',
    'setImmediate',
    'clearTimeout',
    'queueMicrotask',
    'Map',
    'Set',
    'Int32Array',
    'Uint8Array',
    'ArrayBuffer',
    'Error',
    'WeakRef',
    'Promise',
  ]) {
    const descriptor = getOwnPropertyDescriptor(globalThis, key)
    yield [globalThis, key, descriptor, replaced(descriptor), `globalThis.${key}`]
  }
  const limit = getOwnPropertyDescriptor(Error, 'stackTraceLimit')
  const get = () => {
    intrude()
    return 10
  }
  yield [
    Error,
    'stackTraceLimit',
    limit,
    { get, set: () => intrude(), configurable: true },
    'Error.stackTraceLimit',
  ]
  const format = (error, sites) => {
    intrude()
    return `${error.name}\n${sites.map(site => `    at ${site}`).join('\n')}`
  }
  const none = { value: undefined, configurable: true, writable: true }
  yield [
    Error,
    'prepareStackTrace',
    none,
    { value: format, configurable: true, writable: true },
    'Error.prepareStackTrace',
  ]
  for (const key of ['get', 'set', 'value', 'writable', 'length', 'align', 'then']) {
    const accessor = { get: () => void intrude(), set: () => intrude(), configurable: true }
    yield [Object.prototype, key, undefined, accessor, `Object.prototype.${key}`]
    if (key !== 'length') yield [Array.prototype, key, undefined, accessor, `Array.prototype.${key}`]
  }
}

const rounds = Number(process.env.ROUNDS ?? 25)
let patched = 0
for (const world of worlds) renew(world)
for (const [object, key, descriptor, patch, name] of [...patches()]) {
  where = name
  try {
    if (!defineProperty(object, key, patch)) continue
  } catch {
    continue
  }
  isOn = true
  try {
    for (let i = 0; i < rounds; i++) act()
  } finally {
    isOn = false
    if (descriptor === undefined) delete object[key]
    else defineProperty(object, key, descriptor)
  }
  patched++
  try {
    for (const world of worlds) {
      if (world.isClosed) renew(world)
      verify(world)
      const { arena, live } = world
      if (live.count > 40)
        while (live.count > 10) {
          const block = live[0]
          if (block.pool === undefined) arena.free(block.buffer)
          else block.pool.release(block.buffer)
          end(world, block, false)
        }
    }
    if (patched % 50 === 0) await new Promise(resolve => setImmediate(resolve))
    if (faults.length > 0) throw new Error(faults[0])
  } catch (error) {
    console.error(`seed ${seedText}, ${optionsText}, ${name}: ${error.stack}`)
    process.exit(1)
  }
}
for (const { arena } of worlds) {
  arena.close()
  arena.check()
}
console.log(`replaced ${patched > 400 ? 'all' : patched}, called ${calls > 100 ? 'often' : calls}`)
