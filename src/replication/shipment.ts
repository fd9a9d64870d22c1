/**
 * Tasks of one link on their way to its destination: small versions together in batches, large ones piece by piece.
 *
 * A piece that arrived stays there, so a large version goes on where it stopped. An answer that is missing or a 5xx may
 * mean that the destination is down, or that one version alone can't get through: the probe tells, and then the batch is
 * halved until the one is found, which backs off by itself and holds up nobody.
 */
import { RefusedError, sendBatch, sendPiece } from "../peers/client.ts";
import { BATCH_BYTES, type Entry, encodeFrame, type Receipt } from "../peers/frames.ts";
import { BodyLostError } from "../store/bodies.ts";
import { MAX_SKEW_MS, millisecondsOf } from "../store/clock.ts";
import type { Result, Task } from "../store/outbox.ts";
import type { Version } from "../store/versions.ts";
import { digestPiece, listPieces, namePiece, openPiece, type SourcePiece } from "./pieces.ts";
import { type Causes, type FailureReason, isReachable, mayRead, type Route } from "./route.ts";

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

/** Time or calls are used up: what wasn't sent stays due. */
class Exhausted extends Error {
  override readonly name = "Exhausted";
}

/** The destination is down. */
class Outage extends Error {
  override readonly name = "Outage";
}

/** Calls to other zones that one invocation may still make: Cloudflare counts each call over a binding. */
export interface Budget {
  calls: number;
}

export interface Shipped {
  /** of tasks that came to something; the others are still due */
  results: Result[];
  /** why the destination is taken to be down */
  outage: string | undefined;
}

/** Large versions on their way at once: each holds a connection to R2 and one to the destination. */
const PARALLEL = 3;

/** Sends tasks until the deadline (milliseconds) or the budget is reached. Never throws for what the destination does. */
export async function ship(
  env: Env,
  route: Route,
  causes: Causes,
  tasks: Task[],
  limits: { deadline: number; budget: Budget },
): Promise<Shipped> {
  const shipment = new Shipment(env, route, causes, limits);
  try {
    await shipment.sendAll(tasks);
    return { results: shipment.results, outage: undefined };
  } catch (error) {
    if (error instanceof Exhausted) return { results: shipment.results, outage: undefined };
    if (error instanceof Outage) return { results: shipment.results, outage: error.message };
    throw error;
  }
}

class Shipment {
  readonly results: Result[] = [];
  readonly #env: Env;
  readonly #route: Route;
  readonly #causes: Causes;
  readonly #deadline: number;
  readonly #budget: Budget;
  readonly #storageClass: string | undefined;

  constructor(env: Env, route: Route, causes: Causes, { deadline, budget }: { deadline: number; budget: Budget }) {
    this.#env = env;
    this.#route = route;
    this.#causes = causes;
    this.#deadline = deadline;
    this.#budget = budget;
    const { replication } = route.source;
    this.#storageClass = replication!.rules.find((rule) => rule.linkId === route.link.linkId)?.storageClass;
  }

  async sendAll(tasks: Task[]): Promise<void> {
    const sendable = tasks.filter((task): task is Sendable => this.#isSendable(task));
    const isLarge = ({ version }: Sendable) => version.storage === "segments";
    for (const batch of this.#batches(sendable.filter((task) => !isLarge(task)))) await this.#sendBatch(batch);
    const large = sendable.filter(isLarge).values();
    const lane = async () => {
      for (const task of large) await this.#sendLarge(task);
    };
    const lanes = await Promise.allSettled(Array.from({ length: PARALLEL }, lane));
    const reasons = lanes.flatMap((each) => (each.status === "rejected" ? [each.reason] : []));
    if (reasons.length > 0) throw reasons.find((reason) => !(reason instanceof Exhausted)) ?? reasons[0];
  }

  /** Takes one call from the budget, which others take from meanwhile. Throws Exhausted. */
  #spend(): void {
    if (this.#budget.calls <= 0 || Date.now() > this.#deadline) throw new Exhausted();
    this.#budget.calls--;
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
    const tagsChange = version.tagsChange ?? undefined;
    const storageClass = this.#storageClass && { "x-amz-storage-class": this.#storageClass };
    const headers = { ...version.headers, ...storageClass };
    return { key, versionId, isDeleteMarker, size, etag, headers, metadata, tags, tagsChange, checksum };
  }

  async #sendBatch(tasks: Sendable[]): Promise<void> {
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
    this.#spend();
    const { zone, credentials, link } = this.#route;
    const answer = await sendBatch(this.#env, zone, credentials, link.destination.name, frames);
    this.#causes.learn(answer);
    return answer.receipts;
  }

  async #sendLarge(task: Sendable): Promise<void> {
    try {
      await this.#sendPieces(task);
    } catch (error) {
      await this.#recover([task], error);
    }
  }

  /**
   * One piece brings its version along. Of several, or where the version may be there, it is asked first which are wanted, and in the end again. Out of time
   * the task just stays due.
   */
  async #sendPieces(task: Sendable): Promise<void> {
    const pieces = await listPieces(this.#env, this.#route.zone, task.version);
    const entry = { ...this.#entry(task.version), pieces: pieces.map(namePiece) };
    // What was edited is mostly there already.
    const isEdited = task.version.tagsChange !== null;
    if (pieces.length === 1 && !isEdited)
      return this.#take(task, await this.#sendPiece(task.version, pieces[0]!, entry));
    const [receipt] = await this.#call([encodeFrame(entry)]);
    if (!("missing" in receipt!)) return this.#take(task, receipt!);
    for (const i of receipt.missing) {
      const refused = await this.#sendPiece(task.version, pieces[i]!);
      if (refused) return this.#take(task, refused);
    }
    const [again] = await this.#call([encodeFrame(entry)]);
    this.#take(task, again!);
  }

  async #sendPiece(version: Version, piece: SourcePiece, entry: Entry): Promise<Receipt>;
  async #sendPiece(version: Version, piece: SourcePiece): Promise<Receipt | undefined>;
  async #sendPiece({ key, versionId }: Version, piece: SourcePiece, entry?: Entry): Promise<Receipt | undefined> {
    this.#spend();
    const { zone, credentials, link } = this.#route;
    const header = { ...namePiece(piece), key, versionId, md5: await digestPiece(this.#env, piece), entry };
    const stream = await openPiece(this.#env, piece);
    const answer = await sendPiece(this.#env, zone, credentials, link.destination.name, header, stream);
    this.#causes.learn(answer);
    return answer.receipts[0];
  }

  /** A request that came to no answer: its tasks failed, one alone is put off, several are parted. Throws Outage. */
  async #recover(tasks: Sendable[], error: unknown): Promise<void> {
    if (error instanceof Exhausted) throw error;
    const reason = reasonOf(error);
    if (reason) {
      for (const task of tasks) this.#fail(task, reason);
      return;
    }
    this.#spend();
    if (!(await isReachable(this.#env, this.#route))) throw new Outage((error as Error).message);
    if (tasks.length === 1) return this.#putOff(tasks[0]!, String(error));
    const middle = tasks.length >> 1;
    await this.#sendBatch(tasks.slice(0, middle));
    await this.#sendBatch(tasks.slice(middle));
  }

  #take(task: Sendable, receipt: Receipt): void {
    if ("stored" in receipt) {
      const { versionId, size, etag, tagsChange = versionId } = receipt.stored;
      const isIt = size === task.version.size && etag === task.version.etag;
      if (versionId !== task.versionId) this.#putOff(task, `a receipt came for version ${versionId}`);
      else if (isIt && tagsChange < task.change) this.#putOff(task, "the destination doesn't take changes of tags");
      else if (isIt) this.results.push({ task, arrived: true });
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
      this.#putOff(task, "ClockSkew", millisecondsOf(task.change) - MAX_SKEW_MS);
    else this.#putOff(task, `${code}: ${message}`);
  }

  #fail(task: Task, reason: FailureReason): void {
    this.results.push({ task, failed: { reason, cause: this.#causes.of(reason) } });
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
  return error instanceof BodyLostError ? "SrcVersionNotFound" : undefined;
}
