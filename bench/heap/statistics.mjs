/** Figures of figures. */

/**
 * One figure over all rounds, in the unit of its values.
 * @typedef {{ median: number, min: number, max: number, rounds: number }} Spread
 */

/**
 * The value below which `share` (0 to 1) of `values` lie, between the two nearest where it falls between them.
 * @param {ArrayLike<number>} values
 * @param {number} share
 */
export function quantile(values, share) {
  const sorted = Float64Array.from(values).sort()
  const position = (sorted.length - 1) * share
  const below = Math.floor(position)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (sorted[above] - sorted[below]) * (position - below)
}

/**
 * @param {number[]} values one from each round
 * @returns {Spread}
 */
export function spread(values) {
  return {
    median: quantile(values, 0.5),
    min: Math.min(...values),
    max: Math.max(...values),
    rounds: values.length,
  }
}

/**
 * `undefined` where there is nothing to take the mean of.
 * @param {number[]} values
 */
export function geometricMean(values) {
  if (values.length === 0) return undefined
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}
