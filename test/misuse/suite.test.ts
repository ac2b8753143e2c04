/** The misuse suite: every mistake has one known outcome, and none of them is a fault. The sample is one of about half the groups, in each mode. */
import { describe, it } from 'vitest'
import { someOf } from '../support/extent.js'
import { runCase } from './suite/case.js'
import { GROUPS } from './suite/groups.js'

const MODES = [
  ['without debug', false, 'mmap', 7],
  ['with debug: true', true, 'mmap', 7],
  ["with source: 'heap'", false, 'heap', 3],
  ["with source: 'heap', debug: true", true, 'heap', 2],
] as const

describe.each(MODES)('%s', (_, isDebug, source, sampledGroups) => {
  for (const { title, cases } of someOf(GROUPS, sampledGroups)) {
    const fitting = cases.filter(misuse => (misuse.source ?? source) === source)
    describe(title, () => {
      for (const misuse of someOf(fitting, 1)) {
        it.concurrent(misuse.name, async ({ expect }) => {
          const { actual, expected } = await runCase(misuse, isDebug, source)
          expect(actual).toEqual(expected)
        })
      }
    })
  }
})
