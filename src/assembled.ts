/**
 * What an arena is made of, assembled before the arena has fields of its own: so they can be set where they are declared.
 * Nothing of it is a property that others could reach.
 */
import { assemble, type Parts } from './assembly.js'
import { type Environment, realEnvironment } from './environment.js'
import { type ArenaOptions, type ResolvedOptions, resolveOptions } from './options.js'

interface Made extends Parts {
  readonly options: ResolvedOptions
  readonly environment: Environment
}

let read: (arena: Assembled) => Made

export class Assembled {
  readonly #made: Made

  /**
   * `calls`: blocks that the arena has allocated and freed, ever. Throws what `resolveOptions` and `assemble` throw.
   *
   * @internal
   */
  constructor(
    options: ArenaOptions,
    environment: Environment | undefined,
    calls: (arena: Assembled) => number,
  ) {
    const resolved = resolveOptions(options)
    const surroundings = environment ?? realEnvironment()
    const parts = assemble(resolved, surroundings, () => calls(this))
    this.#made = { ...parts, options: resolved, environment: surroundings }
  }

  static {
    read = arena => arena.#made
  }
}

/** @internal */
export function partsOf(arena: Assembled): Made {
  return read(arena)
}
