import { defineConfig } from 'vitest/config'

// Workspaces are imported as packages, so tests run what was built: `npm test` builds first.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A second is little where other tests share the cores; what comes at once is waited for no longer.
    expect: { poll: { timeout: 30_000 } },
    // Two cores: integration tests start processes of their own.
    maxWorkers: 2,
  },
})
