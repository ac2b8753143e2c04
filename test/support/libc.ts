/** The C library of this process. */

/** musl, not glibc: Node itself says which version of glibc there is. */
export const isMusl = glibcVersion() === undefined

/**
 * Those of the cases that this C library allows: musl never moves the program break, so there all go that name the source `sbrk`,
 * and this says so.
 */
export function possibleHere<T>(cases: readonly T[]): T[] {
  if (!isMusl) return [...cases]
  const possible = cases.filter(one => !JSON.stringify(one).includes('sbrk'))
  if (possible.length < cases.length)
    console.warn(
      `${cases.length - possible.length} cases of the program break are left out: musl never moves it`,
    )
  return possible
}

function glibcVersion(): string | undefined {
  // Without this, the report looks up the name of every address that the process is connected to.
  Object.assign(process.report, { excludeNetwork: true })
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime
}
