/**
 * What a bucket has, read back to the last byte through its endpoint: every version that it lists, which of them isn't
 * whole, and which isn't where it was to go. The hashes are for comparing two ends, and for finding one write that was
 * done twice.
 */
import { createHash } from "node:crypto";
import { GetObjectCommand, ListObjectVersionsCommand } from "@aws-sdk/client-s3";
import type { Place } from "../links.ts";

/** What a bucket has; which of it isn't whole, which neither COMPLETED nor a REPLICA, and what is there twice. */
export interface Inspection {
  bucket: string;
  versions: Inspected[];
  halfWritten: string[];
  pending: string[];
  /** versions of a key with the same bytes, which no two writes have */
  doubled: string[];
}

interface Inspected {
  key: string;
  versionId: string;
  /** SHA-256 of its bytes; undefined for a delete marker, and for what is listed and can't be read */
  sha256: string | undefined;
}

/** Reads every version that a bucket lists. */
export async function inspect(place: Place): Promise<Inspection> {
  const { bucket } = place;
  const found: Inspection = { bucket, versions: [], halfWritten: [], pending: [], doubled: [] };
  found.versions = await inLanes(await listVersions(place), 12, (listed) => inspectOne(place, listed, found));
  found.doubled = findDoubled(found);
  return found;
}

async function inspectOne(place: Place, listed: Listed, found: Inspection): Promise<Inspected> {
  const { key, versionId, size, etag } = listed;
  const name = `${place.bucket} ${key} ${versionId}`;
  const read = await readVersion(place, key, versionId);
  const isMarker = etag === undefined;
  if (read === "absent" || (read === "marker") !== isMarker)
    found.halfWritten.push(`${name} is listed and isn't there`);
  if (typeof read === "string") return { key, versionId, sha256: undefined };
  const isWhole = read.size === size && read.etag === etag && (etag.includes("-") || etag === `"${read.md5}"`);
  if (!isWhole)
    found.halfWritten.push(`${name} is listed with ${size} bytes, ${etag}: it has ${read.size}, ${read.md5}`);
  if (read.status !== "COMPLETED" && read.status !== "REPLICA") found.pending.push(`${name} is ${read.status}`);
  return { key, versionId, sha256: read.sha256 };
}

function findDoubled({ bucket, versions }: Inspection): string[] {
  const bodies = Map.groupBy(versions, ({ sha256 }) => sha256);
  bodies.delete(undefined);
  const doubled = [...bodies.values()].filter((same) => same.length > 1);
  return doubled.map(
    (same) => `${bucket} has one write as ${same.map((v) => `${v.key} ${v.versionId}`).join(" and ")}`,
  );
}

interface Read {
  size: number;
  etag: string;
  md5: string;
  sha256: string;
  status: string | undefined;
}

/** One version, with its bytes' hashes. Throws what a client sees but for NoSuchVersion. */
export async function readVersion(
  { client, bucket }: Place,
  key: string,
  versionId: string,
): Promise<Read | "absent" | "marker"> {
  try {
    const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key, VersionId: versionId }));
    const bytes = await answer.Body!.transformToByteArray();
    const md5 = createHash("md5").update(bytes).digest("hex");
    return { size: bytes.length, etag: answer.ETag!, md5, sha256: digest(bytes), status: answer.ReplicationStatus };
  } catch (error) {
    const { name } = error as Error;
    if (name === "NoSuchVersion") return "absent";
    if (name === "MethodNotAllowed") return "marker";
    throw error;
  }
}

interface Listed {
  key: string;
  versionId: string;
  size: number;
  /** undefined for a delete marker */
  etag: string | undefined;
}

async function listVersions({ client, bucket }: Place): Promise<Listed[]> {
  const found: Listed[] = [];
  let marker: { KeyMarker?: string; VersionIdMarker?: string } = {};
  for (;;) {
    const page = await client.send(new ListObjectVersionsCommand({ Bucket: bucket, ...marker }));
    for (const { Key, VersionId, Size, ETag } of page.Versions ?? []) {
      found.push({ key: Key!, versionId: VersionId!, size: Size!, etag: ETag });
    }
    for (const { Key, VersionId } of page.DeleteMarkers ?? []) {
      found.push({ key: Key!, versionId: VersionId!, size: 0, etag: undefined });
    }
    if (!page.IsTruncated) return found;
    marker = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker };
  }
}

/** Does something with each item, so many at once; gives the results in their order. */
export async function inLanes<T, R>(items: T[], lanes: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const entries = items.entries();
  const lane = async () => {
    for (const [i, item] of entries) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

export function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
