/**
 * Tasks of one link on their way to its destination: small versions together in batches, large ones piece by piece.
 *
 * A piece that arrived stays there, so a large version goes on where it stopped. An answer that is missing or a 5xx may
 * mean that the destination is down, or that one version alone can't get through: the probe tells, and then the batch is
 * halved until the one is found, which backs off by itself and holds up nobody.
 */
import { S3Error } from "../errors.ts";
import { RefusedError, sendBatch, sendPiece } from "../peers/client.ts";
import { BATCH_BYTES, type BatchAnswer, type Entry, encodeFrame, type Receipt } from "../peers/frames.ts";
import { MAX_SKEW_MS, millisecondsOf } from "../store/clock.ts";
import type { Result, Task } from "../store/outbox.ts";
import type { ReplicationRule } from "../store/rules.ts";
import type { Version } from "../store/versions.ts";
import { listPieces, openPiece, type SourcePiece } from "./pieces.ts";
import {
  type Causes,
  causeOf,
  destinationCause,
  type FailureReason,
  isReachable,
  mayRead,
  type Route,
} from "./route.ts";

/** A task whose version is there. */
type Sendable = Task & { version: Version };

/** What the destination's refusals mean. All others are tried again. */
const REASONS: Record<string, FailureReason> = {
  NoSuchBucket: "DstBucketNotFound",
  InvalidBucketState: "DstBucketUnversioned",
  AccessDenied: "DstPutObjectNotPermitted",
  InvalidToken: "AssumeRoleNotPermitted",
  VersionIdConflict: "VersionIdConflict",
  NoSuchVersion: "DstObjectHardDeleted",
};

/** A version that alone fails again and again is tried after 2 s, 4 s ... */
const MAX_BACKOFF_MS = 15 * 60 * 1000;

/** The destination is down. */
class Outage extends Error {
  override readonly name = "Outage";
}

export interface Limits {
  /** milliseconds since the epoch */
  deadline: number;
  calls: number;
}

export interface Shipped {
  /** of tasks that came to something; the others are still due */
  results: Result[];
  /** why the destination is taken to be down */
  outage: string | undefined;
  calls: number;
}

/** Sends tasks as far as the limits reach. Never throws for what the destination does. */
export async function ship(env: Env, route: Route, causes: Causes, tasks: Task[], limits: Limits): Promise<Shipped> {
  const shipment = new Shipment(env, route, causes, limits);
  try {
    await shipment.sendAll(tasks);
    return { results: shipment.results, outage: undefined, calls: shipment.calls };
  } catch (error) {
    if (!(error instanceof Outage)) throw error;
    return { results: shipment.results, outage: error.message, calls: shipment.calls };
  }
}

class Shipment {
  readonly results: Result[] = [];
  calls = 0;
  readonly #env: Env;
  readonly #route: Route;
  readonly #causes: Causes;
  readonly #limits: Limits;
  readonly #rule: ReplicationRule | undefined;

  constructor(env: Env, route: Route, causes: Causes, limits: Limits) {
    this.#env = env;
    this.#route = route;
    this.#causes = causes;
    this.#limits = limits;
    this.#rule = route.source.replication!.rules.find((rule) => rule.linkId === route.link.linkId);
  }

  async sendAll(tasks: Task[]): Promise<void> {
    const sendable = tasks.filter((task): task is Sendable => this.#isSendable(task));
    const isLarge = ({ version }: Sendable) => version.storage === "segments";
    for (const batch of this.#batches(sendable.filter((task) => !isLarge(task)))) await this.#sendBatch(batch);
    for (const task of sendable.filter(isLarge)) await this.#sendLarge(task);
  }

  get #isOver(): boolean {
    return this.calls >= this.#limits.calls || Date.now() > this.#limits.deadline;
  }

  /** What was removed at the source meanwhile just ends; what the role may not read, or isn't there to be read, fails. */
  #isSendable(task: Task): boolean {
    if (!task.version) this.results.push({ task, arrived: true });
    else if (!mayRead(this.#env, this.#route, task.key)) this.#fail(task, "SrcGetObjectNotPermitted");
    else if (task.version.storage === "inline" && task.inline === null) this.#fail(task, "SrcVersionNotFound");
    else return true;
    return false;
  }

  #batches(tasks: Sendable[]): Sendable[][] {
    const batches: Sendable[][] = [];
    let bytes = Number.POSITIVE_INFINITY;
    for (const task of tasks) {
      const size = this.#frame(task).length;
      if (bytes + size > BATCH_BYTES) {
        batches.push([]);
        bytes = 0;
      }
      batches.at(-1)!.push(task);
      bytes += size;
    }
    return batches;
  }

  #frame({ version, inline }: Sendable): Uint8Array {
    return encodeFrame(this.#entry(version), inline === null ? undefined : Buffer.from(inline, "base64"));
  }

  #entry(version: Version): Entry {
    const { key, versionId, isDeleteMarker, size, etag, metadata, tags, checksum } = version;
    const storageClass = this.#rule?.storageClass;
    const headers = storageClass ? { ...version.headers, "x-amz-storage-class": storageClass } : version.headers;
    return { key, versionId, isDeleteMarker, size, etag, headers, metadata, tags, checksum };
  }

  async #sendBatch(tasks: Sendable[]): Promise<void> {
    if (this.#isOver) return;
    let receipts: Receipt[];
    try {
      receipts = await this.#call(tasks.map((task) => this.#frame(task)));
    } catch (error) {
      await this.#recover(tasks, error);
      return;
    }
    for (const [i, task] of tasks.entries()) this.#take(task, receipts[i]!);
  }

  async #call(frames: Uint8Array[]): Promise<Receipt[]> {
    this.calls++;
    const { zone, credentials, link } = this.#route;
    const answer: BatchAnswer = await sendBatch(this.#env, zone, credentials, link.destination.name, frames);
    this.#causes.destination = destinationCause(answer.bucket);
    return answer.receipts;
  }

  async #sendLarge(task: Sendable): Promise<void> {
    if (this.#isOver) return;
    try {
      await this.#sendPieces(task);
    } catch (error) {
      await this.#recover([task], error);
    }
  }

  /** Asks which pieces are wanted, sends them, and asks again. Out of time the task just stays due. */
  async #sendPieces(task: Sendable): Promise<void> {
    const pieces = await listPieces(this.#env, this.#route.zone, task.version);
    const named = pieces.map(({ segment: _, ...piece }) => piece);
    const frame = encodeFrame({ ...this.#entry(task.version), pieces: named });
    const [receipt] = await this.#call([frame]);
    if (!("missing" in receipt!)) return this.#take(task, receipt!);
    for (const i of receipt.missing) {
      if (this.#isOver) return;
      await this.#sendPiece(task.version, pieces[i]!);
    }
    const [again] = await this.#call([frame]);
    this.#take(task, again!);
  }

  async #sendPiece({ key, versionId }: Version, { segment, ...piece }: SourcePiece): Promise<void> {
    this.calls++;
    const { zone, credentials, link } = this.#route;
    const stream = await openPiece(this.#env, { segment, ...piece });
    await sendPiece(this.#env, zone, credentials, link.destination.name, { key, versionId, ...piece }, stream);
  }

  /** A request that came to no answer: its tasks failed, one alone is put off, several are parted. Throws Outage. */
  async #recover(tasks: Sendable[], error: unknown): Promise<void> {
    const reason = reasonOf(error);
    if (reason) {
      for (const task of tasks) this.#fail(task, reason);
      return;
    }
    this.calls++;
    if (!(await isReachable(this.#env, this.#route))) throw new Outage((error as Error).message);
    if (tasks.length === 1) return this.#putOff(tasks[0]!, String(error));
    const middle = tasks.length >> 1;
    await this.#sendBatch(tasks.slice(0, middle));
    await this.#sendBatch(tasks.slice(middle));
  }

  #take(task: Sendable, receipt: Receipt): void {
    if ("stored" in receipt) {
      const { size, etag } = receipt.stored;
      const isIt = size === task.version.size && etag === task.version.etag;
      if (isIt) this.results.push({ task, arrived: true });
      else this.#fail(task, "VersionIdConflict");
    } else if ("missing" in receipt) {
      this.#putOff(task, "pieces went missing at the destination");
    } else {
      this.#takeError(task, receipt.error);
    }
  }

  #takeError(task: Sendable, { code, message }: { code: string; message: string }): void {
    const reason = REASONS[code];
    if (reason) this.#fail(task, reason);
    else if (code === "RequestTimeTooSkewed")
      this.#putOff(task, "ClockSkew", millisecondsOf(task.versionId) - MAX_SKEW_MS);
    else this.#putOff(task, `${code}: ${message}`);
  }

  #fail(task: Task, reason: FailureReason): void {
    this.results.push({ task, failed: { reason, cause: causeOf(reason, this.#causes) } });
  }

  #putOff(task: Task, error: string, notBefore = 0): void {
    const backoff = Math.min(MAX_BACKOFF_MS, 1000 * 2 ** (task.attempts + 1));
    this.results.push({ task, retry: { error, nextAttemptAt: Math.max(Date.now() + backoff, notBefore) } });
  }
}

/** Why a request's tasks fail for good; undefined for what is tried again. */
function reasonOf(error: unknown): FailureReason | undefined {
  // Entries are authorised one by one, so a request that is denied as a whole met another organization's bucket.
  if (error instanceof RefusedError) return error.code === "AccessDenied" ? "DstBucketNotFound" : REASONS[error.code];
  // The version's row is there, its body is gone.
  return error instanceof S3Error && error.code === "NoSuchVersion" ? "SrcVersionNotFound" : undefined;
}
