/**
 * Calls of an S3 client, signed before they are sent, and of the bare Worker, which asks for no signature.
 *
 * A signature holds for 15 minutes, so calls are made for each measurement, and not for the whole run at once.
 */
import { createHash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { AwsV4Signer } from "aws4fetch";
import type { Call } from "./load.ts";

/** How a PUT's body is protected. */
export const FORMS = ["signed hash", "aws-chunked, CRC32", "unsigned payload"] as const;
export type Form = (typeof FORMS)[number];

/** Bytes of a chunk, as the AWS SDKs for Go and Java cut them. */
const CHUNK_BYTES = 64 * 1024;

interface Payload {
  body: Buffer;
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
  readonly #zone: string;
  readonly #credentials: { accessKeyId: string; secretAccessKey: string };
  readonly #signingKeys = new Map<string, ArrayBuffer>();

  constructor(endpoint: string, zone: string, { key, secret }: { key: string; secret: string }) {
    this.#endpoint = new URL(endpoint);
    this.#zone = zone;
    this.#credentials = { accessKeyId: key, secretAccessKey: secret };
  }

  /** A PUT for each path, all of one body. */
  async put(paths: string[], body: Buffer, form: Form): Promise<Call[]> {
    const payload = protect(body, form);
    return await Promise.all(paths.map((path) => this.#sign("PUT", path, payload, 0)));
  }

  /** A GET for each path; `size`: bytes of each object. */
  async get(paths: string[], size: number): Promise<Call[]> {
    const headers = { "x-amz-content-sha256": sha256(Buffer.alloc(0)) };
    return await Promise.all(paths.map((path) => this.#sign("GET", path, { headers }, size)));
  }

  async #sign(method: Call["method"], path: string, payload: Partial<Payload>, answers: number): Promise<Call> {
    const { body, headers } = payload;
    const signer = new AwsV4Signer({
      ...this.#credentials,
      method,
      url: new URL(path, this.#endpoint).href,
      headers,
      service: "s3",
      region: this.#zone,
      cache: this.#signingKeys,
    });
    const signed = Object.fromEntries((await signer.sign()).headers);
    const length = body && { "content-length": String(body.length) };
    return { method, endpoint: this.#endpoint, path, headers: { ...signed, ...length }, body, answers };
  }
}

function protect(body: Buffer, form: Form): Payload {
  const common = { "content-type": "application/octet-stream" };
  if (form === "signed hash") return { body, headers: { ...common, "x-amz-content-sha256": sha256(body) } };
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

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Calls of the bare Worker: a PUT for each path if there is a body, else a GET of `answers` bytes. */
export function bareCalls(endpoint: string, paths: string[], body: Buffer | undefined, answers = 0): Call[] {
  const url = new URL(endpoint);
  const headers: Record<string, string> = body ? { "content-length": String(body.length) } : {};
  return paths.map((path) => ({ method: body ? "PUT" : "GET", endpoint: url, path, headers, body, answers }));
}
