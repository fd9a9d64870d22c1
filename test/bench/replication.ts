/**
 * How fast versions travel: the lag of single ones at a steady pace, and the drain of a backlog.
 *
 * Lag is from a PUT's answer in the source's zone to the first GET that finds the object in the destination's; it is
 * asked for every 2 ms or so, and that is how finely it is known. The backlog is what an outage leaves: the link is
 * noted as down in the source's database, objects are written, and the drain is from the sweep that finds the link due
 * again until nothing of it is left to travel.
 */
import { Agent } from "node:http";
import { setTimeout } from "node:timers/promises";
import type { Zones } from "../harness.ts";
import { link, versionedBucket } from "../links.ts";
import { randomBody, S3Calls } from "./calls.ts";
import { KIB, SOURCE } from "./lines.ts";
import { type Call, exchange, run } from "./load.ts";

const DESTINATION = "at-vie-1";
export const LAG_SIZE = KIB;
export const LAG_PER_SECOND = 20;
export const BACKLOG_SIZE = 4 * KIB;
const BUCKETS = { source: "bench-source", destination: "bench-destination" };
const POLL_MS = 2;
/** Milliseconds in which everything arrives, or the bench ends. */
const PATIENCE_MS = 120_000;

export class Replication {
  readonly #zones: Zones;
  readonly #source: S3Calls;
  readonly #destination: S3Calls;
  #prefixes = 0;

  private constructor(zones: Zones) {
    this.#zones = zones;
    const { main } = zones.organizations;
    this.#source = new S3Calls(zones.endpoint(SOURCE), SOURCE, main);
    this.#destination = new S3Calls(zones.endpoint(DESTINATION), DESTINATION, main);
  }

  /** Makes two buckets, and the one's link to the other. */
  static async start(zones: Zones): Promise<Replication> {
    const source = await versionedBucket(zones, SOURCE, BUCKETS.source);
    await link(zones, source, await versionedBucket(zones, DESTINATION, BUCKETS.destination));
    return new Replication(zones);
  }

  /** Milliseconds of each object, ascending. */
  async lag(seconds: number): Promise<number[]> {
    const keys = this.#newKeys(Math.max(1, Math.round(LAG_PER_SECOND * seconds)));
    const puts = await this.#puts(keys, LAG_SIZE);
    const gets = await this.#destination.get(
      keys.map((key) => `/${BUCKETS.destination}/${key}`),
      LAG_SIZE,
    );
    const agent = new Agent({ keepAlive: true });
    const start = performance.now();
    const lags = await Promise.all(
      puts.map(async (put, i) => {
        await setTimeout(Math.max(0, start + (i * 1000) / LAG_PER_SECOND - performance.now()));
        const { status, text } = await exchange(agent, put);
        if (status !== 200) throw new Error(`PUT ${put.path} was answered ${status}: ${text}`);
        return await untilReadable(agent, gets[i]!);
      }),
    );
    agent.destroy();
    return lags.sort((a, b) => a - b);
  }

  /** Seconds that `count` objects take to arrive. */
  async drain(count: number): Promise<number> {
    const index = await this.#zones.d1(SOURCE);
    const now = Date.now();
    const down = "UPDATE links SET down_since = ?1, next_probe_at = ?2";
    await index
      .prepare(down)
      .bind(now, now + PATIENCE_MS)
      .run();
    await run(await this.#puts(this.#newKeys(count), BACKLOG_SIZE), { clients: 16 });
    await index.prepare(down).bind(now, Date.now()).run();
    const start = performance.now();
    const [end] = await Promise.all([untilEmpty(index), this.#zones.runScheduled(SOURCE)]);
    return (end - start) / 1000;
  }

  #puts(keys: string[], size: number): Promise<Call[]> {
    const paths = keys.map((key) => `/${BUCKETS.source}/${key}`);
    return this.#source.put(paths, randomBody(size), "signed hash");
  }

  #newKeys(count: number): string[] {
    const prefix = `object-${++this.#prefixes}`;
    return Array.from({ length: count }, (_, i) => `${prefix}-${i}`);
  }
}

async function untilReadable(agent: Agent, get: Call): Promise<number> {
  const start = performance.now();
  while (performance.now() - start < PATIENCE_MS) {
    const { status, text } = await exchange(agent, get);
    if (status === 200) return performance.now() - start;
    if (status !== 404) throw new Error(`GET ${get.path} was answered ${status}: ${text}`);
    await setTimeout(POLL_MS);
  }
  throw new Error(`${get.path} didn't arrive`);
}

/** When nothing is left to travel. What failed wouldn't arrive, so it ends the bench. */
async function untilEmpty(index: Awaited<ReturnType<Zones["d1"]>>): Promise<number> {
  const left = index.prepare("SELECT EXISTS (SELECT 1 FROM outbox) AS waits, (SELECT count(*) FROM failed) AS failed");
  const start = performance.now();
  while (performance.now() - start < PATIENCE_MS) {
    const row = (await left.first<{ waits: number; failed: number }>())!;
    if (row.failed > 0) throw new Error(`${row.failed} versions of the backlog have failed`);
    if (!row.waits) return performance.now();
    await setTimeout(20);
  }
  throw new Error("the backlog wasn't drained");
}
