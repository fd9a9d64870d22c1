/**
 * A large body as it travels. Over a service binding each segment goes whole, and R2 at the other end checks the MD5
 * that R2 told here. Over HTTPS a request's body is capped, so a segment goes in ranges, each hashed right before it goes.
 */
import type { Piece } from "../peers/frames.ts";
import { listSegments, readSegments, type Segment } from "../store/bodies.ts";
import type { Version } from "../store/versions.ts";
import { peer, type Zone } from "../zones.ts";

/** Bytes of a piece over HTTPS: below every plan's cap on a request's body. */
const RANGE_BYTES = 64 * 1024 * 1024;

export interface SourcePiece extends Piece {
  /** where its bytes are */
  segment: Segment;
  /** from the start of the segment */
  at: number;
}

/** The pieces of a version's body, in order. Those that aren't whole segments have no MD5 yet. */
export async function listPieces(env: Env, zone: Zone, version: Version): Promise<SourcePiece[]> {
  const segments = await listSegments(env, version);
  const isBound = peer(env, zone) !== undefined;
  const starts = new Map<number, number>();
  return segments.flatMap((segment) => {
    const start = starts.get(segment.partNumber) ?? segment.offset;
    starts.set(segment.partNumber, start);
    const step = isBound ? Math.max(segment.size, 1) : RANGE_BYTES;
    const count = Math.max(Math.ceil(segment.size / step), 1);
    return Array.from({ length: count }, (_, i) => cut(segment, segment.offset - start, i * step, step));
  });
}

function cut(segment: Segment, partOffset: number, at: number, step: number): SourcePiece {
  const size = Math.min(step, segment.size - at);
  const md5 = size === segment.size ? segment.md5 : undefined;
  const checksum = partOffset + at === 0 ? segment.checksum : null;
  return { partNumber: segment.partNumber, partOffset: partOffset + at, size, md5, checksum, segment, at };
}

/** The bytes of a piece. Throws BodyLostError. */
export async function openPiece(env: Env, { segment, at, size }: SourcePiece): Promise<ReadableStream<Uint8Array>> {
  return await readSegments(env, [segment], { offset: segment.offset + at, length: size });
}

/** MD5 of a piece, lower-case hex: known, or read for. */
export async function digestPiece(env: Env, piece: SourcePiece): Promise<string> {
  if (piece.md5 !== undefined) return piece.md5;
  const digest = new crypto.DigestStream("MD5");
  await (await openPiece(env, piece)).pipeTo(digest);
  return Buffer.from(await digest.digest).toString("hex");
}

/** As it is told to the destination. */
export function namePiece({ segment: _, at: __, ...piece }: SourcePiece): Piece {
  return piece;
}
