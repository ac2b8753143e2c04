/** Measures one figure of one peer, and prints it: `child.mjs CASE ROW PEER`. */
/** @import { Case } from './main.mjs' */

const [caseName, rowName, peer] = process.argv.slice(2)
/** @type {Case} */
const { rows } = await import(new URL(`cases/${caseName}.mjs`, import.meta.url).href)
console.log(JSON.stringify(await rows[rowName].measures[peer]()))
