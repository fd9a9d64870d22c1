import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readWrangler } from "../../src/local/wrangler.ts";
import { ROOT, temporaryFolder } from "../harness.ts";
import { run } from "./tools.ts";

let folder: string;

beforeAll(() => {
  folder = temporaryFolder();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(readWrangler(ROOT))("wrangler deploy --dry-run --env $environment", (worker) => {
  test("bundles the Worker with every binding", { timeout: 60_000 }, async () => {
    const out = join(folder, worker.environment);
    mkdirSync(out);
    const flags = ["deploy", "--dry-run", "--env", worker.environment, "--outdir", out];
    const env = { WRANGLER_SEND_METRICS: "false", WRANGLER_LOG_PATH: folder, NO_COLOR: "1" };
    const output = await run(join(ROOT, "node_modules/.bin/wrangler"), flags, { cwd: ROOT, env });
    const { buckets, databases, durableObjects, producers, services, vars } = worker;
    const bindings = [...buckets, ...databases, ...durableObjects, ...producers, ...services];
    for (const name of [...bindings.map(({ binding }) => binding), ...Object.keys(vars)]) {
      expect(output).toContain(`env.${name}`);
    }
  });
});

test("npm run deploy -- --dry-run deploys new Workers without bindings to others, then all with them", {
  timeout: 60_000,
}, async () => {
  const env = { WRANGLER_SEND_METRICS: "false", WRANGLER_LOG_PATH: folder, NO_COLOR: "1" };
  const output = await run("node", ["bin/deploy.mjs", "--dry-run"], { cwd: ROOT, env });
  const passes = output.split(/^wrangler deploy/m).slice(1);
  const [first, second] = [passes.slice(0, 3), passes.slice(3)];
  expect(first.filter((pass) => pass.includes("PEER_"))).toEqual([]);
  expect(second.filter((pass) => pass.includes("PEER_"))).toHaveLength(3);
  expect(existsSync(join(ROOT, "wrangler.first-pass.toml"))).toBe(false);
});
