/** Where Node's own headers are: beside the running `node` (…/include/node next to …/bin/node), or nowhere we know. */
import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The folder that holds `include/node`, as node-gyp takes it for `nodedir`. */
export function headersBesideNode() {
  const prefix = dirname(dirname(realpathSync(process.execPath)))
  return existsSync(join(prefix, 'include/node/node_api.h')) ? prefix : undefined
}
