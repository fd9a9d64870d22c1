/**
 * README's commands, run as they stand: those of its `console` blocks in one shell, one after the other, with their
 * output compared; those of its `sh` blocks known by name, each run here or by the test that is named beside it.
 */
import { execFile } from "node:child_process";
import { globSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT, startZones, temporaryFolder, type Zones } from "../harness.ts";

const README = readFileSync(join(ROOT, "README.md"), "utf8");
const blocks = (language: string) =>
  Array.from(README.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms")), ([, text]) => text!);

let zones: Zones;
let folder: string;
beforeAll(async () => {
  zones = await startZones();
  folder = realpathSync(temporaryFolder());
  mkdirSync(join(folder, "dist"));
  symlinkSync(join(ROOT, "dist/zonal.js"), join(folder, "dist/zonal.js"));
  symlinkSync(zones.stateDir, join(folder, ".zonal"));
});
afterAll(async () => {
  await zones?.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Step {
  command: string;
  output: string;
}

/** `$ ` begins a command; a here-document goes on to its end. */
function stepsOf(block: string): Step[] {
  const steps: Step[] = [];
  let end: string | undefined;
  for (const line of block.trimEnd().split("\n")) {
    const step = steps.at(-1);
    if (end !== undefined) {
      step!.command += `\n${line}`;
      if (line === end) end = undefined;
    } else if (line.startsWith("$ ")) {
      steps.push({ command: line.slice(2), output: "" });
      end = /<<'?(\w+)'?$/.exec(line)?.[1];
    } else {
      step!.output += `${line}\n`;
    }
  }
  return steps;
}

/** What differs from run to run: ids, keys, times, and the width of a cell that holds a port. */
function settled(text: string): string {
  return text
    .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "ID")
    .replaceAll(/EXO[0-9a-f]{24}/g, "KEY")
    .replaceAll(/│ Secret │ \S+ +│/g, "SECRET")
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g, "TIME")
    .replaceAll(/ +│/g, " │")
    .replaceAll(/─+/g, "─")
    .replaceAll(/\p{Cc}\[[0-9]*[A-Z]/gu, "");
}

const MARK = "--- the next command ---";

async function runAll(steps: Step[]): Promise<string[]> {
  // What arrives at the other side takes a moment; a person takes longer than that to type.
  const script = steps.map(({ command }) => {
    const [, key] = /^zonal storage list sos:\/\/my-destination\/(.*)/.exec(command) ?? [];
    const source = `sos://my-source/${key || "policy.json"}`;
    const isThere = `zonal storage show ${source} | grep -q COMPLETED`;
    const wait = key === undefined ? "" : `for i in $(seq 200); do ${isThere} && break; done\n`;
    return `${wait}${command}\necho "${MARK}"`;
  });
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    ZONAL_TABLE: "box",
    COLUMNS: "82",
  } as unknown as NodeJS.ProcessEnv;
  const lines = ["set -eo pipefail", "shopt -s expand_aliases", ...script].join("\n");
  const { stdout } = await promisify(execFile)("bash", ["-c", lines], { cwd: folder, env });
  return stdout.split(`${MARK}\n`).slice(0, -1);
}

describe("README", () => {
  it("shows commands that work, with their real output", async () => {
    const steps = blocks("console").flatMap(stepsOf);
    const outputs = await runAll(steps);
    expect(outputs).toHaveLength(steps.length);
    for (const [i, { command, output }] of steps.entries()) {
      expect(`$ ${command}\n${settled(outputs[i]!)}`).toBe(`$ ${command}\n${settled(output)}`);
    }
  }, 60_000);

  it("names no command outside of them that no test runs", async () => {
    const known: Record<string, string> = {
      "npm start": "test/e2e/clone.test.ts",
      "npm run deploy": "test/e2e/deploy.test.ts, as a dry run",
      "npx wrangler r2 bucket create zonal-ch-dk-2": "",
      "npx wrangler d1 create zonal-index-ch-dk-2": "",
      "npx wrangler queues create zonal-replication-ch-dk-2": "",
      "npx wrangler queues create zonal-replication-ch-dk-2-dead": "",
      "npx wrangler secret put ROOT_KEY --env ch-dk-2": "",
    };
    const commands = blocks("sh").flatMap((block) => block.trimEnd().split("\n"));
    expect(commands.filter((command) => !(command in known))).toEqual([]);
    // What needs an account can't run here; that wrangler knows the command, and wrangler.toml the name, can be seen.
    const config = readFileSync(join(ROOT, "wrangler.toml"), "utf8");
    for (const command of commands.filter((each) => each.startsWith("npx wrangler"))) {
      const [, , ...words] = command.split(" ");
      const { stdout } = await promisify(execFile)(join(ROOT, "node_modules/.bin/wrangler"), [...words, "--help"]);
      expect(stdout).toContain(words.slice(0, 2).join(" "));
      const name = words.find((word) => word.startsWith("zonal-"));
      if (name) expect(config).toContain(`"${name}"`);
    }
  }, 60_000);

  it("names every operation that the S3 door speaks", () => {
    const source = globSync("src/s3/*.ts", { cwd: ROOT }).map((file) => readFileSync(join(ROOT, file), "utf8"));
    const operations = source.flatMap((text) =>
      Array.from(text.matchAll(/^export const ([A-Z]\w+) = operation\(/gm), ([, name]) => name!),
    );
    const internal = ["ReplicatePiece", "ReplicateVersions"];
    expect(operations.length).toBeGreaterThan(30);
    expect(operations.filter((name) => !internal.includes(name) && !new RegExp(`\\b${name}\\b`).test(README))).toEqual(
      [],
    );
  });
});
