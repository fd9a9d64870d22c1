/**
 * Large replicas on their way in: their pieces gather in a hidden upload, which is not listed, keeps no bucket from being
 * deleted, and is given up when nothing arrived for a week.
 */
import { createHash } from "node:crypto";
import type { Completion } from "./decide.ts";
import type { Place } from "./objects.ts";
import { completionOf, insertUpload, readParts, type Upload } from "./uploads.ts";

/**
 * The hidden upload that a replica's segments gather in: one for each (source bucket, version id, key), found again after
 * any break. One that was given up meanwhile opens again, empty.
 */
export async function openReplicaUpload(
  env: Env,
  place: Place,
  key: string,
  replica: { sourceBucketId: number; versionId: string },
): Promise<Upload> {
  const uploadId = replicaUploadId(key, replica);
  const nothing = { headers: {}, metadata: {}, tags: {}, checksumAlgorithm: null, checksumType: null };
  return await insertUpload(env, place.bucketId, key, uploadId, "replica", Date.now(), nothing);
}

/** Parts are filed by upload id alone, and two keys may have versions of one id: slots have clocks of their own. */
function replicaUploadId(
  key: string,
  { sourceBucketId, versionId }: { sourceBucketId: number; versionId: string },
): string {
  const hash = createHash("sha256").update(key).digest("hex").slice(0, 16);
  return `replica-${sourceBucketId}-${versionId}-${hash}`;
}

/** A piece of a replica's body that is wanted: a whole part, or a range of one. */
export interface WantedPiece {
  partNumber: number;
  partOffset: number;
  size: number;
  /** lower-case hex; undefined where its sender hasn't hashed it yet */
  md5?: string;
}

/** Which of the named pieces (by index) a hidden upload still lacks, and the completion that names just them. */
export async function gatherPieces(
  env: Env,
  upload: Upload,
  pieces: WantedPiece[],
): Promise<{ missing: number[]; completion: Completion }> {
  const rows = await readParts(env, upload, { after: 0, limit: 100_000 });
  const byPlace = new Map(rows.map((row) => [`${row.part_number}/${row.part_offset}`, row]));
  const found = pieces.map(({ partNumber, partOffset, size, md5 }) => {
    const row = byPlace.get(`${partNumber}/${partOffset}`);
    return row?.size === size && (md5 === undefined || row.md5 === md5) ? row : undefined;
  });
  const missing = found.flatMap((row, i) => (row ? [] : [i]));
  const present = found.filter((row) => row !== undefined);
  return { missing, completion: completionOf(upload.uploadId, present, "") };
}
