/**
 * Whom the CLI speaks to: a zone's S3 endpoint (SigV4) and the control API (EXO2-HMAC-SHA256).
 *
 * Surprising: aws4fetch's signer builds its canonical path from a URL, which folds `..` and `//..`. Here path and query
 * are encoded first, put into the signer, and sent as the very same characters.
 * EXO2 signs the decoded values of the query's parameters, not the query.
 */
import { createHash, createHmac } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { AwsV4Signer } from "aws4fetch";
import type { Config } from "./config.ts";
import { RequestError, readBody, send, withRetries } from "./http.ts";
import { type Element, leaf, parseXml } from "./xml.ts";

/** A body that can be sent more than once. */
export interface Payload {
  /** bytes */
  length: number;
  /** hex */
  sha256: string;
  /** a new stream from the first byte, for each attempt */
  open(): Readable | Buffer;
}

export interface S3Request {
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  bucket: string;
  /** as it is: not encoded */
  key?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: string | Payload;
  signal?: AbortSignal;
  /** statuses from 400 that are an answer and no error */
  accept?: number[];
}

export interface S3Answer {
  status: number;
  /** text as UTF-8: what is outside ASCII comes so from S3, and node reads it as Latin-1 */
  header(name: string): string | undefined;
  headerNames: string[];
  body: string;
}

type Credentials = Pick<Config, "key" | "secret">;

/** S3 at one zone. */
export class S3Client {
  readonly zone: string;
  /** as given: origin and perhaps a path that stands before all buckets */
  readonly endpoint: string;
  readonly #credentials: Credentials;
  /** aws4fetch's signing keys by day, zone and service */
  readonly #signingKeys = new Map<string, ArrayBuffer>();

  constructor(endpoint: string, zone: string, credentials: Credentials) {
    this.endpoint = endpoint;
    this.zone = zone;
    this.#credentials = credentials;
  }

  /** Throws RequestError with S3's code and message. */
  async call(request: S3Request): Promise<S3Answer> {
    return withRetries(async (askFirst) => {
      const answer = await this.#send(request, askFirst);
      const body = (await readBody(answer, new URL(this.endpoint))).toString();
      const status = answer.statusCode ?? 0;
      if (status >= 400 && !request.accept?.includes(status)) throw s3Error(answer, body);
      return { status, body, header: (name) => headerOf(answer, name), headerNames: Object.keys(answer.headers) };
    }, request.signal);
  }

  /** The same, for an answer whose root element is `root`. CompleteMultipartUpload may say an error with status 200. */
  async callXml(request: S3Request, root: string): Promise<Element> {
    const answer = await this.call(request);
    const element = parseXml(answer.body, root);
    if (element) return element;
    const error = parseXml(answer.body, "Error");
    if (error) throw new RequestError(500, leaf(error, "Code") ?? "Error", leaf(error, "Message") ?? "");
    throw new Error(`${this.endpoint} answered something else than S3's ${root}`);
  }

  /** The same, with the body left to be read (or destroyed) by the caller. */
  async open(request: S3Request): Promise<{ answer: IncomingMessage; header(name: string): string | undefined }> {
    return withRetries(async (askFirst) => {
      const answer = await this.#send(request, askFirst);
      if ((answer.statusCode ?? 0) >= 400) {
        throw s3Error(answer, (await readBody(answer, new URL(this.endpoint))).toString());
      }
      return { answer, header: (name) => headerOf(answer, name) };
    }, request.signal);
  }

  /** The address of a bucket or an object, without a signature. */
  url(bucket: string, key?: string): string {
    return this.endpoint + path(bucket, key);
  }

  async #send(request: S3Request, askFirst: boolean): Promise<IncomingMessage> {
    const { method, body, signal } = request;
    const base = new URL(this.endpoint);
    const target = base.pathname.replace(/\/$/, "") + path(request.bucket, request.key);
    const query = canonicalQuery(request.query ?? {});
    const payload = typeof body === "string" ? textPayload(body) : body;
    const length = payload?.length ?? (method === "PUT" || method === "POST" ? 0 : undefined);
    const headers = await this.#sign(request, base, target, query, payload?.sha256 ?? EMPTY_SHA256);
    return send({
      method,
      origin: base,
      target: query ? `${target}?${query}` : target,
      headers: length === undefined ? headers : { ...headers, "content-length": String(length) },
      body: payload?.open(),
      askFirst,
      signal,
    });
  }

  /** The request's headers with SigV4's. All of them are signed but content-length, which node sets its own way. */
  async #sign(request: S3Request, base: URL, target: string, query: string, sha256: string) {
    const signer = new AwsV4Signer({
      method: request.method,
      url: base.origin,
      headers: { ...request.headers, "x-amz-content-sha256": sha256 },
      accessKeyId: this.#credentials.key,
      secretAccessKey: this.#credentials.secret,
      service: "s3",
      region: this.zone,
      allHeaders: true,
      cache: this.#signingKeys,
    });
    signer.encodedPath = target;
    signer.encodedSearch = query;
    return Object.fromEntries((await signer.sign()).headers);
  }
}

/** The control API. Answers are JSON. */
export class ControlClient {
  readonly #base: URL;
  readonly #credentials: Credentials;

  constructor(api: string, credentials: Credentials) {
    this.#base = new URL(api);
    this.#credentials = credentials;
  }

  get<T>(path: string): Promise<T> {
    return this.#call("GET", path);
  }

  /** A change: sends it and waits until its operation has ended. Gives the id of what was changed. */
  async change(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<string | undefined> {
    let operation = await this.#call<Operation>(method, path, body);
    while (operation.state === "pending") {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      operation = await this.get<Operation>(`/operation/${operation.id}`);
    }
    if (operation.state !== "success") {
      throw new Error(`operation ${operation.id}: ${operation.state}: ${operation.message ?? operation.reason ?? ""}`);
    }
    return operation.reference?.id;
  }

  post<T>(path: string, body: unknown): Promise<T> {
    return this.#call("POST", path, body);
  }

  async #call<T>(method: string, path: string, json?: unknown): Promise<T> {
    const body = json === undefined ? "" : JSON.stringify(json);
    const target = this.#base.pathname + path;
    return withRetries(async () => {
      const answer = await send({
        method,
        origin: this.#base,
        target,
        headers: {
          // The list of zones is public, and `exo` asks for it without a signature.
          ...(path !== "/zone" && { authorization: this.#authorization(method, target, body) }),
          ...(body && { "content-type": "application/json" }),
          ...(method !== "GET" && { "content-length": String(Buffer.byteLength(body)) }),
        },
        body: Buffer.from(body),
      });
      const text = (await readBody(answer, this.#base)).toString();
      if ((answer.statusCode ?? 0) >= 400) throw controlError(answer, text);
      return parseJson<T>(text, this.#base);
    });
  }

  /** No path of ours has a query, so there are no `signed-query-args`. */
  #authorization(method: string, target: string, body: string): string {
    const expires = Math.floor(Date.now() / 1000) + SIGNATURE_SECONDS;
    const message = [`${method} ${target}`, body, "", "", expires].join("\n");
    const signature = createHmac("sha256", this.#credentials.secret).update(message).digest("base64");
    return `EXO2-HMAC-SHA256 credential=${this.#credentials.key},expires=${expires},signature=${signature}`;
  }
}

interface Operation {
  id: string;
  state: "success" | "pending" | "failure" | "timeout";
  reason?: string;
  message?: string;
  reference?: { id: string };
}

const POLL_MS = 1000;
const SIGNATURE_SECONDS = 600;
const EMPTY_SHA256 = createHash("sha256").digest("hex");

/** A payload of text or bytes that are in memory. */
export function textPayload(content: string | Buffer): Payload {
  const bytes = Buffer.from(content);
  return { length: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex"), open: () => bytes };
}

/** What a document must carry that S3 wants a checksum of. */
export function xmlHeaders(document: string): Record<string, string> {
  return {
    "content-type": "application/xml",
    "content-md5": createHash("md5").update(document).digest("base64"),
  };
}

function path(bucket: string, key?: string): string {
  return `/${encode(bucket)}${key === undefined ? "" : `/${key.split("/").map(encode).join("/")}`}`;
}

/** As SigV4 wants it: sorted, everything but the unreserved characters as %XX, flags with an equals sign. */
function canonicalQuery(query: Record<string, string>): string {
  return Object.keys(query)
    .sort()
    .map((name) => `${encode(name)}=${encode(query[name] ?? "")}`)
    .join("&");
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

function headerOf(answer: IncomingMessage, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? Buffer.from(value, "latin1").toString() : undefined;
}

function s3Error(answer: IncomingMessage, body: string): RequestError {
  const error = parseXml(body, "Error");
  const status = answer.statusCode ?? 0;
  const fallback = answer.statusMessage || `status ${status}`;
  return new RequestError(status, leaf(error, "Code") ?? fallback, leaf(error, "Message") ?? fallback);
}

function controlError(answer: IncomingMessage, body: string): RequestError {
  const status = answer.statusCode ?? 0;
  return new RequestError(status, answer.statusMessage || `status ${status}`, messageOf(body) || `status ${status}`);
}

function parseJson<T>(text: string, base: URL): T {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new Error(`${base.href} answered something else than JSON`, { cause: error });
  }
}

/** `exo` reads these names; a body that is no JSON is the message itself. */
function messageOf(body: string): string {
  try {
    const { message, error, title, detail } = JSON.parse(body) as Record<string, string>;
    return message ?? error ?? (title && detail ? `${title}: ${detail}` : (title ?? detail)) ?? "";
  } catch {
    return body.trim();
  }
}
