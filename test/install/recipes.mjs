/**
 * Follows docs/bundlers.md: for each section it makes a project in which the package is installed, writes the files, and runs the
 * commands. Where the section says that a folder can be moved, that folder runs alone afterwards.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cleanEnvironment, run, runWell } from './processes.mjs'
import { makeProject } from './project.mjs'

const PAGE = new URL('../../docs/bundlers.md', import.meta.url)

/** The lines of Node for a section; the present one if there are none. */
const LINES = { 'TypeScript without a compiler': [22, 24, 26] }
/** What the last command prints, where it does not run the page's program. */
const PRINTED = {
  Jest: /Tests: +1 passed, 1 total/,
  'Jest, ES modules': /Tests: +1 passed, 1 total/,
  'ts-jest': /Tests: +1 passed, 1 total/,
  Vitest: /Tests +1 passed/,
  'node:test': /pass 1\n/,
}

/** Sections whose last command starts a server, and the path that answers. */
const SERVED = { 'Next.js': '/api' }

/** The sections of the page with something to run: name, files by name, commands, and the folder that can be moved. */
function readSections() {
  const [introduction, ...sections] = readFileSync(PAGE, 'utf8').split(/^## /m)
  const common = filesIn(introduction)
  const read = sections.map(text => ({
    name: text.slice(0, text.indexOf('\n')),
    files: { ...common, ...filesIn(text) },
    commands: blocksIn(text, 'sh').join('').trim(),
    moved: /`([\w-]+)` can be moved/.exec(text)?.[1],
  }))
  return read.filter(({ commands }) => commands !== '')
}

function blocksIn(text, language) {
  return [...text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, name]) => name === language)
    .map(([, , body]) => body)
}

/** The blocks whose first line is a comment with a file's name. */
function filesIn(text) {
  const named = ['js', 'ts']
    .flatMap(language => blocksIn(text, language))
    .filter(body => /^\/\/ \S+\n/.test(body))
  return Object.fromEntries(named.map(body => [/^\/\/ (\S+)/.exec(body)[1], body]))
}

async function environmentFor(tools, line) {
  const node = line === undefined ? process.execPath : await tools.node(line)
  const folders = [node, await tools.bun(), await tools.deno()].map(file => path.dirname(file))
  const quiet = {
    npm_config_fund: 'false',
    npm_config_audit: 'false',
    npm_config_loglevel: 'error',
    NO_COLOR: '1',
    CI: 'true',
    NEXT_TELEMETRY_DISABLED: '1',
  }
  return { ...cleanEnvironment(), ...quiet, PATH: `${folders.join(':')}:${process.env.PATH}` }
}

/** A port of this machine that nobody listens on. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  return port
}

/** Starts a server by that command. Resolves with what it answers, and all that it printed. */
async function askServer(command, urlPath, { cwd, env }) {
  const port = await freePort()
  const stop = new AbortController()
  let answer = ''
  const running = run('sh', ['-exc', command], {
    cwd,
    env: { ...env, PORT: String(port), HOSTNAME: '127.0.0.1' },
    signal: stop.signal,
  }).finally(() => stop.abort())
  while (answer === '' && !stop.signal.aborted) {
    await sleep(100)
    answer = await fetch(`http://127.0.0.1:${port}${urlPath}`).then(
      response => response.text(),
      () => '',
    )
  }
  stop.abort()
  return `${(await running).output}\n${answer}`
}

/** Runs the last command of a section. Resolves with what it printed, or with what the server that it started answers. */
function runLast({ name, commands }, options) {
  const last = commands.slice(commands.lastIndexOf('\n') + 1)
  if (Object.hasOwn(SERVED, name)) return askServer(last, SERVED[name], options)
  return runWell('sh', ['-exc', last], options)
}

/** Runs the last command again, with the folder that can be moved in a place of its own, and the project gone. */
async function runMoved(section, project, env) {
  const place = `${project}-moved`
  mkdirSync(place)
  renameSync(path.join(project, section.moved), path.join(place, section.moved))
  renameSync(project, `${project}-gone`)
  return runLast(section, { cwd: place, env })
}

/** Follows one section. Resolves with the project's folder. */
async function follow(section, folder, { tools, tarball }, line) {
  const name = `${section.name} ${line ?? ''}`.trim().toLowerCase().replaceAll(/\W+/g, '-')
  const project = await makeProject(path.join(folder, name), tarball)
  for (const [file, text] of Object.entries(section.files)) {
    mkdirSync(path.join(project, path.dirname(file)), { recursive: true })
    writeFileSync(path.join(project, file), text)
  }
  const env = await environmentFor(tools, line)
  const printed = PRINTED[section.name] ?? /it works/
  const before = section.commands.slice(0, section.commands.lastIndexOf('\n') + 1)
  await runWell('sh', ['-exc', before], { cwd: project, env, seconds: 300 })
  assert.match(await runLast(section, { cwd: project, env }), printed)
  if (section.moved !== undefined) assert.match(await runMoved(section, project, env), printed)
  return project
}

/** Two test files in one process have each a copy of the package's modules, over one binary. */
async function runTwoJestFiles(project, env) {
  const file = name => `
    const { Arena } = require('offheap')
    const arena = new Arena({ name: '${name}' })
    test('keeps what is written', () => {
      const blocks = Array.from({ length: 50 }, (_, i) => arena.alloc(64 * 1024).fill(i))
      blocks.forEach((block, i) => expect(block.every(byte => byte === i)).toBe(true))
      for (const block of blocks) arena.free(block)
      expect(arena.stats().liveBlocks).toBe(0)
    })`
  for (const name of ['one', 'two']) writeFileSync(path.join(project, `${name}.test.js`), file(name))
  const output = await runWell('npx', ['jest', '--runInBand', 'one', 'two'], { cwd: project, env })
  assert.match(output, /Tests: +2 passed, 2 total/, output)
}

/** In Deno the process goes on, whether the addon can be loaded or not. */
async function runInDeno(project, env) {
  writeFileSync(
    path.join(project, 'arena.mjs'),
    `import { Arena, ArenaError } from 'offheap'
    try {
      new Arena().close()
      console.log('it works')
    } catch (error) {
      if (!(error instanceof ArenaError)) throw error
      console.log('clean', error.code)
    }`,
  )
  const { code, output } = await run('deno', ['run', '--allow-all', 'arena.mjs'], { cwd: project, env })
  assert.equal(code, 0, output)
  assert.match(output, /^it works|^clean ERR_ARENA_(NOT_SUPPORTED|UNSUPPORTED_PLATFORM)/m, output)
  return output.trim()
}

const MORE = {
  Jest: { name: 'Jest, two test files in one process', check: runTwoJestFiles },
  Deno: { name: 'Deno, an arena', check: runInDeno },
}

/** Adds the cases of the page: of the sections whose names hold `context.section`. */
export function recipeCases(context, runCase) {
  const folder = path.join(context.folder, 'recipes')
  const sections = readSections().filter(({ name }) => name.toLowerCase().includes(context.section))
  return sections.flatMap(section =>
    (LINES[section.name] ?? [undefined]).map(async line => {
      let project
      const suffix = line === undefined ? '' : ` on Node ${line}`
      await runCase(`recipe: ${section.name}${suffix}`, async () => {
        project = await follow(section, folder, context, line)
      })
      const more = MORE[section.name]
      if (more !== undefined && project !== undefined)
        await runCase(`recipe: ${more.name}`, async () =>
          more.check(project, await environmentFor(context.tools)),
        )
    }),
  )
}
