/**
 * What an arena is made of, assembled before the arena has fields of its own: so they can be set where they are declared.
 * Nothing of it is a property that others could reach.
 */

import { type Environment, realEnvironment } from '../process/environment.js'
import { type ArenaOptions, resolveOptions } from './options.js'
import { assemble, type Made } from './parts.js'

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
    this.#made = assemble(resolveOptions(options), environment ?? realEnvironment(), () => calls(this))
  }

  static {
    read = arena => arena.#made
  }
}

/** @internal */
export function partsOf(arena: Assembled): Made {
  return read(arena)
}
