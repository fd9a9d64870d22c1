/**
 * What an operation bills, counted at the bindings (counting.ts) while nothing is timed. At one client each operation
 * has a commit of its own, at 64 those that wait together share one. Neither stands wholly alone: all of one second share the
 * clock's row in their Sequencer, and while a drain is under way what is written sends no message of its own; so those are
 * below 1, and what is counted is each one's share.
 *
 * An operation with a destination is told in two lines: what it bills itself, and what its replication does at both ends,
 * until nothing is left to travel.
 */
import { Agent } from "node:http";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import type { Zones } from "../harness.ts";
import { link, versionedBucket } from "../links.ts";
import { randomBody, S3Calls } from "./calls.ts";
import { type Counted, Counter } from "./counter.ts";
import { SOURCE } from "./lines.ts";
import { type Call, run, send } from "./load.ts";
import { AWS, awsReplication, dollarsOf } from "./prices.ts";
import { DESTINATION, poll } from "./replication.ts";
import { type BenchOptions, type Cost, KIB, MIB } from "./report.ts";
import { addUnits, divideUnits, type Units } from "./units.ts";

export const COST = "Cost";
const CLIENTS = 64;
const BUCKETS = { unversioned: "cost-unversioned", versioned: "cost-versioned", source: "cost-source" };
const PAGE = 1000;
const PART = 5 * MIB;
const PARTS = 3;

interface Priced {
  name: string;
  aws: number;
  /** bytes that travel, if it has a destination */
  travels?: number;
  /** at one client only, and a tenth as often */
  isLarge?: boolean;
  calls(count: number): Call[];
}

export async function measureCosts(zones: Zones, options: BenchOptions): Promise<Cost[]> {
  const counting = await Costs.start(zones);
  const costs: Cost[] = [];
  for (const priced of counting.operations()) {
    options.progress(`${COST}: ${priced.name}`);
    const { alone, together } = options.sizes.cost;
    costs.push(...(await counting.measure(priced, priced.isLarge ? Math.ceil(alone / 10) : alone, 1)));
    if (!priced.isLarge && together > 0) costs.push(...(await counting.measure(priced, together, CLIENTS)));
  }
  options.progress(`${COST}: multipart`);
  costs.push(await counting.measureMultipart());
  return costs;
}

class Costs {
  readonly #zones: Zones;
  readonly #s3: S3Calls;
  readonly #counters: { source: Counter; destination: Counter };
  #prefixes = 0;

  private constructor(zones: Zones) {
    this.#zones = zones;
    this.#s3 = new S3Calls(zones.endpoint(SOURCE), SOURCE, zones.organizations.main);
    this.#counters = { source: new Counter(zones, SOURCE), destination: new Counter(zones, DESTINATION) };
  }

  static async start(zones: Zones): Promise<Costs> {
    await zones.s3(SOURCE).send(new CreateBucketCommand({ Bucket: BUCKETS.unversioned }));
    await versionedBucket(zones, SOURCE, BUCKETS.versioned);
    const source = await versionedBucket(zones, SOURCE, BUCKETS.source);
    await link(zones, source, await versionedBucket(zones, DESTINATION, "cost-destination"));
    const costs = new Costs(zones);
    await run(costs.#put(BUCKETS.versioned, PAGE, KIB), { clients: 16 });
    return costs;
  }

  operations(): Priced[] {
    const { unversioned, versioned, source } = BUCKETS;
    const put = (bucket: string, size: number) => (count: number) => this.#put(bucket, count, size);
    // Each another one: reads of one key that go together are one row.
    const paths = (count: number) => Array.from({ length: count }, (_, i) => `/${versioned}/cost-1-${i % PAGE}`);
    const list = (count: number) => Array.from({ length: count }, () => this.#s3.list(versioned, {}));
    return [
      { name: "PUT 1 KiB, unversioned", aws: AWS.put, calls: put(unversioned, KIB) },
      { name: "PUT 1 KiB, versioned", aws: AWS.put, calls: put(versioned, KIB) },
      { name: "PUT 1 KiB, one destination", aws: AWS.put, travels: KIB, calls: put(source, KIB) },
      { name: "PUT 1 MiB, versioned", aws: AWS.put, calls: put(versioned, MIB), isLarge: true },
      { name: "PUT 1 MiB, one destination", aws: AWS.put, travels: MIB, calls: put(source, MIB), isLarge: true },
      { name: "GET 1 KiB", aws: AWS.get, calls: (count) => this.#s3.get(paths(count), KIB) },
      { name: "HEAD", aws: AWS.get, calls: (count) => this.#s3.head(paths(count)) },
      { name: "LIST page of 1,000", aws: AWS.list, calls: list, isLarge: true },
      {
        name: "DELETE, versioned",
        aws: AWS.delete,
        calls: (count) => this.#s3.delete(this.#newPaths(versioned, count)),
      },
    ];
  }

  /** The first one, which finds nothing in the caches, isn't counted. */
  async measure(priced: Priced, count: number, clients: number): Promise<Cost[]> {
    await this.#counted(priced, 1, 1);
    const { source, destination } = await this.#counted(priced, count, clients);
    const subject = `${clients} ${clients === 1 ? "client" : "clients"}`;
    const costs = [this.#cost(priced.name, subject, divideUnits(source.requests, count), priced.aws)];
    if (priced.travels === undefined) return costs;
    const replication = addUnits(source.replication, destination.requests, destination.replication);
    const aws = awsReplication(priced.travels);
    return [...costs, this.#cost(`${priced.name}: its replication`, subject, divideUnits(replication, count), aws)];
  }

  /** Create, three parts, Complete: at AWS each of them is a PUT. */
  async measureMultipart(): Promise<Cost> {
    const path = `/${BUCKETS.versioned}/multipart`;
    const agent = new Agent({ keepAlive: true });
    const body = randomBody(PART);
    const { source } = await this.#count(async () => {
      const { text } = await send(agent, this.#s3.post(path, { uploads: "" }));
      const uploadId = /<UploadId>([^<]*)/.exec(text)![1]!;
      let parts = "";
      for (let number = 1; number <= PARTS; number++) {
        const { headers } = await send(agent, this.#s3.uploadPart(path, uploadId, number, body));
        parts += `<Part><PartNumber>${number}</PartNumber><ETag>${headers.etag}</ETag></Part>`;
      }
      const document = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
      await send(agent, this.#s3.post(path, { uploadId }, document));
    });
    agent.destroy();
    return this.#cost(`Multipart upload of ${PARTS} parts`, "1 client", source.requests, (PARTS + 2) * AWS.put);
  }

  #cost(name: string, subject: string, units: Units, aws: number): Cost {
    return { line: `${COST}: ${name}`, subject, units, dollars: dollarsOf(units), aws };
  }

  async #counted(priced: Priced, count: number, clients: number): Promise<Record<"source" | "destination", Counted>> {
    const calls = priced.calls(count);
    return await this.#count(async () => {
      await run(calls, { clients });
      if (priced.travels !== undefined) await this.#untilEmpty();
    });
  }

  async #count(work: () => Promise<void>): Promise<Record<"source" | "destination", Counted>> {
    const { source, destination } = this.#counters;
    await Promise.all([source.start(), destination.start()]);
    await work();
    return { source: await source.stop(), destination: await destination.stop() };
  }

  async #untilEmpty(): Promise<void> {
    const left = (await this.#zones.d1(SOURCE)).prepare("SELECT EXISTS (SELECT 1 FROM outbox) AS waits");
    await poll(10, "the rest", async () => !(await left.first())!.waits);
  }

  #put(bucket: string, count: number, size: number): Call[] {
    return this.#s3.put(this.#newPaths(bucket, count), randomBody(size));
  }

  #newPaths(bucket: string, count: number): string[] {
    const prefix = `/${bucket}/cost-${++this.#prefixes}-`;
    return Array.from({ length: count }, (_, i) => prefix + i);
  }
}
