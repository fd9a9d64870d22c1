/** Real clients as child processes. Never by a blocking call: the zones' Miniflare lives in this process. */
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { createReadStream, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { expect, type TestContext } from "vitest";

/** Skips the test, with its reason, where the machine lacks the program. */
export function needs(program: string, { skip }: Pick<TestContext, "skip">): void {
  const { status } = spawnSync("sh", ["-c", `command -v ${program}`]);
  skip(status !== 0, `${program} is not installed`);
}

/** The machine's own AWS settings (keys, profiles, a bundle of certificates) are none of the clients' business here. */
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith("AWS_")),
) as NodeJS.ProcessEnv;

/** Runs a program with `env` over this process's environment; expects exit code 0 and gives what it printed. */
export async function run(
  program: string,
  args: string[],
  { env = {}, cwd }: { env?: Record<string, string>; cwd?: string } = {},
): Promise<string> {
  const child = spawn(program, args, { cwd, env: { ...ENVIRONMENT, ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let all = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
    all += chunk;
  });
  child.stderr.on("data", (chunk) => {
    all += chunk;
  });
  const status = await new Promise((done) => child.once("close", done));
  expect(status, `${program} ${args.join(" ")}\n${all}`).toBe(0);
  return stdout;
}

export function writeRandom(path: string, bytes: number): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, randomFillSync(Buffer.alloc(bytes)));
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** Names that clients have stumbled over, and sizes on both sides of what is stored beside its row (8 KiB). */
export const TREE: Record<string, number> = {
  "empty.bin": 0,
  "one byte.txt": 1,
  "grün/日本語.bin": 700,
  "a+b/50%/c&d.txt": 4_000,
  "deep/er/and/deeper/inline-limit.bin": 8_192,
  "deep/er/and/deeper/over-limit.bin": 8_193,
  "large.bin": 12 * 1024 * 1024,
};

export function writeTree(folder: string, tree = TREE): void {
  for (const [name, bytes] of Object.entries(tree)) writeRandom(join(folder, name), bytes);
}
