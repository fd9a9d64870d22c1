/**
 * Clients that write, overwrite, delete, delete by version id and upload in parts, at both ends of a two-way link, and
 * keep a ledger of what was acknowledged, for a server that is killed under them. What got no answer may have been done
 * or not; what was answered with a refusal is told, for nothing here is to be refused.
 */
import { createHash } from "node:crypto";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3ServiceException,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { Place } from "../links.ts";

const MIB = 1024 * 1024;
/** Keys that all clients share, so that they overwrite each other's objects. */
const KEYS = 40;

/** A version that a client was told of. */
interface Acknowledged {
  /** where it was written */
  bucket: string;
  key: string;
  versionId: string;
  /** SHA-256 of its bytes; undefined for a delete marker */
  sha256: string | undefined;
  /** a delete by its version id was sent; it may have got no answer */
  isRemoving: boolean;
  /** and was acknowledged */
  isRemoved: boolean;
}

/** Numbers in [0, 1) that a seed gives again (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Load {
  /** writes that were acknowledged: versions and delete markers made, and versions removed */
  acknowledged = 0;
  /** answers that no client should have got */
  readonly refusals: string[] = [];
  readonly #ledger: Acknowledged[] = [];
  readonly #random: () => number;
  /** by bucket; a server that was restarted is reached by new clients */
  #places = new Map<string, Place>();
  #checked = 0;
  #isStopped = true;
  #running: Promise<unknown> = Promise.resolve();

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Whether a version's removal by its id was asked for, and so may have been done, at one end alone. */
  isRemoving(key: string, versionId: string): boolean {
    return this.#ledger.some((version) => version.isRemoving && version.key === key && version.versionId === versionId);
  }

  /** Where the buckets are to be reached. */
  reach(places: Place[]): void {
    this.#places = new Map(places.map((place) => [place.bucket, place]));
  }

  /** Starts so many clients at each place. */
  start(clients: number): void {
    this.#isStopped = false;
    const places = [...this.#places.values()];
    this.#running = Promise.all(places.flatMap((place) => Array.from({ length: clients }, () => this.#work(place))));
  }

  /** Waits for what is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #work(place: Place): Promise<void> {
    while (!this.#isStopped) {
      try {
        await this.#step(place);
      } catch (error) {
        if (error instanceof S3ServiceException && error.$metadata.httpStatusCode! < 500) {
          this.refusals.push(`${error.name} ${error.message}`);
        }
      }
    }
  }

  async #step(place: Place): Promise<void> {
    const key = `k-${Math.floor(this.#random() * KEYS)}`;
    const dice = this.#random();
    if (dice < 0.5) await this.#put(place, key, this.#random() < 0.7 ? 200 : 30_000);
    else if (dice < 0.65) await this.#delete(place, key);
    else if (dice < 0.85) await this.#remove(place);
    else await this.#upload(place, key, this.#random() < 0.05 ? [5 * MIB, 1000] : [20_000]);
  }

  async #put(place: Place, key: string, size: number): Promise<void> {
    const Body = this.#bytes(size);
    const command = new PutObjectCommand({ Bucket: place.bucket, Key: key, Body });
    this.#note(place, key, await place.client.send(command), Body);
  }

  async #delete(place: Place, key: string): Promise<void> {
    this.#note(place, key, await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key })));
  }

  /** Removes one of the last versions: some have travelled by then, others haven't. */
  async #remove(place: Place): Promise<void> {
    const recent = this.#ledger.slice(-60).filter((version) => version.bucket === place.bucket && !version.isRemoving);
    const version = recent[Math.floor(this.#random() * recent.length)];
    if (!version) return await this.#put(place, "k-0", 200);
    version.isRemoving = true;
    const { key, versionId } = version;
    await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key, VersionId: versionId }));
    version.isRemoved = true;
    this.acknowledged++;
  }

  async #upload(place: Place, key: string, sizes: number[]): Promise<void> {
    const { client, bucket } = place;
    const object = { Bucket: bucket, Key: key };
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(object));
    const bodies = sizes.map((size) => this.#bytes(size));
    const Parts = [];
    for (const [i, Body] of bodies.entries()) {
      const part = { ...object, UploadId, PartNumber: i + 1 };
      const { ETag } = await client.send(new UploadPartCommand({ ...part, Body }));
      Parts.push({ PartNumber: i + 1, ETag });
    }
    const complete = new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload: { Parts } });
    const answer = await client.send(complete);
    this.#note(place, key, answer, Buffer.concat(bodies));
  }

  #bytes(size: number): Buffer {
    return Buffer.alloc(size, `${this.#random()} `);
  }

  #note({ bucket }: Place, key: string, { VersionId: versionId }: { VersionId?: string }, body?: Buffer): void {
    const sha256 = body && digest(body);
    this.#ledger.push({ bucket, key, versionId: versionId!, sha256, isRemoving: false, isRemoved: false });
    this.acknowledged++;
  }

  /** Reads back, where it was written, what was acknowledged since the last time; all with `again`. */
  async check({ again = false } = {}): Promise<string[]> {
    const asked = this.#ledger.slice(again ? 0 : this.#checked);
    this.#checked = this.#ledger.length;
    const found = await inLanes(asked, 12, (version) => this.#checkOne(version));
    return found.filter((wrong) => wrong !== undefined);
  }

  async #checkOne({ bucket, key, versionId, ...expected }: Acknowledged): Promise<string | undefined> {
    const { sha256, isRemoving, isRemoved } = expected;
    const name = `${bucket} ${key} ${versionId}`;
    const read = await readVersion(this.#places.get(bucket)!, key, versionId);
    if (isRemoved) return read === "absent" ? undefined : `${name} was deleted by its id and is there`;
    if (read === "absent") return isRemoving ? undefined : `${name} is lost`;
    if (read === "marker") return sha256 === undefined ? undefined : `${name} is a delete marker`;
    return read.sha256 === sha256 ? undefined : `${name} has other bytes`;
  }
}

/** What a bucket has: `key versionId`; which of it isn't whole, and which neither COMPLETED nor a REPLICA. */
export interface Inspection {
  versions: { key: string; versionId: string }[];
  halfWritten: string[];
  pending: string[];
}

/** Reads every version that a bucket lists. */
export async function inspect(place: Place): Promise<Inspection> {
  const listed = await listVersions(place);
  const halfWritten: string[] = [];
  const pending: string[] = [];
  await inLanes(listed, 12, async ({ key, versionId, size, etag }) => {
    const name = `${place.bucket} ${key} ${versionId}`;
    const read = await readVersion(place, key, versionId);
    const isMarker = etag === undefined;
    if (read === "absent" || (read === "marker") !== isMarker) halfWritten.push(`${name} is listed and isn't there`);
    else if (read !== "marker") {
      const isWhole = read.size === size && read.etag === etag && (etag.includes("-") || etag === `"${read.md5}"`);
      if (!isWhole) halfWritten.push(`${name} is listed with ${size} bytes, ${etag}: it has ${read.size}, ${read.md5}`);
      if (read.status !== "COMPLETED" && read.status !== "REPLICA") pending.push(`${name} is ${read.status}`);
    }
  });
  return { versions: listed, halfWritten, pending };
}

interface Read {
  size: number;
  etag: string;
  md5: string;
  sha256: string;
  status: string | undefined;
}

async function readVersion(
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
async function inLanes<T, R>(items: T[], lanes: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const entries = items.entries();
  const lane = async () => {
    for (const [i, item] of entries) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
