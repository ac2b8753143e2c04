/** A registry on this machine with one package: the one that was published to it. It knows nothing else. */
import { createServer } from 'node:http'

async function bodyOf(request) {
  const parts = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts)
}

/**
 * Starts the registry. `requests` has the method and path of each request. `close` ends it.
 *
 * It keeps what `npm publish` sends, as the public registry does, and serves that.
 */
export async function startRegistry() {
  const requests = []
  const documents = new Map()
  const tarballs = new Map()

  function publish(document) {
    for (const [name, { data }] of Object.entries(document._attachments))
      tarballs.set(`/${document.name}/-/${name}`, Buffer.from(data, 'base64'))
    const { _attachments, ...rest } = document
    // Some clients install no version that is younger than a day.
    const long = new Date(Date.now() - 30 * 86_400_000).toISOString()
    const times = Object.keys(rest.versions).map(version => [version, long])
    documents.set(`/${document.name}`, {
      ...rest,
      time: { created: long, modified: long, ...Object.fromEntries(times) },
    })
  }

  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(request.url.split('?')[0])
    requests.push(`${request.method} ${path}`)
    const body = await bodyOf(request)
    if (request.method === 'PUT') {
      publish(JSON.parse(body))
      return response.writeHead(201).end('{}')
    }
    const tarball = tarballs.get(path)
    if (tarball !== undefined) return response.end(tarball)
    const document = documents.get(path)
    response.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' })
    return response.end(JSON.stringify(document ?? { error: 'not found' }))
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  return {
    url: `http://127.0.0.1:${port}/`,
    host: `127.0.0.1:${port}`,
    requests,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
