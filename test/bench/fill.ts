/**
 * Fills a bucket with many versions at once, by one statement in its zone's INDEX: half a million rows a second, where
 * the door takes two thousand.
 *
 * Each row is a copy of one that the door wrote a moment before, but for key and version id; so the door shows them,
 * whatever columns there are.
 */
import { randomUUID } from "node:crypto";
import { DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { Zones } from "../harness.ts";
import type { Place } from "../links.ts";

export interface Rows {
  keys: number;
  /** SQL of a key by its number `n`, from 0 */
  key: string;
  /** of each key; 1 by default */
  versions?: number;
  areDeleteMarkers?: boolean;
  /** bytes of each one's inline body */
  body?: Buffer;
}

type Row = Record<string, string | number | null>;
export type Database = Awaited<ReturnType<Zones["d1"]>>;

const STEP = 100_000;
/** Between the ids of two versions of a key: one tick of the clock. */
const ID_STEP = 64;

export async function fill(zones: Zones, { client, bucket, zone }: Place, rows: Rows): Promise<void> {
  const index = await zones.d1(zone);
  const name = { Bucket: bucket, Key: `template-${randomUUID()}` };
  const Body = rows.body ?? "x";
  await client.send(rows.areDeleteMarkers ? new DeleteObjectCommand(name) : new PutObjectCommand({ ...name, Body }));
  const place = [await bucketIdOf(index, bucket), name.Key] as const;
  await multiply(index, "versions", (await take(index, "versions", ...place))!, rows);
  const body = await take(index, "inline_bodies", ...place);
  if (body && rows.body) await multiply(index, "inline_bodies", body, rows);
}

export async function bucketIdOf(index: Database, bucket: string): Promise<number> {
  const row = await index.prepare("SELECT bucket_id FROM buckets WHERE name = ?1").bind(bucket).first();
  return row!.bucket_id as number;
}

/** The template's row, which isn't there any more; undefined if it never was. */
async function take(index: Database, table: string, bucketId: number, key: string): Promise<Row | undefined> {
  const sql = `DELETE FROM ${table} WHERE bucket_id = ?1 AND key = ?2 RETURNING *`;
  return (await index.prepare(sql).bind(bucketId, key).run<Row>()).results[0];
}

async function multiply(index: Database, table: string, template: Row, rows: Rows): Promise<void> {
  const { keys, key, versions = 1 } = rows;
  const columns = Object.keys(template);
  const values = columns.map((column, i) => {
    if (column === "key") return key;
    if (column === "version_id") return `printf('%d', CAST(?${i + 1} AS INTEGER) + v * ${ID_STEP})`;
    return `?${i + 1}`;
  });
  for (let from = 0; from < keys * versions; from += STEP) {
    const to = Math.min(from + STEP, keys * versions) - 1;
    await index
      .prepare(
        `INSERT INTO ${table} (${columns.join(", ")})
         WITH RECURSIVE i (i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM i WHERE i < ${to}),
           r (n, v) AS (SELECT i / ${versions}, ${versions - 1} - i % ${versions} FROM i)
         SELECT ${values.join(", ")} FROM r`,
      )
      .bind(...Object.values(template))
      .run();
  }
}
