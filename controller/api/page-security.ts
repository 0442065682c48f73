import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * A page may load and talk to what this controller serves, and nothing else. WebAssembly is compiled for decoding in the
 * page, in workers that bundlers make from blobs. Code sets styles through the DOM, which no policy forbids.
 */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self' blob:",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Without the last two a page has no shared memory, and WebAssembly no threads. */
const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': PAGE_POLICY,
  'referrer-policy': 'no-referrer',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
}

/** The documentation of the API brings its own scripts and a policy that names their digests. */
const OWN_POLICY = '/api/docs'

/** Headers for everything that is not the API's documentation; scripts need them too, where they start workers. */
export async function addPageSecurity(request: FastifyRequest, reply: FastifyReply): Promise<void> {
  reply.header('x-content-type-options', 'nosniff')
  reply.header('cross-origin-resource-policy', 'same-origin')
  if (!request.url.startsWith(OWN_POLICY)) reply.headers(PAGE_HEADERS)
}
