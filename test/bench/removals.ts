/**
 * Lines of DELETE and DeleteObjects, beside rows deleted from a bare D1 table. In a versioned bucket each writes a delete
 * marker; in one that never was it removes the object's row and its body's. What is deleted is there: it was filled in
 * before, by as many keys as a measurement may get through.
 */
import { CreateBucketCommand, type S3Client } from "@aws-sdk/client-s3";
import type { Zones } from "../harness.ts";
import type { Place } from "../links.ts";
import { bareCalls, randomBody, S3Calls } from "./calls.ts";
import { fill } from "./fill.ts";
import { BUCKET, describeLine, type Line, mostCalls, SOURCE, type Subject } from "./lines.ts";
import type { Call } from "./load.ts";
import { KIB } from "./report.ts";

const CLIENTS = [1, 16, 64];
/** Keys of one DeleteObjects: S3's limit. */
const TOGETHER = 1000;
/** DELETEs, and DeleteObjects, that one client is thought to get done in a second, at most. */
const PER_SECOND = { one: 2000, together: 20 };
const UNVERSIONED = "bench-unversioned";

type CallsOf = (bucket: string, keys: string[]) => Call[];

export async function makeRemovals(zones: Zones, seconds: number): Promise<Line[]> {
  const client = zones.s3(SOURCE);
  await client.send(new CreateBucketCommand({ Bucket: UNVERSIONED }));
  const maker = new RemovalMaker(zones, client, seconds);
  return [...CLIENTS.map((clients) => maker.one(clients)), maker.together()];
}

class RemovalMaker {
  readonly #zones: Zones;
  readonly #client: S3Client;
  readonly #s3: S3Calls;
  readonly #bare: string;
  readonly #seconds: number;
  readonly #body = randomBody(KIB);
  #prefixes = 0;

  constructor(zones: Zones, client: S3Client, seconds: number) {
    this.#zones = zones;
    this.#client = client;
    this.#s3 = new S3Calls(zones.endpoint(SOURCE), SOURCE, zones.organizations.main);
    this.#bare = zones.endpoint("bare");
    this.#seconds = seconds;
  }

  one(clients: number): Line {
    const count = mostCalls(clients, this.#seconds, PER_SECOND.one);
    const ours: CallsOf = (bucket, keys) => this.#s3.delete(keys.map((key) => `/${bucket}/${key}`));
    const bare: CallsOf = (_, keys) => {
      const paths = keys.map((key) => `/d1/${key}`);
      return bareCalls(this.#bare, "DELETE", paths, { status: 204 });
    };
    const subjects = this.#subjects("DeleteObject", "bare D1 delete", count, ours, bare);
    return { ...describeLine("DELETE", clients), size: 0, repeats: false, subjects };
  }

  /** The bare one deletes them by one statement too. */
  together(): Line {
    const count = mostCalls(1, this.#seconds, PER_SECOND.together) * TOGETHER;
    const ours: CallsOf = (bucket, keys) => chunk(keys).map((own) => this.#s3.deleteObjects(bucket, own));
    const bare: CallsOf = (_, keys) =>
      chunk(keys).flatMap((own) => {
        const body = Buffer.from(JSON.stringify(own));
        return bareCalls(this.#bare, "POST", ["/d1"], { body, status: 204 });
      });
    const subjects = this.#subjects("DeleteObjects", "bare D1 delete", count, ours, bare);
    return { ...describeLine("DeleteObjects of 1,000", 1), size: 0, keys: TOGETHER, repeats: false, subjects };
  }

  #subjects(ours: string, bare: string, count: number, ourCalls: CallsOf, bareCallsOf: CallsOf): Subject[] {
    return [
      { name: `${ours}, versioned`, calls: async () => ourCalls(BUCKET, await this.#fill(BUCKET, count)) },
      { name: `${ours}, unversioned`, calls: async () => ourCalls(UNVERSIONED, await this.#fill(UNVERSIONED, count)) },
      { name: bare, bare: "d1", calls: async () => bareCallsOf("", await this.#fillBare(count)) },
    ];
  }

  /** Keys of objects that are there. */
  async #fill(bucket: string, count: number): Promise<string[]> {
    const { key, keys } = this.#newKeys(count);
    const place: Place = { client: this.#client, bucket, zone: SOURCE };
    await fill(this.#zones, place, { keys: count, key, body: this.#body });
    return keys;
  }

  async #fillBare(count: number): Promise<string[]> {
    const { key, keys } = this.#newKeys(count);
    const index = await this.#zones.d1("bare");
    await index
      .prepare(
        `INSERT INTO bare (key, body) WITH RECURSIVE r (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < ?1)
         SELECT ${key}, ?2 FROM r`,
      )
      .bind(count - 1, this.#body.toString())
      .run();
    return keys;
  }

  #newKeys(count: number): { key: string; keys: string[] } {
    const prefix = `delete-${++this.#prefixes}-`;
    const keys = Array.from({ length: count }, (_, n) => prefix + String(n).padStart(7, "0"));
    return { key: `printf('${prefix}%07d', n)`, keys };
  }
}

function chunk(keys: string[]): string[][] {
  return Array.from({ length: keys.length / TOGETHER }, (_, i) => keys.slice(i * TOGETHER, (i + 1) * TOGETHER));
}
