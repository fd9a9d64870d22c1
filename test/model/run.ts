/**
 * Runs one history: makes its buckets and links, lets the clients of its plan loose with faults, brings quiet, and reads
 * both ends. What comes of it is a History; whether that is right is for the checks.
 */
import { setTimeout } from "node:timers/promises";
import { until } from "../harness.ts";
import { Actor, md5 } from "./actor.ts";
import type { Struck } from "./faults.ts";
import type { Condition, End, Final, History, Operation } from "./history.ts";
import { NULL, other } from "./history.ts";
import type { ClientPlan, Plan, Step } from "./plan.ts";
import type { Stand } from "./stand.ts";

export interface Ran {
  history: History;
  /** of each end */
  struck: Struck[];
}

const QUIET_MS = 90_000;
/** The least that a part has which isn't the last one. */
const PART_BYTES = 5 * 1024 * 1024;
/** More than a zone reads one by one at once. */
const BURST = 6;
const ENDS: End[] = [0, 1];

/** `name` is that of its buckets, and another one each time that a history is run on one stand. */
export async function runHistory(stand: Stand, plan: Plan, name: string): Promise<Ran> {
  const run = new Run(stand, plan, name);
  await run.prepare();
  await Promise.all(plan.clients.map((client, i) => run.follow(client, i)));
  const struck = await run.quieten();
  const history: History = {
    seed: plan.seed,
    shape: plan.shape,
    zoneNumbers: stand.zoneNumbers,
    operations: run.operations,
    struck: struck.flatMap(({ counts }) => Object.values(counts)).reduce((sum, count) => sum + count, 0),
    finals: [await run.read(0), await run.read(1)],
  };
  await run.unlink();
  return { history, struck };
}

/** A version that some client knows of. */
interface Known {
  end: End;
  versionId: string;
  etag?: string;
  content?: string;
}

class Run {
  readonly operations: Operation[] = [];
  readonly #stand: Stand;
  readonly #plan: Plan;
  readonly #buckets: [string, string];
  /** versions by key, oldest first */
  readonly #known = new Map<string, Known[]>();

  constructor(stand: Stand, plan: Plan, name: string) {
    this.#stand = stand;
    this.#plan = plan;
    this.#buckets = [`${name}-0`, `${name}-1`];
  }

  async prepare(): Promise<void> {
    const { shape, seed, rates } = this.#plan;
    await Promise.all(
      ENDS.map(async (end) => {
        await this.#stand.makeBucket(end, this.#buckets[end]);
        if (shape !== "alone") await this.#stand.enableVersioning(end, this.#buckets[end]);
      }),
    );
    await Promise.all(
      this.#sources().map((end) => this.#stand.link(end, this.#buckets[end], this.#buckets[other(end)])),
    );
    await Promise.all(
      ENDS.map((end) => this.#stand.arm(end, this.#buckets[end], { seed: `${seed}/${end}`, rates: rates[end] })),
    );
  }

  async unlink(): Promise<void> {
    await Promise.all(this.#sources().map((end) => this.#stand.unlink(end, this.#buckets[end])));
  }

  #sources(): End[] {
    const { shape } = this.#plan;
    return ENDS.filter((end) => shape === "two-way" || (shape === "one-way" && end === 0));
  }

  async follow(client: ClientPlan, number: number): Promise<void> {
    const actor = new Actor(this.#stand.client(client.via), this.#buckets[client.end], client.end, this.operations);
    for (const [i, step] of client.steps.entries()) {
      await setTimeout(step.pause);
      await this.#take(actor, step, `${this.#plan.seed}/${number}/${i}`);
    }
  }

  async #take(actor: Actor, step: Step, name: string): Promise<void> {
    const { key, variant } = step;
    const condition = this.#condition(actor.end, step);
    const tag = variant < 0.3 ? `t${name.replaceAll("/", "-")}` : undefined;
    switch (step.kind) {
      case "put": {
        const written = this.#learn(await actor.put(key, bodyOf(name, step.size), condition, tag));
        if (written.versionId && variant < 0.25) await actor.getVersion(key, written.versionId);
        return;
      }
      case "delete":
        if (variant > 0.85) {
          for (const deleted of await actor.deleteAll(this.#plan.keys)) this.#learn(deleted);
          return;
        }
        this.#learn(await actor.delete(key, variant < 0.2 ? condition : undefined));
        return;
      case "multipart":
        return await this.#upload(actor, step, name, condition);
      case "copy":
        return await this.#copy(actor, step, condition);
      case "remove":
      case "tag":
      case "getVersion":
        return await this.#onVersion(actor, step, name);
      case "versioning":
        if (this.#mayChangeVersioning(actor.end)) await actor.setVersioning(variant < 0.5 ? "Enabled" : "Suspended");
        return;
      case "burst":
        await Promise.all(Array.from({ length: BURST }, (_, i) => actor.get(i < 3 ? key : this.#nextKey(key, i))));
        return;
      default:
        await (step.kind === "get" || step.kind === "head" ? actor[step.kind](key) : actor[step.kind]());
    }
  }

  #nextKey(key: string, i: number): string {
    const { keys } = this.#plan;
    return keys[(keys.indexOf(key) + i) % keys.length]!;
  }

  #mayChangeVersioning(end: End): boolean {
    return this.#plan.shape === "alone" || (this.#plan.shape === "one-way" && end === 1);
  }

  #condition(end: End, { key, condition, choice }: Step): Condition | undefined {
    if (condition === "none") return undefined;
    if (condition === "if-none-match") return { ifNoneMatch: "*" };
    if (condition === "if-match-any") return { ifMatch: "*" };
    const etags = this.#of(key).flatMap((known) => (known.etag && known.end === end ? [known.etag] : []));
    const etag = condition === "if-match" ? etags.at(-1) : etags[Math.floor(choice * etags.length)];
    return etag === undefined ? undefined : { ifMatch: etag };
  }

  /** Remembers what a write made, for later steps. */
  #learn(operation: Operation): Operation {
    const { end, key, versionId, etag, content } = operation;
    if (versionId && versionId !== NULL) this.#of(key).push({ end, versionId, etag, content });
    return operation;
  }

  #of(key: string): Known[] {
    if (!this.#known.has(key)) this.#known.set(key, []);
    return this.#known.get(key)!;
  }

  #choose(known: Known[], choice: number): Known | undefined {
    return known.at(-1 - Math.floor(choice * known.length));
  }

  async #onVersion(actor: Actor, step: Step, name: string): Promise<void> {
    // A replica's tags don't travel back, so an edit of them would make the ends differ for good.
    const all = this.#of(step.key).filter(
      ({ end, etag }) => step.kind !== "tag" || (end === actor.end && etag !== undefined),
    );
    const known = this.#choose(all, step.choice);
    if (!known) return;
    if (step.kind === "remove") await actor.remove(step.key, known.versionId);
    else if (step.kind === "getVersion") await actor.getVersion(step.key, known.versionId);
    else {
      const tag = step.variant < 0.85 ? `e${name.replaceAll("/", "-")}` : undefined;
      await actor.tag(step.key, known.versionId, tag);
    }
  }

  async #copy(actor: Actor, { key, choice, variant }: Step, condition: Condition | undefined): Promise<void> {
    const known = this.#choose(
      this.#of(key).filter(({ etag }) => etag !== undefined),
      choice,
    );
    if (!known) return;
    const { versionId, content } = known;
    const isFromThere = variant < 0.3;
    const end = isFromThere ? known.end : actor.end;
    const source = { end, bucket: this.#buckets[end], key, versionId, content };
    this.#learn(await actor.copy(variant < 0.6 ? key : this.#plan.keys[0]!, source, condition));
  }

  async #upload(actor: Actor, step: Step, name: string, condition: Condition | undefined): Promise<void> {
    const { key, variant, size } = step;
    const writer = `m-${name}`;
    const tag = variant > 0.7 ? `m${name.replaceAll("/", "-")}` : undefined;
    const uploadId = await actor.createUpload(key, writer, tag);
    if (uploadId === undefined) return;
    const bodies = [...(variant > 0.97 ? [bodyOf(`${name} first`, PART_BYTES)] : []), bodyOf(name, size)];
    const etags: string[] = [];
    for (const body of bodies) etags.push((await actor.uploadPart(key, uploadId, etags.length + 1, body)) ?? "");
    const isGivenUp = etags.includes("") || variant < 0.15;
    if (isGivenUp) await actor.abort(key, uploadId);
    // Completed all the same, now and then: it must be refused.
    if (etags.includes("") || (isGivenUp && variant > 0.08)) return;
    const upload = { uploadId, writer, etags, content: md5(Buffer.concat(bodies)), tag };
    const completed = this.#learn(await actor.complete(key, upload, condition));
    const isAgain = completed.result === "unknown" || (completed.result === "ok" && variant < 0.5);
    if (isAgain) this.#learn(await actor.complete(key, upload, condition));
  }

  /** Ends the faults and waits until nothing is left to travel or to be cleared away. Tells each end's faults. */
  async quieten(): Promise<Struck[]> {
    const struck = await Promise.all(
      ENDS.map(async (end) => {
        const ended = await until(() => this.#stand.disarm(end, this.#buckets[end]), { deadline: QUIET_MS });
        if (this.#plan.shape === "one-way") {
          await this.#stand.enableVersioning(end, this.#buckets[end]);
        }
        return ended;
      }),
    );
    const isQuiet = async () => {
      const pending = await Promise.all(ENDS.map((end) => this.#stand.pending(this.#buckets, end)));
      return pending.every((count) => count === 0);
    };
    await until(isQuiet, { deadline: QUIET_MS, interval: 200 }).catch(() => undefined);
    await Promise.all(ENDS.map((end) => this.#stand.emptyGarbage(end, this.#buckets[end])));
    return struck;
  }

  /** An end as it stands: its versions with their bodies, its current objects, its uploads. */
  async read(end: End): Promise<Final> {
    const actor = new Actor(this.#stand.client(end), this.#buckets[end], end, []);
    const listed = (await actor.listVersions()).listed!;
    const versions = await Promise.all(
      listed.map(async (each) => {
        const versionId = each.versionId!;
        if (each.isMarker) return { ...each, versionId };
        const { seen, status, code } = await actor.getVersion(each.key, versionId);
        if (!seen) return { ...each, versionId, failure: `${status} ${code}` };
        return { ...each, versionId, seen: { ...seen, tag: await actor.getTag(each.key, versionId) } };
      }),
    );
    const bucket = this.#buckets[end];
    return {
      versions,
      objects: (await actor.list()).listed!,
      walked: await actor.walk(),
      uploads: await actor.listUploads(),
      pending: await this.#stand.pending(this.#buckets, end),
      failed: await this.#stand.failed(end, bucket),
    };
  }
}

/** A body that names its writer, so that none is like another; padded to its size. */
function bodyOf(name: string, size: number): Buffer {
  return Buffer.from(`${name} `.padEnd(size, "."));
}
