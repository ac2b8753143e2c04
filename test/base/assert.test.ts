import { describe, expect, it } from 'vitest'
import { invariant } from '../../src/base/assert.js'

describe('invariant', () => {
  it('lets what holds pass', () => {
    expect(() => invariant(true, 'fine')).not.toThrow()
  })

  it('throws a plain error that names what is broken', () => {
    expect(() => invariant(false, '3: run 5 is linked')).toThrow(
      new Error('offheap: broken invariant: 3: run 5 is linked'),
    )
  })
})
