/**
 * How fast versions travel: the lag of single ones at a steady pace, the drain of a backlog, a burst, and what an outage
 * leaves behind.
 *
 * Lag is from a PUT's answer in the source's zone to the first GET that finds the object in the destination's; it is
 * asked for every 2 ms or so, and that is how finely it is known. A backlog is made by pausing the link in the
 * source's database while objects are written; the drain is from the sweep that finds it active again until nothing of it
 * is left to travel. Beside it stands a Worker that sends one request for each object (bare.ts).
 */
import { Agent } from "node:http";
import { setTimeout } from "node:timers/promises";
import type { Zones } from "../harness.ts";
import { link, versionedBucket } from "../links.ts";
import { type Errand, LANES } from "./bare.ts";
import { bareCalls, randomBody, S3Calls } from "./calls.ts";
import { bucketIdOf, type Database } from "./fill.ts";
import { SOURCE } from "./lines.ts";
import { type Call, exchange, median, percentile, run, send } from "./load.ts";
import { inTurn, takeTurns } from "./measure.ts";
import { type BenchOptions, type Figure, KIB } from "./report.ts";

export const DESTINATION = "at-vie-1";
export const LAG = "Replication, lag";
export const BACKLOG = "Replication, backlog";
export const BURST = "Replication, burst";
const LAG_SIZE = KIB;
const BACKLOG_SIZE = 4 * KIB;
const BURST_CLIENTS = 32;
export const BUCKETS = { source: "bench-source", destination: "bench-destination" };
const POLL_MS = 2;
const COUNT_MS = 10;
/** Milliseconds in which everything arrives, or the bench ends. */
const PATIENCE_MS = 300_000;
/** Measurements of the ordinary length that one of the lag is as long as: its 99th percentile needs many objects. */
const LAG_SECONDS = 4;

export class Replication {
  readonly zones: Zones;
  readonly source: S3Calls;
  readonly destination: S3Calls;
  readonly #index: Database;
  readonly #arrivals: Database;
  readonly #destinationId: number;
  readonly #run = Math.random().toString(36).slice(2, 8);
  #prefixes = 0;

  private constructor(zones: Zones, index: Database, arrivals: Database, destinationId: number) {
    this.zones = zones;
    const { main } = zones.organizations;
    this.source = new S3Calls(zones.endpoint(SOURCE), SOURCE, main);
    this.destination = new S3Calls(zones.endpoint(DESTINATION), DESTINATION, main);
    this.#index = index;
    this.#arrivals = arrivals;
    this.#destinationId = destinationId;
  }

  /** Makes two buckets, and the one's link to the other. */
  static async start(zones: Zones): Promise<Replication> {
    const source = await versionedBucket(zones, SOURCE, BUCKETS.source);
    await link(zones, source, await versionedBucket(zones, DESTINATION, BUCKETS.destination));
    return await Replication.open(zones);
  }

  /** Takes the buckets that are there. */
  static async open(zones: Zones): Promise<Replication> {
    const arrivals = await zones.d1(DESTINATION);
    const destinationId = await bucketIdOf(arrivals, BUCKETS.destination);
    return new Replication(zones, await zones.d1(SOURCE), arrivals, destinationId);
  }

  async measureLag(options: BenchOptions): Promise<Figure[]> {
    const paces = options.sizes.lagsPerSecond;
    const measured = await takeTurns(LAG, paces, options, async (perSecond, seconds) => {
      return await this.#lag(perSecond, LAG_SECONDS * seconds);
    });
    return paces.flatMap((perSecond): Figure[] => {
      const lags = measured
        .get(perSecond)!
        .flat()
        .sort((a, b) => a - b);
      const subject = `at ${perSecond} objects/s, PUT's answer to readable`;
      return [
        { line: LAG, subject: `p50 ${subject}`, value: percentile(lags, 0.5), unit: "ms" },
        { line: LAG, subject: `p99 ${subject}`, value: percentile(lags, 0.99), unit: "ms" },
      ];
    });
  }

  /** One request for each object is measured beside the first backlog only: a larger one shows that the rate holds. */
  async measureBacklogs({ rounds, sizes, progress }: BenchOptions): Promise<Figure[]> {
    const [first = 0, ...others] = sizes.backlogs;
    const drains: number[] = [];
    const singles: number[] = [];
    const drain = async (count: number, rates: number[]) => rates.push(count / (await this.#drain(count)));
    const single = async (count: number, rates: number[]) => rates.push(count / (await this.#sendSingly(count)));
    progress(`${BACKLOG}: warming up`);
    const few = Math.ceil(first / 4);
    for (const warm of [single, drain]) await warm(few, []);
    for (let round = 1; round <= rounds; round++) {
      progress(`${BACKLOG}: ${first} objects, round ${round} of ${rounds}`);
      const both = [() => drain(first, drains), () => single(first, singles)];
      for (const one of inTurn(both, round)) await one();
    }
    const ratio = median(drains.map((rate, round) => rate / singles[round]!));
    const singly = `one request for each object, ${LANES} at once`;
    const figures: Figure[] = [
      { line: BACKLOG, subject: describeDrain(first), value: median(drains), unit: "/s" },
      { line: BACKLOG, subject: singly, value: median(singles), unit: "/s" },
      { line: BACKLOG, subject: `${describeDrain(first)}, to ${singly}`, value: ratio, unit: "x" },
    ];
    for (const count of others) {
      progress(`${BACKLOG}: ${count} objects`);
      const value = count / (await this.#drain(count));
      figures.push({ line: BACKLOG, subject: describeDrain(count), value, unit: "/s" });
    }
    return figures;
  }

  async measureBurst({ rounds, sizes, progress }: BenchOptions): Promise<Figure[]> {
    const measured: Awaited<ReturnType<Replication["burst"]>>[] = [];
    for (let round = 0; round <= rounds; round++) {
      progress(`${BURST}: ${round === 0 ? "warming up" : `round ${round} of ${rounds}`}`);
      const came = await this.burst(round === 0 ? Math.ceil(sizes.burst / 4) : sizes.burst);
      if (round > 0) measured.push(came);
    }
    const name = describeBurst(sizes.burst);
    const rate = (seconds: (each: (typeof measured)[number]) => number) =>
      median(measured.map((each) => sizes.burst / seconds(each)));
    return [
      { line: BURST, subject: `${name}, PUTs answered`, value: rate(({ answered }) => answered), unit: "/s" },
      {
        line: BURST,
        subject: `${name}, first PUT to last arrival`,
        value: rate(({ arrived }) => arrived),
        unit: "/s",
      },
      {
        line: BURST,
        subject: `${name}, last answer to last arrival`,
        value: median(measured.map(({ answered, arrived }) => arrived - answered)),
        unit: "s",
      },
    ];
  }

  /** Seconds from the first PUT to the last answer, and to the last arrival. */
  async burst(count: number, size = BACKLOG_SIZE): Promise<{ answered: number; arrived: number }> {
    const prefix = this.newPrefix();
    const puts = this.puts(prefix, count, size);
    const start = performance.now();
    await run(puts, { clients: BURST_CLIENTS });
    const answered = (performance.now() - start) / 1000;
    await this.untilArrived(prefix, count);
    return { answered, arrived: (performance.now() - start) / 1000 };
  }

  /** Milliseconds of each object. */
  async #lag(perSecond: number, seconds: number): Promise<number[]> {
    const count = Math.max(1, Math.round(perSecond * seconds));
    const prefix = this.newPrefix();
    const puts = this.puts(prefix, count, LAG_SIZE);
    const gets = this.destination.get(
      names(prefix, count).map((key) => `/${BUCKETS.destination}/${key}`),
      LAG_SIZE,
    );
    const agent = new Agent({ keepAlive: true });
    const start = performance.now();
    const lags = await Promise.all(
      puts.map(async (put, i) => {
        await setTimeout(Math.max(0, start + (i * 1000) / perSecond - performance.now()));
        await send(agent, put);
        return await untilReadable(agent, gets[i]!);
      }),
    );
    agent.destroy();
    return lags;
  }

  /** Seconds that `count` objects take to arrive. */
  async #drain(count: number): Promise<number> {
    const setState = this.#index.prepare("UPDATE links SET state = ?1");
    await setState.bind("paused").run();
    await run(this.puts(this.newPrefix(), count, BACKLOG_SIZE), { clients: BURST_CLIENTS });
    const waiting = (await this.#index.prepare("SELECT count(*) AS n FROM outbox").first())!.n;
    if (waiting !== count) throw new Error(`${waiting} of ${count} objects are waiting to be drained`);
    await setState.bind("active").run();
    const start = performance.now();
    const [end] = await Promise.all([this.untilEmpty(), this.zones.runScheduled(SOURCE)]);
    return (end - start) / 1000;
  }

  /** The same by the bare Worker, which reads them from its own database. */
  async #sendSingly(count: number): Promise<number> {
    const { key: accessKeyId, secret: secretAccessKey } = this.zones.organizations.main;
    const prefix = this.newPrefix();
    const index = await this.zones.d1("bare");
    const sql = `INSERT INTO bare (key, body) SELECT value, ?2 FROM json_each(?1)`;
    const keys = names(prefix, count);
    await index.prepare(sql).bind(JSON.stringify(keys), randomBody(BACKLOG_SIZE).toString()).run();
    const errand: Errand = { keys, zone: DESTINATION, bucket: BUCKETS.destination, accessKeyId, secretAccessKey };
    const body = Buffer.from(JSON.stringify(errand));
    return (await run(bareCalls(this.zones.endpoint("bare"), "POST", ["/replicate"], { body }), { clients: 1 }))
      .seconds;
  }

  puts(prefix: string, count: number, size: number): Call[] {
    return this.source.put(
      names(prefix, count).map((key) => `/${BUCKETS.source}/${key}`),
      randomBody(size),
    );
  }

  deletes(keys: string[]): Call[] {
    return this.source.delete(keys.map((key) => `/${BUCKETS.source}/${key}`));
  }

  newPrefix(): string {
    return `object-${this.#run}-${++this.#prefixes}-`;
  }

  /** Waits until so many versions, delete markers too, of keys with a prefix are in the destination. */
  async untilArrived(prefix: string, count: number): Promise<void> {
    const what = `${count} versions of ${prefix}`;
    await poll(COUNT_MS, what, async () => (await this.countArrived(prefix)) === count);
  }

  async countArrived(prefix: string): Promise<number> {
    const sql = "SELECT count(*) AS n FROM versions WHERE bucket_id = ?1 AND key >= ?2 AND key < ?3";
    const row = await this.#arrivals.prepare(sql).bind(this.#destinationId, prefix, `${prefix}~`).first();
    return row!.n as number;
  }

  /** When nothing is left to travel. What failed wouldn't arrive, so it ends the bench. */
  async untilEmpty(): Promise<number> {
    const sql = "SELECT EXISTS (SELECT 1 FROM outbox) AS waits, (SELECT count(*) FROM failed) AS failed";
    const left = this.#index.prepare(sql);
    await poll(COUNT_MS, "the rest", async () => {
      const row = (await left.first<{ waits: number; failed: number }>())!;
      if (row.failed > 0) throw new Error(`${row.failed} versions have failed`);
      return !row.waits;
    });
    return performance.now();
  }
}

export function describeBurst(count: number): string {
  return `${count.toLocaleString("en")} x 4 KiB at ${BURST_CLIENTS} clients`;
}

function describeDrain(count: number): string {
  return `drain of ${count.toLocaleString("en")} x 4 KiB`;
}

export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`);
}

async function untilReadable(agent: Agent, get: Call): Promise<number> {
  const start = performance.now();
  await poll(POLL_MS, get.path, async () => {
    const { status, text } = await exchange(agent, get);
    if (status !== 200 && status !== 404) throw new Error(`GET ${get.path} was answered ${status}: ${text}`);
    return status === 200;
  });
  return performance.now() - start;
}

/** Not `until` of the harness, which takes an error for "not yet". */
export async function poll(every: number, what: string, probe: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await probe())) {
    if (performance.now() > end) throw new Error(`${what} didn't arrive`);
    await setTimeout(every);
  }
}
