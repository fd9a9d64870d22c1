/** What `npm run check` looks at, so that `npm test` alone tells the whole truth. */
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { ROOT } from "./harness.ts";

function run(command: string, ...args: string[]): { status: number | null; output: string } {
  const PATH = `${ROOT}/node_modules/.bin:${process.env.PATH}`;
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: ROOT,
    encoding: "utf8",
    env: { ...process.env, PATH, WRANGLER_SEND_METRICS: "false" },
  });
  return { status, output: stdout + stderr };
}

test("the code is formatted and free of lint", () => {
  const { status, output } = run("biome", "check", "--error-on-warnings", "--colors=off");
  expect(output).toContain("Checked");
  expect(status, output).toBe(0);
});

test("the code's types agree", () => {
  const { status, output } = run("tsc", "--noEmit");
  expect(status, output).toBe(0);
});

test("src/env.d.ts is what wrangler.toml declares", () => {
  const { status, output } = run("npm", "run", "--silent", "types", "--", "--check");
  expect(status, output).toBe(0);
});
