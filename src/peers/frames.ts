/**
 * What one zone says to another in `POST /BUCKET?replicate`: the frames of its body, and the answer.
 *
 * A batch is a row of frames, each a length (32 bits, big-endian), a JSON entry of that length, and the entry's inline
 * body if it has one. Keys and headers stand in frames and never in the URL or in headers: `fetch` folds `..` in a
 * path, and headers can't carry every key. Pure.
 */
import { S3Error } from "../errors.ts";

/** Bytes of a batch, at most. A single entry may be larger: it lists up to 10,000 pieces. */
export const BATCH_BYTES = 1_000_000;

/** A piece of a large body, as it travels: one segment, or a range of one. */
export interface Piece {
  partNumber: number;
  /** bytes from the start of the part */
  partOffset: number;
  size: number;
  /** lower-case hex; undefined in an entry whose sender hashes a piece only when it sends it */
  md5?: string;
  /** base64 checksum of its part */
  checksum: string | null;
}

/** A version on its way, as its source has it. */
export interface Entry {
  key: string;
  versionId: string;
  isDeleteMarker: boolean;
  size: number;
  etag: string;
  headers: Record<string, string>;
  metadata: Record<string, string>;
  tags: Record<string, string>;
  /** clock id of the last change of the tags; absent: they are as the version was written */
  tagsChange?: string;
  checksum: unknown;
  /** bytes that follow in the frame */
  inlineBytes?: number;
  /** a large body, which travels piece by piece before this entry is accepted */
  pieces?: Piece[];
}

/** What the destination says of one entry. */
export type Receipt =
  /** it is there: with the size, ETag and last change of its tags that are stored */
  | { stored: { versionId: string; size: number; etag: string; tagsChange?: string } }
  /** these pieces (by index) are still to come */
  | { missing: number[] }
  | { error: { code: string; message: string } };

/** The answer to a batch. An empty batch is the link's probe. */
export interface BatchAnswer {
  bucket: { versioning: string; revision: number };
  /** the session's role as the destination knows it, which may be older than what the source knows */
  role: { revision: number };
  receipts: Receipt[];
}

export interface Framed {
  entry: Entry;
  inline: Uint8Array;
}

/** What stands in `x-amz-zonal-piece` of a request that brings one piece, its bytes being the body. */
export interface PieceHeader extends Piece {
  key: string;
  versionId: string;
  /** R2 checks it on arrival */
  md5: string;
  /** of a body of one piece: the version itself, to be taken in with it */
  entry?: Entry;
}

export const PIECE_HEADER = "x-amz-zonal-piece";

const NOTHING = new Uint8Array();

export function encodeFrame(entry: Entry, inline: Uint8Array = NOTHING): Uint8Array {
  const json = Buffer.from(JSON.stringify({ ...entry, inlineBytes: inline.length || undefined }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json, inline]);
}

/** Throws InvalidRequest if the bytes are no row of whole frames. */
export function decodeFrames(bytes: Uint8Array): Framed[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: Framed[] = [];
  for (let at = 0; at < buffer.length; ) {
    const jsonAt = at + 4;
    const bodyAt = jsonAt + (jsonAt <= buffer.length ? buffer.readUInt32BE(at) : Number.POSITIVE_INFINITY);
    if (bodyAt > buffer.length) throw brokenFrame();
    const entry = parseEntry(buffer.toString("utf8", jsonAt, bodyAt));
    const end = bodyAt + (entry.inlineBytes ?? 0);
    if (end > buffer.length) throw brokenFrame();
    frames.push({ entry, inline: buffer.subarray(bodyAt, end) });
    at = end;
  }
  return frames;
}

function parseEntry(json: string): Entry {
  try {
    return JSON.parse(json) as Entry;
  } catch {
    throw brokenFrame();
  }
}

function brokenFrame(): S3Error {
  return new S3Error("InvalidRequest", "The body is no row of replication frames.");
}

export function encodePieceHeader(header: PieceHeader): string {
  return Buffer.from(JSON.stringify(header)).toString("base64url");
}

/** Throws InvalidRequest. */
export function decodePieceHeader(value: string): PieceHeader {
  try {
    return JSON.parse(Buffer.from(value, "base64url").toString()) as PieceHeader;
  } catch {
    throw new S3Error("InvalidRequest", `The header ${PIECE_HEADER} can't be read.`);
  }
}
