/** What the agent's parts use of Node's global `Buffer`: bytes of text, of base64url, and of other bytes. */
const PageBuffer = {
  from(content: string | Uint8Array, encoding: 'utf8' | 'base64url' = 'utf8'): Uint8Array {
    if (typeof content !== 'string') return content
    if (encoding === 'utf8') return new TextEncoder().encode(content)
    const base64 = content.replaceAll('-', '+').replaceAll('_', '/')
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
  },
  byteLength: (text: string): number => new TextEncoder().encode(text).length,
}

const scope = globalThis as { process?: object }

Object.assign(globalThis, {
  Buffer: PageBuffer,
  // A worker has one already (process.ts). A page is in no container that anybody limits.
  process: scope.process ?? { env: {}, constrainedMemory: () => 0 },
})
