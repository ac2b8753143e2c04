import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // A process for each file: what one test leaves in the process (mappings, Workers) cannot reach another file.
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Tests of one file that say `concurrent`: each is a process.
    maxConcurrency: 4,
    // `npm run coverage`. What the figure leaves out: docs/testing.md.
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      reporter: ['text', 'lcovonly'],
      reportsDirectory: 'coverage',
    },
  },
})
