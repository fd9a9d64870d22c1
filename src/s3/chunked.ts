/**
 * aws-chunked, taken off: what was inside the framing, chunk signatures verified in order, the trailer handed out.
 *
 *     10000;chunk-signature=<64 hex>\r\n <65536 bytes> \r\n     (unsigned: just the size)
 *     0;chunk-signature=<64 hex>\r\n
 *     x-amz-checksum-crc32c:sOO8/Q==\r\n                        (trailer forms only)
 *     x-amz-trailer-signature:<64 hex>\r\n                      (signed trailer only)
 *     \r\n
 *
 * Refuses sizes that aren't hexadecimal, long lines, more or less than x-amz-decoded-content-length, a missing final
 * chunk, a trailer that wasn't announced, and anything after the end. Errors are those that S3 gives: IncompleteBody
 * for framing, MalformedTrailerError for trailers.
 *
 * What surprised us: minio-go ends a trailer with a bare LF and puts an empty line before the trailer's signature (or
 * one more at the very end, if unsigned). S3's rule that only the last chunk may be under 8 KiB isn't enforced: clients
 * that stream small pieces, among them the AWS SDK for JavaScript, fall over it, and it protects nothing here.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html
 */
import { createHash, type Hash } from "node:crypto";
import { S3Error } from "../errors.ts";
import { chunkSignature, isSameSignature, type SignedStream, trailerSignature } from "../iam/signature.ts";

/** A size line has at most 16 + 17 + 64 characters; a trailer's value is a checksum or a signature. */
const MAX_LINE = 256;
const SIGNED_SIZE = /^([0-9a-f]{1,16});chunk-signature=([0-9a-f]{64})\r$/i;
const UNSIGNED_SIZE = /^([0-9a-f]{1,16})\r$/i;
const TRAILER_SIGNATURE = "x-amz-trailer-signature";

export interface Framing {
  /** undefined: chunks aren't signed */
  signed: SignedStream | undefined;
  hasTrailer: boolean;
  /** bytes without framing: x-amz-decoded-content-length */
  size: number;
  /** the one trailer that `x-amz-trailer` names, by lower-case name */
  announced: string | undefined;
}

type State = "size" | "data" | "data end" | "trailer" | "end";

/** Fed with reads that begin and end anywhere; no buffer but for a line that two reads share. */
export class ChunkedDecoder {
  readonly #framing: Framing;
  #state: State = "size";
  #line = "";
  #chunkLeft = 0;
  #received = 0;
  #hash: Hash | undefined;
  #chunkSignature = "";
  #previousSignature: string;
  #trailer: [name: string, value: string] | undefined;
  #isTrailerSigned = false;
  #hasExtraLine = false;

  constructor(framing: Framing) {
    this.#framing = framing;
    this.#previousSignature = framing.signed?.seedSignature ?? "";
  }

  /** What `bytes` hold beside framing, moved together in place: a view of the same buffer, perhaps empty. */
  push(bytes: Uint8Array): Uint8Array {
    let start = 0;
    let length = 0;
    for (let at = 0; at < bytes.length; ) {
      if (this.#state !== "data") {
        at = this.#takeLine(bytes, at);
        continue;
      }
      const piece = bytes.subarray(at, at + this.#chunkLeft);
      this.#takeData(piece);
      if (length === 0) start = at;
      else bytes.copyWithin(start + length, at, at + piece.length);
      length += piece.length;
      at += piece.length;
    }
    return bytes.subarray(start, start + length);
  }

  /** Call after the last read. Throws IncompleteBody unless all of the form was there. The announced trailer's value. */
  end(): string | undefined {
    if (this.#state !== "end" || this.#line) throw unexpectedEnd();
    return this.#trailer?.[1];
  }

  #takeData(piece: Uint8Array): void {
    this.#hash?.update(piece);
    this.#received += piece.length;
    this.#chunkLeft -= piece.length;
    if (this.#chunkLeft === 0) this.#state = "data end";
  }

  /** Takes bytes up to a line feed; what comes before the next read's is kept. Gives the position behind. */
  #takeLine(bytes: Uint8Array, at: number): number {
    const lineFeed = bytes.indexOf(10, at);
    const end = lineFeed < 0 ? bytes.length : lineFeed;
    if (this.#line.length + end - at > MAX_LINE) throw unexpectedEnd();
    this.#line += Buffer.from(bytes.buffer, bytes.byteOffset + at, end - at).toString("latin1");
    if (lineFeed < 0) return end;
    const line = this.#line;
    this.#line = "";
    this.#handleLine(line);
    return lineFeed + 1;
  }

  #handleLine(line: string): void {
    if (this.#state === "size") this.#startChunk(line);
    else if (this.#state === "data end") this.#endChunk(line);
    else if (this.#state === "end") this.#tolerateLine(line);
    else if (line === "\r" || line === "") this.#endTrailer();
    else this.#takeTrailer(line);
  }

  #startChunk(line: string): void {
    const { signed, size } = this.#framing;
    const match = (signed ? SIGNED_SIZE : UNSIGNED_SIZE).exec(line);
    if (!match) throw unexpectedEnd();
    this.#chunkLeft = Number.parseInt(match[1]!, 16);
    const total = this.#received + this.#chunkLeft;
    // An empty chunk is the final one.
    if (total > size || (this.#chunkLeft === 0 && total < size)) throw wrongSize(size, total);
    this.#chunkSignature = match[2]?.toLowerCase() ?? "";
    this.#hash = signed && createHash("sha256");
    this.#state = "data";
    if (this.#chunkLeft > 0) return;
    this.#verifyChunk();
    this.#state = "trailer";
  }

  #endChunk(line: string): void {
    if (line !== "\r") throw unexpectedEnd();
    this.#verifyChunk();
    this.#state = "size";
  }

  #verifyChunk(): void {
    const { signed } = this.#framing;
    if (!signed) return;
    const calculated = chunkSignature(signed, this.#previousSignature, this.#hash!.digest("hex"));
    if (!isSameSignature(calculated, this.#chunkSignature)) throw new S3Error("SignatureDoesNotMatch");
    this.#previousSignature = calculated;
  }

  #takeTrailer(line: string): void {
    const { signed, hasTrailer, announced } = this.#framing;
    if (!hasTrailer) throw unexpectedEnd();
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (this.#isTrailerSigned) throw new S3Error("MalformedTrailerError");
    if (signed && name === TRAILER_SIGNATURE) this.#verifyTrailer(signed, value);
    else if (name && name === announced && !this.#trailer) this.#trailer = [name, value];
    else throw new S3Error("MalformedTrailerError");
  }

  #verifyTrailer(signed: SignedStream, signature: string): void {
    const text = this.#trailer ? `${this.#trailer.join(":")}\n` : "";
    const sha256 = createHash("sha256").update(text).digest("hex");
    const calculated = trailerSignature(signed, this.#previousSignature, sha256);
    if (!isSameSignature(calculated, signature)) throw new S3Error("SignatureDoesNotMatch");
    this.#isTrailerSigned = true;
  }

  #endTrailer(): void {
    const { signed, hasTrailer, announced } = this.#framing;
    if (signed && hasTrailer && !this.#isTrailerSigned) {
      if (!this.#trailer || this.#hasExtraLine) throw unexpectedEnd();
      this.#hasExtraLine = true;
      return;
    }
    if (announced && !this.#trailer) throw new S3Error("MalformedTrailerError");
    this.#state = "end";
  }

  #tolerateLine(line: string): void {
    const { signed, hasTrailer } = this.#framing;
    if (signed || !hasTrailer || this.#hasExtraLine || line !== "\r") throw unexpectedEnd();
    this.#hasExtraLine = true;
  }
}

function unexpectedEnd(): S3Error {
  return new S3Error("IncompleteBody", "The request body terminated unexpectedly");
}

function wrongSize(expected: number, provided: number): S3Error {
  const details = { NumberBytesExpected: expected, NumberBytesProvided: provided };
  return new S3Error("IncompleteBody", undefined, details);
}
