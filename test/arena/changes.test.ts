import { beforeEach, describe, expect, it } from 'vitest'
import { Changes } from '../../src/arena/changes.js'
import { Gate } from '../../src/base/gate.js'
import type { Releaser } from '../../src/release/releaser.js'
import { ManualDeferral } from '../support/manual-deferral.js'
import { thrownBy } from '../support/world.js'

let gate: Gate
let releaser: { isUnfinished: boolean; mend(): void; noteFree(): void }
let changes: Changes
/** What was done, in order. */
let done: string[]

const step = (name: string) => () => {
  done.push(gate.isTaken ? name : `${name} with the gate open`)
}

beforeEach(() => {
  done = []
  gate = new Gate(new ManualDeferral())
  releaser = { isUnfinished: false, mend: step('mend'), noteFree: step('noteFree') }
  changes = new Changes({ name: 'subject' }, gate, releaser as Releaser, step('endAll'))
})

describe('run', () => {
  it('takes the gate and opens it again', () => {
    expect(changes.run('free', () => gate.isTaken)).toBe(true)
    expect([gate.isTaken, gate.isDone, done]).toEqual([false, true, []])
  })

  it('is refused in the middle of another change', () => {
    const error = changes.run('free', () => thrownBy(() => changes.run('trim', step('trim'))))
    expect([error?.code, done]).toEqual(['ERR_ARENA_BUSY', []])
  })

  it('opens the gate where the change throws, which then counts as interrupted', () => {
    const failure = new Error('failure')
    const failing = () => {
      throw failure
    }
    expect(thrownBy(() => changes.run('free', failing))).toBe(failure)
    expect([gate.isTaken, gate.isDone]).toEqual([false, false])
  })

  it('first finishes what was interrupted', () => {
    releaser.isUnfinished = true
    changes.run('free', step('free'))
    releaser.isUnfinished = false
    changes.isEnding = true
    changes.run('trim', step('trim'))
    expect(done).toEqual(['mend', 'free', 'endAll', 'mend', 'trim'])
  })
})

describe('runFreeing', () => {
  it('looks after what came free once the gate is open', () => {
    changes.runFreeing('free', step('free'))
    expect(done).toEqual(['free', 'noteFree with the gate open'])
  })
})

describe('runAnyway', () => {
  it('takes the gate if it is open, and leaves it taken otherwise', () => {
    changes.runAnyway(step('end'))
    changes.run('free', () => {
      changes.runAnyway(step('end'))
      expect(gate.isTaken).toBe(true)
    })
    expect([done, gate.isTaken]).toEqual([['end', 'end'], false])
  })
})
