import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { environment, KEY, SECRET, type Stand, startStand, temporaryFolder, zonal } from "./stand.ts";

function localJson(stand: Stand) {
  return {
    api: `${stand.origin}/v2`,
    portal: `${stand.origin}/`,
    zones: [
      { name: "at-vie-1", endpoint: stand.origin },
      { name: "ch-dk-2", endpoint: stand.origin },
    ],
    organizations: [
      { id: "1", name: "main", key: KEY, secret: SECRET },
      { id: "2", name: "alt", key: "EXOother", secret: "x" },
    ],
  };
}

describe("Usage", () => {
  test("a group without a command prints its help and ends with 0", async () => {
    for (const group of [
      [],
      ["iam"],
      ["iam", "role"],
      ["storage"],
      ["storage", "bucket"],
      ["storage", "bucket", "replication"],
    ]) {
      const { code, stdout, stderr } = await zonal(group);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain("Usage: zonal");
    }
  });

  test("a mistake in the command line prints the usage and ends with 1", async () => {
    for (const args of [
      ["nonsense"],
      ["iam", "api-key", "show"],
      ["storage", "create"],
      ["storage", "list", "-x"],
      ["zone", "-O", "xml"],
    ]) {
      const { code, stdout, stderr } = await zonal(args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(/^error: [\s\S]*Usage: zonal/);
    }
  });

  test("help names the environment, and every command has one", async () => {
    const { stdout } = await zonal(["--help"]);
    for (const name of ["ZONAL_API_KEY", "ZONAL_API_ENDPOINT", "ZONAL_SOS_ENDPOINT", "ZONAL_LOCAL", "ZONAL_TABLE"]) {
      expect(stdout).toContain(name);
    }
    const upload = await zonal(["storage", "upload", "--help"]);
    expect(upload.code).toBe(0);
    expect(upload.stdout).toContain("sos://BUCKET/[PREFIX/]");
    expect((await zonal(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("Switches", () => {
  test("may be gathered behind one dash, a command's and the program's, and written with =true and =false", async () => {
    await using stand = await startStand(({ method }) => (method === "HEAD" ? {} : { body: "<ListBucketResult/>" }));
    const env = environment(stand);
    for (const args of [
      ["-rfQ"],
      ["-rfO", "json"],
      ["--recursive=true", "--force=true", "--quiet=false"],
      ["-r", "-f", "-Ojson"],
    ]) {
      expect(await zonal(["storage", "delete", ...args, "sos://b/p"], { env })).toEqual({
        code: 0,
        stdout: "",
        stderr: "",
      });
      expect(stand.requests.at(-1)!.query).not.toHaveProperty("delimiter");
    }
    await zonal(["storage", "delete", "-f", "--recursive=false", "sos://b/p"], { env });
    expect(stand.requests.at(-1)!.query).toHaveProperty("delimiter");
  });

  test("a value that looks like switches stays a value", async () => {
    await using stand = await startStand(() => ({ body: '{"id":"o","state":"success","reference":{"id":"1"}}' }));
    await zonal(["iam", "role", "create", "--description", "-rf", "-Q", "--", "--editable=true"], {
      env: environment(stand),
    });
    expect(JSON.parse(stand.requests[0]!.body.toString())).toEqual({
      description: "-rf",
      editable: true,
      name: "--editable=true",
    });
  });
});

describe("Where the key comes from", () => {
  test(".zonal/local.json in this folder or above gives key, zones and the default zone", async () => {
    using folder = temporaryFolder();
    await using stand = await startStand(({ method }) => (method === "PUT" ? {} : undefined));
    mkdirSync(join(folder.path, ".zonal"));
    mkdirSync(join(folder.path, "a/b"), { recursive: true });
    writeFileSync(join(folder.path, ".zonal/local.json"), JSON.stringify(localJson(stand)));
    const cwd = join(folder.path, "a/b");
    expect(await zonal(["storage", "create", "-Q", "b"], { cwd })).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(stand.requests[0]!.zone).toBe("at-vie-1");
    expect((await zonal(["zone"], { cwd })).stdout).toMatch(/^\| {3}NAME {3}\| +SOS ENDPOINT +\|\n/);
    const other = await zonal(["storage", "create", "b", "--organization", "alt"], { cwd });
    expect(other).toMatchObject({
      code: 1,
      stderr: "error: unable to create bucket: SignatureDoesNotMatch: another signature\n",
    });
    const none = await zonal(["storage", "create", "b"], { cwd, env: { ZONAL_ORGANIZATION: "third" } });
    expect(none).toMatchObject({ code: 1, stderr: 'error: no organization "third": there are main, alt\n' });
    const unknown = await zonal(["storage", "create", "b", "-z", "xx"], { cwd });
    expect(unknown).toMatchObject({ code: 1, stderr: 'error: zone "xx" not found: there are at-vie-1, ch-dk-2\n' });
  });

  test("ZONAL_LOCAL names another one, exo's variables work too", async () => {
    using folder = temporaryFolder();
    await using stand = await startStand(() => ({ body: '{"api-keys":[]}' }));
    const path = join(folder.path, "x.json");
    writeFileSync(path, JSON.stringify(localJson(stand)));
    expect(await zonal(["iam", "api-key", "list"], { env: { ZONAL_LOCAL: path } })).toMatchObject({
      code: 0,
      stderr: "",
    });
    writeFileSync(path, "{}");
    expect((await zonal(["zone"], { env: { ZONAL_LOCAL: path } })).stderr).toMatch(
      /isn't what the local runner writes/,
    );
    const env = { EXOSCALE_API_KEY: KEY, EXOSCALE_API_SECRET: SECRET, EXOSCALE_API_ENDPOINT: `${stand.origin}/v2` };
    expect(await zonal(["iam", "api-key", "list", "-O", "json"], { env })).toEqual({
      code: 0,
      stdout: "[]\n",
      stderr: "",
    });
  });

  test("each zone is spoken to at its own endpoint, as the control API lists it, unless one is set", async () => {
    await using zone = await startStand(() => ({}));
    await using control = await startStand(({ path }) =>
      path === "/v2/zone"
        ? { body: JSON.stringify({ zones: [{ name: "at-vie-1", "sos-endpoint": `${zone.origin}/base/` }] }) }
        : undefined,
    );
    const { ZONAL_SOS_ENDPOINT: _, ...env } = environment(control);
    const run = (more: Record<string, string> = {}) =>
      zonal(["storage", "create", "-Q", "-z", "at-vie-1", "b"], { env: { ...env, ...more } });
    expect(await run()).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(await run({ ZONAL_SOS_ENDPOINT: `${zone.origin}/{zone}` })).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(zone.log()).toEqual(["PUT /base/b", "PUT /at-vie-1/b"]);
    expect(control.log()).toEqual(["GET /v2/zone"]);
  });

  test("without any key the error says what to set", async () => {
    using folder = temporaryFolder();
    const { code, stderr } = await zonal(["storage", "list"], { cwd: folder.path });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: no API key: set ZONAL_API_KEY, ZONAL_API_SECRET and ZONAL_API_ENDPOINT/);
  });
});

describe("Failures", () => {
  test("a 5xx is asked again three times, then told with its code", async () => {
    await using stand = await startStand(() => ({
      status: 503,
      body: "<Error><Code>SlowDown</Code><Message>m</Message></Error>",
    }));
    const outcome = await zonal(["storage", "create", "b"], { env: environment(stand) });
    expect(outcome).toMatchObject({ code: 1, stderr: "error: unable to create bucket: SlowDown: m\n" });
    expect(stand.requests).toHaveLength(4);
  });

  test("501 and 4xx are not asked again, and a body that isn't S3's gives the status", async () => {
    await using stand = await startStand(({ path }) => ({
      status: path === "/a" ? 501 : 404,
      body: "<html>no</html>",
    }));
    const run = async (name: string) => (await zonal(["storage", "create", name], { env: environment(stand) })).stderr;
    expect(await run("a")).toBe("error: unable to create bucket: Not Implemented\n");
    expect(await run("b")).toBe("error: unable to create bucket: Not Found\n");
    expect(stand.requests).toHaveLength(2);
  });

  test("a server that refuses without reading the body is heard at the second try", async () => {
    using folder = temporaryFolder();
    writeFileSync(join(folder.path, "big"), Buffer.alloc(4 * 1024 * 1024));
    const refusal = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let tries = 0;
    const server = createServer((request, response) => {
      if (request.method === "PUT") tries++;
      response.writeHead(request.method === "PUT" ? 403 : 200, { connection: "close" });
      response.end(request.method === "PUT" ? refusal : "", () => request.socket.destroy());
    });
    server.on("checkContinue", (_, response) => response.writeHead(403, { connection: "close" }).end(refusal));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    const { port } = server.address() as AddressInfo;
    const env = { ZONAL_API_KEY: KEY, ZONAL_API_SECRET: SECRET, ZONAL_SOS_ENDPOINT: `http://127.0.0.1:${port}` };
    const outcome = await zonal(["storage", "upload", "-Q", "big", "sos://b"], { env, cwd: folder.path });
    server.close();
    expect(outcome).toEqual({ code: 1, stdout: "", stderr: "error: AccessDenied: Access Denied\n" });
    expect(tries).toBe(1);
  });

  test("a server that isn't there is named", async () => {
    const port = await closedPort();
    const env = { ZONAL_API_KEY: KEY, ZONAL_API_SECRET: SECRET, ZONAL_SOS_ENDPOINT: `http://127.0.0.1:${port}` };
    const outcome = await zonal(["storage", "show", "sos://b"], { env });
    expect(outcome).toMatchObject({
      code: 1,
      stderr: `error: cannot reach http://127.0.0.1:${port} (ECONNREFUSED): \`npm start\` starts the local server\n`,
    });
  });
});

/** A port that nobody listens on: one that was free a moment ago. */
function closedPort(): Promise<number> {
  const server = createServer();
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => done(port));
    });
  });
}
