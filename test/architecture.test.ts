import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SRC = join(ROOT, 'src')
const DIST = join(ROOT, 'dist')

/**
 * Each room and what it may import besides itself, from the ground up. A room is a folder of src; `index` is the one file
 * that lies directly in src. What is not named here is forbidden: heap and memory never meet, nor do buffers and release,
 * and nothing imports a room above its own.
 */
const GROUND = ['base']
const WITH_PAGES = ['heap', 'memory', 'notices', ...GROUND]
const MAY_IMPORT: Record<string, string[]> = {
  base: [],
  heap: GROUND,
  memory: GROUND,
  notices: GROUND,
  buffers: WITH_PAGES,
  'buffers/debug': ['buffers', ...WITH_PAGES],
  'buffers/records': ['buffers', ...WITH_PAGES],
  release: WITH_PAGES,
  supply: ['buffers', 'release', ...WITH_PAGES],
  process: ['release', ...WITH_PAGES],
  bytes: ['buffers', ...GROUND],
  pools: ['buffers', ...GROUND],
  arena: ['bytes', 'pools', 'process', 'supply', 'buffers/debug', 'buffers', 'release', ...WITH_PAGES],
  store: ['arena', 'process', 'supply', 'buffers/records', 'buffers', 'release', ...WITH_PAGES],
  report: ['arena', 'process', 'memory', ...GROUND],
  index: [
    'report',
    'store',
    'arena',
    'bytes',
    'pools',
    'process',
    'buffers',
    'release',
    'notices',
    ...GROUND,
  ],
  replay: ['index', ...GROUND],
  testing: ['index', ...GROUND],
  cli: ['replay', 'report', ...GROUND],
}

/** Single files that a room may import although it may not import the rest of theirs. */
const MAY_IMPORT_FILES: Record<string, string[]> = {
  replay: ['heap/index.ts'],
}

interface Import {
  /** Path below src. */
  file: string
  specifier: string
}

function sourceFiles(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.ts'))
    .sort()
}

/** Static and dynamic imports and re-exports, of types too. */
function importsIn(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '')
  const pattern = /(?:\bfrom|\bimport|\bimport\s*\(|\brequire\s*\()\s*(['"])([^'"\n]+)\1/g
  return [...code.matchAll(pattern)].map(match => match[2])
}

function importsOf(file: string): Import[] {
  return importsIn(readFileSync(join(SRC, file), 'utf8')).map(specifier => ({ file, specifier }))
}

function roomOf(file: string): string {
  const folder = dirname(file)
  return folder === '.' ? 'index' : folder
}

/** The file below src that a relative import names. */
function targetOf({ file, specifier }: Import): string {
  return relative(SRC, resolve(SRC, dirname(file), specifier)).replace(/\.js$/, '.ts')
}

/** Why an import is not allowed, or undefined where it is. */
function faultOf(imported: Import): string | undefined {
  if (!imported.specifier.startsWith('.')) return undefined
  const room = roomOf(imported.file)
  const target = targetOf(imported)
  const targetRoom = roomOf(target)
  if (targetRoom === room || MAY_IMPORT[room]?.includes(targetRoom)) return undefined
  if (MAY_IMPORT_FILES[room]?.includes(target)) return undefined
  return `src/${imported.file} imports '${imported.specifier}': ${room} may not import ${targetRoom}`
}

function faultsOf(imports: Import[]): string[] {
  return imports.map(faultOf).filter(fault => fault !== undefined)
}

describe('importsIn', () => {
  it('finds every kind of import', () => {
    const text = `
      import { a } from './a.js'
      import type { B } from "./b.js"
      import {
        c,
      } from './c.js'
      export { d } from './d.js'
      export type * from './e.js'
      import './f.js'
      const g = await import('./g.js')
      const h = require('./h.cjs')
      // import { no } from './comment.js'
      /* import { no } from './comment.js' */
    `
    const letters = [...'abcdefg'].map(letter => `./${letter}.js`)
    expect(importsIn(text)).toEqual([...letters, './h.cjs'])
  })
})

describe('the rooms', () => {
  it('are all known', () => {
    expect(new Set(sourceFiles().map(roomOf))).toEqual(new Set(Object.keys(MAY_IMPORT)))
  })

  it('import only what stands below them', () => {
    expect(faultsOf(sourceFiles().flatMap(importsOf))).toEqual([])
  })

  it.each([
    ['heap/heap.ts', '../memory/segment.js', 'heap may not import memory'],
    ['memory/segment.ts', '../heap/heap.js', 'memory may not import heap'],
    ['buffers/windows.ts', '../release/policy.js', 'buffers may not import release'],
    ['buffers/windows.ts', './debug/debug-layout.js', 'buffers may not import buffers/debug'],
    ['buffers/windows.ts', './records/records.js', 'buffers may not import buffers/records'],
    ['release/policy.ts', '../buffers/owner.js', 'release may not import buffers'],
    ['release/releaser.ts', '../supply/limits.js', 'release may not import supply'],
    ['process/environment.ts', '../supply/limits.js', 'process may not import supply'],
    ['supply/supply.ts', '../process/environment.js', 'supply may not import process'],
    ['base/units.ts', '../heap/heap.js', 'base may not import heap'],
    ['buffers/owner.ts', '../arena/arena.js', 'buffers may not import arena'],
    ['pools/pool.ts', '../arena/arena.js', 'pools may not import arena'],
    ['arena/arena.ts', '../cli/main.js', 'arena may not import cli'],
    ['replay/passes.ts', '../cli/main.js', 'replay may not import cli'],
    ['testing/resident.ts', '../arena/arena.js', 'testing may not import arena'],
    ['index.ts', './testing/resident.js', 'index may not import testing'],
    ['cli/main.ts', '../arena/arena.js', 'cli may not import arena'],
    ['cli/main.ts', '../heap/heap.js', 'cli may not import heap'],
  ])('are told apart: %s may not import %s', (file, specifier, fault) => {
    expect(faultsOf([{ file, specifier }])).toEqual([`src/${file} imports '${specifier}': ${fault}`])
  })

  it('are files that exist', () => {
    // `prebuilds.cjs` is CommonJS by intent.
    const files = new Set([...sourceFiles(), 'memory/prebuilds.cjs'])
    const missing = sourceFiles()
      .flatMap(importsOf)
      .filter(imported => imported.specifier.startsWith('.') && !files.has(targetOf(imported)))
      .map(({ file, specifier }) => `src/${file} imports '${specifier}', which is no file`)
    expect(missing).toEqual([])
  })
})

describe('files', () => {
  const graphOf = (imports: Import[]): Map<string, string[]> => {
    const graph = new Map<string, string[]>()
    for (const imported of imports) {
      if (!imported.specifier.startsWith('.')) continue
      graph.set(imported.file, [...(graph.get(imported.file) ?? []), targetOf(imported)])
    }
    return graph
  }

  /** The first circle that is met, as the files along it, or undefined. */
  function circleIn(graph: Map<string, string[]>): string[] | undefined {
    const done = new Set<string>()
    const visit = (file: string, path: string[]): string[] | undefined => {
      if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
      if (done.has(file)) return undefined
      for (const target of graph.get(file) ?? []) {
        const circle = visit(target, [...path, file])
        if (circle !== undefined) return circle
      }
      done.add(file)
      return undefined
    }
    for (const file of graph.keys()) {
      const circle = visit(file, [])
      if (circle !== undefined) return circle
    }
    return undefined
  }

  it('import each other in no circle, not even for types', () => {
    expect(circleIn(graphOf(sourceFiles().flatMap(importsOf)))).toBeUndefined()
  })

  it('in a circle are found', () => {
    const imports = [
      { file: 'base/a.ts', specifier: './b.js' },
      { file: 'base/b.ts', specifier: './c.js' },
      { file: 'base/c.ts', specifier: './b.js' },
    ]
    expect(circleIn(graphOf(imports))).toEqual(['base/b.ts', 'base/c.ts', 'base/b.ts'])
  })
})

describe('the heap entry', () => {
  /** Everything that running an entry loads, types included. */
  function reachableFrom(entry: string): string[] {
    const found = new Set([entry])
    for (const file of found) {
      for (const imported of importsOf(file)) {
        if (imported.specifier.startsWith('.')) found.add(targetOf(imported))
      }
    }
    return [...found]
  }

  it('reaches heap and base only', () => {
    const files = reachableFrom('heap/index.ts')
    expect(new Set(files.map(roomOf))).toEqual(new Set(['heap', 'base']))
  })

  it('needs no addon and no part of Node but util.inspect, for messages', () => {
    const external = reachableFrom('heap/index.ts')
      .flatMap(importsOf)
      .filter(({ specifier }) => !specifier.startsWith('.'))
      .map(({ file, specifier }) => `src/${file} imports '${specifier}'`)
    expect(external).toEqual(["src/base/errors.ts imports 'node:util'"])
  })
})

describe('what others use of a BlockHeap', () => {
  /** Figures of the books that are meant for whoever has a heap. */
  const INHERITED = [
    'dirtyPages limitPages managedPages pageBytes peakCommittedPages ranges refaultedPages refusal usedPages',
    'granuleShift pageGranules zeroedBlock wasRebuilt',
  ].flatMap(names => names.split(' '))

  /** The names that code reads of what it calls heap, also by destructuring. */
  function usesIn(text: string): string[] {
    const read = [...text.matchAll(/\bheap\??\.(?!js\b)(\w+)/gi)].map(([, name]) => name)
    const taken = [...text.matchAll(/const \{ ([\w, ]+) \} = (?:this\.#)?heap\b/g)]
    return [...read, ...taken.flatMap(([, names]) => names.split(', '))]
  }

  it('is what its file declares, and some figures of the books', () => {
    const face = readFileSync(join(SRC, 'heap/block-heap.ts'), 'utf8')
    const own = [...face.matchAll(/^ {2}(?:override |get )*(\w+)\(/gm)].map(([, name]) => name)
    expect(own).toContain('allocate')
    const users = sourceFiles().filter(file => !['heap', 'replay', 'cli'].includes(roomOf(file)))
    const used = new Set(users.flatMap(file => usesIn(readFileSync(join(SRC, file), 'utf8'))))
    expect(used).toContain('flush')
    expect([...used].filter(name => !own.includes(name) && !INHERITED.includes(name))).toEqual([])
  })
})

describe('the life of a block', () => {
  const LIVES = /\bheap\.(allocate|allocateAligned|allocateWithRoom|takeLowest|resize|free|giveUp)\(/g

  /** What all ways to live share, and each of them. */
  const FILES = [
    'buffers/blocks.ts',
    'buffers/block-buffers.ts',
    'buffers/debug/debug-buffers.ts',
    'buffers/records/record-buffers.ts',
    // What moves a record takes its new block and gives the old one back.
    'store/compactor.ts',
    'store/moves.ts',
  ]

  it('is in these files, but for the warm paths of allocUnsafe', () => {
    const outside = sourceFiles().filter(file => !['heap', 'replay', 'cli'].includes(roomOf(file)))
    const found = outside.flatMap(file =>
      [...readFileSync(join(SRC, file), 'utf8').matchAll(LIVES)].map(([, name]) => ({ file, name })),
    )
    expect(new Set(found.map(({ file }) => file))).toEqual(
      new Set([...FILES, 'arena/arena.ts', 'store/store.ts']),
    )
    expect(found.filter(({ file }) => !FILES.includes(file))).toEqual([
      { file: 'arena/arena.ts', name: 'allocate' },
      { file: 'store/store.ts', name: 'allocate' },
      { file: 'store/store.ts', name: 'resize' },
    ])
  })
})

describe('the files of the heap that other rooms import', () => {
  it('are few', () => {
    const users = sourceFiles().filter(file => !['heap', 'index'].includes(roomOf(file)))
    const imported = new Set(users.flatMap(importsOf).map(targetOf))
    const ofHeap = [...imported].filter(target => target.startsWith('heap/')).sort()
    // `layout`: how long a region is, which the owner of the memory has to know.
    // `survey` and `lowest`: what moves, and where to, for whoever moves blocks.
    const known = 'block-heap index layout lowest survey wiping-heap'.split(' ')
    expect(ofHeap).toEqual(known.map(name => `heap/${name}.ts`))
  })
})

describe('modules that load the addon', () => {
  it('are one', () => {
    const loaders = sourceFiles().filter(file =>
      /createRequire|\bdlopen\b|prebuilds\.cjs'|\.node'/.test(readFileSync(join(SRC, file), 'utf8')),
    )
    expect(loaders).toEqual(['memory/binary.ts'])
  })
})

describe('published types', () => {
  const declarations = existsSync(DIST)
    ? readdirSync(DIST, { recursive: true, encoding: 'utf8' }).filter(path => /\.d\.c?ts$/.test(path))
    : []

  it('are built', () => {
    for (const entry of ['index', 'heap/index'])
      for (const extension of ['d.ts', 'd.cts']) expect(declarations).toContain(`${entry}.${extension}`)
  })

  it('have no any', () => {
    const found = declarations.flatMap(path => {
      const code = readFileSync(join(DIST, path), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '')
      return code
        .split('\n')
        .filter(line => /[:<|&,(=[]\s*any\b|\bany\[\]/.test(line.replace(/\/\/.*$/, '')))
        .map(line => `dist/${path}: ${line.trim()}`)
    })
    expect(found).toEqual([])
  })
})
