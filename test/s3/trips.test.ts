import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { LOGGED, readLines } from "../lines.ts";
import { link, type Place, versionedBucket } from "../links.ts";
import { type RawAnswer, type RawRequest, send } from "./raw.ts";

/** One byte more than is kept beside the version's row. */
const LARGE = "x".repeat(8 * 1024 + 1);

let zones: Zones;
/** In the first zone, and replicated: that costs its writers nothing. */
let near: Place;
let far: Place;

beforeAll(async () => {
  zones = await startZones({ entry: LOGGED, vars: { LOG: "on", IAM_CACHE_SECONDS: "20" } });
  near = await versionedBucket(zones, "ch-dk-2");
  far = await versionedBucket(zones, "at-vie-1");
  await link(zones, near, far);
  for (const [key, body] of Object.entries({ small: "x", large: LARGE, "tagged/k": "x" })) await put(key, body);
});
afterAll(() => zones?.stop());

const put = (key: string, body: string) => send(zones, "PUT", `/${near.bucket}/${key}`, { body });

/** A request of the first zone and its trips, by its line in the log. Others before it have warmed the caches. */
async function follow(method: string, target: string, options: RawRequest = {}): Promise<[RawAnswer, unknown]> {
  for (const { bucket } of [near, far]) await send(zones, "HEAD", `/${bucket}/nothing`);
  const answer = await send(zones, method, target, options);
  const line = (await readLines(zones, "ch-dk-2")).find(({ id }) => id === answer.headers["x-amz-request-id"]);
  return [answer, line?.trips];
}

async function expectTrips(trips: number, status: number, ...request: Parameters<typeof follow>): Promise<RawAnswer> {
  const [answer, made] = await follow(...request);
  expect([answer.status, made]).toEqual([status, trips]);
  return answer;
}

const withMd5 = (body: string): RawRequest => {
  return { body, headers: { "content-md5": createHash("md5").update(body).digest("base64") } };
};

const TAGGING = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
const DELETE = `<Delete>${Array.from({ length: 100 }, (_, i) => `<Object><Key>d-${i}</Key></Object>`).join("")}</Delete>`;

// INDEX for a read, BLOBS where a body is large, the Sequencer for whatever changes a version; nothing for who may.
const OPERATIONS: [
  name: string,
  trips: number,
  status: number,
  method: string,
  target: string,
  options?: RawRequest,
][] = [
  ["GetObject of an inline body", 1, 200, "GET", "/small"],
  ["GetObject of a body in R2", 2, 200, "GET", "/large"],
  ["GetObject of a range in R2", 2, 206, "GET", "/large", { headers: { range: "bytes=1-5" } }],
  ["GetObject of what isn't there", 1, 404, "GET", "/missing"],
  ["HeadObject", 1, 200, "HEAD", "/large"],
  ["PutObject of an inline body", 1, 200, "PUT", "/k", { body: "x" }],
  ["PutObject of a large body", 2, 200, "PUT", "/k", { body: LARGE }],
  ["PutObject with If-None-Match", 1, 412, "PUT", "/small", { body: "x", headers: { "if-none-match": "*" } }],
  ["DeleteObject", 1, 204, "DELETE", "/gone"],
  ["DeleteObjects of 100 keys", 1, 200, "POST", "?delete", withMd5(DELETE)],
  ["GetObjectTagging", 1, 200, "GET", "/tagged/k?tagging"],
  ["PutObjectTagging", 1, 200, "PUT", "/tagged/k?tagging", withMd5(TAGGING)],
  ["DeleteObjectTagging", 1, 204, "DELETE", "/tagged/k?tagging"],
  ["ListObjectsV2", 1, 200, "GET", "?list-type=2"],
  ["ListObjects", 1, 200, "GET", ""],
  ["ListObjectVersions", 1, 200, "GET", "?versions"],
  ["ListMultipartUploads", 2, 200, "GET", "?uploads"],
  ["HeadBucket", 1, 200, "HEAD", ""],
  ["GetBucketVersioning", 1, 200, "GET", "?versioning"],
  ["GetBucketReplication", 1, 200, "GET", "?replication"],
];

describe("Trips over bindings, caches being warm:", () => {
  test.each(OPERATIONS)("%s makes %i", async (_, trips, status, method, target, options) => {
    await expectTrips(trips, status, method, `/${near.bucket}${target}`, options);
  });

  test("CopyObject reads its source and writes its copy", async () => {
    const copy = (key: string) => ({ headers: { "x-amz-copy-source": `/${near.bucket}/${key}` } });
    await expectTrips(2, 200, "PUT", `/${near.bucket}/copy`, copy("small"));
    await expectTrips(4, 200, "PUT", `/${near.bucket}/copy`, copy("large"));
  });

  test("a multipart upload's parts make 3 each, and Complete as many whatever the parts", async () => {
    const { bucket } = near;
    const created = await expectTrips(1, 200, "POST", `/${bucket}/mp?uploads`);
    const uploadId = created.xml("InitiateMultipartUploadResult").textOf("UploadId");
    const parts: string[] = [];
    for (const [i, size] of [5 * 1024 * 1024, 5 * 1024 * 1024, 1].entries()) {
      const target = `/${bucket}/mp?partNumber=${i + 1}&uploadId=${uploadId}`;
      const { headers } = await expectTrips(3, 200, "PUT", target, { body: "x".repeat(size) });
      parts.push(`<Part><PartNumber>${i + 1}</PartNumber><ETag>${headers.etag}</ETag></Part>`);
    }
    await expectTrips(2, 200, "GET", `/${bucket}/mp?uploadId=${uploadId}`);
    const body = `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
    await expectTrips(3, 200, "POST", `/${bucket}/mp?uploadId=${uploadId}`, { body });
  });

  test("what another zone answers makes 1, to that zone", async () => {
    await expectTrips(1, 404, "GET", `/${far.bucket}/missing`);
    await expectTrips(1, 200, "PUT", `/${far.bucket}/k`, { body: LARGE });
  });

  test("a bucket's name that isn't cached, or isn't one, makes 1 to the control database", async () => {
    await expectTrips(1, 404, "GET", "/no-such-bucket/k");
    await expectTrips(0, 404, "GET", "/No_Name/k");
    await expectTrips(0, 403, "GET", `/${near.bucket}/small`, { isSigned: false });
  });
});
