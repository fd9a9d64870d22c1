/**
 * The Sequencer: puts the versions of a key in order. Every insert and every change of a version goes through it,
 * replicas and removals too.
 *
 * One instance for each slot of a bucket, slot = hash(key) mod the bucket's slots: an instance a key would be cold for
 * almost every PUT. It checks preconditions, gives the id, and commits in groups: what waits while a batch is under way
 * is written in the next one.
 *
 * What surprised us: the input gate is open while D1 is awaited, so four concurrent read-then-writes all read the same
 * value; hence the queue. A second instance of a slot can be alive for a while, and an instance can die with a commit
 * under way; so the statements guard themselves (commit.ts), the clock is reserved ahead in storage, and a repeated
 * commit looks first whether it was done.
 */
import { DurableObject } from "cloudflare:workers";
import { type ErrorCode, type ErrorDetails, isS3Error, S3Error } from "../errors.ts";
import { logError } from "../log.ts";
import { here } from "../zones.ts";
import { type Bucket, getBucket } from "./buckets.ts";
import { Clock, MAX_SKEW_MS, millisecondsOf } from "./clock.ts";
import { type Committed, commitPlan, nameOf } from "./commit.ts";
import {
  CURRENT,
  decide,
  isCompletion,
  isEdit,
  isSameReplica,
  type Known,
  namedVersion,
  needsState,
  type Operation,
  type Plan,
  removedHere,
} from "./decide.ts";
import { type Fence, readGround, renew, type Slot } from "./fence.ts";
import { Leases } from "./leases.ts";
import { GroupedReads } from "./reads.ts";
import { findDone } from "./repeats.ts";
import {
  clockIds,
  type KeyState,
  readCurrent,
  readGreatestRemoved,
  readRemoved,
  readStates,
  readVersions,
  tagsClock,
  type Version,
} from "./versions.ts";

/** What an operation came to. */
export interface Outcome {
  /** put, delete: the new version. edit: the version as it is now. merge: the version that is there. remove: the version that was removed, if there was one */
  version: Version | undefined;
  /** false in a bucket that was never versioned */
  isVersioned: boolean;
}

/** An outcome as it crosses RPC, where a thrown error would end the whole group. */
export type Settled = { outcome: Outcome } | { error: { code: ErrorCode; message: string; details: ErrorDetails } };

/**
 * UTF-8 of a group's operations, at most: D1 takes 2,000,000 bytes a bound value, and JSON within JSON escapes its quotes
 * twice.
 */
const GROUP_BYTES = 900_000;
/** Edits of one group, at most: each has statements of its own. */
const GROUP_EDITS = 100;
/** What a version's row has beside what stands in its operation. */
const ROW_BYTES = 500;
/** Times that a group is decided again before its operations are given back as OperationAborted. */
const MAX_ROUNDS = 32;
/** Of a completed upload: its guard mostly falls for good. */
const COMPLETION_ROUNDS = 4;
/** Milliseconds of ids reserved ahead in storage. */
const RESERVE_MS = 1000;

interface Waiting {
  operation: Operation;
  bytes: number;
  settle: (settled: Settled) => void;
}

export class Sequencer extends DurableObject<Env> {
  readonly #clock: Clock;
  #reservedUntil: number;
  /** what is decided on; undefined: to be read anew */
  #ground: { bucket: Bucket; fence: Fence } | undefined;
  /** marks of the slot's fence that this instance has written or has begun with */
  readonly #marks = new Set<string | null>();
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  readonly #leases = new Leases();
  readonly #reads: GroupedReads;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#reads = new GroupedReads(env);
    this.#reservedUntil = ctx.storage.kv.get<number>("reservedUntil") ?? 0;
    this.#clock = new Clock({ zoneNumber: here(env).number, reservedUntil: this.#reservedUntil });
  }

  /** Commits operations of this slot, each by itself; ServiceUnavailable where it isn't known what came of one. */
  async commit(place: Slot, operations: Operation[]): Promise<Settled[]> {
    const settled = operations.map(
      (operation) =>
        new Promise<Settled>((settle) => {
          this.#waiting.push({ operation, bytes: Buffer.byteLength(JSON.stringify(operation)) + ROW_BYTES, settle });
        }),
    );
    this.#running ??= this.#run(place);
    this.ctx.waitUntil(this.#running);
    return await Promise.all(settled);
  }

  /** The current version of a key as text (reads.ts), read together with what else waits. Null if there is no such bucket. */
  async find(place: Slot, key: string): Promise<string | null> {
    return await this.#reads.find(place, key);
  }

  /** Takes the lease on draining a link from this slot, in the name of `holder`; false if somebody else has it. */
  async acquire(linkId: number, holder: string): Promise<boolean> {
    return this.#leases.acquire(linkId, holder);
  }

  async renew(linkId: number, holder: string): Promise<void> {
    this.#leases.renew(linkId, holder);
  }

  /** Lets go of a lease. True if something came meanwhile, which the holder may not have seen. */
  async release(linkId: number, holder: string): Promise<boolean> {
    return this.#leases.release(linkId, holder);
  }

  async #run(place: Slot): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#take();
      try {
        await this.#process(place, group);
      } catch (error) {
        // Whether it was written is unknown: the writer gets 503 and asks again; the body stays for the scrub.
        const unknown = isS3Error(error) ? error : new S3Error("ServiceUnavailable");
        const where = { bucket: place.bucketId, slot: place.slot };
        if (unknown !== error) logError(this.env, "a group of commits failed", error, where);
        for (const { settle } of group) settle(refusal(unknown));
      }
    }
    // In the same turn that saw nothing waiting: what comes later starts anew.
    this.#running = undefined;
  }

  /**
   * The next group, in order of arrival: at most GROUP_BYTES; removals and edits share it with no other operation on
   * their key, and a completed upload stands alone, since its statement guards one upload.
   */
  #take(): Waiting[] {
    const group: Waiting[] = [];
    const keys = new Map<string, boolean>();
    let bytes = 0;
    let edits = 0;
    for (const waiting of this.#waiting) {
      const { operation } = waiting;
      const isAlone = isCompletion(operation);
      const keepsApart = ["remove", "delete", "edit"].includes(operation.kind);
      const meets = keys.get(operation.key);
      if (group.length > 0 && (isAlone || bytes + waiting.bytes > GROUP_BYTES)) break;
      if (meets !== undefined && (keepsApart || meets)) break;
      if (isEdit(operation) && ++edits > GROUP_EDITS) break;
      group.push(waiting);
      if (isAlone) break;
      keys.set(operation.key, keepsApart);
      bytes += waiting.bytes;
    }
    this.#waiting = this.#waiting.slice(group.length);
    return group;
  }

  async #process(place: Slot, group: Waiting[]): Promise<void> {
    let open = group;
    const most = group.some(({ operation }) => isCompletion(operation)) ? COMPLETION_ROUNDS : MAX_ROUNDS;
    for (let round = 0; open.length > 0; round++) {
      if (round === most) throw new S3Error("OperationAborted");
      open = await this.#round(place, open, round > 0);
    }
  }

  /** Answers what an earlier try has written already; gives the rest. */
  async #settleRepeats(
    place: Slot,
    bucket: Bucket,
    operations: Operation[],
    waiting: Map<Operation, Waiting>,
  ): Promise<Operation[]> {
    const repeats = operations.filter(({ isRepeat }) => isRepeat);
    if (repeats.length === 0) return operations;
    const done = await findDone(this.env, place.bucketId, repeats);
    return operations.filter((operation) => {
      const version = operation.isRepeat ? done.versions.get(operation.requestId) : undefined;
      // The first try may have been another instance's, which knew that versioning is enabled before this one did.
      const isVersioned = version?.isNull === false || bucket.versioning !== "Unversioned";
      if (version) waiting.get(operation)!.settle({ outcome: { version, isVersioned } });
      const isGone = !version && operation.isRepeat === true && done.removed.has(operation.requestId);
      // It was written and removed again: whoever still waits for it asks anew.
      if (isGone) waiting.get(operation)!.settle(refusal(new S3Error("ServiceUnavailable")));
      return !version && !isGone;
    });
  }

  /** Decides and commits once. Gives what fell: its ground had changed, and it is to be decided again. */
  async #round(place: Slot, open: Waiting[], isAgain: boolean): Promise<Waiting[]> {
    if (isAgain || !this.#ground) await this.#readGround(place, open);
    const ground = this.#ground!;
    const { bucket } = ground;
    const settlers = new Map(open.map((waiting) => [waiting.operation, waiting]));
    let operations = this.#refuseAhead(open);
    const known = await this.#read(bucket, operations, isAgain);
    // After the state was read: what the first try writes later than this, the decision's own guard meets.
    operations = await this.#settleRepeats(place, bucket, operations, settlers);
    if (operations.some(({ isRepeat }) => isRepeat)) this.#marks.add(renew(ground.fence));
    for (const operation of operations)
      if (operation.kind === "merge") for (const id of clockIds(operation.version)) this.#clock.observe(id);
    const plan = decide(operations, known, this.#clock);
    this.#reserve();
    const committed = await this.#commit(place, ground, plan);
    this.#wake(place, plan, committed);
    return await this.#settle(bucket, plan, committed, settlers);
  }

  /** If another instance has been at work, what waits here may have been repeated there. */
  async #readGround(place: Slot, open: Waiting[]): Promise<void> {
    this.#ground = await readGround(this.env, place, this.#ground?.fence.own);
    const { own, seen } = this.#ground.fence;
    const isOvertaken = this.#marks.size > 0 && !this.#marks.has(seen);
    if (isOvertaken) for (const { operation } of [...open, ...this.#waiting]) operation.isRepeat = true;
    this.#marks.add(own).add(seen);
  }

  /** Refuses replicas whose id is too far ahead of the wall clock, before the clock has seen them. */
  #refuseAhead(open: Waiting[]): Operation[] {
    const limit = Date.now() + MAX_SKEW_MS;
    return open.flatMap(({ operation, settle }) => {
      const isAhead =
        operation.kind === "merge" && clockIds(operation.version).some((id) => millisecondsOf(id) > limit);
      if (!isAhead) return [operation];
      settle(refusal(new S3Error("RequestTimeTooSkewed")));
      return [];
    });
  }

  async #read(bucket: Bucket, operations: Operation[], isAgain: boolean): Promise<Known> {
    const keys = operations.filter((operation) => isAgain || needsState(operation)).map(({ key }) => key);
    const wanted = operations.flatMap((operation) => {
      const versionId = namedVersion(operation, bucket);
      return versionId === undefined ? [] : [{ key: operation.key, versionId }];
    });
    const currentKeys = wanted.flatMap(({ key, versionId }) => (versionId === CURRENT ? [key] : []));
    const byId = wanted.filter(({ versionId }) => versionId !== CURRENT);
    const [states, versions, greatest, removed] = await Promise.all([
      keys.length > 0 ? readStates(this.env, bucket.bucketId, keys) : new Map<string, KeyState>(),
      byId.length > 0 ? readVersions(this.env, bucket.bucketId, byId) : [],
      currentKeys.length > 0 ? readCurrent(this.env, bucket.bucketId, currentKeys) : [],
      isAgain ? readGreatestRemoved(this.env, bucket.bucketId, keys) : [],
    ]);
    // A local row that fell may have met a greater id: another instance gave it.
    for (const id of [...Array.from(states.values(), ({ base }) => base), ...removed]) this.#clock.observe(id);
    // An edit's id must be greater than that of the edit before it, which another instance may have given.
    for (const version of [...versions, ...greatest]) this.#clock.observe(tagsClock(version));
    const byName = new Map(versions.map((version) => [nameOf(version), version]));
    const nulls = new Map(versions.filter(({ isNull }) => isNull).map((version) => [version.key, version]));
    const current = new Map(greatest.map((version) => [version.key, version]));
    const named = (operation: Operation) => {
      const versionId = namedVersion(operation, bucket)!;
      if (versionId === CURRENT) return current.get(operation.key);
      return versionId === "null" ? nulls.get(operation.key) : byName.get(nameOf({ key: operation.key, versionId }));
    };
    return { bucket, states, named };
  }

  /** No instance after this one gives an id below what is reserved. The output gate holds the commit until it is stored. */
  #reserve(): void {
    if (this.#clock.milliseconds < this.#reservedUntil) return;
    this.#reservedUntil = this.#clock.milliseconds + RESERVE_MS;
    this.ctx.storage.kv.put("reservedUntil", this.#reservedUntil);
  }

  /**
   * If D1's answer gets lost, a new id that is there says that the batch was written: nothing else could have written
   * it. A replica by its id proves nothing, it may have been there before; it is judged like one that didn't land.
   */
  async #commit(place: Slot, ground: { bucket: Bucket; fence: Fence }, plan: Plan): Promise<Committed> {
    try {
      const committed = await commitPlan(this.env, place, ground, plan);
      if (committed.hasEntered) ground.fence.seen = ground.fence.own;
      return committed;
    } catch (error) {
      // The batch may still be on its way: from here on this instance has another mark, so it can't land after the next.
      this.#ground = undefined;
      const fresh = plan.inserts.map(({ version }) => ({ key: version.key, versionId: version.versionId }));
      if (fresh.length + plan.edits.length === 0) throw error;
      const inserted = new Set((await readVersions(this.env, place.bucketId, fresh)).map(nameOf));
      const edited = await this.#findEdited(place, plan);
      const isWritten = fresh.length > 0 ? fresh.every((version) => inserted.has(nameOf(version))) : edited.size > 0;
      if (!isWritten) throw error;
      const removed = new Set(plan.removals.flatMap(({ version }) => (version ? [nameOf(version)] : [])));
      return { inserted, removed, edited, hasEntered: true, isCurrent: true };
    }
  }

  async #findEdited(place: Slot, { edits }: Plan): Promise<Set<string>> {
    if (edits.length === 0) return new Set();
    const wanted = edits.map(({ version }) => ({ key: version.key, versionId: version.versionId }));
    const found = await readVersions(this.env, place.bucketId, wanted);
    const changes = new Map(found.map((version) => [nameOf(version), version.tagsChange]));
    const landed = edits.filter(({ version }) => changes.get(nameOf(version)) === version.tagsChange);
    return new Set(landed.map(({ version }) => nameOf(version)));
  }

  async #settle(
    bucket: Bucket,
    plan: Plan,
    committed: Committed,
    waiting: Map<Operation, Waiting>,
  ): Promise<Waiting[]> {
    const isVersioned = bucket.versioning !== "Unversioned";
    const settle = (operation: Operation, settled: Settled) => waiting.get(operation)!.settle(settled);
    const fallen: Operation[] = [];
    for (const { operation, version } of plan.inserts) {
      if (committed.inserted.has(nameOf(version))) settle(operation, { outcome: { version, isVersioned } });
      else fallen.push(operation);
    }
    for (const { operation, version } of plan.removals) {
      const isDone = version ? committed.removed.has(nameOf(version)) : committed.isCurrent;
      if (isDone) settle(operation, { outcome: { version, isVersioned } });
      else fallen.push(operation);
    }
    for (const { operation, version } of plan.edits) {
      if (committed.edited.has(nameOf(version))) settle(operation, { outcome: { version, isVersioned } });
      else fallen.push(operation);
    }
    // A refusal rests on what stood before it on its key: if that fell, so does the refusal.
    const fallenKeys = new Set(fallen.map(({ key }) => key));
    for (const { operation, error } of plan.refusals) {
      if (fallenKeys.has(operation.key)) fallen.push(operation);
      else settle(operation, refusal(error));
    }
    await this.#settleMerges(bucket, plan, committed, settle);
    return [...waiting.values()].filter(({ operation }) => fallen.includes(operation));
  }

  /** A replica that wasn't inserted is there already, was removed here, or has no versioned bucket to go to. */
  async #settleMerges(
    bucket: Bucket,
    plan: Plan,
    committed: Committed,
    settle: (operation: Operation, settled: Settled) => void,
  ): Promise<void> {
    const absent = plan.merges.filter(({ version }) => !committed.inserted.has(nameOf(version)));
    for (const { operation, version } of plan.merges) {
      if (committed.inserted.has(nameOf(version))) settle(operation, { outcome: { version, isVersioned: true } });
    }
    if (absent.length === 0) return;
    const versions = absent.map(({ version }) => ({ key: version.key, versionId: version.versionId }));
    const [present, removed, current] = await Promise.all([
      readVersions(this.env, bucket.bucketId, versions),
      readRemoved(this.env, bucket.bucketId, versions),
      getBucket(this.env, bucket.bucketId),
    ]);
    const presentByName = new Map(present.map((version) => [nameOf(version), version]));
    const removedNames = new Set(removed.map(nameOf));
    for (const { operation, version } of absent) {
      const found = presentByName.get(nameOf(version));
      settle(operation, judgeAbsent(version, found, removedNames.has(nameOf(version)), current));
    }
  }

  /** At most one message for each link and group. */
  #wake(place: Slot, plan: Plan, committed: Committed): void {
    const inserted = plan.inserts.filter(({ version }) => committed.inserted.has(nameOf(version)));
    const edited = plan.edits.filter(({ version }) => committed.edited.has(nameOf(version)));
    const landed = [...inserted, ...edited];
    for (const linkId of new Set(landed.flatMap(({ version }) => version.bound))) {
      if (this.#leases.wake(linkId)) this.ctx.waitUntil(this.env.REPLICATION.send({ linkId, slot: place.slot }));
    }
  }
}

function judgeAbsent(version: Version, found: Version | undefined, isRemoved: boolean, bucket: Bucket): Settled {
  if (found) {
    if (!isSameReplica(found, version)) return refusal(new S3Error("VersionIdConflict"));
    return { outcome: { version: found, isVersioned: true } };
  }
  if (isRemoved) return refusal(removedHere());
  if (bucket.versioning !== "Enabled") {
    return refusal(new S3Error("InvalidBucketState", "Destination bucket must have versioning enabled."));
  }
  return refusal(new S3Error("NoSuchUpload"));
}

function refusal({ code, message, details }: S3Error): Settled {
  return { error: { code, message, details } };
}
