import { expect } from 'vitest'

/** The error of that class with which `promise` is rejected. */
export async function expectedOf<E extends Error>(
  promise: Promise<unknown>,
  kind: new (...args: never[]) => E,
): Promise<E> {
  const error = await promise.then(
    () => undefined,
    reason => reason,
  )
  expect(error).toBeInstanceOf(kind)
  return error
}
