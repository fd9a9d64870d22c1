import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { workerdsOf } from "../../src/local/processes.ts";
import { ROOT, temporaryFolder, until } from "../harness.ts";
import { run } from "./tools.ts";

let folder: string;

beforeEach(() => {
  folder = realpathSync(temporaryFolder());
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What `git clone` would bring of the checkout as it stands, with what isn't committed yet. */
async function cloneTo(target: string): Promise<void> {
  const files = await run("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"], { cwd: ROOT });
  for (const file of files.split("\0").filter(Boolean)) cpSync(join(ROOT, file), join(target, file));
}

/** The environment without what npm adds: this checkout's Node on PATH, and the folder that it takes for the project. */
function machineEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE$|INIT_CWD$)/.test(name));
  const path = process.env.PATH!.split(":").filter((each) => !each.includes("node_modules"));
  return { ...(Object.fromEntries(entries) as Record<string, string>), PATH: path.join(":") };
}

test("npm start alone in a fresh clone reaches ready, and npx finds zonal", { timeout: 300_000 }, async ({ skip }) => {
  skip(process.env.ZONAL_NOTHING_SKIPPED !== "1", "installs 400 MB of packages: CI does");
  await cloneTo(folder);
  const env = machineEnvironment() as NodeJS.ProcessEnv;
  const ports = ["--port", "0", "--api-port", "0"];
  const npm = spawn("npm", ["start", "--", ...ports], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  const output: string[] = [];
  for (const stream of [npm.stdout, npm.stderr]) createInterface(stream).on("line", (line) => output.push(line));
  await until(() => output.includes("ready") || npm.exitCode !== null, { deadline: 240_000 });
  expect(output, output.join("\n")).toContain("ready");

  const { organizations } = JSON.parse(readFileSync(join(folder, ".zonal/local.json"), "utf8"));
  expect(organizations).toHaveLength(2);
  await run("npx", ["--no-install", "zonal", "storage", "list"], { cwd: folder, env: machineEnvironment() });

  npm.kill("SIGTERM");
  await once(npm, "exit");
  await until(() => workerdsOf(join(folder, ".zonal")).length === 0);
});
