import { build } from 'esbuild'

// The control process in one file: modules that are loaded one by one cost 8 MB more of memory that stays
// (npm run -s bench -- agent). Runs after the compiler, on what it wrote.

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  // Names stay: stack traces are read by people.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
}

await build({
  ...common,
  entryPoints: ['agent/dist/process.js'],
  outdir: 'agent/dist/control',
  // What is loaded when needed stays so.
  splitting: true,
  format: 'esm',
  // Libraries in CommonJS ask for Node's own modules. Not by its own name: a module may import that itself.
  banner: {
    js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);",
  },
})

// The thread that reads a sensor, in the format that needs no loader of modules.
await build({
  ...common,
  entryPoints: ['agent/dist/meter/reading-thread-process.js'],
  outfile: 'agent/dist/control/reading-thread-process.cjs',
  format: 'cjs',
})
