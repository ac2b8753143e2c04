/** Takes one measure in a process of its own, and prints its figures as JSON: `child.mjs NAME JOB`. */
const [name, job] = process.argv.slice(2)
/** @type {{ measure: (job: unknown) => unknown }} */
const { measure } = await import(new URL(`measures/${name}.mjs`, import.meta.url).href)
console.log(JSON.stringify(await measure(JSON.parse(job))))
