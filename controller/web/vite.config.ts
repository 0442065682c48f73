import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'
import { liveViteSettings } from './live/vite-settings.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  root: here('.'),
  // The controller serves what lies here.
  build: {
    outDir: here('../dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    reportCompressedSize: false,
    modulePreload: { polyfill: false },
  },
  ...liveViteSettings,
  // `npx vite controller/web` beside a running controller: the page as it is being written.
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8080', ws: true } } },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  logLevel: 'warn',
})
