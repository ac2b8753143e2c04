/** The process's limit as native code keeps it. */
import { afterEach, describe, expect, it } from 'vitest'
import { loadLedger } from '../../src/memory/addon.js'
import { thrownBy } from '../support/world.js'

const ledger = loadLedger()
afterEach(() => {
  ledger.limitBytes = Number.POSITIVE_INFINITY
  ledger.give(ledger.takenBytes)
})

describe('the ledger', () => {
  it('has no limit at first', () => {
    expect(ledger).toMatchObject({ limitBytes: Number.POSITIVE_INFINITY, takenBytes: 0 })
    expect(ledger.take(2 ** 52)).toBe(true)
    expect(ledger.takenBytes).toBe(2 ** 52)
  })

  it('lets exactly the limit be taken', () => {
    ledger.limitBytes = 10_000
    expect([ledger.take(9_999), ledger.take(2), ledger.take(1), ledger.take(1)]).toEqual([
      true,
      false,
      true,
      false,
    ])
    ledger.give(4)
    expect(ledger.takenBytes).toBe(9_996)
    expect(ledger.take(4)).toBe(true)
  })

  it('may be limited below what is taken', () => {
    ledger.take(100)
    ledger.limitBytes = 50
    expect([ledger.take(0), ledger.takenBytes]).toEqual([false, 100])
    ledger.give(60)
    expect(ledger.take(10)).toBe(true)
  })

  it('checks what it is given', () => {
    ledger.take(100)
    expect(thrownBy(() => ledger.give(101))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    expect(thrownBy(() => ledger.take(-1))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    expect(thrownBy(() => ledger.take(1.5))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    expect(thrownBy(() => ledger.take('1' as unknown as number))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    })
    expect(thrownBy(() => ledger.give(Number.NaN))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    for (const limit of [-1, Number.NaN]) {
      expect(
        thrownBy(() => {
          ledger.limitBytes = limit
        }),
      ).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    }
    expect(ledger.takenBytes).toBe(100)
  })
})
