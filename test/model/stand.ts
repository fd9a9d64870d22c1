/** Two zones that histories run on, many of them side by side, each with buckets of its own. */
import { setTimeout } from "node:timers/promises";
import { temporaryFolder, until, Zones } from "../harness.ts";
import { makeRole } from "../links.ts";
import { Client } from "./client.ts";
import type { Rates, Struck } from "./faults.ts";
import { type End, other } from "./history.ts";

const ZONES = ["ch-dk-2", "at-vie-1"] as const;
/** As in wrangler.toml. */
const NUMBERS: [number, number] = [1, 2];
/** Milliseconds between two sweeps of a zone: what production does every minute. */
const SWEEP_MS = 700;

/** Milliseconds that some sweeps take at most. */
const GARBAGE_MS = 60_000;

/** One role for all links, so that making a history's buckets asks nothing of the control API. */
const POLICY = {
  "default-service-strategy": "deny",
  services: {
    sos: {
      type: "rules",
      rules: [
        {
          action: "allow",
          expression:
            "parameters.bucket.startsWith('h-') && (operation == 'get-object' || operation.startsWith('put-object'))",
        },
      ],
    },
  },
};

export class Stand {
  readonly zoneNumbers = NUMBERS;
  readonly #zones: Zones;
  readonly #role: string;
  readonly #clients: [Client, Client];
  readonly #sweeping: Promise<unknown>;
  #isStopped = false;

  private constructor(zones: Zones, role: string) {
    this.#zones = zones;
    this.#role = role;
    const client = (end: End) => new Client(zones.endpoint(ZONES[end]), ZONES[end], zones.organizations.main);
    this.#clients = [client(0), client(1)];
    this.#sweeping = Promise.all(ZONES.map((zone) => this.#sweep(zone)));
  }

  /** `script` gives the bundled Worker of an entry file, as wrangler.toml names it. */
  static async start(script: (main: string) => Promise<string>): Promise<Stand> {
    const state = temporaryFolder();
    const vars = { LOG: "off" };
    const options = { state, zones: [...ZONES], port: 0, apiPort: 0, vars, script, scheduleEvery: 0 };
    const zones = new Zones(state, true, options);
    await zones.restart();
    return new Stand(zones, await makeRole(zones, POLICY));
  }

  client(via: End): Client {
    return this.#clients[via];
  }

  async makeBucket(end: End, bucket: string): Promise<void> {
    await this.#must(end, "PUT", `/${bucket}`);
  }

  async enableVersioning(end: End, bucket: string): Promise<void> {
    const document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    await this.#must(end, "PUT", `/${bucket}`, "versioning=", document);
  }

  async link(end: End, bucket: string, destination: string): Promise<void> {
    const rule = `<ID>all</ID><Priority>1</Priority><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>
      <DeleteMarkerReplication><Status>Enabled</Status></DeleteMarkerReplication>
      <Destination><Bucket>${destination}</Bucket></Destination>`;
    const document = `<ReplicationConfiguration><Role>${this.#role}</Role><Rule>${rule}</Rule></ReplicationConfiguration>`;
    await this.#must(end, "PUT", `/${bucket}`, "replication=", document);
  }

  /** A link that no history uses any more costs each sweep its time. */
  async unlink(end: End, bucket: string): Promise<void> {
    await this.#must(end, "DELETE", `/${bucket}`, "replication=");
  }

  async arm(end: End, bucket: string, faults: { seed: string; rates: Rates }): Promise<void> {
    const answer = await fetch(this.#door(end, bucket), { method: "PUT", body: JSON.stringify(faults) });
    if (!answer.ok) throw new Error(`${bucket} can't be armed: ${answer.status} ${await answer.text()}`);
  }

  /** Ends the faults. What came of them; undefined while a request that was held back is still on its way. */
  async disarm(end: End, bucket: string): Promise<Struck | undefined> {
    const answer = await fetch(this.#door(end, bucket), { method: "DELETE" });
    if (!answer.ok) throw new Error(`${bucket} can't be disarmed: ${answer.status} ${await answer.text()}`);
    const { repeating, ...struck } = (await answer.json()) as Struck & { repeating: number };
    return repeating === 0 ? struck : undefined;
  }

  #door(end: End, bucket: string): string {
    return `${this.#zones.endpoint(ZONES[end])}/-/faults/${bucket}`;
  }

  /**
   * Versions of a bucket that are still to travel, or will again by themselves: their destination has changed since they
   * failed. In one statement, since the sweep moves rows from the one table to the other.
   */
  async pending(buckets: [string, string], end: End): Promise<number> {
    const there = await this.#zones.d1(ZONES[other(end)]);
    const revision = await there
      .prepare("SELECT revision FROM buckets WHERE name = ?1")
      .bind(buckets[other(end)])
      .first("revision");
    const both = `(SELECT link_id FROM outbox UNION ALL SELECT link_id FROM failed WHERE cause <> 'destination ${revision}')`;
    const rows = await this.#rows<{ n: number }>(end, buckets[end], `SELECT count(*) AS n FROM ${both}`);
    return rows[0]!.n;
  }

  /**
   * Lets the sweep clear away at once what it would have a day later, and waits until it has: whoever reads afterwards
   * misses bytes that are still in use.
   */
  async emptyGarbage(end: End, bucket: string): Promise<void> {
    const index = await this.#zones.d1(ZONES[end]);
    const own = "bucket_id = (SELECT bucket_id FROM buckets WHERE name = ?)";
    await index.prepare(`UPDATE OR REPLACE garbage SET due_at = 0 WHERE ${own}`).bind(bucket).run();
    const left = index.prepare(`SELECT count(*) AS n FROM garbage WHERE ${own}`).bind(bucket);
    await until(async () => (await left.first("n")) === 0, { deadline: GARBAGE_MS, interval: 300 });
  }

  /** Reasons of what FAILED, by `key versionId`. */
  async failed(end: End, bucket: string): Promise<Map<string, string>> {
    type Row = { key: string; version_id: string; reason: string };
    const rows = await this.#rows<Row>(end, bucket, "SELECT key, version_id, reason FROM failed");
    return new Map(rows.map(({ key, version_id, reason }) => [`${key} ${version_id}`, reason]));
  }

  async #rows<Row>(end: End, bucket: string, select: string): Promise<Row[]> {
    const index = await this.#zones.d1(ZONES[end]);
    const links = "SELECT l.link_id FROM links l JOIN buckets b ON b.bucket_id = l.bucket_id WHERE b.name = ?";
    const { results } = await index.prepare(`${select} WHERE link_id IN (${links})`).bind(bucket).all<Row>();
    return results;
  }

  async #must(end: End, method: string, path: string, query = "", document = ""): Promise<void> {
    const body = document ? Buffer.from(document) : undefined;
    const send = () => this.#clients[end].send(method, path, { query, body });
    const first = await send();
    // Without an answer: the connection was closed. Each of these comes to the same when it is sent again.
    const answer = first.status === 0 ? await send() : first;
    if (answer.status >= 300 || answer.status === 0) {
      throw new Error(`${method} ${path}?${query}: ${answer.status} ${answer.body}`);
    }
  }

  async #sweep(zone: string): Promise<void> {
    while (!this.#isStopped) {
      await this.#zones.runScheduled(zone).catch(() => undefined);
      await setTimeout(SWEEP_MS);
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#sweeping;
    for (const client of this.#clients) client.close();
    await this.#zones.stop();
  }
}
