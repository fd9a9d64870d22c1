/**
 * A client of a zone: signed requests over connections kept alive, answers as they come. node:http and a signature of
 * its own, since a run sends some hundred thousand requests and an SDK takes longer over each than the zone does.
 *
 * Targets are written as they are signed: keys here have only letters, digits, `-` and `/`.
 */
import { createHash, createHmac } from "node:crypto";
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";

export interface Answer {
  /** 0: there was none */
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Credentials {
  key: string;
  secret: string;
}

/** Longer than anything that is asked takes, faults included. */
const TIMEOUT_MS = 30_000;

/** workerd closes a connection on which nothing came for 5 seconds. */
const IDLE_MS = 2000;

export class Client {
  readonly #endpoint: URL;
  readonly #zone: string;
  readonly #credentials: Credentials;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64, timeout: IDLE_MS });
  readonly #signingKeys = new Map<string, Buffer>();

  constructor(endpoint: string, zone: string, credentials: Credentials) {
    this.#endpoint = new URL(endpoint);
    this.#zone = zone;
    this.#credentials = credentials;
  }

  /** Sends a request. `query` is sorted and encoded. Never throws: without an answer the status is 0. */
  async send(
    method: string,
    path: string,
    { query = "", headers = {}, body }: { query?: string; headers?: Record<string, string>; body?: Buffer } = {},
  ): Promise<Answer> {
    const signed = this.#sign(method, path, query, headers);
    if (body) signed["content-length"] = String(body.length);
    const exchange = () => this.#exchange(method, query ? `${path}?${query}` : path, signed, body);
    // A connection that the server closed just now is found out by using it. A read may be asked again.
    const first = method === "GET" || method === "HEAD" ? exchange().catch(exchange) : exchange();
    return await first.catch(() => ({ status: 0, headers: {}, body: Buffer.alloc(0) }));
  }

  close(): void {
    this.#agent.destroy();
  }

  async #exchange(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: Buffer | undefined,
  ): Promise<Answer> {
    const { hostname: host, port } = this.#endpoint;
    return await new Promise((resolve, reject) => {
      const options = { agent: this.#agent, host, port, method, path, headers, timeout: TIMEOUT_MS };
      const request = httpRequest(options, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) });
        });
      });
      request.on("timeout", () => request.destroy(new Error("no answer")));
      request.on("error", reject);
      request.end(body);
    });
  }

  #sign(method: string, path: string, query: string, headers: Record<string, string>): Record<string, string> {
    const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    const all: Record<string, string> = {
      ...headers,
      host: this.#endpoint.host,
      "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
      "x-amz-date": date,
    };
    const names = Object.keys(all).sort();
    const lines = names.map((name) => `${name}:${all[name]}\n`).join("");
    const canonical = [method, path, query, lines, names.join(";"), "UNSIGNED-PAYLOAD"].join("\n");
    const scope = `${date.slice(0, 8)}/${this.#zone}/s3/aws4_request`;
    const digest = createHash("sha256").update(canonical).digest("hex");
    const text = ["AWS4-HMAC-SHA256", date, scope, digest].join("\n");
    const signature = createHmac("sha256", this.#signingKey(date.slice(0, 8)))
      .update(text)
      .digest("hex");
    const credential = `${this.#credentials.key}/${scope}`;
    all.authorization = `AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${names.join(";")},Signature=${signature}`;
    return all;
  }

  #signingKey(day: string): Buffer {
    const known = this.#signingKeys.get(day);
    if (known) return known;
    const steps = [day, this.#zone, "s3", "aws4_request"];
    const key = steps.reduce<Buffer>(
      (each, step) => createHmac("sha256", each).update(step).digest(),
      Buffer.from(`AWS4${this.#credentials.secret}`),
    );
    this.#signingKeys.set(day, key);
    return key;
  }
}
