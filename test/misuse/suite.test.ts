/** The misuse suite: every mistake has one known outcome, and none of them is a fault. */
import { describe, it } from 'vitest'
import { runCase } from './suite/case.js'
import { GROUPS } from './suite/groups.js'

describe.each([
  ['without debug', false],
  ['with debug: true', true],
] as const)('%s', (_, isDebug) => {
  for (const { title, cases } of GROUPS) {
    describe(title, () => {
      for (const misuse of cases) {
        it.concurrent(misuse.name, async ({ expect }) => {
          const { actual, expected } = await runCase(misuse, isDebug)
          expect(actual).toEqual(expected)
        })
      }
    })
  }
})
