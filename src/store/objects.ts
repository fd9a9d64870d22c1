/**
 * The way in and out of a bucket: put, delete, find. Body first, row second, old body last.
 */
import { randomUUID } from "node:crypto";
import { S3Error } from "../errors.ts";
import {
  type Body,
  BodyLostError,
  dropBody,
  listSegments,
  type Range,
  readInline,
  readSegments,
  type Segment,
  type StoredBody,
  storeBody,
} from "./bodies.ts";
import type { Versioning } from "./buckets.ts";
import { type Draft, isSameReplica, type Operation, removedHere, type Stored, type WriteConditions } from "./decide.ts";
import { type FoundRow, findRow, SEGMENTS } from "./reads.ts";
import type { Outcome } from "./sequencer.ts";
import { commitAll, commitOne, findCurrent } from "./slots.ts";
import {
  type Description,
  fromRow,
  type ReplicationStatus,
  readRemoved,
  readVersions,
  shownVersionId,
  slotOf,
  type Version,
} from "./versions.ts";

export type { Body } from "./bodies.ts";
export type { WriteConditions } from "./decide.ts";

/** Where a bucket's versions are put in order. */
export interface Place {
  bucketId: number;
  slots: number;
}

export interface Written {
  version: Version;
  /** false in a bucket that was never versioned: the answer carries no x-amz-version-id */
  isVersioned: boolean;
  replicationStatus: ReplicationStatus | undefined;
}

export interface Deletion {
  key: string;
  versionId?: string;
  conditions?: WriteConditions;
}

export interface Deleted {
  /** as shown: of the delete marker that was made, or the version id that was asked for; undefined in a bucket that was never versioned */
  versionId: string | undefined;
  /** a delete marker was made, or the version that was removed was one */
  isDeleteMarker: boolean;
}

/**
 * Stores a body and commits its version.
 * Throws NoSuchBucket, PreconditionFailed, NoSuchKey (If-Match on no object), BadDigest, XAmzContentSHA256Mismatch,
 * IncompleteBody; then no version was made.
 */
export async function putObject(
  env: Env,
  place: Place,
  key: string,
  description: Description,
  body: Body,
  conditions?: WriteConditions,
): Promise<Written> {
  const stored = await storeBody(env, { bucketId: place.bucketId, key }, body);
  const draft: Draft = {
    ...description,
    size: body.size,
    etag: stored.md5,
    storage: stored.inline ? "inline" : "segments",
    checksum: stored.checksum,
  };
  const operation: Operation = {
    kind: "put",
    key,
    requestId: randomUUID(),
    draft,
    conditions,
    ...standing(stored, body.size),
  };
  return await commitBody(env, place, operation, stored.r2Key);
}

/** How a body that was stored whole stands beside its version. */
export function standing(stored: StoredBody, size: number): Stored {
  if (stored.inline) return { inline: Buffer.from(stored.inline).toString("base64") };
  const { md5, r2Key } = stored;
  return {
    segments: [{ partNumber: 1, offset: 0, size, md5, checksum: stored.checksum?.value ?? null, r2Key: r2Key! }],
  };
}

/** Commits a version whose body is stored; a body that was refused for certain is removed at once. */
async function commitBody(env: Env, place: Place, operation: Operation, r2Key: string | undefined): Promise<Written> {
  try {
    return written(await commitOne(env, place, operation));
  } catch (error) {
    const isCertain = error instanceof S3Error && !["ServiceUnavailable", "OperationAborted"].includes(error.code);
    if (r2Key && isCertain) await dropBody(env, r2Key);
    throw error;
  }
}

export function written({ version, isVersioned }: Outcome): Written {
  const replicationStatus = version!.bound.length > 0 ? "PENDING" : undefined;
  return { version: version!, isVersioned, replicationStatus };
}

/**
 * Deletes as S3 does. Without versionId: a delete marker of its own each time, or in a bucket that was never versioned
 * the removal of what is there. With: that version is removed for good; an absent one succeeds silently.
 * Throws NoSuchBucket, PreconditionFailed, NoSuchKey (If-Match on no object).
 */
export async function deleteObject(env: Env, place: Place, deletion: Deletion): Promise<Deleted> {
  const [deleted] = await deleteObjects(env, place, [deletion]);
  if (deleted instanceof S3Error) throw deleted;
  return deleted!;
}

/** Many deletions, one trip to each slot. An error stands in its key's place. */
export async function deleteObjects(env: Env, place: Place, deletions: Deletion[]): Promise<(Deleted | S3Error)[]> {
  const operations = deletions.map(({ key, versionId, conditions }): Operation => {
    const common = { key, requestId: randomUUID(), conditions };
    return versionId === undefined ? { kind: "delete", ...common } : { kind: "remove", versionId, ...common };
  });
  const outcomes = await commitAll(env, place, operations);
  return outcomes.map((outcome, i) => (outcome instanceof S3Error ? outcome : deleted(outcome, deletions[i]!)));
}

function deleted({ version, isVersioned }: Outcome, { versionId }: Deletion): Deleted {
  if (versionId !== undefined) return { versionId, isDeleteMarker: version?.isDeleteMarker ?? false };
  if (!isVersioned) return { versionId: undefined, isDeleteMarker: false };
  return { versionId: version && shownVersionId(version), isDeleteMarker: true };
}

/**
 * Gives a version other tags: the current one, or the one by id (`null` for the null version).
 * Throws NoSuchBucket, NoSuchKey, NoSuchVersion, MethodNotAllowed (a delete marker by its id).
 */
export async function putTags(
  env: Env,
  place: Place,
  { key, versionId, tags }: { key: string; versionId: string | undefined; tags: Record<string, string> },
): Promise<Written> {
  return written(await commitOne(env, place, { kind: "edit", key, requestId: randomUUID(), versionId, tags }));
}

/** A version as it comes from its source, with its body; `isThere`: only what was edited of it since it came. */
export interface Replica extends Stored {
  version: Version;
  isThere?: boolean;
}

/**
 * Takes in replicas with the ids they have at their source, one trip to each slot. One that is there already answers as
 * at first; an error stands in its version's place: VersionIdConflict (another version is there by that id),
 * NoSuchVersion (it was removed here by id), InvalidBucketState (not versioned), RequestTimeTooSkewed (its id is more
 * than 15 minutes ahead), NoSuchBucket.
 */
export async function mergeReplicas(env: Env, place: Place, replicas: Replica[]): Promise<(Version | S3Error)[]> {
  const operations = replicas.map(({ version, ...stored }): Operation => {
    return { kind: "merge", key: version.key, requestId: version.requestId, version, ...stored };
  });
  const outcomes = await commitAll(env, place, operations);
  return outcomes.map((outcome) => (outcome instanceof S3Error ? outcome : outcome.version!));
}

/**
 * Whether a replica is here already. Throws VersionIdConflict (another version is, by that id), NoSuchVersion (it was
 * removed here by id).
 */
export async function hasReplica(env: Pick<Env, "INDEX">, version: Version): Promise<boolean> {
  const wanted = [{ key: version.key, versionId: version.versionId }];
  const [[present], [removed]] = await Promise.all([
    readVersions(env, version.bucketId, wanted),
    readRemoved(env, version.bucketId, wanted),
  ]);
  if (present && !isSameReplica(present, version)) throw new S3Error("VersionIdConflict");
  if (removed && !present) throw removedHere();
  return present !== undefined;
}

/** A version found, with what is needed to give its body. */
export class Found {
  /** of its bucket */
  readonly versioning: Versioning;
  /** undefined if there is none; may be a delete marker */
  readonly version: Version | undefined;
  readonly replicationStatus: ReplicationStatus | undefined;
  /** why it is FAILED, where somebody can mend it */
  readonly replicationFailure: string | undefined;
  readonly #env: Pick<Env, "BLOBS" | "INDEX">;
  readonly #inline: string | null;
  readonly #segments: Segment[];

  constructor(env: Pick<Env, "BLOBS" | "INDEX">, row: FoundRow) {
    this.#env = env;
    this.versioning = row.versioning;
    this.#inline = row.body;
    this.#segments = row.segments ?? [];
    this.version = row.version_id === null ? undefined : fromRow(row);
    this.replicationStatus = this.version && statusOf(this.version, row);
    this.replicationFailure = row.failed ? (row.reason ?? "SrcBucketReplicationConfigMissing") : undefined;
  }

  /** The body, or bytes `offset` to `offset + length` of it; the range lies within it. */
  async read(range?: Range): Promise<ReadableStream<Uint8Array> | Uint8Array> {
    const version = this.version!;
    if (version.storage === "none") return new Uint8Array();
    if (version.storage === "inline") return readInline(this.#requireInline(), range);
    const whole = range ?? { offset: 0, length: version.size };
    return await readSegments(this.#env, await this.#segmentsOf(version, whole), whole);
  }

  #requireInline(): string {
    if (this.#inline === null) throw new BodyLostError("an inline body is not in INDEX");
    return this.#inline;
  }

  /** A version that is replaced takes its segments with it: what wasn't read in one statement may be gone since. */
  async #segmentsOf(version: Version, range: Range): Promise<Segment[]> {
    const all = this.#isComplete ? this.#segments : await listSegments(this.#env, version, range);
    const touched = all.filter(
      ({ offset, size }) => offset < range.offset + range.length && offset + size > range.offset,
    );
    const last = touched.at(-1);
    if (range.length > 0 && (!last || last.offset + last.size < range.offset + range.length)) {
      throw new S3Error("ServiceUnavailable", "The object was replaced while it was opened. Please try again.");
    }
    return touched;
  }

  /** Parts that the version was uploaded in; 1 for a body that was put whole. */
  partCount(): number {
    const parts = /-([0-9]+)$/.exec(this.version!.etag)?.[1];
    return parts === undefined ? 1 : Number(parts);
  }

  /** Where the n-th part (from 1) lies; undefined if there is no such part. */
  async partRange(partNumber: number): Promise<Range | undefined> {
    const version = this.version!;
    if (this.partCount() === 1) return partNumber === 1 ? { offset: 0, length: version.size } : undefined;
    const segments = this.#isComplete ? this.#segments : await listSegments(this.#env, version);
    const parts = [...Map.groupBy(segments, (segment) => segment.partNumber).values()];
    const part = parts[partNumber - 1];
    return part && { offset: part[0]!.offset, length: part.reduce((sum, { size }) => sum + size, 0) };
  }

  get #isComplete(): boolean {
    return this.#segments.length <= SEGMENTS;
  }
}

/** Derived from what is still to travel, never stored. */
function statusOf(version: Version, row: Pick<FoundRow, "failed" | "pending">): ReplicationStatus | undefined {
  if (version.source !== null) return "REPLICA";
  if (version.bound.length === 0) return undefined;
  if (row.failed) return "FAILED";
  return row.pending ? "PENDING" : "COMPLETED";
}

/**
 * The current version of a key, or the one by id (`null` for the null version), with its bucket: one trip.
 * Throws NoSuchBucket. An absent version is no error here.
 */
export async function findObject(env: Env, place: Place, key: string, versionId?: string): Promise<Found> {
  const slot = { bucketId: place.bucketId, slot: slotOf(key, place.slots) };
  const row = versionId === undefined ? await findCurrent(env, slot, key) : await findRow(env, slot, key, versionId);
  if (!row) throw new S3Error("NoSuchBucket");
  return new Found(env, row);
}
