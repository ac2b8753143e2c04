/**
 * Looks at a file that somebody named as the binary, before the dynamic linker does. The linker says of the
 * binary of another CPU that there is no such file. And where a file is cut off, it ends the process.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'

/** Where the head of a 64-bit ELF file has its fields. Both published platforms are little-endian. */
const HEAD_BYTES = 64
const MACHINE = 18
const SECTIONS_OFFSET = 40
const SECTION_BYTES = 58
const SECTION_COUNT = 60

/** The CPUs of `process.arch` by their numbers in an ELF file. */
const MACHINES: ReadonlyMap<number, string> = new Map([
  [3, 'ia32'],
  [22, 's390x'],
  [21, 'ppc64'],
  [40, 'arm'],
  [62, 'x64'],
  [183, 'arm64'],
  [243, 'riscv64'],
  [258, 'loong64'],
])

/** Says why the file at `path` cannot be the binary, or returns undefined if it may be. */
export function faultOfFile(path: string): string | undefined {
  // Node's `require` takes a file with any other ending for JavaScript, and runs it.
  if (!/\.node$/.test(path)) return 'its name must end with ".node"'
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : undefined
  }
  try {
    const stats = fstatSync(file)
    if (!stats.isFile()) return 'it is not a file'
    const head = Buffer.alloc(HEAD_BYTES)
    return faultOfHead(head.subarray(0, readSync(file, head, 0, HEAD_BYTES, 0)), stats.size)
  } catch {
    // Whoever loads it will say why.
    return undefined
  } finally {
    closeSync(file)
  }
}

function faultOfHead(head: Buffer, sizeBytes: number): string | undefined {
  if (head.length < HEAD_BYTES || head.toString('latin1', 0, 4) !== '\x7fELF') {
    return `it is not a native addon for Linux (an ELF file); it has ${sizeBytes} bytes`
  }
  // The layout of other heads is another one.
  if (head[4] !== 2 || head[5] !== 1) return undefined
  const arch = MACHINES.get(head.readUInt16LE(MACHINE))
  if (arch !== undefined && arch !== process.arch)
    return `it is for ${arch}, and this process runs on ${process.arch}`
  // The table of sections is the last part of the file.
  const sections = head.readUInt16LE(SECTION_BYTES) * head.readUInt16LE(SECTION_COUNT)
  const neededBytes = Number(head.readBigUInt64LE(SECTIONS_OFFSET)) + sections
  if (sizeBytes < neededBytes) return `it is cut off: it has ${sizeBytes} of ${neededBytes} bytes`
  return undefined
}
