import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import * as directory from "../src/directory.ts";
import { startZones, type Zones } from "./harness.ts";

let zones: Zones;
let env: Pick<Env, "CONTROL">;
let main: string;
let alt: string;

beforeAll(async () => {
  zones = await startZones({ entry: "test/control/zone.ts" });
  env = { CONTROL: (await zones.d1("ch-dk-2", "CONTROL")) as unknown as D1Database };
  main = zones.organizations.main.id;
  alt = zones.organizations.alt.id;
});

afterAll(() => zones?.stop());

let made = 0;
const claim = (changes: Partial<Parameters<typeof directory.claimName>[1]> = {}) =>
  directory.claimName(env, { name: `bucket-${++made}`, organizationId: main, zone: "ch-dk-2", slots: 1, ...changes });

async function create(changes: Parameters<typeof claim>[0] = {}): Promise<directory.DirectoryEntry> {
  const entry = await claim(changes);
  await directory.setBucketState(env, entry, "creating", "active");
  return entry;
}

const away = {
  CONTROL: {
    prepare() {
      throw new Error("D1_ERROR: network connection lost");
    },
  } as unknown as D1Database,
};

describe("A bucket's name", () => {
  test("is claimed once: the number stays when the same organization claims it again in the same zone", async () => {
    const entry = await claim({ name: "mine", slots: 4 });
    expect(entry).toMatchObject({ name: "mine", organizationId: main, zone: "ch-dk-2", state: "creating", slots: 4 });
    expect(await claim({ name: "mine" })).toEqual(entry);
    await directory.setBucketState(env, entry, "creating", "active");
    expect(await claim({ name: "mine" })).toEqual({ ...entry, state: "active" });
  });

  test("is BucketAlreadyOwnedByYou in another zone, BucketAlreadyExists for anybody else", async () => {
    await create({ name: "taken" });
    await expect(claim({ name: "taken", zone: "at-vie-1" })).rejects.toMatchObject({ code: "BucketAlreadyOwnedByYou" });
    await expect(claim({ name: "taken", organizationId: alt })).rejects.toMatchObject({ code: "BucketAlreadyExists" });
  });

  test("is OperationAborted while the bucket is being deleted", async () => {
    const entry = await create({ name: "going" });
    await directory.setBucketState(env, entry, "active", "deleting");
    await expect(claim({ name: "going" })).rejects.toMatchObject({ code: "OperationAborted" });
    await expect(claim({ name: "going", organizationId: alt })).rejects.toMatchObject({ code: "BucketAlreadyExists" });
  });

  test("goes to exactly one of many that claim it at once", async () => {
    const claims = Array.from({ length: 8 }, (_, index) =>
      claim({ name: "raced", organizationId: index % 2 ? main : alt }),
    );
    const settled = await Promise.allSettled(claims);
    const won = settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    expect(new Set(won.map(({ bucketId }) => bucketId)).size).toBe(1);
    expect(won).toHaveLength(4);
  });

  test("released and claimed again gets a greater number, also when it was the last one given", async () => {
    const first = await claim({ name: "again" });
    await directory.releaseName(env, first);
    expect(await directory.findBucket(env, "again")).toBeUndefined();
    const second = await claim({ name: "again", organizationId: alt });
    expect(second.bucketId).toBeGreaterThan(first.bucketId);
  });
});

describe("A bucket's state", () => {
  test("changes only from the state that is named", async () => {
    const entry = await claim();
    expect(await directory.setBucketState(env, entry, "active", "deleting")).toBe(false);
    expect(await directory.setBucketState(env, entry, "creating", "active")).toBe(true);
    expect(await directory.findBucket(env, entry.name)).toMatchObject({ state: "active" });
  });

  test("that is not settled is found by its zone, oldest first", async () => {
    const before = Date.now() - 1;
    const [creating, deleting] = [await claim({ zone: "at-vie-1" }), await create({ zone: "at-vie-1" })];
    await create({ zone: "at-vie-1" });
    await directory.setBucketState(env, deleting, "active", "deleting");
    const found = await directory.listUnsettled(env, "at-vie-1", Date.now() + 1);
    expect(found.map(({ bucketId }) => bucketId)).toEqual([creating.bucketId, deleting.bucketId]);
    expect(await directory.listUnsettled(env, "at-vie-1", before)).toEqual([]);
  });
});

describe("findBucket", () => {
  test("finds at once what was missing a moment ago", async () => {
    expect(await directory.findBucket(env, "appears")).toBeUndefined();
    await create({ name: "appears" });
    expect(await directory.findBucket(env, "appears")).toMatchObject({ organizationId: main });
  });

  test("remembers an active entry for 20 s, and no other; `fresh` asks the database", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const entry = await claim();
      await directory.findBucket(env, entry.name);
      const behindItsBack = (state: string) =>
        env.CONTROL.prepare("UPDATE buckets SET state = ?2 WHERE bucket_id = ?1").bind(entry.bucketId, state).run();
      await behindItsBack("active");
      expect(await directory.findBucket(env, entry.name)).toMatchObject({ state: "active" });
      await behindItsBack("deleting");
      expect(await directory.findBucket(env, entry.name)).toMatchObject({ state: "active" });
      vi.setSystemTime(Date.now() + 20_000);
      expect(await directory.findBucket(env, entry.name)).toMatchObject({ state: "deleting" });
      await behindItsBack("active");
      await directory.findBucket(env, entry.name);
      await behindItsBack("deleting");
      expect(await directory.findBucket(env, entry.name, { fresh: true })).toMatchObject({ state: "deleting" });
    } finally {
      vi.useRealTimers();
    }
  });

  test("without the control database gives what it knew for 15 minutes, and SlowDown for what it didn't", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const entry = await create();
      await directory.findBucket(env, entry.name);
      vi.setSystemTime(Date.now() + 14 * 60_000);
      expect(await directory.findBucket(away, entry.name)).toMatchObject({ bucketId: entry.bucketId });
      vi.setSystemTime(Date.now() + 60_000);
      await expect(directory.findBucket(away, entry.name)).rejects.toMatchObject({ code: "SlowDown" });
      await expect(directory.findBucket(away, "unknown")).rejects.toMatchObject({ code: "SlowDown" });
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("listBuckets", () => {
  test("lists an organization's active buckets in name order, by prefix, zone and page, and nobody else's", async () => {
    const names = ["list-a", "list-b", "list-b-2", "list-c", "lisu"];
    for (const name of names.toReversed()) await create({ name, zone: name === "list-c" ? "at-vie-1" : "ch-dk-2" });
    await create({ name: "list-b-alt", organizationId: alt });
    await claim({ name: "list-creating" });
    const list = async (page: Partial<Parameters<typeof directory.listBuckets>[2]>, organization = main) =>
      (await directory.listBuckets(env, organization, { prefix: "list-", limit: 100, ...page })).map(
        ({ name }) => name,
      );
    expect(await list({})).toEqual(["list-a", "list-b", "list-b-2", "list-c"]);
    expect(await list({ prefix: "list-b" })).toEqual(["list-b", "list-b-2"]);
    expect(await list({ zone: "at-vie-1" })).toEqual(["list-c"]);
    expect(await list({ limit: 2 })).toEqual(["list-a", "list-b"]);
    expect(await list({ after: "list-b", limit: 2 })).toEqual(["list-b-2", "list-c"]);
    expect(await list({}, alt)).toEqual(["list-b-alt"]);
  });
});
