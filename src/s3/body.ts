/**
 * A request's body, taken in: as it will be stored (takeBody), or whole, for an XML document (readDocument).
 *
 * A plain body is handed on untouched: R2 verifies SHA-256 and MD5 itself. JavaScript sees the bytes only to take off
 * aws-chunked framing and for checksums that R2 can't do. What doesn't hold errors the stream, and the last piece is
 * held back until everything has been verified, for R2 takes a body as complete once it has all of its bytes.
 *
 * Refuses bodies of unknown length (411), over 5 GiB, and everything that chunked.ts and checksum.ts refuse.
 *
 * What surprised us (measured in workerd):
 * - A default reader hands a request's body out in pieces of 4 KiB, a BYOB reader in up to what it is given. 64 MiB
 *   through JavaScript: 150 MiB/s the one way, 750 the other with 64 KiB; larger buffers gain little.
 * - A client that goes away, or ends its side early, is seen as "Network connection lost." in the middle of a read.
 * - `Content-Length: 0` gives an empty stream, and no Content-Length at all no stream.
 */
import { createHash } from "node:crypto";
import { isS3Error, S3Error } from "../errors.ts";
import type { Payload } from "../iam/signature.ts";
import type { Body } from "../store/bodies.ts";
import type { Checksum } from "../store/versions.ts";
import {
  type AnnouncedChecksum,
  announcedChecksum,
  checksumHeader,
  checksumMismatch,
  contentMd5,
  createChecksum,
  isChecksumValue,
} from "./checksum.ts";
import { ChunkedDecoder } from "./chunked.ts";

/** S3's limit for one PUT: 5 GiB. */
export const MAX_PUT_BYTES = 5 * 1024 ** 3;
const READ_BYTES = 64 * 1024;
/** Up to here a body can be had at once: what the store keeps inline, and framing around it. */
const WHOLE_BYTES = 8 * 1024;
const FRAMED_BYTES = 64 * 1024;

/**
 * The body of PutObject or UploadPart, without framing. Throws MissingContentLength, EntityTooLarge, InvalidArgument,
 * InvalidDigest, InvalidRequest, MalformedTrailerError, NotImplemented. Later the stream may fail, and `failure` tells
 * why: IncompleteBody, BadDigest, SignatureDoesNotMatch, InvalidRequest, MalformedTrailerError. The stream has a length
 * that R2 knows, but for a body of 0 bytes: the store reads that itself, for a final chunk or trailer may be wrong.
 */
export function takeBody(request: Request, payload: Payload): Body {
  const intake = new Intake(request.headers, payload);
  const { size, announced } = intake;
  if (size === undefined) throw new S3Error("MissingContentLength");
  if (size > MAX_PUT_BYTES) {
    throw new S3Error("EntityTooLarge", undefined, { ProposedSize: size, MaxSizeAllowed: MAX_PUT_BYTES });
  }
  const source = request.body ?? emptyStream();
  const md5 = contentMd5(request.headers);
  const sha256 = payload.kind === "hash" ? payload.sha256 : undefined;
  const whole = size <= WHOLE_BYTES ? wholeBody(request, intake) : undefined;
  if (!intake.isNeeded) return { size, stream: source, whole, md5, sha256, ...knownSha256(announced, sha256) };
  let failure: S3Error | undefined;
  let stream: ReadableStream<Uint8Array> | undefined;
  const decoded = () => {
    const pieces = streamOf(readPieces(source, intake), (error) => {
      failure = isS3Error(error) ? error : undefined;
    });
    // One of length 0 is taken as read by R2 and by Response alike, whatever its source says (measured).
    return size === 0 ? pieces : pieces.pipeThrough(new FixedLengthStream(size));
  };
  return {
    size,
    // Made when it is asked for: who takes the whole needs none.
    get stream() {
      stream ??= decoded();
      return stream;
    },
    whole,
    md5,
    sha256,
    checksum: () => intake.checksum,
    failure: () => failure,
  };
}

/**
 * A document's bytes, verified. A missing body is an empty one. Throws MaxMessageLengthExceeded, IncompleteBody,
 * BadDigest, XAmzContentSHA256Mismatch, SignatureDoesNotMatch and what takeBody throws of headers.
 */
export async function readDocument(
  request: Request,
  payload: Payload,
  { maxBytes }: { maxBytes: number },
): Promise<Uint8Array> {
  const intake = new Intake(request.headers, payload);
  const md5 = contentMd5(request.headers);
  const tooLong = new S3Error("MaxMessageLengthExceeded", undefined, { MaxMessageLengthBytes: maxBytes });
  if (intake.size !== undefined && intake.size > maxBytes) throw tooLong;
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of readPieces(request.body ?? emptyStream(), intake)) {
    pieces.push(piece);
    length += piece.length;
    if (length > maxBytes) throw tooLong;
  }
  const bytes = Buffer.concat(pieces);
  if (payload.kind === "hash") checkSha256(bytes, payload.sha256);
  if (md5) checkMd5(bytes, md5);
  return bytes;
}

/** What has to be done to the bytes of one body, and what they are held against. */
class Intake {
  /** bytes without framing; undefined if the client doesn't say */
  readonly size: number | undefined;
  readonly announced: AnnouncedChecksum | undefined;
  /** to be stored; set at the end */
  checksum: Checksum | null = null;
  readonly #decoder: ChunkedDecoder | undefined;
  readonly #calculated: ReturnType<typeof createChecksum> | undefined;

  constructor(headers: Headers, payload: Payload) {
    this.announced = announcedChecksum(headers);
    const announced =
      this.announced && this.announced.value === undefined ? checksumHeader(this.announced.algorithm) : undefined;
    const framing = framingOf(headers, payload);
    this.size = readSize(headers, framing ? "x-amz-decoded-content-length" : "content-length");
    if (framing && this.size === undefined) throw new S3Error("MissingContentLength");
    if (announced && !framing?.hasTrailer) throw new S3Error("MalformedTrailerError");
    if (framing) this.#decoder = new ChunkedDecoder({ ...framing, size: this.size!, announced });
    if (this.announced) this.#calculated = createChecksum(this.announced.algorithm);
  }

  /** False if the store can take the body as it comes. */
  get isNeeded(): boolean {
    return this.#decoder !== undefined || (this.announced !== undefined && this.announced.algorithm !== "SHA256");
  }

  push(bytes: Uint8Array): Uint8Array {
    const taken = this.#decoder ? this.#decoder.push(bytes) : bytes;
    this.#calculated?.update(taken);
    return taken;
  }

  /** After the last byte. Throws if anything isn't as it was announced. */
  end(): void {
    const trailer = this.#decoder?.end();
    if (!this.announced) return;
    const { algorithm, value } = this.announced;
    const expected = value ?? trailer!;
    if (!isChecksumValue(algorithm, expected)) {
      throw new S3Error("InvalidRequest", `Value for ${checksumHeader(algorithm)} trailing header is invalid.`);
    }
    if (this.#calculated!.digest().toString("base64") !== expected) throw checksumMismatch(algorithm);
    this.checksum = { algorithm, type: "FULL_OBJECT", value: expected };
  }
}

/**
 * Framed is what x-amz-content-sha256 says is. Anonymous and presigned requests needn't send that header; there
 * Content-Encoding and x-amz-decoded-content-length together are believed, for framing must never be stored.
 */
function framingOf(headers: Headers, payload: Payload) {
  if (payload.kind === "streaming-signed") return { signed: payload, hasTrailer: payload.trailer };
  const isDeclared = /(^|,)\s*aws-chunked\s*(,|$)/i.test(headers.get("content-encoding") ?? "");
  const isInferred = isDeclared && headers.has("x-amz-decoded-content-length") && !headers.has("x-amz-content-sha256");
  const isFramed = payload.kind === "streaming-unsigned-trailer" || (payload.kind === "unsigned" && isInferred);
  return isFramed ? { signed: undefined, hasTrailer: true } : undefined;
}

function readSize(headers: Headers, name: string): number | undefined {
  const value = headers.get(name);
  if (value === null) return undefined;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  const details = { ArgumentName: name, ArgumentValue: value };
  throw new S3Error("InvalidArgument", `${name} must be a number of bytes`, details);
}

/** A SHA256 checksum in a header is for the store to verify, like a payload hash; given both, they must agree. */
function knownSha256(announced: AnnouncedChecksum | undefined, payloadSha256: string | undefined): Partial<Body> {
  if (!announced?.value) return {};
  const { algorithm, value } = announced;
  const sha256 = Buffer.from(value, "base64").toString("hex");
  if (payloadSha256 && payloadSha256 !== sha256) throw checksumMismatch(algorithm);
  const checksum = () => ({ algorithm, type: "FULL_OBJECT" as const, value });
  return { sha256, checksum, ...(!payloadSha256 && { sha256Mismatch: checksumMismatch(algorithm) }) };
}

/** A small body at once, if the client says how long it is with its framing. */
function wholeBody(request: Request, intake: Intake): (() => Promise<Uint8Array>) | undefined {
  const length = readSize(request.headers, "content-length");
  if (length === undefined || length > FRAMED_BYTES) return undefined;
  return async () => {
    const raw = await request.arrayBuffer().catch(() => {
      throw new S3Error("IncompleteBody");
    });
    const bytes = intake.isNeeded ? intake.push(new Uint8Array(raw)) : new Uint8Array(raw);
    if (intake.isNeeded) intake.end();
    return bytes;
  };
}

/** Yields what is to be stored, the last piece only when all has been verified. */
async function* readPieces(source: ReadableStream<Uint8Array>, intake: Intake): AsyncGenerator<Uint8Array> {
  const reader = source.getReader({ mode: "byob" });
  let held: Uint8Array | undefined;
  for (;;) {
    const { value, done } = await reader.read(new Uint8Array(READ_BYTES)).catch(() => {
      throw new S3Error("IncompleteBody");
    });
    if (done) break;
    const piece = intake.push(value);
    if (!piece.length) continue;
    if (held) yield held;
    held = piece;
  }
  intake.end();
  if (held) yield held;
}

function streamOf(pieces: AsyncGenerator<Uint8Array>, onError: (error: unknown) => void): ReadableStream<Uint8Array> {
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    try {
      const { value, done } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    } catch (error) {
      onError(error);
      throw error;
    }
  };
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}

function emptyStream(): ReadableStream<Uint8Array> {
  return new Response(new Uint8Array()).body!;
}

function checkSha256(bytes: Uint8Array, expected: string): void {
  const calculated = createHash("sha256").update(bytes).digest("hex");
  if (calculated === expected) return;
  const details = { ClientComputedContentSHA256: expected, S3ComputedContentSHA256: calculated };
  throw new S3Error("XAmzContentSHA256Mismatch", undefined, details);
}

function checkMd5(bytes: Uint8Array, expected: string): void {
  const calculated = createHash("md5").update(bytes).digest();
  if (calculated.toString("hex") === expected) return;
  const ExpectedDigest = Buffer.from(expected, "hex").toString("base64");
  const details = { ExpectedDigest, CalculatedDigest: calculated.toString("base64") };
  throw new S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.", details);
}
