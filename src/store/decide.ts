/**
 * What a group of operations on one slot comes to: the rows to insert and remove, and what is refused. Pure.
 *
 * Decisions are made in order of arrival on the state of each key as it was read; the statements of commit.ts carry
 * what the decision rested on (revision, base) and fall if it isn't so any more, and then all is decided again.
 */
import { type ErrorCode, S3Error } from "../errors.ts";
import type { Segment } from "./bodies.ts";
import type { Bucket } from "./buckets.ts";
import type { Clock } from "./clock.ts";
import { bindLinks } from "./rules.ts";
import { absentObject, type Description, type KeyState, tagsClock, type Version } from "./versions.ts";

/** Conditions of a write. ETags without quotes, or `*` for any. */
export interface WriteConditions {
  ifMatch?: string[] | "*";
  ifNoneMatch?: string[] | "*";
}

/** A version before it has its id. */
export interface Draft extends Description, Pick<Version, "size" | "etag" | "storage" | "checksum"> {}

/** An upload whose parts become the version's segments: exactly these, unchanged. */
export interface Completion {
  uploadId: string;
  /** ascending: part number, offset in the part, R2 key */
  parts: [partNumber: number, partOffset: number, r2Key: string][];
  /** recognises a Complete that is repeated with the same parts */
  partsDigest: string;
}

interface Common {
  key: string;
  /** names this write for ever; the same on a repeat */
  requestId: string;
  /** the commit was sent before and its answer lost: look first whether it was done */
  isRepeat?: boolean;
}

/** How the body stands: base64 for `inline`, an R2 segment list or an upload for `segments`. */
export interface Stored {
  inline?: string;
  segments?: Segment[];
  completion?: Completion;
}

export type Operation =
  | (Common & Stored & { kind: "put"; draft: Draft; conditions?: WriteConditions })
  /** DELETE without a version id: a delete marker, or removal of the null version in an unversioned bucket */
  | (Common & { kind: "delete"; conditions?: WriteConditions })
  /** DELETE by version id */
  | (Common & { kind: "remove"; versionId: string; conditions?: WriteConditions })
  /** other tags for the current version, or the one by id */
  | (Common & { kind: "edit"; versionId?: string; tags: Record<string, string> })
  /** a replica, with the id it had at its source; `isThere`: its body is, so that only what was edited is taken in */
  | (Common & Stored & { kind: "merge"; version: Version; isThere?: boolean });

export interface Insert extends Stored {
  operation: Operation;
  version: Version;
  /** the key's greatest id that this was decided on; undefined for what doesn't depend on it */
  base?: string;
}

export interface Removal {
  operation: Operation;
  key: string;
  /** undefined: nothing is there to be removed */
  version: Version | undefined;
}

export interface Edit {
  operation: Operation;
  /** as it is to be */
  version: Version;
  /** the tags' clock that this was decided on */
  before: string;
  /** it must still be its key's greatest */
  isOfCurrent: boolean;
}

export interface Plan {
  inserts: Insert[];
  merges: Insert[];
  removals: Removal[];
  edits: Edit[];
  refusals: { operation: Operation; error: S3Error }[];
}

/** What was read for a group before it is decided. */
export interface Known {
  bucket: Bucket;
  /** by key; absent for a key without versions */
  states: Map<string, KeyState>;
  /** versions that removals and edits name, as they were asked for */
  named(operation: Operation): Version | undefined;
}

/** Keys whose greatest version must be known: those of conditional writes. */
export function needsState(operation: Operation): boolean {
  return (operation.kind === "put" || operation.kind === "delete") && hasConditions(operation.conditions);
}

export function isCompletion(operation: Operation): boolean {
  return "completion" in operation && operation.completion !== undefined;
}

/** Changes a version that may be there, or brings such a change along. */
export function isEdit(operation: Operation): boolean {
  return operation.kind === "edit" || (operation.kind === "merge" && operation.version.tagsChange !== null);
}

/** Stands for the greatest version where an id would. */
export const CURRENT = "current";

/** The version that must be found before this is decided: what one removes or edits. */
export function namedVersion(operation: Operation, bucket: Bucket): string | undefined {
  if (operation.kind === "remove") return operation.versionId;
  if (operation.kind === "edit") return operation.versionId ?? CURRENT;
  if (operation.kind === "delete" && bucket.versioning === "Unversioned") return "null";
  return undefined;
}

function hasConditions(conditions: WriteConditions | undefined): boolean {
  return conditions?.ifMatch !== undefined || conditions?.ifNoneMatch !== undefined;
}

/** Decides a group. `clock` gives the ids; merged ids must have been observed before. */
export function decide(operations: Operation[], known: Known, clock: Clock): Plan {
  const plan: Plan = { inserts: [], merges: [], removals: [], edits: [], refusals: [] };
  const keys = new KeyStates(operations, known.states);
  for (const operation of operations) {
    try {
      decideOne(operation, known, keys, clock, plan);
    } catch (error) {
      if (!(error instanceof S3Error)) throw error;
      plan.refusals.push({ operation, error });
    }
  }
  return plan;
}

function decideOne(operation: Operation, known: Known, keys: KeyStates, clock: Clock, plan: Plan): void {
  const { bucket } = known;
  if (operation.kind === "merge") {
    plan.merges.push({ ...stored(operation), operation, version: operation.version });
    return;
  }
  if (operation.kind === "edit") {
    plan.edits.push(decideEdit(operation, known.named(operation), clock));
    return;
  }
  if (namedVersion(operation, bucket) !== undefined) {
    const version = known.named(operation);
    checkConditions(operation.conditions, version && !version.isDeleteMarker ? version.etag : undefined);
    plan.removals.push({ operation, key: operation.key, version });
    return;
  }
  checkConditions(operation.conditions, keys.etag(operation.key));
  const version = newVersion(operation, bucket, clock.next());
  plan.inserts.push({ ...stored(operation), operation, version, base: keys.base(operation.key) });
  keys.advance(version);
}

type EditOperation = Extract<Operation, { kind: "edit" }>;

/** Requests kept with a version: a repeat comes within seconds of its first try. */
const REQUESTS_KEPT = 10;

function decideEdit(operation: EditOperation, version: Version | undefined, clock: Clock): Edit {
  const { key, versionId, tags, requestId } = operation;
  if (!version || version.isDeleteMarker) throw absentObject(key, versionId, version);
  const tagsRequests = [requestId, ...version.tagsRequests].slice(0, REQUESTS_KEPT);
  const edited = { ...version, tags, tagsChange: clock.next(), tagsRequests };
  return { operation, version: edited, before: tagsClock(version), isOfCurrent: versionId === undefined };
}

function stored(operation: Operation): Stored {
  if (operation.kind !== "put" && operation.kind !== "merge") return {};
  const { inline, segments, completion } = operation;
  return { inline, segments, completion };
}

const NOTHING: Draft = { headers: {}, metadata: {}, tags: {}, size: 0, etag: "", storage: "none", checksum: null };

function newVersion(operation: Operation, bucket: Bucket, versionId: string): Version {
  const isDeleteMarker = operation.kind === "delete";
  const draft = operation.kind === "put" ? operation.draft : NOTHING;
  return {
    ...draft,
    bucketId: bucket.bucketId,
    key: operation.key,
    versionId,
    isNull: bucket.versioning !== "Enabled",
    isDeleteMarker,
    bound: bindLinks(bucket.replication, { key: operation.key, tags: draft.tags, isDeleteMarker }),
    source: null,
    receivedAt: null,
    requestId: operation.requestId,
    tagsChange: null,
    tagsRequests: [],
  };
}

/**
 * The state of each key as the group goes on. On a key with a conditional write all its rows carry the base that the
 * first one was decided on: they stand and fall together, since the statement sees only the state before it.
 */
class KeyStates {
  readonly #states: Map<string, KeyState>;
  readonly #current = new Map<string, string | undefined>();
  readonly #chained: Set<string>;

  constructor(operations: Operation[], states: Map<string, KeyState>) {
    this.#states = states;
    this.#chained = new Set(operations.filter(needsState).map((operation) => operation.key));
  }

  etag(key: string): string | undefined {
    return this.#current.has(key) ? this.#current.get(key) : this.#states.get(key)?.etag;
  }

  base(key: string): string | undefined {
    return this.#chained.has(key) ? (this.#states.get(key)?.base ?? "") : undefined;
  }

  advance(version: Version): void {
    this.#current.set(version.key, version.isDeleteMarker ? undefined : version.etag);
  }
}

/**
 * Throws PreconditionFailed, or NoSuchKey for If-Match where there is no current object (`etag` undefined).
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
 */
export function checkConditions(conditions: WriteConditions | undefined, etag: string | undefined): void {
  if (conditions?.ifMatch !== undefined) {
    if (etag === undefined) throw new S3Error("NoSuchKey");
    if (!includes(conditions.ifMatch, etag)) throw failed("If-Match");
  }
  if (conditions?.ifNoneMatch !== undefined && etag !== undefined && includes(conditions.ifNoneMatch, etag)) {
    throw failed("If-None-Match");
  }
}

function includes(etags: string[] | "*", etag: string): boolean {
  return etags === "*" || etags.includes(etag);
}

function failed(condition: string): S3Error {
  return new S3Error("PreconditionFailed" satisfies ErrorCode, undefined, { Condition: condition });
}

/** Whether two versions by one id are the same: one that only shares the id is a conflict, never silence. */
export function isSameReplica(one: Version, other: Version): boolean {
  return one.size === other.size && one.etag === other.etag && one.isDeleteMarker === other.isDeleteMarker;
}

export function removedHere(): S3Error {
  return new S3Error("NoSuchVersion", "This version was removed here by its id.");
}
