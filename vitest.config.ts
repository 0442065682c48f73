import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Tests read the TypeScript sources of the workspaces, not their build output.
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two cores: integration tests start processes of their own.
    maxWorkers: 2,
  },
})
