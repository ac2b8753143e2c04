/**
 * Makes docs/api of the docstrings in the published types (`dist`), by TypeDoc. Build first.
 *
 * ```sh
 * node docs/make-api.mjs          # writes docs/api
 * node docs/make-api.mjs --check  # writes nothing, and fails if docs/api is not up to date
 * ```
 *
 * Both fail if a public name has no docstring, or if a docstring does not name a parameter. For tests, `--root FOLDER` is in the place of
 * the package's folder, and `--out FOLDER` in the place of docs/api.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { register } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** What users import: where its types are, and the name that TypeDoc gives it. */
const MODULES = [
  { name: 'offheap', types: 'index.d.cts', given: 'index' },
  { name: 'offheap/heap', types: 'heap/index.d.cts', given: 'heap' },
  { name: 'offheap/testing', types: 'testing/index.d.cts', given: 'testing' },
]

/** Parameters that their name and type say all about. */
const EVIDENT = ['options', 'message', 'event', 'code']

// TypeDoc needs the programming interface of TypeScript, which version 7 does not have.
const useOlder =
  "export const resolve = (name, context, next) => next(name === 'typescript' ? 'typescript-5.9' : name, context)"
register(`data:text/javascript,${encodeURIComponent(useOlder)}`)
const { Application, ReflectionKind } = await import('typedoc')

const { values } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    root: { type: 'string', default: ROOT },
    out: { type: 'string', default: join(ROOT, 'docs/api') },
  },
})

const app = await Application.bootstrapWithPlugins({
  plugin: ['typedoc-plugin-markdown'],
  entryPoints: MODULES.map(({ types }) => join(values.root, 'dist', types)),
  tsconfig: join(values.root, 'tsconfig.docs.json'),
  name: 'API',
  readme: 'none',
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableSources: true,
  disableGit: true,
  githubPages: false,
  logLevel: 'Warn',
  validation: { notDocumented: true, notExported: true, invalidLink: true },
  requiredToBeDocumented: [
    'Class',
    'Interface',
    'Function',
    'Method',
    'Property',
    'TypeAlias',
    'Accessor',
    'Constructor',
    'Variable',
  ],
  // Means nothing to a user: how the library tells kinds of numbers apart.
  intentionallyNotExported: ['Unit'],
  outputFileStrategy: 'modules',
  entryFileName: 'README',
  hidePageHeader: true,
  hideBreadcrumbs: true,
  // Its own names of headings are not always those of GitHub.
  useHTMLAnchors: true,
  expandParameters: true,
  parametersFormat: 'table',
  typeDeclarationFormat: 'table',
})
const project = await app.convert()
if (project === undefined) fail('TypeDoc could not read the types. Build first: npm run compile')
for (const { name, given } of MODULES) {
  const module = project.getChildByName(given)
  if (module === undefined) fail(`TypeDoc found no module ${given}`)
  else module.name = name
}

// Base classes that are not public mean nothing to a user.
const reflections = Object.values(project.reflections)
const hidden = new Set()
for (const reflection of reflections) {
  const [base] = reflection.extendedTypes ?? []
  if (base === undefined || base.reflection !== undefined || base.package !== 'offheap') continue
  hidden.add(base.name)
  delete reflection.extendedTypes
  delete reflection.typeHierarchy
}
for (const reflection of reflections) {
  for (const key of ['inheritedFrom', 'overwrites']) {
    if (hidden.has(reflection[key]?.name.split('.')[0])) delete reflection[key]
  }
}

app.validate(project)
const silent = project.getReflectionsByKind(ReflectionKind.SomeSignature).flatMap(silentParametersOf)
for (const each of silent) app.logger.warn(`The docstring of ${each} does not name this parameter`)
if (app.logger.hasErrors() || app.logger.hasWarnings()) fail('Each public name needs a docstring.')

if (!values.check) {
  rmSync(values.out, { recursive: true, force: true })
  await app.outputs.writeOutput({ name: 'markdown', path: values.out }, project)
} else {
  const made = mkdtempSync(join(tmpdir(), 'offheap-api-'))
  try {
    await app.outputs.writeOutput({ name: 'markdown', path: made }, project)
    const stale = differencesOf(made, values.out)
    if (stale.length > 0) fail(`docs/api is not up to date: ${stale.join(', ')}. Run npm run docs:api`)
  } finally {
    rmSync(made, { recursive: true })
  }
}

function fail(message) {
  console.error(message)
  process.exit(1)
}

/** The parameters that the docstring of a function does not name. */
function silentParametersOf(signature) {
  if (signature.kind === ReflectionKind.ConstructorSignature || signature.comment === undefined) return []
  const text = JSON.stringify([signature.comment.summary, signature.comment.blockTags])
  return (signature.parameters ?? [])
    .filter(({ name }) => !EVIDENT.includes(name) && !text.includes(`\`${name}\``))
    .map(({ name }) => `${signature.getFullName()}(${name})`)
}

/** The files that two folders do not have alike. */
function differencesOf(one, other) {
  const list = folder =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(file => file.endsWith('.md'))
  const files = new Set([...list(one), ...list(other)])
  const read = (folder, file) => {
    try {
      return readFileSync(join(folder, file), 'utf8')
    } catch {
      // It is in one folder only.
      return undefined
    }
  }
  return [...files].filter(file => read(one, file) !== read(other, file))
}
