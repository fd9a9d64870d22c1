/**
 * Calls of an S3 client, signed before they are sent, and of the bare Worker, which asks for no signature.
 *
 * A signature holds for 15 minutes, so calls are made for each measurement, and not for the whole run at once.
 */
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import type { Call } from "./load.ts";
import { canonicalQuery, Signer, sha256 } from "./sign.ts";

/** How a PUT's body is protected. */
export const FORMS = ["signed hash", "aws-chunked, CRC32", "unsigned payload"] as const;
export type Form = (typeof FORMS)[number];

/** Bytes of a chunk, as the AWS SDKs for Go and Java cut them. */
const CHUNK_BYTES = 64 * 1024;
const EMPTY = { headers: { "x-amz-content-sha256": sha256("") } };

interface Payload {
  body?: Buffer;
  headers: Record<string, string>;
}

/** ASCII, since the bare Worker keeps text in a row; random, so that nothing on the way can compress it. */
export function randomBody(size: number): Buffer {
  return Buffer.from(
    randomBytes(Math.ceil((size * 3) / 4))
      .toString("base64")
      .slice(0, size),
  );
}

export class S3Calls {
  readonly #endpoint: URL;
  readonly #signer: Signer;

  constructor(endpoint: string, zone: string, credentials: { key: string; secret: string }) {
    this.#endpoint = new URL(endpoint);
    this.#signer = new Signer(zone, credentials);
  }

  /** A PUT for each path, all of one body. */
  put(paths: string[], body: Buffer, form: Form = "signed hash"): Call[] {
    const payload = protect(body, form);
    return paths.map((path) => this.#sign("PUT", path, payload, { answers: 0 }));
  }

  /** A GET for each path; `size`: bytes of each object. */
  get(paths: string[], size: number): Call[] {
    return paths.map((path) => this.#sign("GET", path, EMPTY, { answers: size }));
  }

  head(paths: string[]): Call[] {
    return paths.map((path) => this.#sign("HEAD", path, EMPTY, { answers: 0 }));
  }

  delete(paths: string[]): Call[] {
    return paths.map((path) => this.#sign("DELETE", path, EMPTY, { status: 204, answers: 0 }));
  }

  /** DeleteObjects of a bucket's keys, without an answer for each. */
  deleteObjects(bucket: string, keys: string[]): Call {
    const objects = keys.map((key) => `<Object><Key>${key}</Key></Object>`).join("");
    return this.post(`/${bucket}`, { delete: "" }, `<Delete><Quiet>true</Quiet>${objects}</Delete>`);
  }

  /** A page of ListObjectsV2. */
  list(bucket: string, query: Record<string, string>): Call {
    return this.#sign("GET", `/${bucket}`, EMPTY, { query: { "list-type": "2", ...query }, isKept: true });
  }

  /** Sends an XML document, or nothing; the answer is kept. */
  post(path: string, query: Record<string, string>, document = ""): Call {
    const body = Buffer.from(document);
    return this.#sign("POST", path, protect(body, "signed hash"), { query, isKept: true });
  }

  uploadPart(path: string, uploadId: string, partNumber: number, body: Buffer): Call {
    const query = { partNumber: String(partNumber), uploadId };
    return this.#sign("PUT", path, protect(body, "signed hash"), { query, answers: 0 });
  }

  #sign(
    method: Call["method"],
    path: string,
    { body, headers }: Payload,
    { query = {}, ...expected }: Pick<Call, "status" | "answers" | "isKept"> & { query?: Record<string, string> },
  ): Call {
    const signed = this.#signer.sign({ method, host: this.#endpoint.host, path, query, headers });
    const search = canonicalQuery(query);
    const length = body && { "content-length": String(body.length) };
    return {
      method,
      endpoint: this.#endpoint,
      path: search ? `${path}?${search}` : path,
      headers: { ...signed, ...length },
      body,
      ...expected,
    };
  }
}

/** Hashes of bodies that are sent again and again: 64 MiB take 50 ms. */
const hashes = new WeakMap<Buffer, string>();

function hashOf(body: Buffer): string {
  const hash = hashes.get(body) ?? sha256(body);
  hashes.set(body, hash);
  return hash;
}

function protect(body: Buffer, form: Form): Required<Payload> {
  const common = { "content-type": "application/octet-stream" };
  if (form === "signed hash") return { body, headers: { ...common, "x-amz-content-sha256": hashOf(body) } };
  if (form === "unsigned payload") return { body, headers: { ...common, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" } };
  const headers = {
    ...common,
    "content-encoding": "aws-chunked",
    "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "x-amz-decoded-content-length": String(body.length),
    "x-amz-trailer": "x-amz-checksum-crc32",
  };
  return { body: frame(body), headers };
}

/** The body in aws-chunked framing, with its CRC32 as trailer. */
function frame(body: Buffer): Buffer {
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  const pieces: (Buffer | string)[] = [];
  for (let at = 0; at < body.length; at += CHUNK_BYTES) {
    const chunk = body.subarray(at, at + CHUNK_BYTES);
    pieces.push(`${chunk.length.toString(16)}\r\n`, chunk, "\r\n");
  }
  pieces.push(`0\r\nx-amz-checksum-crc32:${checksum.toString("base64")}\r\n\r\n`);
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece)));
}

/** A call of the bare Worker for each path. */
export function bareCalls(
  endpoint: string,
  method: Call["method"],
  paths: string[],
  { body, ...expected }: Pick<Call, "body" | "status" | "answers"> = {},
): Call[] {
  const url = new URL(endpoint);
  const headers: Record<string, string> = body ? { "content-length": String(body.length) } : {};
  return paths.map((path) => ({ method, endpoint: url, path, headers, body, ...expected }));
}
