/**
 * What tests stand on: zones and control API in this process (startZones), or the server as people start it, in a
 * process of its own that can be killed (startServer); signed calls to either; and `until`, in place of sleeping.
 *
 * One startZones a test file, in beforeAll, stopped in afterAll. State goes to a folder under the system's temporary
 * one and is removed at the end. Ports are free ones and stay the same over restarts.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { bundle } from "../src/local/bundle.ts";
import { type Local, Runner, type RunnerOptions } from "../src/local/runner.ts";

export const ROOT = resolve(import.meta.dirname, "..");

export type OrganizationName = "main" | "alt";
type Organization = Local["organizations"][number];

export interface ZonesOptions {
  /** names; those of wrangler.toml by default */
  zones?: string[];
  /** kept at the end if given */
  stateDir?: string;
  /** entry file in place of src/zone.ts: a test's own, which subclasses what it wants to break */
  entry?: string;
  vars?: Record<string, unknown>;
}

/** Zones and control API in this process. `scheduled()` runs only when a test calls it. */
export async function startZones(options: ZonesOptions = {}): Promise<Zones> {
  const state = options.stateDir ?? temporaryFolder();
  const zones = new Zones(state, options.stateDir === undefined, {
    state,
    zones: options.zones,
    port: 0,
    apiPort: 0,
    vars: { IAM_CACHE_SECONDS: "1", ...options.vars },
    script: (main) => (main === "src/zone.ts" && options.entry ? bundle(resolve(options.entry)) : bundleOnce(main)),
    scheduleEvery: 0,
  });
  await zones.restart();
  return zones;
}

/** What both kinds of server are to a client. */
abstract class Server {
  readonly #clients: S3Client[] = [];

  protected abstract get local(): Local;

  get zones(): Local["zones"] {
    return this.local.zones;
  }

  get api(): string {
    return this.local.api;
  }

  /** The runner's own door. */
  get runner(): string {
    return this.local.runner;
  }

  get organizations(): Record<OrganizationName, Organization> {
    const [main, alt] = this.local.organizations;
    return { main: main!, alt: alt! };
  }

  endpoint(zone: string): string {
    const found = this.zones.find(({ name }) => name === zone);
    if (!found) throw new Error(`there is no zone ${zone}`);
    return found.endpoint;
  }

  /** Keeps a zone from clients and the other zones, or from those alone; gives how many requests it broke off. */
  async cut(zone: string, from: "all" | "zones" = "all"): Promise<number> {
    return await this.#turn(`${zone}/cut?from=${from}`);
  }

  /** Brings a zone back that was cut. */
  async heal(zone: string): Promise<void> {
    await this.#turn(`${zone}/heal`);
  }

  async #turn(path: string): Promise<number> {
    const response = await fetch(`${this.runner}/zones/${path}`, { method: "POST" });
    const answer = (await response.json()) as { dropped: number; error?: string };
    if (!response.ok) throw new Error(answer.error);
    return answer.dropped;
  }

  /** A client at a zone's endpoint. It tries once, so that a test sees every error. */
  s3(zone: string, organization: OrganizationName = "main", config: S3ClientConfig = {}): S3Client {
    const { key, secret } = this.organizations[organization];
    const client = new S3Client({
      endpoint: this.endpoint(zone),
      region: zone,
      forcePathStyle: true,
      maxAttempts: 1,
      credentials: { accessKeyId: key, secretAccessKey: secret },
      ...config,
    });
    this.#clients.push(client);
    return client;
  }

  /** A call of the control API, signed with the organization's owner key or the one given; path without `/v2`. */
  async control<T = Record<string, unknown>>(
    method: string,
    path: string,
    body?: unknown,
    signer: OrganizationName | Pick<Organization, "key" | "secret"> = "main",
  ): Promise<{ status: number; body: T }> {
    const url = new URL(this.api + path);
    const text = body === undefined ? "" : JSON.stringify(body);
    const { key, secret } = typeof signer === "string" ? this.organizations[signer] : signer;
    const headers: Record<string, string> = { authorization: signExo2({ method, url, body: text, key, secret }) };
    if (text) headers["content-type"] = "application/json";
    const response = await fetch(url, { method, headers, body: text || undefined });
    const answer = await response.text();
    return { status: response.status, body: (answer ? JSON.parse(answer) : undefined) as T };
  }

  /** Connections die with the server; a client makes new ones by itself. */
  protected closeConnections(): void {
    for (const client of this.#clients) client.destroy();
  }
}

export class Zones extends Server {
  readonly stateDir: string;
  readonly #isTemporary: boolean;
  #options: RunnerOptions;
  #runner: Runner | undefined;
  #local: Local | undefined;

  constructor(stateDir: string, isTemporary: boolean, options: RunnerOptions) {
    super();
    this.stateDir = stateDir;
    this.#isTemporary = isTemporary;
    this.#options = options;
  }

  protected get local(): Local {
    if (!this.#local) throw new Error("the zones were never started");
    return this.#local;
  }

  /** Calls the zone's `scheduled()` and waits for it. */
  async runScheduled(zone: string): Promise<void> {
    await this.#running.runScheduled(zone);
  }

  /** A zone's D1 database, to look into: INDEX by default. */
  async d1(zone: string, binding = "INDEX"): Promise<Awaited<ReturnType<Runner["database"]>>> {
    return await this.#running.database(zone, binding);
  }

  /** Stops, unless `kill` did already, and starts again: same state, same endpoints. */
  async restart(): Promise<void> {
    await this.#runner?.stop();
    this.closeConnections();
    this.#runner = await Runner.start(this.#options);
    this.#local = this.#runner.local;
    this.#options = { ...this.#options, ports: this.#runner.ports };
  }

  /** Ends workerd by SIGKILL, in the middle of whatever it does. `restart` starts it again. */
  async kill(): Promise<void> {
    await this.#running.kill();
    this.#runner = undefined;
    this.closeConnections();
  }

  async stop(): Promise<void> {
    await this.#runner?.stop();
    this.#runner = undefined;
    this.closeConnections();
    if (this.#isTemporary) rmSync(this.stateDir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  get #running(): Runner {
    if (!this.#runner) throw new Error("the zones are not running");
    return this.#runner;
  }
}

/** The server as `npm start` starts it, in a process of its own. Resolves when it has said `ready`. */
export async function startServer(stateDir: string, flags: string[] = []): Promise<ServerProcess> {
  const state = ["--state", stateDir];
  const child = spawn(join(ROOT, "node_modules/.bin/node"), ["src/local/start.ts", ...state, ...flags], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  createInterface(child.stderr).on("line", (line) => output.push(line));
  await new Promise<void>((ready, fail) => {
    createInterface(child.stdout).on("line", (line) => {
      output.push(line);
      if (line === "ready") ready();
    });
    child.once("close", () => fail(new Error(`the server did not start:\n${output.join("\n")}`)));
  });
  return new ServerProcess(child, stateDir, output);
}

export class ServerProcess extends Server {
  readonly process: ChildProcess;
  /** lines that it printed so far, of both streams */
  readonly output: string[];
  readonly #stateDir: string;

  constructor(process: ChildProcess, stateDir: string, output: string[]) {
    super();
    this.process = process;
    this.output = output;
    this.#stateDir = stateDir;
  }

  protected get local(): Local {
    return JSON.parse(readFileSync(join(this.#stateDir, "local.json"), "utf8"));
  }

  /** Sends a signal and waits for the end; gives the exit code, null if the signal itself ended it. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const { exitCode, signalCode } = this.process;
    const ended = exitCode !== null || signalCode !== null;
    const exit = new Promise<number | null>((done) => (ended ? done(exitCode) : this.process.once("exit", done)));
    this.process.kill(signal);
    this.closeConnections();
    return await exit;
  }
}

/** The EXO2-HMAC-SHA256 authorization header of a request. */
export function signExo2(request: { method: string; url: URL; body: string; key: string; secret: string }): string {
  const { method, url, body, key, secret } = request;
  const expires = Math.floor(Date.now() / 1000) + 600;
  const names = [...new Set(url.searchParams.keys())].sort();
  const values = names.map((name) => url.searchParams.get(name)).join("");
  const message = [`${method} ${url.pathname}`, body, values, "", expires].join("\n");
  const signature = createHmac("sha256", secret).update(message).digest("base64");
  const args = names.length ? `,signed-query-args=${names.join(";")}` : "";
  return `EXO2-HMAC-SHA256 credential=${key}${args},expires=${expires},signature=${signature}`;
}

/**
 * Calls `probe` until it gives something that is not undefined or false, and gives that. An assertion or another error
 * that it throws counts as "not yet"; when the deadline (milliseconds, 15,000) is over, the last one is thrown.
 */
export async function until<T>(
  probe: () => T | Promise<T>,
  { deadline = 15_000, interval = 50 } = {},
): Promise<Exclude<T, undefined | false>> {
  const end = Date.now() + deadline;
  for (;;) {
    let error: unknown = new Error(`still not so after ${deadline} ms: ${probe}`);
    try {
      const value = await probe();
      if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    } catch (thrown) {
      error = thrown;
    }
    if (Date.now() > end) throw error;
    await setTimeout(interval);
  }
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), "zonal-test-"));
}

/** Test files run in processes of their own and share what is bundled already. */
async function bundleOnce(main: string): Promise<string> {
  const path = isAbsolute(main) ? main : join(ROOT, main);
  const folder = process.env.ZONAL_TEST_BUNDLES;
  if (!folder) return await bundle(path);
  const cached = join(folder, `${main.replaceAll("/", "_")}.mjs`);
  if (!existsSync(cached)) {
    const own = join(folder, randomUUID());
    writeFileSync(own, await bundle(path));
    renameSync(own, cached);
  }
  return readFileSync(cached, "utf8");
}
