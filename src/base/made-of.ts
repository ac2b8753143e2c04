/**
 * A base class for classes whose fields are set once: it is given the parts first, so that each field can be set where it is
 * declared. docs/v8.md says what that gains. The published types leave it out.
 *
 * ```ts
 * class Car extends MadeOf<{ engine: Engine }> {
 *   readonly #engine = partsOf(this).engine
 *
 *   constructor() {
 *     super({ engine: new Engine() })
 *   }
 * }
 * ```
 */
let read: <Parts>(object: MadeOf<Parts>) => Parts

export class MadeOf<Parts> {
  readonly #parts: Parts

  /** @internal */
  constructor(parts: Parts) {
    this.#parts = parts
  }

  static {
    read = object => object.#parts
  }
}

/** The parts that an object was given. Nobody outside of this package can read them. */
export function partsOf<Parts>(object: MadeOf<Parts>): Parts {
  return read(object)
}
