/**
 * Clients that write, overwrite, delete, delete by version id and upload in parts, at both ends of a two-way link, and
 * keep a ledger of what was acknowledged, for a server that is killed under them. What got no answer because of the kill
 * may have been done or not, and is counted as interrupted. Everything else that goes wrong is told: nothing here is to
 * be refused, and before a kill nothing is to be left without an answer.
 */
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  PutObjectCommand,
  S3ServiceException,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import type { Place } from "../links.ts";
import { digest, inLanes, readVersion } from "./inspection.ts";

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

/** One that sends a request after the other. */
interface Client {
  name: string;
  bucket: string;
  /** of its own: the order in which answers come must not decide what another one does */
  random: () => number;
  bodies: number;
}

export class Load {
  /** writes that were acknowledged: versions and delete markers made, and versions removed */
  acknowledged = 0;
  /** requests that a kill left without an answer, or with that of a server that was going down */
  interrupted = 0;
  /** answers that no client should have got; none before a kill is one too */
  readonly refusals: string[] = [];
  readonly #ledger: Acknowledged[] = [];
  readonly #seed: number;
  readonly #clients: Client[] = [];
  /** by bucket; a server that was restarted is reached by new clients */
  #places = new Map<string, Place>();
  #checked = 0;
  #isKilled = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Whether a removal by its id was sent to a bucket, where it then may be missing. */
  isRemoving(bucket: string, key: string, versionId: string): boolean {
    return this.#ledger.some(
      (version) =>
        version.isRemoving && version.bucket === bucket && version.key === key && version.versionId === versionId,
    );
  }

  /** Where the buckets are to be reached. */
  reach(places: Place[]): void {
    this.#places = new Map(places.map((place) => [place.bucket, place]));
  }

  /** Starts so many clients at each place: the same ones each time. */
  start(clients: number): void {
    this.#isKilled = false;
    if (this.#clients.length === 0) this.#makeClients(clients);
    this.#running = Promise.all(this.#clients.map((client) => this.#work(client)));
  }

  #makeClients(each: number): void {
    for (const bucket of this.#places.keys()) {
      for (let i = 0; i < each; i++) {
        const n = this.#clients.length + 1;
        this.#clients.push({ name: `client ${n}`, bucket, random: randomOf(this.#seed + 1_000_003 * n), bodies: 0 });
      }
    }
  }

  /** To be called right before the server is killed: what is under way may get no answer now, and nothing more is sent. */
  expectKill(): void {
    this.#isKilled = true;
  }

  /** Waits for what was under way. */
  async stop(): Promise<void> {
    await this.#running;
  }

  async #work(client: Client): Promise<void> {
    while (!this.#isKilled) {
      try {
        await this.#step(client);
      } catch (error) {
        this.#noteFailure(error);
      }
    }
  }

  #noteFailure(error: unknown): void {
    const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
    if (this.#isKilled && (status === undefined || status >= 500)) this.interrupted++;
    else this.refusals.push(`${status ?? "no answer"}: ${(error as Error).name} ${(error as Error).message}`);
  }

  async #step(client: Client): Promise<void> {
    const { random } = client;
    const key = `k-${Math.floor(random() * KEYS)}`;
    const dice = random();
    if (dice < 0.5) await this.#put(client, key, random() < 0.7 ? 200 : 30_000);
    else if (dice < 0.65) await this.#delete(client, key);
    else if (dice < 0.85) await this.#remove(client);
    else await this.#upload(client, key, random() < 0.05 ? [5 * MIB, 1000] : [20_000]);
  }

  async #put(client: Client, key: string, size: number): Promise<void> {
    const place = this.#places.get(client.bucket)!;
    const Body = makeBody(client, size);
    const command = new PutObjectCommand({ Bucket: place.bucket, Key: key, Body });
    this.#note(place, key, await place.client.send(command), Body);
  }

  async #delete({ bucket }: Client, key: string): Promise<void> {
    const place = this.#places.get(bucket)!;
    this.#note(place, key, await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key })));
  }

  /** Removes one of the last versions, where it was written: some have travelled by then, others haven't. */
  async #remove(client: Client): Promise<void> {
    const place = this.#places.get(client.bucket)!;
    const recent = this.#ledger.slice(-60).filter((version) => version.bucket === place.bucket && !version.isRemoving);
    const version = recent[Math.floor(client.random() * recent.length)];
    if (!version) return await this.#put(client, "k-0", 200);
    version.isRemoving = true;
    const { key, versionId } = version;
    await place.client.send(new DeleteObjectCommand({ Bucket: place.bucket, Key: key, VersionId: versionId }));
    version.isRemoved = true;
    this.acknowledged++;
  }

  async #upload(client: Client, key: string, sizes: number[]): Promise<void> {
    const place = this.#places.get(client.bucket)!;
    const object = { Bucket: place.bucket, Key: key };
    const { UploadId } = await place.client.send(new CreateMultipartUploadCommand(object));
    const bodies = sizes.map((size) => makeBody(client, size));
    const Parts = [];
    for (const [i, Body] of bodies.entries()) {
      const part = { ...object, UploadId, PartNumber: i + 1 };
      const { ETag } = await place.client.send(new UploadPartCommand({ ...part, Body }));
      Parts.push({ PartNumber: i + 1, ETag });
    }
    const complete = new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload: { Parts } });
    const answer = await place.client.send(complete);
    this.#note(place, key, answer, Buffer.concat(bodies));
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

/** Unlike every other body of the run, so that bytes which are there twice are one write that was done twice. */
function makeBody(client: Client, size: number): Buffer {
  return Buffer.alloc(size, `${client.name}, body ${++client.bodies}; `);
}
