import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, realpathSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { ListBucketsCommand } from "@aws-sdk/client-s3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { end, startOf, workerdsOf } from "../../src/local/processes.ts";
import { ROOT, type ServerProcess, startServer, temporaryFolder, until } from "../harness.ts";

const FREE_PORTS = ["--port", "0", "--api-port", "0"];
let state: string;
const servers: ServerProcess[] = [];

beforeEach(() => {
  state = realpathSync(temporaryFolder());
});

afterEach(async () => {
  for (const server of servers.splice(0)) await server.end("SIGTERM");
  await end(workerdsOf(state)); // of a server that a failed test killed
  rmSync(state, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<ServerProcess> {
  const server = await startServer(state, flags.includes("--port") ? flags : [...FREE_PORTS, ...flags]);
  servers.push(server);
  return server;
}

const local = () => JSON.parse(readFileSync(join(state, "local.json"), "utf8"));

describe("npm start", () => {
  test("answers at every endpoint of local.json when it says ready", async () => {
    const server = await start();
    const { api, portal, zones, organizations } = local();
    expect(zones.map((zone: { name: string }) => zone.name)).toEqual(["ch-dk-2", "at-vie-1"]);
    expect(portal).toBe(api.replace("/v2", "/"));
    expect(organizations.map((each: { name: string }) => each.name)).toEqual(["main", "alt"]);
    for (const { name } of zones) {
      expect((await server.s3(name).send(new ListBucketsCommand())).Buckets ?? []).toEqual([]);
    }
    expect((await server.control("GET", "/zone")).status).toBe(200);
    expect(statSync(join(state, "local.json")).mode & 0o777).toBe(0o600);
  });

  test("shows endpoints, keys and four commands, and ends with ready", async () => {
    const { output, zones, api, organizations } = await start();
    const text = output.join("\n");
    for (const shown of [...zones.map(({ endpoint }) => endpoint), api, organizations.main.key]) {
      expect(text).toContain(shown);
    }
    expect(output.filter((line) => /^ {2}(ZONAL_LOCAL=\S+ npx zonal|AWS_)/.test(line))).toHaveLength(4);
    expect(output.at(-1)).toBe("ready");
  });

  test("keeps keys, zones and their endpoints' order over a restart", async () => {
    const first = await start("--zones", "ch-dk-2,at-vie-1,de-fra-1");
    const before = local();
    await first.end("SIGTERM");
    const second = await start();
    expect(second.organizations).toEqual({ main: before.organizations[0], alt: before.organizations[1] });
    expect(second.zones.map(({ name }) => name)).toEqual(["ch-dk-2", "at-vie-1", "de-fra-1"]);
    await second.s3("de-fra-1").send(new ListBucketsCommand());
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "ends with 0 on %s and leaves nothing running",
    async (signal) => {
      const server = await start();
      expect(workerdsOf(state)).toHaveLength(1);
      expect(await server.end(signal)).toBe(0);
      await until(() => workerdsOf(state).length === 0);
    },
  );

  test("takes over the state and the ports of a server that was killed, whose workerd lives on", async () => {
    const killed = await start();
    await killed.end("SIGKILL");
    const [orphan] = workerdsOf(state);
    expect(orphan).toBeDefined();
    const ports = [killed.endpoint("ch-dk-2"), killed.api].map((url) => new URL(url).port);
    const server = await start("--port", ports[0]!, "--api-port", ports[1]!);
    expect(startOf(orphan!)).toBeUndefined();
    await server.s3("ch-dk-2").send(new ListBucketsCommand());
  });

  test("refuses a state that another server works on", async () => {
    const server = await start();
    await expect(startServer(state, FREE_PORTS)).rejects.toThrow(`another server (process ${server.process.pid})`);
  });

  test("names the port that is taken and the flag that changes it", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    await expect(startServer(state, ["--port", `${port}`, "--api-port", "0"])).rejects.toThrow(
      `port ${port} (zone ch-dk-2) is taken: choose another with --port`,
    );
    await expect(startServer(state, ["--port", "0", "--api-port", `${port}`])).rejects.toThrow(
      `port ${port} (control API) is taken: choose another with --api-port`,
    );
    other.close();
  });

  test.each([
    [["--port", "x"], '--port: "x" is no port'],
    [["--port", "70000"], '--port: "70000" is no port'],
    [["--zones", "A"], '"A" is no zone name'],
    [["--nonsense"], "--nonsense"],
  ])("refuses %j", async (flags, message) => {
    await expect(startServer(state, flags)).rejects.toThrow(message);
  });

  test("passes a signal to npm on to the server", async () => {
    const npm = spawn("npm", ["start", "--", "--state", state, ...FREE_PORTS], { cwd: ROOT, stdio: "ignore" });
    await until(() => workerdsOf(state).length === 1 && local(), { deadline: 25_000 });
    npm.kill("SIGTERM");
    await once(npm, "exit");
    await until(() => workerdsOf(state).length === 0);
  });
});
