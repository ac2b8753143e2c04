/**
 * Joins the declarations that `tsc` wrote into one file for each entry of the package. So what is not public is not published,
 * and older compilers read no declaration that they do not need. `.d.cts` is for importers of the CommonJS module. `.d.ts` is for
 * those of the ES module, and hands on the names of the other.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Extractor, ExtractorConfig, ExtractorLogLevel, type IConfigFile } from '@microsoft/api-extractor'

/** Names that the types of Node declare, for compilers whose `lib` does not. */
const NODE_NAMES = /\b(?:Buffer|NodeJS\.\w+)\b|\bSymbol\.(?:dispose|asyncDispose)\b/

/** Stands for the main entry in the declarations of another one, which must not declare `Arena` again. No file has this name. */
const MAIN_ENTRY = 'main-entry'

/**
 * Makes declarations ready to be joined. Takes out the base class `MadeOf`, and what `BytesIn` knows of it: they add nothing that users could see. Keeps the types
 * that come from the main entry where they are.
 */
function prepare(folder: string): void {
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.d.ts')) continue
    const text = readFileSync(join(folder, file), 'utf8')
    const prepared = text
      .replace(/^import \{ MadeOf \} from .*\n/m, '')
      .replace(/ extends MadeOf<.*?>(?= \{$| implements )/gm, '')
      .replace(/\bBytesIn<\w+>/g, 'BytesIn')
      .replaceAll("from '../index.js'", `from '${MAIN_ENTRY}'`)
    if (prepared !== text) writeFileSync(join(folder, file), prepared)
  }
}

/**
 * Joins what `entry` (`heap/index`) declares. `compiled` is the folder of all declarations, `dist` that of the joined ones. Throws
 * an `Error` with the compiler's messages if they cannot be read.
 */
function joinEntry(entry: string, compiled: string, dist: string): void {
  const configObject: IConfigFile = {
    projectFolder: import.meta.dirname,
    mainEntryPointFilePath: join(compiled, `${entry}.d.ts`),
    compiler: {
      overrideTsconfig: {
        compilerOptions: {
          target: 'es2022',
          lib: ['es2023', 'esnext.disposable'],
          module: 'nodenext',
          moduleResolution: 'nodenext',
          types: ['node'],
          strict: true,
          skipLibCheck: true,
        },
        files: [join(compiled, `${entry}.d.ts`)],
      },
    },
    newlineKind: 'lf',
    dtsRollup: { enabled: true, untrimmedFilePath: join(dist, `${entry}.d.ts`) },
    apiReport: { enabled: false, reportFileName: '' },
    docModel: { enabled: false },
    tsdocMetadata: { enabled: false },
    messages: {
      compilerMessageReporting: { default: { logLevel: ExtractorLogLevel.Error } },
      extractorMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
      tsdocMessageReporting: { default: { logLevel: ExtractorLogLevel.None } },
    },
  }
  const config = ExtractorConfig.prepare({
    configObject,
    configObjectFullPath: undefined,
    packageJsonFullPath: join(import.meta.dirname, 'package.json'),
  })
  const messages: string[] = []
  const { succeeded } = Extractor.invoke(config, {
    localBuild: true,
    messageCallback: message => {
      if (message.logLevel === ExtractorLogLevel.Error)
        messages.push(message.formatMessageWithLocation(import.meta.dirname))
      message.handled = true
    },
  })
  if (!succeeded) throw new Error(messages.join('\n'))
  const file = join(dist, `${entry}.d.ts`)
  const joined = readFileSync(file, 'utf8').replaceAll(`'${MAIN_ENTRY}'`, "'../index.cjs'")
  // Compilers from TypeScript 6 on load the types of Node only if somebody asks for them.
  const reference = NODE_NAMES.test(joined.replace(/\/\*[\s\S]*?\*\//g, ''))
    ? '/// <reference types="node" />\n'
    : ''
  writeFileSync(join(dist, `${entry}.d.cts`), reference + joined)
  writeFileSync(file, `export * from './${basename(entry)}.cjs'\n`)
}

/** Joins the declarations of all entries. */
export function joinDeclarations(entries: readonly string[], compiled: string, dist: string): void {
  prepare(compiled)
  for (const entry of entries) joinEntry(entry, compiled, dist)
}
