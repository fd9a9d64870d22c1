/**
 * A large body as it travels. Over a service binding each segment goes whole, and R2 at the other end checks the MD5
 * that R2 told here. Over HTTPS a request's body is capped, so a segment goes in ranges, each hashed first.
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
}

/** The pieces of a version's body, in order. */
export async function listPieces(env: Env, zone: Zone, version: Version): Promise<SourcePiece[]> {
  const segments = await listSegments(env, version);
  const isBound = peer(env, zone) !== undefined;
  const pieces: SourcePiece[] = [];
  for (const segment of segments) {
    if (isBound || segment.size <= RANGE_BYTES) pieces.push(pieceOf(segment, 0, segment.size, segment.md5));
    else pieces.push(...(await cut(env, segment)));
  }
  return pieces;
}

/** The bytes of a piece. Throws NoSuchVersion if they are gone. */
export async function openPiece(
  env: Env,
  { segment, partOffset, size }: SourcePiece,
): Promise<ReadableStream<Uint8Array>> {
  return await readSegments(env, [segment], { offset: segment.offset + partOffset, length: size });
}

async function cut(env: Env, segment: Segment): Promise<SourcePiece[]> {
  const pieces: SourcePiece[] = [];
  for (let at = 0; at < segment.size; at += RANGE_BYTES) {
    const piece = pieceOf(segment, at, Math.min(RANGE_BYTES, segment.size - at), "");
    pieces.push({ ...piece, md5: await hash(await openPiece(env, piece)) });
  }
  return pieces;
}

function pieceOf(segment: Segment, partOffset: number, size: number, md5: string): SourcePiece {
  const { partNumber, checksum } = segment;
  return { partNumber, partOffset, size, md5, checksum: partOffset === 0 ? checksum : null, segment };
}

async function hash(stream: ReadableStream<Uint8Array>): Promise<string> {
  const digest = new crypto.DigestStream("MD5");
  await stream.pipeTo(digest);
  return Buffer.from(await digest.digest).toString("hex");
}
