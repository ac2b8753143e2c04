/**
 * A base class for classes whose fields are set once. It gets the parts of an object before the fields are
 * set, so that each field can get its value where it is declared. docs/v8.md says what that gains. The
 * published types leave this class out.
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

/** The parts that were given to the constructor of `MadeOf`. Only this package can read them. */
export function partsOf<Parts>(object: MadeOf<Parts>): Parts {
  return read(object)
}
