/**
 * What the CLI's tests stand on: the bundled CLI as a child process, and a server that records what it sends.
 *
 * The server checks every signature by its own reckoning (node:crypto, from the raw request target and bytes) and
 * answers 403 to a wrong one, as S3 and the control API do; what a request means is told by each test.
 */
import { spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const KEY = "EXO0123456789abcdef01234567";
export const SECRET = "a secret, with spaces and = signs";

const CLI = resolve(import.meta.dirname, "../../dist/zonal.js");

export interface Recorded {
  method: string;
  /** raw, as sent, without the query */
  path: string;
  /** decoded */
  query: Record<string, string>;
  headers: Record<string, string | undefined>;
  body: Buffer;
  /** the zone in the signature's scope; undefined for the control API */
  zone: string | undefined;
}
export interface Reply {
  status?: number;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** ends the connection after this many bytes of the body */
  breakAfter?: number;
}
/** Gives undefined for what it doesn't know: that is answered 501. */
export type Handler = (request: Recorded) => Reply | undefined | Promise<Reply | undefined>;

export interface Stand extends AsyncDisposable {
  origin: string;
  requests: Recorded[];
  /** `METHOD path?query` of each request so far */
  log(): string[];
}

export async function startStand(handler: Handler): Promise<Stand> {
  const requests: Recorded[] = [];
  const server = createServer((incoming, outgoing) => {
    answer(incoming, outgoing, requests, handler).catch((error) => {
      // The client broke off while it sent: there is nobody to answer.
      if (error.code !== "ECONNRESET") throw error;
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    requests,
    log: () => requests.map(({ method, path, query }) => `${method} ${path}${queryText(query)}`),
    [Symbol.asyncDispose]: () => close(server),
  };
}

/** The variables that lead the CLI to a stand: one endpoint for all zones, the control API below `/v2`. */
export function environment(stand: Stand): Record<string, string> {
  return {
    ZONAL_API_KEY: KEY,
    ZONAL_API_SECRET: SECRET,
    ZONAL_API_ENDPOINT: `${stand.origin}/v2`,
    ZONAL_SOS_ENDPOINT: stand.origin,
  };
}

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the CLI with nothing in its environment but `env`, in an empty folder if none is given. */
export async function zonal(
  args: string[],
  options: {
    env?: Record<string, string>;
    cwd?: string;
    input?: string;
    onStart?: (kill: (s: NodeJS.Signals) => void) => void;
  } = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [CLI, ...args], {
    env: (options.env ?? {}) as NodeJS.ProcessEnv,
    cwd: options.cwd ?? tmpdir(),
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8").on("data", (text) => {
      output[name] += text;
    });
  }
  child.stdin.on("error", () => undefined).end(options.input ?? "");
  options.onStart?.((signal) => child.kill(signal));
  const code = await new Promise<number | null>((done) => child.on("close", done));
  return { code, ...output };
}

export function temporaryFolder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), "zonal-cli-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** S3's error document. */
export function s3Error(status: number, code: string, message: string): Reply {
  return {
    status,
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`,
  };
}

async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  requests: Recorded[],
  handler: Handler,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const request = record(incoming, Buffer.concat(chunks));
  requests.push(request);
  const problem = refuse(incoming, request);
  const reply = problem ? s3Error(403, "SignatureDoesNotMatch", problem) : await handler(request);
  const { status = 200, headers = {}, body = "", breakAfter } = reply ?? s3Error(501, "NotImplemented", "unknown here");
  const bytes = Buffer.from(body);
  outgoing.writeHead(status, { "content-length": bytes.length, ...headers });
  if (request.method === "HEAD") outgoing.end();
  else if (breakAfter === undefined) outgoing.end(bytes);
  else outgoing.write(bytes.subarray(0, breakAfter), () => outgoing.destroy());
}

function record(incoming: IncomingMessage, body: Buffer): Recorded {
  const [path = "", query = ""] = (incoming.url ?? "").split("?");
  const scope = /Credential=[^/]+\/\d{8}\/([^/]+)\/s3\//.exec(incoming.headers.authorization ?? "");
  return {
    method: incoming.method ?? "",
    path,
    query: Object.fromEntries(new URLSearchParams(query)),
    headers: incoming.headers as Record<string, string | undefined>,
    body,
    zone: scope?.[1],
  };
}

/** What is wrong with the request's signature, or undefined. */
function refuse(incoming: IncomingMessage, request: Recorded): string | undefined {
  const header = incoming.headers.authorization ?? "";
  if (header.startsWith("AWS4-HMAC-SHA256 ")) return refuseSigV4(header, incoming, request);
  if (header.startsWith("EXO2-HMAC-SHA256 ")) return refuseExo2(header, request);
  return request.method === "GET" && request.path === "/v2/zone" ? undefined : "no signature";
}

function refuseSigV4(header: string, incoming: IncomingMessage, request: Recorded): string | undefined {
  const fields =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (!fields) return "malformed";
  const [, key, day = "", zone = "", signed = "", signature] = fields;
  const hash = incoming.headers["x-amz-content-sha256"] as string;
  if (hash !== sha256(request.body)) return "x-amz-content-sha256 is another body's";
  const missing = Object.keys(incoming.headers).filter(
    (name) => name.startsWith("x-amz-") && !signed.split(";").includes(name),
  );
  if (missing.length > 0) return `not signed: ${missing}`;
  const [path = "", query = ""] = (incoming.url ?? "").split("?");
  const headers = signed
    .split(";")
    .map((name) => `${name}:${incoming.headers[name]}\n`)
    .join("");
  const canonical = [request.method, path, query.split("&").sort().join("&"), headers, signed, hash].join("\n");
  const date = incoming.headers["x-amz-date"];
  const text = ["AWS4-HMAC-SHA256", date, `${day}/${zone}/s3/aws4_request`, sha256(canonical)].join("\n");
  const signingKey = [day, zone, "s3", "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${SECRET}`);
  return key === KEY && hmac(signingKey, text).toString("hex") === signature ? undefined : "another signature";
}

function refuseExo2(header: string, request: Recorded): string | undefined {
  const fields = /^EXO2-HMAC-SHA256 credential=([^,]+),expires=(\d+),signature=(.+)$/.exec(header);
  if (!fields) return "malformed";
  const [, key, expires, signature] = fields;
  const ahead = Number(expires) - Date.now() / 1000;
  if (ahead < 500 || ahead > 601) return "expires is not in ten minutes";
  const message = Buffer.concat([
    Buffer.from(`${request.method} ${request.path}\n`),
    request.body,
    Buffer.from(`\n\n\n${expires}`),
  ]);
  return key === KEY && hmac(SECRET, message).toString("base64") === signature ? undefined : "another signature";
}

function sha256(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function hmac(key: string | Buffer, content: string | Buffer): Buffer {
  return createHmac("sha256", key).update(content).digest();
}

function queryText(query: Record<string, string>): string {
  const entries = Object.entries(query).map(([name, value]) => (value ? `${name}=${value}` : name));
  return entries.length > 0 ? `?${entries.join("&")}` : "";
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((done) => server.close(() => done()));
}
