import { describe, expect, it } from 'vitest'
import { formatBytes, formatCount, formatTable, resample, sparkline } from '../../src/cli/report.js'

describe('formatBytes', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [6_819_139, '6.5 MiB'],
    [2 ** 20 - 1, '1.0 MiB'],
    [3 * 2 ** 30, '3.0 GiB'],
    [5000 * 2 ** 40, '5000.0 TiB'],
    [-4096, '-4.0 KiB'],
  ])('gives %d as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })
})

describe('formatCount', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [304_717, '304,717'],
    [1_234_567, '1,234,567'],
  ])('gives %d as %s', (count, text) => {
    expect(formatCount(count)).toBe(text)
  })
})

describe('formatTable', () => {
  it('aligns names left and figures right, without blanks at line ends', () => {
    const table = formatTable(
      [
        ['name', 'bytes', 'note'],
        ['a', '1', ''],
        ['longer name', '12345', 'x'],
      ],
      [0, 2],
    )
    expect(table.split('\n')).toEqual([
      'name         bytes  note',
      'a                1',
      'longer name  12345  x',
    ])
  })

  it('takes rows of different lengths', () => {
    expect(formatTable([['a'], ['b', '10'], ['c', '2']])).toBe('a\nb  10\nc   2')
  })
})

describe('sparkline', () => {
  it('goes from the lowest bar at 0 to the highest at the maximum', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7, 8], 8)).toBe('▁▁▂▃▄▅▆▇█')
  })

  it('is flat where there is nothing', () => {
    expect(sparkline([0, 0], 0)).toBe('▁▁')
    expect(sparkline([], 5)).toBe('')
  })
})

describe('resample', () => {
  const moments = [
    { timeMs: 0, value: 1 },
    { timeMs: 1, value: 9 },
    { timeMs: 2, value: 3 },
    { timeMs: 30, value: 4 },
    { timeMs: 40, value: 0 },
  ]

  it('takes the largest of each stretch, and the last one where there is none', () => {
    expect(resample(moments, 4)).toEqual([9, 3, 3, 4])
  })

  it('gives as many values as asked for', () => {
    expect(resample(moments, 56)).toHaveLength(56)
    expect(resample(moments, 56).at(-1)).toBe(0)
    expect(resample([{ timeMs: 5, value: 2 }], 3)).toEqual([2, 2, 2])
    expect(resample([], 3)).toEqual([])
  })
})
