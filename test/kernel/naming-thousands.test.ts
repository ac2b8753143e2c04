/** Names of very many mappings: each may keep the kernel from merging it with its neighbours, so there is an end to them. */
import { expect, it } from 'vitest'
import { askedBy } from './names-asked.js'

it('has no name after some thousand', async () => {
  expect((await askedBy('thousands', 0)).length).toBe(4096)
}, 300_000)
