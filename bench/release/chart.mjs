/** Line charts as SVG, without a browser: figures in, text out. */
import * as vega from 'vega'
import { compile } from 'vega-lite'

/**
 * A line of a chart: its name in the legend, and its points as pairs of `x` and `y`.
 * @typedef {{ name: string, points: [number, number][] }} Line
 */

/**
 * What a chart shows.
 * @typedef {object} Chart
 * @property {string} title
 * @property {string} x title of the axis, with the unit
 * @property {string} y title of the axis, with the unit
 * @property {Line[]} lines
 * @property {boolean} [stepped] whether a line stays level until its next point. Default false: it is straight between them
 * @property {number} [width] of the plot, in pixels. Default 640
 * @property {number} [height] of the plot, in pixels. Default 240
 */

/**
 * @param {Chart} chart
 * @returns {Promise<string>} the SVG
 */
export function lineChart(chart) {
  return lineCharts([chart])
}

/**
 * One below the other, with one legend: a name has the same colour in all of them.
 * @param {Chart[]} charts
 * @returns {Promise<string>} the SVG
 */
export async function lineCharts(charts) {
  const names = [...new Set(charts.flatMap(({ lines }) => lines.map(({ name }) => name)))]
  const units = charts.map(chart => unitOf(chart, names))
  const spec = /** @type {import('vega-lite').TopLevelSpec} */ ({
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'white',
    ...(units.length === 1 ? units[0] : { vconcat: units }),
    config: { font: 'sans-serif', legend: { orient: 'bottom', labelLimit: 0 }, axis: { gridOpacity: 0.4 } },
  })
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' })
  try {
    return await view.toSVG()
  } finally {
    view.finalize()
  }
}

/**
 * @param {Chart} chart
 * @param {string[]} names of all lines, in their order
 */
function unitOf({ title, x, y, lines, stepped = false, width = 640, height = 240 }, names) {
  const values = lines.flatMap(({ name, points }) => points.map(([px, py]) => ({ x: px, y: py, name })))
  return {
    title: { text: title, anchor: 'start', fontSize: 14 },
    width,
    height,
    data: { values },
    mark: { type: 'line', strokeWidth: 2, interpolate: stepped ? 'step-after' : 'linear' },
    encoding: {
      x: { field: 'x', type: 'quantitative', title: x },
      y: { field: 'y', type: 'quantitative', title: y },
      color: {
        field: 'name',
        type: 'nominal',
        sort: names,
        scale: { domain: names, scheme: 'tableau10' },
        title: null,
      },
      order: { field: 'x' },
    },
  }
}
