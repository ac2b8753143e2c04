export interface Line {
  name: string
  points: [number, number][]
}

export function lineChart(chart: {
  title: string
  x: string
  y: string
  lines: Line[]
  stepped?: boolean
  width?: number
  height?: number
}): Promise<string>
