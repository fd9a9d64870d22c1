import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Each test file starts workerd of its own; more than two of them at once only wait for each other.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
    globalSetup: "test/setup.ts",
    reporters: ["default", "./test/reporter.ts"],
  },
});
