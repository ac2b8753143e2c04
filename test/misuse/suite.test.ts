/** The misuse suite: every mistake has one known outcome, and none of them is a fault. The sample is one of about half the groups, in each mode. */
import { describe, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { runCase } from './suite/case.js'
import { GROUPS } from './suite/groups.js'

const MODES = [
  ['without debug', false],
  ['with debug: true', true],
] as const

describe.each(MODES)('%s', (_, isDebug) => {
  for (const { title, cases } of someOf(GROUPS, 7)) {
    describe(title, () => {
      for (const misuse of someOf(cases, 1)) {
        it.concurrent(misuse.name, async ({ expect }) => {
          const { actual, expected } = await runCase(misuse, isDebug)
          expect(actual).toEqual(expected)
        })
      }
    })
  }
})
