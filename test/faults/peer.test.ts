import { createHash } from "node:crypto";
import { DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, type Place, statusOf, versionedBucket } from "../links.ts";
import type { Fault } from "./armed.ts";
import { arm, completions, ENTRY, report } from "./arming.ts";

const SMALL = "x";
const LARGE = "x".repeat(20_000);
const BUCKET = { bucket: { versioning: "Enabled", revision: 1 }, role: { revision: 1 } };
const ANOTHER = { versionId: "0000000000000000001", size: 1, etag: createHash("md5").update(SMALL).digest("hex") };

/** What the destination does with the first requests of each link, its probes too. */
const FAULTS: [title: string, fault: Pick<Fault, "how" | "status" | "body" | "times">][] = [
  [
    "answers 500 InternalError",
    { how: "answers", status: 500, body: "<Error><Code>InternalError</Code></Error>", times: 3 },
  ],
  ["answers 503 SlowDown", { how: "answers", status: 503, body: "<Error><Code>SlowDown</Code></Error>", times: 3 }],
  ["answers 429 without a document", { how: "answers", status: 429, body: "", times: 3 }],
  ["answers 500 after it has stored", { how: "answers after", status: 500, body: "", times: 3 }],
  ["answers 200 with a page of HTML", { how: "answers", status: 200, body: "<html>It works!</html>", times: 3 }],
  ["answers 200 with null", { how: "answers", status: 200, body: "null", times: 3 }],
  [
    "answers 200 without receipts",
    { how: "answers", status: 200, body: JSON.stringify({ ...BUCKET, receipts: [] }), times: 3 },
  ],
  [
    "answers 200 with another version's receipt",
    { how: "answers", status: 200, body: JSON.stringify({ ...BUCKET, receipts: [{ stored: ANOTHER }] }), times: 2 },
  ],
  ["gets half of each request's body", { how: "cuts request", times: 3 }],
  ["sends half of each answer's body and breaks", { how: "cuts answer", times: 3 }],
  ["sends an answer without its end, as if it were whole", { how: "truncates answer", times: 3 }],
];

let zones: Zones;
let places: { source: Place; destination: Place }[];
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
  places = await Promise.all(
    FAULTS.map(async () => {
      const source = await versionedBucket(zones, "ch-dk-2");
      const destination = await versionedBucket(zones, "at-vie-1");
      await link(zones, source, destination);
      return { source, destination };
    }),
  );
  const faults = FAULTS.map(([, fault], i): Fault => {
    return { at: "PEER.serve", naming: ` /${places[i]!.destination.bucket} `, ...fault };
  });
  await arm(zones, "at-vie-1", faults);
});
afterAll(() => zones?.stop());

it.concurrent.each(FAULTS.map(([title, fault], i) => [title, fault, i] as const))(
  "a destination that %s: the client sees PENDING, COMPLETED when it is well again, and each version once at both ends",
  async (_, { times }, i) => {
    const { source, destination } = places[i]!;
    const strokes = async () => (await report(zones, "at-vie-1")).strokes[i]!;
    const { client, bucket } = source;
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: "small", Body: SMALL }));
    await until(async () => (await strokes()) > 0, { interval: 10 });
    expect(await statusOf(source, "small")).toBe("PENDING");
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: "large", Body: LARGE }));
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: "deleted" }));
    await until(async () => (await statusOf(source, "small")) === "COMPLETED", { deadline: 20_000 });
    await until(async () => (await statusOf(source, "large")) === "COMPLETED", { deadline: 20_000 });
    expect(await strokes()).toBe(times);
    await until(async () => (await completions(zones, source, destination)) === 3);
    expect(await allVersions(destination)).toEqual(await allVersions(source));
  },
  60_000,
);
