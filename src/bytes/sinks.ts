/**
 * Which destinations of `pipe` say when they need bytes no longer.
 *
 * The callback of `write` says that a destination has taken the bytes over. It does not say that it looks at them no
 * more: a `PassThrough` has them in its queue by then, and a `Writable` of a program may keep each chunk. For the
 * *sinks* of this file it does say so. Their bytes are with the kernel, or in a copy of TLS, when the callback comes.
 * If it does not come, the sink has closed, and reads them no more after `'close'`.
 *
 * A sink whose methods were replaced is none: what the replacement does with the bytes is not known.
 */
import type { Writable } from 'node:stream'

/** A destination that answers each write by its callback, or by `'close'`. */
export type Sink = Writable

/** Whether a destination is a sink. `'later'`: it is one as soon as it has a socket, and emits `'socket'` then. */
export type Answer = boolean | 'later'

interface Modules {
  readonly http: typeof import('node:http') | undefined
  readonly net: typeof import('node:net') | undefined
  readonly fs: typeof import('node:fs') | undefined
}

let modules: Modules | undefined

/** The modules are asked for late: a program that pipes nothing does not load them. */
function loadModules(): Modules {
  const load = process.getBuiltinModule
  if (typeof load !== 'function') return { http: undefined, net: undefined, fs: undefined }
  return { http: load('node:http'), net: load('node:net'), fs: load('node:fs') }
}

function hasMethodsOf(
  destination: object,
  kind: { prototype: object } | undefined,
  names: string[],
): boolean {
  if (kind === undefined || !(destination instanceof (kind as never))) return false
  return names.every(name => Reflect.get(destination, name) === Reflect.get(kind.prototype, name))
}

const WRITES = ['write', '_write', '_writev']

/** Whether a destination answers each write, so that it may be lent views. */
export function answersWrites(destination: object): Answer {
  modules ??= loadModules()
  const { net, http, fs } = modules
  if (hasMethodsOf(destination, net?.Socket, WRITES)) return true
  if (hasMethodsOf(destination, fs?.WriteStream, WRITES)) return true
  if (!hasMethodsOf(destination, http?.OutgoingMessage, ['write'])) return false
  const { socket } = destination as { socket: object | null | undefined }
  if (socket === null || socket === undefined) return 'later'
  return hasMethodsOf(socket, net?.Socket, WRITES)
}
