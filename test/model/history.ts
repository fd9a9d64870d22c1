/**
 * What a history is: every operation with the moment it was sent and the moment it was answered, and both ends as they
 * stood after quiet. Checks read nothing else.
 *
 * `end` 0 and 1 are the two buckets. Moments are milliseconds of one clock in one process, so of two operations anywhere
 * it is known whether the one was answered before the other was sent.
 */
export type End = 0 | 1;

export type Shape =
  /** each end replicates to the other */
  | "two-way"
  /** end 0 replicates to end 1, whose versioning is suspended and enabled again */
  | "one-way"
  /** no replication; versioning of both is changed */
  | "alone";

export type Kind =
  | "put"
  | "delete"
  /** DELETE by version id */
  | "remove"
  | "complete"
  | "abort"
  | "copy"
  /** PutObjectTagging or DeleteObjectTagging */
  | "tag"
  | "versioning"
  | "get"
  | "head"
  | "getVersion"
  | "list"
  | "listVersions";

export type Condition = { ifMatch: string } | { ifNoneMatch: "*" };

export interface Operation {
  /** unique in its history; a write's version carries it in its metadata */
  id: string;
  kind: Kind;
  end: End;
  /** the key; of a listing, empty */
  key: string;
  start: number;
  finish: number;
  /** refused: a 4xx, nothing was done. unknown: no answer or a 5xx, it may have been done or not, or be done later */
  result: "ok" | "refused" | "unknown";
  status?: number;
  code?: string;
  condition?: Condition;
  /** MD5 of the body; undefined of a copy whose source isn't known beforehand */
  content?: string;
  /** of a write: the version that it made; of remove, tag and getVersion: the one that it names */
  versionId?: string;
  /** the ETag that its version will have; undefined of a copy */
  expectedEtag?: string;
  /** the ETag that a write was answered */
  etag?: string;
  /** of tag: what was set, undefined for none; of a write: what it was written with */
  tag?: string;
  uploadId?: string;
  /** of a copy: the version that it names */
  source?: { end: End; key: string; versionId?: string };
  /** of a read */
  seen?: Seen;
  /** of a listing */
  listed?: Listed[];
}

/** The object that a read met; `versionId` undefined: there was none, and no delete marker either. */
export interface Seen {
  versionId?: string;
  isMarker?: boolean;
  etag?: string;
  /** id of the write, by its metadata */
  writer?: string;
  /** MD5 of the body; undefined of HEAD */
  content?: string;
  status?: string;
  tag?: string;
}

export interface Listed {
  key: string;
  /** undefined in a listing of current objects */
  versionId?: string;
  isMarker: boolean;
  isLatest: boolean;
  etag?: string;
}

export interface FinalVersion extends Listed {
  versionId: string;
  /** undefined of a delete marker */
  seen?: Seen;
  /** what was answered where it couldn't be read */
  failure?: string;
}

/** A bucket after quiet. */
export interface Final {
  versions: FinalVersion[];
  /** current objects */
  objects: Listed[];
  /** versions and current objects again, listed two at a time */
  walked: { versions: Listed[]; objects: Listed[] };
  /** upload ids still open */
  uploads: string[];
  /** rows of outbox, and reasons of what FAILED by `key versionId` */
  pending: number;
  failed: Map<string, string>;
}

export interface History {
  seed: string;
  shape: Shape;
  /** zone numbers of the ends: the last six bits of a version id name the zone that gave it */
  zoneNumbers: [number, number];
  operations: Operation[];
  /** how often a fault struck */
  struck: number;
  finals: [Final, Final];
}

/** What a check found wrong. */
export interface Violation {
  check: string;
  key: string;
  message: string;
  end?: End;
}

/** Id of a version that was written without versioning: another one may take its place. */
export const NULL = "null";

/** The end whose zone gave a version id; undefined of a null version. */
export function bornAt(history: Pick<History, "zoneNumbers">, versionId: string): End | undefined {
  if (versionId === NULL) return undefined;
  const number = Number(BigInt(versionId) & 63n);
  const end = history.zoneNumbers.indexOf(number);
  return end === 0 || end === 1 ? end : undefined;
}

export const WRITES: Kind[] = ["put", "complete", "copy"];

export function isWrite({ kind }: Operation): boolean {
  return WRITES.includes(kind);
}

/** Whether an end's versioning stays enabled, so that each write there makes a version of its own. */
export function isVersioned({ shape }: Pick<History, "shape">, end: End): boolean {
  return shape === "two-way" || (shape === "one-way" && end === 0);
}

export function other(end: End): End {
  return end === 0 ? 1 : 0;
}

/** It may have been done: acknowledged, or unknown. */
export function mayHaveHappened({ result }: Operation): boolean {
  return result !== "refused";
}

/** An operation in a few words. */
export function say(operation: Operation): string {
  const { id, kind, condition, code, versionId, result, seen } = operation;
  const facts = [
    kind,
    id,
    condition && JSON.stringify(condition),
    !isWrite(operation) && versionId,
    seen && `found ${seen.versionId ?? "nothing"}`,
    code,
    result === "unknown" && "(unknown)",
  ];
  return facts.filter(Boolean).join(" ");
}
