import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { STATE_VARIABLE, startOf, workerdsOf } from "../../src/local/processes.ts";
import { State } from "../../src/local/state.ts";
import { temporaryFolder, until } from "../harness.ts";

let folder: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = temporaryFolder();
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** A process that lives until it is killed. */
async function bystander(argv0 = "node", folderOf = ""): Promise<number> {
  const env = { ...process.env, [STATE_VARIABLE]: folderOf };
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { argv0, env, stdio: "ignore" });
  children.push(child);
  const pid = child.pid!;
  await until(() => startOf(pid) !== undefined);
  return pid;
}

describe("The state of a local run", () => {
  test("keeps its secrets over restarts, readable for their owner alone", async () => {
    const first = await State.open(folder);
    first.close();
    const second = await State.open(folder);
    second.close();
    expect(second.secrets).toEqual(first.secrets);
    expect(Buffer.from(first.secrets.ROOT_KEY, "base64")).toHaveLength(32);
    expect(statSync(join(folder, "secrets.json")).mode & 0o777).toBe(0o600);
  });

  test("is refused while another process works on it", async () => {
    const pid = await bystander();
    writeFileSync(join(folder, "lock.json"), JSON.stringify({ pid, start: startOf(pid) }));
    await expect(State.open(folder)).rejects.toThrow(`another server (process ${pid}) works on the state`);
  });

  test("is taken over from a process that is gone, though its id may be somebody else's now", async () => {
    const pid = await bystander();
    writeFileSync(join(folder, "lock.json"), JSON.stringify({ pid, start: "an earlier time" }));
    const state = await State.open(folder);
    expect(JSON.parse(readFileSync(join(folder, "lock.json"), "utf8")).pid).toBe(process.pid);
    state.close();
  });

  test("is opened once at a time in one process too", async () => {
    const state = await State.open(folder);
    await expect(State.open(folder)).rejects.toThrow("another server");
    state.close();
  });

  test("ends what a killed server left running on it, and nothing else", async () => {
    const orphan = await bystander("workerd", folder);
    const others = [await bystander("workerd", `${folder}-other`), await bystander("node", folder)];
    const state = await State.open(folder);
    state.close();
    expect(workerdsOf(folder)).toEqual([]);
    expect(startOf(orphan)).toBeUndefined();
    expect(others.map(startOf)).not.toContain(undefined);
  });

  test("of another layout is refused with both versions named, and left as it is", async () => {
    writeFileSync(join(folder, "state.json"), JSON.stringify({ version: 99, zones: [] }));
    await expect(State.open(folder)).rejects.toThrow("layout version 99, and this Zonal reads 1");
    await expect(State.open(folder)).rejects.toThrow("layout version 99");
  });

  test("that can't be read is named", async () => {
    writeFileSync(join(folder, "state.json"), "{");
    await expect(State.open(folder)).rejects.toThrow(`${join(folder, "state.json")} is damaged`);
  });
});
