import { readdirSync } from "node:fs";
import { join } from "node:path";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ROOT, startZones, type Zones } from "../harness.ts";

let zones: Zones;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2", "at-vie-1", "de-fra-1"] });
});

afterAll(() => zones?.stop());

async function migrations(zone: string, binding: string): Promise<unknown[]> {
  const database = await zones.d1(zone, binding);
  return (await database.prepare("SELECT id, name FROM d1_migrations ORDER BY id").all()).results;
}

describe("Zones in one process", () => {
  test("each answer at an endpoint of their own, undeclared ones too", async () => {
    for (const { name } of zones.zones) {
      const s3 = zones.s3(name);
      await s3.send(new CreateBucketCommand({ Bucket: `bucket-${name}` }));
      await s3.send(new PutObjectCommand({ Bucket: `bucket-${name}`, Key: "a/../b//c", Body: name }));
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: `bucket-${name}`, Key: "a/../b//c" }));
      expect(await Body!.transformToString()).toBe(name);
    }
  });

  test("keep every database's migrations applied, once each, over a restart", async () => {
    const files = (folder: string) =>
      readdirSync(join(ROOT, "migrations", folder)).map((name, index) => ({ id: index + 1, name }));
    const check = async () => {
      expect(await migrations("de-fra-1", "INDEX")).toEqual(files("index"));
      expect(await migrations("ch-dk-2", "CONTROL")).toEqual(files("control"));
    };
    await check();
    await zones.restart();
    await check();
  });

  test("read back what they acknowledged before workerd was killed", async () => {
    const bodies = Array.from({ length: 30 }, (_, index) => `${index}`.repeat(index * 400));
    const put = (body: string, index: number) =>
      zones.s3("ch-dk-2").send(new PutObjectCommand({ Bucket: "bucket-ch-dk-2", Key: `key-${index}`, Body: body }));
    await Promise.all(bodies.map(put));
    await zones.kill();
    await zones.restart();
    for (const [index, body] of bodies.entries()) {
      const { Body } = await zones
        .s3("ch-dk-2")
        .send(new GetObjectCommand({ Bucket: "bucket-ch-dk-2", Key: `key-${index}` }));
      expect(await Body!.transformToString()).toBe(body);
    }
  });

  test("the last key of the Owner role can't be deleted, which would lock the organization out", async () => {
    const { key } = zones.organizations.main;
    const refused = await zones.control<{ message: string }>("DELETE", `/api-key/${key}`);
    expect([refused.status, refused.body.message]).toEqual([409, expect.stringContaining("last one")]);
    expect((await zones.control("GET", "/api-key")).status).toBe(200);
  });

  test("know each organization by its key, at the control API", async () => {
    const { main, alt } = zones.organizations;
    expect(main.id).not.toBe(alt.id);
    for (const name of ["main", "alt"] as const) {
      const { status, body } = await zones.control("GET", "/organization", undefined, name);
      expect(status).toBe(200);
      expect(body.id).toBe(zones.organizations[name].id);
    }
    expect((await zones.control("GET", "/api-key", undefined, { key: main.key, secret: "wrong" })).status).toBe(403);
  });
});
