import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startZones, until, type Zones } from "../harness.ts";
import { allVersions, link, makeRole, type Place, statusOf, versionedBucket } from "../links.ts";
import { arm, completions, ENTRY, heal, seen } from "./arming.ts";

const ZONE = "ch-dk-2";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let zones: Zones;
let source: Place;
let destination: Place;
beforeAll(async () => {
  zones = await startZones({ entry: ENTRY });
});
afterAll(() => zones?.stop());
beforeEach(async () => {
  await heal(zones);
  source = await versionedBucket(zones, ZONE);
  destination = await versionedBucket(zones, "at-vie-1");
  await link(zones, source, destination);
  await link(zones, destination, source);
});

/** Sets a zone's whole clock: that of its versions, and that by which it judges and makes signatures. */
const setClock = async (ahead: number, zone = ZONE) => await arm(zones, zone, [], ahead);

/** PUTs, signed by the time that the zone has; gives the version id. */
async function put({ zone, bucket }: Place, key: string, ahead = 0): Promise<string> {
  const client = zones.s3(zone, "main", { systemClockOffset: ahead });
  const { VersionId } = await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: "x" }));
  return VersionId!;
}

const secondsAhead = (versionId: string) => (Number(BigInt(versionId) >> 20n) - Date.now()) / 1000;

/** Why a version of a zone didn't arrive yet. */
async function lastError(key: string): Promise<unknown> {
  const index = await zones.d1(ZONE);
  return await index.prepare("SELECT last_error FROM outbox WHERE key = ?").bind(key).first("last_error");
}

describe("a zone whose clock is set back by an hour", () => {
  it("gives greater version ids still: the client's last PUT is the object", async () => {
    const before = await put(source, "k");
    await setClock(-HOUR);
    const ids = [before];
    for (let i = 0; i < 3; i++) ids.push(await put(source, "k", -HOUR));
    expect(ids).toEqual([...new Set(ids)].sort());
    const answer = await zones
      .s3(ZONE, "main", { systemClockOffset: -HOUR })
      .send(new HeadObjectCommand({ Bucket: source.bucket, Key: "k" }));
    expect(answer.VersionId).toBe(ids.at(-1));
  });

  it("refuses a client that has the right time, who sees 403 RequestTimeTooSkewed", async () => {
    await setClock(-HOUR);
    expect(await seen(source.client.send(new HeadObjectCommand({ Bucket: source.bucket, Key: "k" })))).toBe("403");
    const get = new GetObjectCommand({ Bucket: source.bucket, Key: "k" });
    expect(await seen(source.client.send(get))).toBe("403 RequestTimeTooSkewed");
  });

  it("knows within seconds still that a key was deleted: its client sees 403 InvalidAccessKeyId", async () => {
    const role = await makeRole(zones, { "default-service-strategy": "allow", services: {} });
    const made = await zones.control<{ key: string; secret: string }>("POST", "/api-key", {
      name: `key-${role}`,
      "role-id": role,
    });
    const credentials = { accessKeyId: made.body.key, secretAccessKey: made.body.secret };
    const get = async (systemClockOffset: number) => {
      const client = zones.s3(ZONE, "main", { credentials, systemClockOffset });
      return await seen(client.send(new GetObjectCommand({ Bucket: source.bucket, Key: "k" })));
    };
    expect(await get(0)).toBe("404 NoSuchKey");
    await setClock(-HOUR);
    await zones.control("DELETE", `/api-key/${made.body.key}`);
    await until(async () => (await get(-HOUR)) === "403 InvalidAccessKeyId", { deadline: 5000 });
  });

  it("and that of no other reaches no other and is reached by none: clients see PENDING, and COMPLETED when it is right again", async () => {
    await setClock(-HOUR);
    await put(source, "there", -HOUR);
    await put(destination, "back");
    for (const zone of [ZONE, "at-vie-1"]) {
      const index = await zones.d1(zone);
      await until(async () => await index.prepare("SELECT 1 FROM links WHERE down_since IS NOT NULL").first());
    }
    expect(await statusOf(destination, "back")).toBe("PENDING");
    await setClock(0);
    expect(await statusOf(source, "there")).toBe("PENDING");
    await until(async () => (await statusOf(source, "there")) === "COMPLETED");
    await until(async () => (await statusOf(destination, "back")) === "COMPLETED");
    expect(await allVersions(destination)).toEqual(await allVersions(source));
  });
});

describe("a zone whose clock is 5 minutes ahead", () => {
  it("replicates: the client sees COMPLETED, and a PUT at the other zone, made after, is newer", async () => {
    await setClock(5 * MINUTE);
    const ahead = await put(source, "k", 5 * MINUTE);
    expect(secondsAhead(ahead)).toBeGreaterThan(280);
    await until(async () => (await statusOf(destination, "k")) === "REPLICA");
    const after = await put(destination, "k");
    expect(after > ahead).toBe(true);
    await until(async () => (await allVersions(source)).length === 2);
    expect(await allVersions(destination)).toEqual(await allVersions(source));
  });
});

describe("a zone whose clock is 20 minutes ahead", () => {
  it("leaves versions PENDING with ClockSkew, which are COMPLETED when the other clock is within 15 minutes of their ids", async () => {
    await setClock(20 * MINUTE);
    const versionId = await put(source, "k", 20 * MINUTE);
    expect(secondsAhead(versionId)).toBeGreaterThan(1180);
    const index = await zones.d1(ZONE);
    // Signatures are refused before versions are.
    await until(async () => await index.prepare("SELECT 1 FROM links WHERE down_since IS NOT NULL").first());
    await setClock(0);
    await until(async () => (await lastError("k")) === "ClockSkew");
    expect(await statusOf(source, "k", versionId)).toBe("PENDING");
    expect(await allVersions(destination)).toEqual([]);
    // What follows on its key is ahead too, and waits as well.
    expect((await put(source, "k")) > versionId).toBe(true);
    for (const zone of [ZONE, "at-vie-1"]) await setClock(6 * MINUTE, zone);
    await zones.runScheduled(ZONE);
    await until(async () => (await completions(zones, source, destination)) === 2);
    expect(await statusOf(source, "k", versionId)).toBe("COMPLETED");
    expect(await allVersions(destination)).toEqual(await allVersions(source));
  });
});
