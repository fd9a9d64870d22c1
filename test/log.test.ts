import { PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { logError, logEvent, logOperation, type OperationLine } from "../src/log.ts";
import { requestEnv } from "../src/trips.ts";
import { startZones, until, type Zones } from "./harness.ts";
import { type Line, LOGGED, readLines, spoil } from "./lines.ts";
import { link, type Place, statusOf, versionedBucket } from "./links.ts";
import { send } from "./s3/raw.ts";

let zones: Zones;
let near: Place;
let far: Place;
const SECRET_KEY = "secret-key-name";

beforeAll(async () => {
  zones = await startZones({ entry: LOGGED, vars: { LOG: "on", IAM_CACHE_SECONDS: "20" } });
  near = await versionedBucket(zones, "ch-dk-2");
  far = await versionedBucket(zones, "at-vie-1");
});
afterAll(() => zones?.stop());
beforeEach(async () => {
  for (const { name } of zones.zones) await readLines(zones, name);
});

const ofId = (lines: Line[], id: unknown) => lines.filter((line) => line.id === id);

describe("A line of the log", () => {
  test("tells of each operation what it was, whose it was and what it came to", async () => {
    const { organizations } = zones;
    const target = `/${near.bucket}/${SECRET_KEY}`;
    const answers = [
      await send(zones, "PUT", target, { body: "twelve bytes" }),
      await send(zones, "GET", target),
      await send(zones, "HEAD", target),
      await send(zones, "GET", `/${near.bucket}?list-type=2&prefix=secret`),
      await send(zones, "DELETE", target),
    ];
    const lines = await readLines(zones, "ch-dk-2");
    const found = answers.map(({ headers }) => ofId(lines, headers["x-amz-request-id"]));
    expect(found.map((each) => each.length)).toEqual([1, 1, 1, 1, 1]);
    expect(found.flat().map(({ operation, status, bytes }) => [operation, status, bytes])).toEqual([
      ["PutObject", 200, 12],
      ["GetObject", 200, 12],
      ["HeadObject", 200, 0],
      ["ListObjectsV2", 200, answers[3]!.body.length],
      ["DeleteObject", 204, 0],
    ]);
    for (const [line] of found) {
      expect(Object.keys(line!)).toEqual([
        "time",
        "zone",
        "id",
        "operation",
        "bucket",
        "status",
        "bytes",
        "ms",
        "trips",
        "organization",
        "accessKeyId",
      ]);
      expect(line).toMatchObject({
        zone: "ch-dk-2",
        accessKeyId: organizations.main.key,
        organization: organizations.main.id,
      });
      expect(line!.bucket).toBe(found[0]![0]!.bucket);
      expect(Date.parse(line!.time)).toBeGreaterThan(Date.now() - 60_000);
      expect(line!.ms).toBeGreaterThanOrEqual(0);
    }
  });

  test("is found by the x-amz-request-id of a refusal too, and tells its code", async () => {
    const { bucket } = near;
    const wrong = { key: zones.organizations.main.key, secret: "wrong" };
    const refused: [
      expected: unknown[],
      ...request: Parameters<typeof send> extends [unknown, ...infer Rest] ? Rest : never,
    ][] = [
      [["GetObject", 404, "NoSuchKey"], "GET", `/${bucket}/missing`],
      [["HeadObject", 404, "NoSuchKey"], "HEAD", `/${bucket}/missing`],
      [["GetObject", 404, "NoSuchBucket"], "GET", "/no-such-bucket/k"],
      [["GetObject", 403, "AccessDenied"], "GET", `/${bucket}/k`, { isSigned: false }],
      [["GetBucketPolicy", 501, "NotImplemented"], "GET", `/${bucket}?policy`],
      [[undefined, 403, "SignatureDoesNotMatch"], "GET", `/${bucket}/k`, { key: wrong }],
      [[undefined, 405, "MethodNotAllowed"], "PATCH", `/${bucket}/k`],
      [[undefined, 400, "InvalidURI"], "GET", `/${bucket}/%ff`],
    ];
    for (const [expected, ...request] of refused) {
      const { headers } = await send(zones, ...request);
      const [line, ...others] = ofId(await readLines(zones, "ch-dk-2"), headers["x-amz-request-id"]);
      expect([line?.operation, line?.status, line?.code]).toEqual(expected);
      expect(others).toEqual([]);
    }
  });

  test("is followed by the stack of an InternalError, under the same id", async () => {
    for (const method of ["GET", "HEAD"]) {
      await spoil(zones, "ch-dk-2");
      const { status, headers } = await send(zones, method, `/${near.bucket}/${SECRET_KEY}`);
      expect(status).toBe(500);
      const lines = ofId(await readLines(zones, "ch-dk-2"), headers["x-amz-request-id"]);
      const operation = method === "GET" ? "GetObject" : "HeadObject";
      expect(lines).toMatchObject([
        { level: "error", zone: "ch-dk-2", message: `${operation} failed` },
        { operation, status: 500, code: "InternalError" },
      ]);
      expect(lines[0]!.error).toMatch(/^TypeError: a mistake of ours\n +at /);
    }
  });

  test("of a request that another zone answers is there in both, under the id that the client saw", async () => {
    const answer = await send(zones, "PUT", `/${far.bucket}/k`, { zone: "ch-dk-2", body: "body" });
    expect(answer.status).toBe(200);
    const id = answer.headers["x-amz-request-id"];
    const [first] = ofId(await readLines(zones, "ch-dk-2"), id);
    const [second] = ofId(await readLines(zones, "at-vie-1"), id);
    expect(first).toMatchObject({ operation: "PutObject", status: 200, forwardedTo: "at-vie-1" });
    expect(second).toMatchObject({
      operation: "PutObject",
      status: 200,
      isForwarded: true,
      zone: "at-vie-1",
      bytes: 4,
    });
    expect(first!.bucket).toBe(second!.bucket);
  });

  test("of a zone that can't be reached tells the client's id and why", async () => {
    await zones.cut("at-vie-1", "zones");
    try {
      const answer = await send(zones, "GET", `/${far.bucket}/k`, { zone: "ch-dk-2" });
      expect(answer.code).toBe("ServiceUnavailable");
      const lines = ofId(await readLines(zones, "ch-dk-2"), answer.headers["x-amz-request-id"]);
      expect(lines).toMatchObject([
        { level: "error", message: "the zone at-vie-1 can't be reached" },
        { operation: "GetObject", status: 503, code: "ServiceUnavailable" },
      ]);
      expect(lines[1]).not.toHaveProperty("forwardedTo");
    } finally {
      await zones.heal("at-vie-1");
    }
  });

  test("names no key, no bucket, no query and no signature", async () => {
    const query = "X-Amz-Signature=0123456789abcdef&prefix=secret-prefix";
    await send(zones, "GET", `/${near.bucket}/${SECRET_KEY}?${query}`, { isSigned: false });
    await send(zones, "PUT", `/${near.bucket}/${SECRET_KEY}`, {
      body: "secret body",
      headers: { "x-amz-meta-a": "secret" },
    });
    await send(zones, "GET", `/${near.bucket}?list-type=2&prefix=secret-prefix`);
    await send(zones, "GET", `/${near.bucket}/${SECRET_KEY}?versionId=1234567890123456789`);
    const text = JSON.stringify(await readLines(zones, "ch-dk-2"));
    expect(text).toContain("GetObject");
    for (const told of ["secret", near.bucket, "Signature=", "0123456789abcdef", "1234567890123456789"]) {
      expect(text).not.toContain(told);
    }
  });
});

describe("Replication", () => {
  test("writes a line for a drain, and for a link that goes down and comes up", async () => {
    const source = await versionedBucket(zones, "ch-dk-2");
    const destination = await versionedBucket(zones, "at-vie-1");
    await link(zones, source, destination);
    const put = (Key: string) =>
      source.client.send(new PutObjectCommand({ Bucket: source.bucket, Key, Body: "12345" }));
    const lines: Line[] = [];
    const seen = async (event: string, outcome?: string) => {
      lines.push(...(await readLines(zones, "ch-dk-2")));
      return lines.find((line) => line.event === event && line.outcome === outcome);
    };
    await put("k");
    const drained = await until(() => seen("replication", "drained"));
    expect(drained).toMatchObject({ slot: 0, count: 1, bytes: 5, failed: 0, retried: 0, bucket: expect.any(Number) });
    const { link: linkId } = drained;
    await zones.cut("at-vie-1", "zones");
    await put("k2");
    expect(await until(() => seen("link-down"))).toMatchObject({
      link: linkId,
      error: expect.stringContaining("at-vie-1"),
    });
    expect(await until(() => seen("replication", "down"))).toMatchObject({ link: linkId, count: 0 });
    await zones.heal("at-vie-1");
    expect(await until(() => seen("link-up"), { deadline: 30_000 })).toMatchObject({ link: linkId });
    await until(async () => (await statusOf(source, "k2")) === "COMPLETED");
    expect(JSON.stringify(lines)).not.toContain('"k2"');
  }, 60_000);

  test("writes a line for a sweep that found something to do, and none for one that didn't", async () => {
    await until(async () => {
      await readLines(zones, "ch-dk-2");
      await zones.runScheduled("ch-dk-2");
      return (await readLines(zones, "ch-dk-2")).every(({ event }) => event !== "sweep");
    });
    const index = await zones.d1("ch-dk-2");
    await index.prepare("INSERT INTO garbage (due_at, r2_key, bucket_id, key) VALUES (0, 'r2', 1, 'k')").run();
    await zones.runScheduled("ch-dk-2");
    const swept = (await readLines(zones, "ch-dk-2")).filter(({ event }) => event === "sweep");
    expect(swept).toMatchObject([{ zone: "ch-dk-2", bodies: 1, woken: 0, ms: expect.any(Number) }]);
  });
});

describe("LOG", () => {
  const line = { id: "A", operation: "GetObject", status: 200 } as OperationLine;
  const names = () => ({ name: "bucket", key: 'k"\n' });
  const log = vi.spyOn(console, "log");
  const error = vi.spyOn(console, "error");
  beforeEach(() => {
    log.mockReset().mockReturnValue();
    error.mockReset().mockReturnValue();
  });
  afterAll(() => vi.restoreAllMocks());

  test("off leaves errors alone in the log", () => {
    const env = { ZONE: "z", LOG: "off" };
    logOperation(env, line, names);
    logEvent(env, "sweep", {});
    logError(env, "what", new Error("why", { cause: new Error("the cause") }), { link: 1 });
    expect(log).not.toHaveBeenCalled();
    expect(JSON.parse(error.mock.calls[0]![0])).toMatchObject({
      zone: "z",
      level: "error",
      link: 1,
      message: "what",
      error: expect.stringMatching(/^Error: why\n/),
      cause: expect.stringMatching(/^Error: the cause\n/),
    });
  });

  test("_KEYS adds the names of bucket and key to a zone's lines", async () => {
    await using named = await startZones({ zones: ["ch-dk-2"], entry: LOGGED, vars: { LOG: "on", LOG_KEYS: "1" } });
    const { bucket } = await versionedBucket(named, "ch-dk-2");
    const { headers } = await send(named, "PUT", `/${bucket}/a%20b`, { body: "x" });
    const [written] = ofId(await readLines(named, "ch-dk-2"), headers["x-amz-request-id"]);
    expect(written).toMatchObject({ operation: "PutObject", name: bucket, key: "a b" });
  });

  test("_KEYS keeps a line one line whatever the key holds", () => {
    logOperation({ ZONE: "z" }, line, names);
    logOperation({ ZONE: "z", LOG_KEYS: "1" }, line, names);
    const [without, withKeys] = log.mock.calls.map(([text]) => text as string);
    expect(JSON.parse(without!)).not.toHaveProperty("key");
    expect(withKeys).not.toContain("\n");
    expect(JSON.parse(withKeys!)).toMatchObject({ ...line, name: "bucket", key: 'k"\n' });
  });

  test("lines of an error tell the request that its env belongs to", () => {
    logError(requestEnv({ ZONE: "z" } as Env, "REQUEST"), "what", "why");
    expect(JSON.parse(error.mock.calls[0]![0])).toMatchObject({ id: "REQUEST", zone: "z", error: "why" });
  });
});
