import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { temporaryFolder, zonal } from "./stand.ts";

let zones: Zones;
let env: Record<string, string>;

beforeAll(async () => {
  zones = await startZones();
  env = { ZONAL_LOCAL: join(zones.stateDir, "local.json") };
});
afterAll(() => zones?.stop());

const status = async () => JSON.parse((await zonal(["local", "status", "-O", "json"], { env })).stdout);

describe("zonal local", () => {
  test("cut takes a zone away and heal brings it back; both show all zones", async () => {
    const cut = await zonal(["local", "cut", "at-vie-1"], { env });
    expect(cut).toEqual({
      code: 0,
      stderr: "",
      stdout: [
        "|   ZONE   |  CLIENTS  | OTHER ZONES |",
        "|----------|-----------|-------------|",
        "| ch-dk-2  | connected | connected   |",
        "| at-vie-1 | cut off   | cut off     |",
        "",
      ].join("\n"),
    });
    await expect(fetch(zones.endpoint("at-vie-1"))).rejects.toThrow();
    await fetch(zones.endpoint("ch-dk-2"));
    expect((await zonal(["local", "heal", "at-vie-1"], { env })).stdout).toContain(
      "| at-vie-1 | connected | connected ",
    );
    await fetch(zones.endpoint("at-vie-1"));
  });

  test("cut --from zones leaves the zone to its clients, and status tells it", async () => {
    expect(await zonal(["local", "cut", "at-vie-1", "--from", "zones", "--quiet"], { env })).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    await fetch(zones.endpoint("at-vie-1"));
    expect(await status()).toEqual([
      { name: "ch-dk-2", cut: "none" },
      { name: "at-vie-1", cut: "zones" },
    ]);
    expect((await zonal(["local", "status"], { env })).stdout).toContain("| at-vie-1 | connected | cut off ");
    await zonal(["local", "heal", "at-vie-1"], { env });
    expect((await zonal(["local", "status", "-O", "text"], { env })).stdout).toBe("ch-dk-2\tnone\nat-vie-1\tnone\n");
  });

  test("while a zone is cut off, its buckets are listed without a size", async () => {
    await zonal(["storage", "create", "--zone", "at-vie-1", "a-bucket", "-Q"], { env });
    const list = async () => (await zonal(["storage", "list"], { env })).stdout.replace(/^.*UTC /, "");
    expect(await list()).toBe("at-vie-1    0 B  a-bucket/\n");
    await zonal(["local", "cut", "at-vie-1", "-Q"], { env });
    expect(await list()).toBe("at-vie-1      -  a-bucket/\n");
    await zonal(["local", "heal", "at-vie-1", "-Q"], { env });
  });

  test("needs no key, and an endpoint in the environment doesn't lead it elsewhere", async () => {
    const elsewhere = {
      ...env,
      ZONAL_API_ENDPOINT: "http://127.0.0.1:1/v2",
      ZONAL_API_KEY: "EXO1",
      ZONAL_API_SECRET: "x",
    };
    expect((await zonal(["local", "status"], { env: elsewhere })).code).toBe(0);
  });

  test.each([
    [["local", "cut", "de-fra-1"], /^error: there is no zone de-fra-1 in this run: ch-dk-2, at-vie-1\n$/],
    [["local", "heal", "at-vie"], /^error: there is no zone at-vie in this run: ch-dk-2, at-vie-1\n$/],
    [["local", "cut", "at-vie-1", "--from", "clients"], /^error: .*Allowed choices are all, zones/],
    [["local", "cut"], /^error: missing required argument 'zone'/],
  ])("refuses %j", async (args, message) => {
    const { code, stdout, stderr } = await zonal(args, { env });
    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toMatch(message);
  });

  test("says so where there is no local server", async () => {
    using folder = temporaryFolder();
    const { code, stderr } = await zonal(["local", "status"], { cwd: folder.path });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: no local server: there is no \.zonal\/local\.json here or in a folder above\..*ZONAL_LOCAL\n$/,
    );
  });

  test("says so where it doesn't run, where it is of an older Zonal, and where something else answers", async () => {
    using folder = temporaryFolder();
    const other = createServer((_, response) => response.end("<html>")).listen(0, "127.0.0.1");
    await new Promise((done) => other.once("listening", done));
    const { port } = other.address() as AddressInfo;
    const path = join(folder.path, "local.json");
    const complaint = async (runner?: string) => {
      writeFileSync(path, JSON.stringify({ api: "http://127.0.0.1:1/v2", zones: [], organizations: [], runner }));
      const { code, stderr } = await zonal(["local", "status"], { env: { ZONAL_LOCAL: path } });
      expect(code).toBe(1);
      return stderr;
    };
    expect(await complaint("http://127.0.0.1:1")).toMatch(
      /^error: the local server doesn't run: .*ECONNREFUSED.*: `npm start`/,
    );
    expect(await complaint()).toBe("error: local.json names no runner: start the local server again\n");
    expect(await complaint(`http://127.0.0.1:${port}`)).toMatch(/ is no local server of Zonal\n$/);
    other.close();
  });
});
