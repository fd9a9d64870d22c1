import { readFileSync, realpathSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { join } from "node:path";
import { GetObjectCommand, ListBucketsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { end, workerdsOf } from "../../src/local/processes.ts";
import { startZones, until, type Zones } from "../harness.ts";
import { link, type Place, statusOf, versionedBucket } from "../links.ts";

const MIB = 1024 * 1024;
let zones: Zones;
let here: Place;
let there: Place;

beforeAll(async () => {
  zones = await startZones();
  here = await versionedBucket(zones, "ch-dk-2");
  there = await versionedBucket(zones, "at-vie-1");
});
afterAll(() => zones?.stop());
afterEach(async () => {
  for (const { name } of zones.zones) await zones.heal(name);
});

interface Answer {
  status: number | undefined;
  headers: Record<string, unknown>;
  body: unknown;
}

/** fetch sets Host and Origin by itself. */
function ask(method: string, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(zones.runner + path, { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const body = JSON.parse(Buffer.concat(chunks).toString());
        resolve({ status: response.statusCode, headers: response.headers, body });
      });
    });
    request.on("error", reject).end();
  });
}

const cuts = async () => ((await ask("GET", "/zones")).body as { zones: unknown }).zones;
const put = ({ client, bucket }: Place, Key: string, Body: string | Buffer = Key) =>
  client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
const through = (zone: string, { bucket }: Place): Place => ({ client: zones.s3(zone), bucket, zone });
const DROPPED = { code: "ECONNRESET" };
const UNREACHABLE = { name: "ServiceUnavailable", $metadata: { httpStatusCode: 503 } };

describe("The runner's own door", () => {
  test("is named in local.json, and lists the zones of the run", async () => {
    const { runner } = JSON.parse(readFileSync(join(zones.stateDir, "local.json"), "utf8"));
    expect(runner).toBe(zones.runner);
    expect(await ask("GET", "/zones")).toMatchObject({
      status: 200,
      headers: { "content-type": "application/json" },
      body: {
        zones: [
          { name: "ch-dk-2", cut: "none" },
          { name: "at-vie-1", cut: "none" },
        ],
      },
    });
  });

  test("answers a cut and its repetition, a healing and its repetition alike", async () => {
    for (const _ of [1, 2]) {
      expect(await ask("POST", "/zones/at-vie-1/cut")).toMatchObject({
        status: 200,
        body: { name: "at-vie-1", cut: "all", dropped: 0 },
      });
      expect(await cuts()).toContainEqual({ name: "at-vie-1", cut: "all" });
    }
    for (const _ of [1, 2]) {
      expect(await ask("POST", "/zones/at-vie-1/heal")).toMatchObject({ body: { name: "at-vie-1", cut: "none" } });
      expect(await cuts()).toContainEqual({ name: "at-vie-1", cut: "none" });
    }
  });

  test.each([
    ["POST", "/zones/de-fra-1/cut", 404, "there is no zone de-fra-1 in this run: ch-dk-2, at-vie-1"],
    ["POST", "/zones/ch-dk-2/burn", 404, "there is nothing at /zones/ch-dk-2/burn"],
    ["GET", "/", 404, "there is nothing at /"],
    ["GET", "/zones/ch-dk-2/cut", 405, "only POST is understood here"],
    ["DELETE", "/zones/ch-dk-2/heal", 405, "only POST is understood here"],
    ["POST", "/zones", 405, "only GET is understood here"],
    ["POST", "/zones/ch-dk-2/cut?from=clients", 400, "from=clients: it must be all or zones"],
  ])("answers %s %s with %i", async (method, path, status, error) => {
    const answer = await ask(method, path);
    expect(answer).toMatchObject({ status, body: { error } });
    if (status === 405) expect(answer.headers.allow).toBe(error.split(" ")[1]);
  });

  test.each<Record<string, string>>([
    { origin: "http://127.0.0.1:9080" },
    { origin: "null" },
    { host: "evil.example" },
    { host: "evil.example:80" },
  ])("refuses a page in a browser (%j)", async (headers) => {
    expect((await ask("POST", "/zones/ch-dk-2/cut", headers)).status).toBe(403);
    expect((await ask("GET", "/zones", headers)).status).toBe(403);
    expect(await cuts()).toContainEqual({ name: "ch-dk-2", cut: "none" });
  });
});

describe("A zone that is cut off", () => {
  test("drops connections, new ones and those kept alive, and serves again when it is healed", async () => {
    await here.client.send(new ListBucketsCommand());
    await zones.cut("ch-dk-2");
    for (const client of [here.client, zones.s3("ch-dk-2")]) {
      await expect(client.send(new ListBucketsCommand())).rejects.toMatchObject(DROPPED);
    }
    await zones.heal("ch-dk-2");
    await here.client.send(new ListBucketsCommand());
  });

  test("can't be reached through another zone's endpoint, nor another zone's bucket through its own", async () => {
    await zones.cut("at-vie-1");
    await expect(put(through("ch-dk-2", there), "k")).rejects.toMatchObject(UNREACHABLE);
    await expect(put(through("at-vie-1", here), "k")).rejects.toMatchObject(DROPPED);
    await put(here, "k");
  });

  test("from other zones alone serves its clients, and its own links go on", async () => {
    const source = await versionedBucket(zones, "at-vie-1");
    await link(zones, source, there);
    await zones.cut("at-vie-1", "zones");
    expect(await cuts()).toContainEqual({ name: "at-vie-1", cut: "zones" });
    await put(source, "within");
    await until(async () => (await statusOf(source, "within")) === "COMPLETED");
    expect(await statusOf(there, "within")).toBe("REPLICA");
    await expect(put(through("ch-dk-2", there), "k")).rejects.toMatchObject(UNREACHABLE);
    await expect(put(through("at-vie-1", here), "k")).rejects.toMatchObject(UNREACHABLE);
  });

  test("drops what still waits for an answer, and tells how many", async () => {
    await until(async () => {
      await zones.heal("ch-dk-2");
      const { answer } = await beginUpload();
      await put(here, "k"); // when this is there, the other is most likely on its way
      expect(await zones.cut("ch-dk-2")).toBe(1);
      await expect(answer).rejects.toMatchObject(DROPPED);
      return true;
    });
  });

  test("finishes an answer that has begun", async () => {
    const body = Buffer.alloc(16 * MIB, "0123456789");
    await put(here, "large", body);
    const { Body } = await here.client.send(new GetObjectCommand({ Bucket: here.bucket, Key: "large" }));
    await zones.cut("ch-dk-2");
    expect(body.equals(await Body!.transformToByteArray())).toBe(true);
    await expect(put(here, "k")).rejects.toMatchObject(DROPPED);
  });

  test("says nothing of the connections that it drops", async () => {
    const printed = vi.spyOn(console, "error").mockImplementation(() => {});
    await zones.cut("ch-dk-2");
    for (let i = 0; i < 5; i++) await expect(put(here, "k")).rejects.toMatchObject(DROPPED);
    await zones.heal("ch-dk-2");
    await put(here, "k");
    expect(printed.mock.calls.flat().filter((text) => /connection failed/.test(text))).toEqual([]);
    printed.mockRestore();
  });

  test("is there again when workerd was killed and has come back, and can be cut off again", async () => {
    await zones.cut("ch-dk-2");
    await end(workerdsOf(realpathSync(zones.stateDir)));
    await until(async () => await put(here, "k"));
    expect(await cuts()).toContainEqual({ name: "ch-dk-2", cut: "none" });
    await zones.cut("ch-dk-2");
    await expect(put(here, "k")).rejects.toMatchObject(DROPPED);
  });

  test("is there again after a restart", async () => {
    await zones.cut("ch-dk-2");
    await zones.restart();
    here = { ...here, client: zones.s3("ch-dk-2") };
    await put(here, "k");
    expect(await cuts()).toContainEqual({ name: "ch-dk-2", cut: "none" });
  });
});

/** A PUT whose body never comes to its end; gives what it is answered. */
async function beginUpload(): Promise<{ answer: Promise<unknown> }> {
  const command = new PutObjectCommand({ Bucket: here.bucket, Key: "endless" });
  const url = await getSignedUrl(here.client, command, { expiresIn: 600 });
  const request = httpRequest(url, { method: "PUT", headers: { "content-length": MIB }, agent: false });
  const answer = new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
  answer.catch(() => {}); // it is looked at later
  request.write("x");
  return { answer };
}
