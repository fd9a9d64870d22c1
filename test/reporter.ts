/**
 * Ends the output with one line, `N passed, N failed, N skipped`, for people and CI alike. A file that doesn't load
 * counts as one failed test, and so does an error outside of any test.
 *
 * With ZONAL_NOTHING_SKIPPED=1 a skipped test fails the run: CI has every tool, so nothing has a reason to be skipped.
 */
import type { Reporter, TestCase, TestModule } from "vitest/node";

export default class Summary implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const broken = modules.filter((module) => module.errors().length > 0).length;
    const count = (state: string) => tests.filter((test) => test.result().state === state).length;
    const skipped = tests.filter((test) => ["skipped", "pending"].includes(test.result().state));
    const failed = count("failed") + broken + unhandledErrors.length;
    process.once("exit", () => {
      for (const test of skipped) console.log(`skipped: ${test.fullName}${reason(test)}`);
      if (skipped.length && process.env.ZONAL_NOTHING_SKIPPED === "1") process.exitCode ||= 1;
      console.log(`${count("passed")} passed, ${failed} failed, ${skipped.length} skipped`);
    });
  }
}

function reason(test: TestCase): string {
  const result = test.result();
  return result.state === "skipped" && result.note ? ` (${result.note})` : "";
}
