/**
 * Text for people: bytes, counts, tables and one-line charts. Pure functions of their arguments; nothing here
 * measures or prints.
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
const UNIT_STEP = 1024

/**
 * Returns `6819139` as `'6.5 MiB'`: with one decimal, or none for plain bytes. A negative number keeps its
 * sign.
 */
export function formatBytes(bytes: number): string {
  let value = Math.abs(bytes)
  let unit = 0
  // From 1023.95 on it would be shown as 1024.0.
  for (; value >= UNIT_STEP - 0.05 && unit < UNITS.length - 1; unit++) value /= UNIT_STEP
  return `${bytes < 0 ? '-' : ''}${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}

/** Returns `304717` as `'304,717'`. */
export function formatCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',')
}

/**
 * Returns rows of cells as lines of aligned columns, two spaces apart. The columns in `leftColumns` are set
 * left, all others right, as numbers are. Lines have no spaces at their ends.
 */
export function formatTable(
  rows: readonly (readonly string[])[],
  leftColumns: readonly number[] = [0],
): string {
  const widths: number[] = []
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  }
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        leftColumns.includes(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column]),
      )
      .join('  ')
      .trimEnd()
  return rows.map(line).join('\n')
}

const BARS = '▁▂▃▄▅▆▇█'

/** Returns one bar for each value, from the lowest at 0 to the full height at `max`. */
export function sparkline(values: readonly number[], max: number): string {
  const bar = (value: number) => {
    const eighth = max > 0 ? Math.round((value / max) * BARS.length) - 1 : 0
    return BARS[Math.min(BARS.length - 1, Math.max(0, eighth))]
  }
  return values.map(bar).join('')
}

/** One moment of a measured quantity. */
export interface Moment {
  timeMs: number
  value: number
}

/**
 * Turns moments at uneven times, oldest first, into `columnCount` values at even times. Each value is the
 * largest within its stretch of time, or the last one before it if nothing was measured in it.
 */
export function resample(moments: readonly Moment[], columnCount: number): number[] {
  if (moments.length === 0) return []
  const first = moments[0].timeMs
  const stretchMs = (moments[moments.length - 1].timeMs - first) / columnCount
  const values: number[] = []
  let index = 0
  let last = moments[0].value
  for (let column = 0; column < columnCount; column++) {
    const end = column === columnCount - 1 ? Number.POSITIVE_INFINITY : first + (column + 1) * stretchMs
    let largest = Number.NEGATIVE_INFINITY
    for (; index < moments.length && moments[index].timeMs < end; index++) {
      last = moments[index].value
      largest = Math.max(largest, last)
    }
    values.push(largest === Number.NEGATIVE_INFINITY ? last : largest)
  }
  return values
}
