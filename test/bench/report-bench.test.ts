import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { runNode } from '../support/process.js'

const main = fileURLToPath(new URL('../../bench/report/main.mjs', import.meta.url))

it('npm run bench:report shows each case, and what remains of a burst', { timeout: 120_000 }, async () => {
  const { code, stdout, stderr } = await runNode([main])
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  const rows = stdout
    .split('\n')
    .filter(line => line.startsWith('| '))
    .map(line => line.split('|').map(cell => cell.trim()))
  const rssOf = (name: string) => Number(rows.find(row => row[1] === name)?.[2])
  expect(rows.length).toBe(10)
  expect(rssOf('fresh')).toBeLessThan(150)
  expect(rssOf('1 GiB in an arena')).toBeGreaterThan(1024)
  expect(rssOf('the same in an arena')).toBeLessThan(rssOf('240 MiB of Buffers, 1 in 64 kept') - 100)
})
