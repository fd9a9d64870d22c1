/**
 * One request over HTTP, and the rule by which it is sent again.
 *
 * By node:http, because `fetch` folds `..` and `.` in a path: a key `a/../b` would be signed as one thing and sent as
 * another. Here the request target goes out as it was given.
 *
 * Sent again, three times: what failed by the network, 5xx but 501, 429, and S3's RequestTimeout. Each attempt signs anew.
 *
 * Surprising: a server that refuses a request before it has read the body closes the connection, and node then throws
 * the answer away with the broken pipe. So after a broken connection the next attempt asks first (Expect: 100-continue).
 */
import * as http from "node:http";
import * as https from "node:https";
import type { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";

export interface HttpRequest {
  method: string;
  /** scheme, host and port */
  origin: URL;
  /** path and query as they go on the wire */
  target: string;
  headers: Record<string, string>;
  body?: Buffer | Readable | undefined;
  /** send the body only when the server wants it, or says nothing for a second */
  askFirst?: boolean;
  signal?: AbortSignal | undefined;
}

/** An answer of 400 or more, with the code and message that its body has. */
export class RequestError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(code === message ? code : `${code}: ${message}`);
    this.status = status;
    this.code = code;
  }

  get isTemporary(): boolean {
    return (this.status >= 500 && this.status !== 501) || this.status === 429 || this.code === "RequestTimeout";
  }
}

/** No answer: refused, reset, timed out, or broken off in the middle. */
export class ConnectionError extends Error {}

const RETRIES = 3;
const FIRST_DELAY_MS = 400;
/** without a byte in either direction */
const IDLE_MS = 120_000;
const CONTINUE_MS = 1000;
const agents = {
  "http:": new http.Agent({ keepAlive: true }),
  "https:": new https.Agent({ keepAlive: true }),
};

/**
 * Runs `attempt` until it gives a result or fails for good. What it throws decides: see the head of this file.
 * It is told whether the connection broke the last time.
 */
export async function withRetries<T>(attempt: (broke: boolean) => Promise<T>, signal?: AbortSignal): Promise<T> {
  let broke = false;
  for (let failures = 0; ; failures++) {
    try {
      return await attempt(broke);
    } catch (error) {
      broke = error instanceof ConnectionError;
      const mayPass = broke || (error instanceof RequestError && error.isTemporary);
      if (!mayPass || signal?.aborted || failures === RETRIES) throw error;
    }
    await wait(FIRST_DELAY_MS * 2 ** failures * (0.5 + Math.random() / 2), undefined, { signal });
  }
}

/** Sends once. Resolves with the answer's head, whatever its status; throws ConnectionError, or AbortError by `signal`. */
export function send(request: HttpRequest): Promise<http.IncomingMessage> {
  const { origin, signal } = request;
  const asksFirst = request.askFirst === true && request.body !== undefined;
  return new Promise((resolve, reject) => {
    const outgoing = begin(request, asksFirst ? { expect: "100-continue" } : {});
    outgoing.on("error", (error) => reject(signal?.aborted ? error : connectionError(origin, error)));
    outgoing.on("response", (answer) => {
      // Refused before all of the body was sent: the rest is for nobody.
      if (!outgoing.writableEnded) answer.on("end", () => outgoing.destroy());
      resolve(answer);
    });
    if (!asksFirst) return sendBody(outgoing, request.body);
    const go = () => sendBody(outgoing, request.body);
    const timer = setTimeout(() => outgoing.off("continue", go) && go(), CONTINUE_MS);
    outgoing.once("continue", go);
    for (const event of ["continue", "response", "close"]) outgoing.once(event, () => clearTimeout(timer));
    outgoing.flushHeaders();
  });
}

function begin({ origin, method, target, headers, signal }: HttpRequest, more: object): http.ClientRequest {
  const isSecure = origin.protocol === "https:";
  if (!isSecure && origin.protocol !== "http:") throw new Error(`${origin.href} is no http or https address`);
  const outgoing = (isSecure ? https : http).request({
    agent: agents[isSecure ? "https:" : "http:"],
    hostname: origin.hostname.replace(/^\[|\]$/g, ""),
    port: origin.port,
    method,
    path: target,
    headers: { ...headers, ...more, host: origin.host },
    signal,
  });
  return outgoing.setTimeout(IDLE_MS, () => outgoing.destroy(new Error("timed out")));
}

function sendBody(outgoing: http.ClientRequest, body: HttpRequest["body"]): void {
  if (body === undefined || body instanceof Uint8Array) {
    outgoing.end(body);
    return;
  }
  body.on("error", (error) => outgoing.destroy(error));
  outgoing.on("close", () => body.destroy());
  body.pipe(outgoing);
}

/** The whole body. Throws ConnectionError where it breaks off. */
export async function readBody(answer: http.IncomingMessage, origin: URL): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of answer) chunks.push(chunk);
  } catch (error) {
    throw connectionError(origin, error as Error);
  }
  return Buffer.concat(chunks);
}

export function connectionError(origin: URL, error: NodeJS.ErrnoException): ConnectionError {
  // A host with several addresses fails with an AggregateError, which has a code and no message.
  const isLocal = error.code === "ECONNREFUSED" && origin.hostname === "127.0.0.1";
  const hint = isLocal ? ": `npm start` starts the local server" : "";
  return new ConnectionError(`cannot reach ${origin.origin} (${error.code ?? error.message})${hint}`, { cause: error });
}
