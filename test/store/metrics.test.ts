import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { LinkMetrics, OrganizationMetrics } from "../../src/store/metrics.ts";
import { type Stand, startStand } from "./stand.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.stop());
beforeEach(async () => {
  for (const table of ["buckets", "links", "outbox", "failed", "link_minutes", "uploads"]) {
    await stand.database.prepare(`DELETE FROM ${table}`).run();
  }
});

const measure = async (organizationId = "o"): Promise<OrganizationMetrics> =>
  await stand.call("measureOrganization", organizationId);
const run = async (sql: string, ...binds: unknown[]) =>
  await stand.database
    .prepare(sql)
    .bind(...binds)
    .run();

async function linked(slots = 1) {
  const bucket = await stand.newBucket("Enabled", slots);
  const row = await stand.call("getBucket", bucket.bucketId);
  const rule = {
    id: "a",
    priority: 1,
    isEnabled: true,
    prefix: "",
    tags: {},
    replicatesDeleteMarkers: true,
    destination: { bucketId: 77, name: "destination" },
  };
  await stand.call("putReplication", row, { role: "r", rules: [rule], document: null });
  const [link] = await stand.call("listLinks", bucket.bucketId);
  return { bucket, link };
}

/** So many rows of a link in the outbox or among the failed, without versions. */
async function pile(table: "outbox" | "failed", linkId: number, rows: number): Promise<void> {
  const numbers = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})`;
  const common = `?1, 0, printf('%019d', i), 'k' || i, printf('%019d', i)`;
  const columns = "link_id, slot, version_id, key, change";
  if (table === "outbox") await run(`INSERT INTO outbox (${columns}) ${numbers} SELECT ${common} FROM n`, linkId);
  else {
    const others = "attempts, reason, cause, failed_at";
    const values = "1, iif(i % 4 = 0, 'A', 'B'), 'c', 0";
    await run(`INSERT INTO failed (${columns}, ${others}) ${numbers} SELECT ${common}, ${values} FROM n`, linkId);
  }
}

describe("measureOrganization", () => {
  it("tells what is pending, in all slots, and since when", async () => {
    const { bucket, link } = await linked(4);
    const before = Date.now();
    for (let i = 0; i < 10; i++) await stand.call("put", bucket, `k${i}`, "12345");
    const { links, isTruncated, databaseBytes } = await measure();
    expect(links).toHaveLength(1);
    expect(links[0]).toMatchObject({
      bucket: `bucket-${bucket.bucketId}`,
      ruleId: "a",
      destination: "destination",
      isUp: true,
      pending: { operations: 10, bytes: 50, isCapped: false },
      failed: { byReason: {}, isCapped: false },
      completed: { bytes: 0, lag: {} },
    });
    expect(links[0]!.pending.oldest).toBeGreaterThanOrEqual(before);
    expect(links[0]!.pending.oldest).toBeLessThanOrEqual(Date.now());
    expect([isTruncated, databaseBytes > 4096]).toEqual([false, true]);
    await run("UPDATE links SET down_since = 1 WHERE link_id = ?1", link.linkId);
    expect((await measure()).links[0]!.isUp).toBe(false);
  });

  it("counts a change of an old version from when it was changed", async () => {
    const { bucket, link } = await linked();
    await stand.call("put", bucket, "k", "x");
    const now = Date.now();
    const change = String(BigInt(now - 60_000) << 20n).padStart(19, "0");
    await run(
      "UPDATE outbox SET version_id = '0000000000000000001', change = ?2 WHERE link_id = ?1",
      link.linkId,
      change,
    );
    expect((await measure()).links[0]!.pending.oldest).toBe(now - 60_000);
  });

  it("counts a long backlog in part and says so, whatever its length", async () => {
    const { link } = await linked();
    await pile("outbox", link.linkId, 120_000);
    await pile("failed", link.linkId, 60_000);
    const { links, rowsRead } = await measure();
    expect(links[0]!.pending).toMatchObject({ operations: 50_000, isCapped: true });
    expect(links[0]!.failed).toEqual({ byReason: { A: 12_500, B: 37_500 }, isCapped: true });
    expect(rowsRead).toBeLessThan(200_000);
  }, 60_000);

  it("shares what it counts among all links", async () => {
    const all = await Promise.all([linked(), linked(), linked(), linked()]);
    await pile("outbox", all[0]!.link.linkId, 20_000);
    await pile("outbox", all[3]!.link.linkId, 12_000);
    const { links } = await measure();
    const pending = links.map((link: LinkMetrics) => [link.pending.operations, link.pending.isCapped]);
    expect(pending.sort()).toEqual(
      [
        [0, false],
        [0, false],
        [12_000, false],
        [12_500, true],
      ].sort(),
    );
  }, 60_000);

  it("tells of open uploads, and of nobody else's buckets", async () => {
    const { bucketId } = await stand.newBucket();
    const upload = (state: string, id: string) =>
      run(
        `INSERT INTO uploads (bucket_id, key, upload_id, state, initiated_at, touched_at, headers, metadata, tags)
         VALUES (?1, 'k', ?2, ?3, 0, 0, '{}', '{}', '{}')`,
        bucketId,
        id,
        state,
      );
    await upload("open", "1");
    await upload("open", "2");
    await upload("completed", "3");
    await upload("replica", "4");
    expect((await measure()).uploads).toEqual([{ bucket: `bucket-${bucketId}`, open: 2, isCapped: false }]);
    expect(await measure("somebody else")).toMatchObject({ links: [], uploads: [], isTruncated: false });
  });

  it("tells of a thousand buckets, and that there are more", async () => {
    await run(
      `INSERT INTO buckets (bucket_id, name, organization_id, slots, created_at)
       WITH RECURSIVE n (i) AS (SELECT 10001 UNION ALL SELECT i + 1 FROM n WHERE i < 11500) SELECT i, 'b' || i, 'o', 1, 0 FROM n`,
    );
    const { uploads, isTruncated } = await measure();
    expect([uploads.length, isTruncated]).toEqual([200, true]);
  });
});

describe("foldMinutes", () => {
  const NOW = Date.UTC(2026, 10, 25, 12, 34);
  const minutesOf = async (): Promise<Record<string, number>[]> =>
    (await run("SELECT minute, count, bytes, lag FROM link_minutes ORDER BY link_id, minute")).results as never;
  const totals = async () =>
    await run(
      `SELECT m.link_id, e.key, sum(e.value) AS n, (SELECT sum(count) FROM link_minutes c WHERE c.link_id = m.link_id) AS count,
         (SELECT sum(bytes) FROM link_minutes c WHERE c.link_id = m.link_id) AS bytes
       FROM link_minutes m, json_each(m.lag) e GROUP BY m.link_id, e.key ORDER BY 1, 2`,
    ).then(({ results }) => results);

  it("changes no total, keeps the last three hours, and leaves a row an hour and a day of what is older", async () => {
    const minute = fc.record({
      linkId: fc.integer({ min: 1, max: 3 }),
      age: fc.oneof(fc.nat(240), fc.nat(10 * 24 * 60), fc.nat(30 * 24 * 60)),
      count: fc.integer({ min: 1, max: 100 }),
      lag: fc.constantFrom(1, 2, 4096),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(minute, { maxLength: 60 }), async (all) => {
        await run("DELETE FROM link_minutes");
        const rows = all.map(({ linkId, age, count, lag }) => ({ linkId, minute: NOW / 60_000 - age, count, lag }));
        await run(
          `INSERT OR IGNORE INTO link_minutes (link_id, minute, count, bytes, lag)
           SELECT value ->> 'linkId', value ->> 'minute', value ->> 'count', 10 * (value ->> 'count'),
             json_object('' || (value ->> 'lag'), value ->> 'count') FROM json_each(?1)`,
          JSON.stringify(rows),
        );
        const [before, earlier] = [await totals(), await minutesOf()];
        const folded = await stand.call("foldMinutes", NOW);
        const later = await minutesOf();
        expect(await totals()).toEqual(before);
        expect(folded).toBeGreaterThanOrEqual(earlier.length - later.length);
        const olderThan = (minutes: number) => later.filter(({ minute }) => minute! < NOW / 60_000 - minutes);
        expect(olderThan(4 * 60).every(({ minute }) => minute! % 60 === 0)).toBe(true);
        expect(olderThan(8 * 24 * 60).every(({ minute }) => minute! % 1440 === 0)).toBe(true);
        const recent = ({ minute }: Record<string, number>) => minute! >= NOW / 60_000 - 180;
        expect(later.filter(recent)).toEqual(earlier.filter(recent));
        expect(await stand.call("foldMinutes", NOW)).toBe(0);
        expect(await minutesOf()).toEqual(later);
      }),
      { numRuns: 25 },
    );
  }, 60_000);
});
