import { afterEach, describe, expect, it } from 'vitest'
import { nearest, requireKnownKeys } from '../../src/base/known-keys.js'
import { thrownBy } from '../support/world.js'

const KNOWN = new Set(['name', 'source', 'limitBytes', 'softLimitBytes', 'releaseAfterMs', 'hugePages'])

const refusal = (options: unknown) => thrownBy(() => requireKnownKeys('options', options as object, KNOWN))

describe('requireKnownKeys', () => {
  afterEach(() => {
    delete (Object.prototype as { polluted?: unknown }).polluted
  })

  it('refuses a key that is not known, by name, with the nearest and all that are', () => {
    const error = refusal({ name: 'x', limit: 1 })
    expect(error).toBeInstanceOf(TypeError)
    expect(error?.code).toBe('ERR_INVALID_ARG_VALUE')
    expect(error?.message).toBe(
      "The property 'options.limit' is not a known option; did you mean 'limitBytes'? " +
        'Known options: name, source, limitBytes, softLimitBytes, releaseAfterMs, hugePages',
    )
    expect(refusal({ zzzz: 1 })?.message).toMatch(
      /'options\.zzzz' is not a known option\. Known options: name, /,
    )
  })

  it.each([
    {},
    { name: undefined, hugePages: false },
    Object.create(null),
    Object.assign(Object.create(null), { limitBytes: 1 }),
    Object.create({ limitBytes: 1 }),
    { [Symbol('limit')]: 1 },
    Object.defineProperty({}, 'limit', { value: 1, enumerable: false }),
    new (class Config {
      name = 'x'
      get limit() {
        return 1
      }
      load() {}
    })(),
    new Proxy({ name: 'x' }, {}),
    Object.freeze({ source: 'mmap' }),
  ])('takes what has known keys only: %#', options => {
    expect(refusal(options)).toBeUndefined()
  })

  it.each([
    { limit: undefined },
    Object.create({ limit: 1 }),
    Object.assign(Object.create(null), { limit: 1 }),
    new Proxy({ limit: 1 }, {}),
    { constructor: 1 },
    { toString: 1 },
    JSON.parse('{ "__proto__": 1 }'),
    { '': 1 },
    { 0: 1 },
    Buffer.alloc(1),
    new (class {
      limit = 1
    })(),
  ])('refuses any other: %#', options => {
    expect(refusal(options)?.code).toBe('ERR_INVALID_ARG_VALUE')
  })

  it.each([null, undefined, 1, 'name', true, () => {}, [], ['name'], Symbol('s'), 1n])(
    'refuses what is no object: %#',
    options => {
      expect(refusal(options)?.code).toBe('ERR_INVALID_ARG_TYPE')
    },
  )

  it('reads no value', () => {
    const options = {
      get limit(): number {
        throw new Error('read')
      },
    }
    expect(refusal(options)?.code).toBe('ERR_INVALID_ARG_VALUE')
  })

  it('minds nobody’s patch of Object.prototype', () => {
    Object.assign(Object.prototype, { polluted: 1 })
    expect(refusal({ name: 'x' })).toBeUndefined()
    expect(refusal({ polluted: 1 })?.code).toBe('ERR_INVALID_ARG_VALUE')
  })
})

describe('nearest', () => {
  it.each([
    ['limit', 'limitBytes'],
    ['limitbytes', 'limitBytes'],
    ['LIMIT_BYTES', 'limitBytes'],
    ['limitByte', 'limitBytes'],
    ['limtiBytes', 'limitBytes'],
    ['softLimit', 'softLimitBytes'],
    ['releaseAfter', 'releaseAfterMs'],
    ['releaseAfterMS', 'releaseAfterMs'],
    ['relaseAfterMs', 'releaseAfterMs'],
    ['hugepage', 'hugePages'],
    ['huge', 'hugePages'],
    ['sorce', 'source'],
    ['src', undefined],
    ['nam', 'name'],
    ['names', 'name'],
    ['', undefined],
    ['x', undefined],
    ['colour', undefined],
    ['__proto__', undefined],
    ['x'.repeat(100_000), undefined],
  ])('of %s is %s', (key, expected) => {
    expect(nearest(key, KNOWN)).toBe(expected)
  })

  it('of a longer name is the option it begins with', () => {
    expect(nearest('alignment', ['align'])).toBe('align')
    expect(nearest('alignBytes', ['align'])).toBe('align')
    expect(nearest('capacity', ['capacityBytes', 'pageBytes'])).toBe('capacityBytes')
  })
})
