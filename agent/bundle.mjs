import { build } from 'esbuild'

// The control process in one file: modules that are loaded one by one cost 8 MB more of memory that stays
// (npm run -s bench -- agent). Runs after the compiler, on what it wrote.

await build({
  entryPoints: ['agent/dist/process.js'],
  outdir: 'agent/dist/control',
  bundle: true,
  // What is loaded when needed stays so.
  splitting: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  // Names stay: stack traces are read by people.
  minifyWhitespace: true,
  minifySyntax: true,
  // Libraries in CommonJS ask for Node's own modules. Not by its own name: a module may import that itself.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
  logLevel: 'warning',
})
