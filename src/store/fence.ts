/**
 * The fence around a slot: which instance of its Sequencer may insert versions.
 *
 * A Durable Object may end, or be replaced, with a batch still on its way to D1, and that batch may land after the
 * repeat of its operations was committed and answered, or even removed again: one PUT would have made two versions. So
 * each instance writes a mark of its own into the slot's row, in the place of the one that it has read, with the first
 * batch that it sends; every insert asks for that mark, and what was sent under an older one falls. No trip of its own:
 * the mark is read with the bucket and written with the batch. An instance that finds another one's mark was overtaken:
 * what waits with it may have been sent to that one too, and counts as repeated from then on.
 */
import { randomUUID } from "node:crypto";
import { S3Error } from "../errors.ts";
import { type Bucket, type BucketRow, bucketFromRow } from "./buckets.ts";

export interface Slot {
  bucketId: number;
  slot: number;
}

export interface Fence {
  /** this instance's mark */
  own: string;
  /** the mark that stood there when it was read; null: none yet */
  seen: string | null;
}

/** What an instance decides on: the bucket, and the mark in the slot. Throws NoSuchBucket. */
export async function readGround(
  env: Pick<Env, "INDEX">,
  { bucketId, slot }: Slot,
  own: string = randomUUID(),
): Promise<{ bucket: Bucket; fence: Fence }> {
  const row = await env.INDEX.prepare(
    `SELECT b.*, s.holder FROM buckets b LEFT JOIN slots s ON s.bucket_id = b.bucket_id AND s.slot = ?2
     WHERE b.bucket_id = ?1 AND b.state = 'active'`,
  )
    .bind(bucketId, slot)
    .first<BucketRow & { holder: string | null }>();
  if (!row) throw new S3Error("NoSuchBucket");
  return { bucket: bucketFromRow(row), fence: { own, seen: row.holder } };
}

/**
 * Another mark for this instance, which its next batch writes: what is repeated may have been sent first by one that has
 * read the present mark, and would come in by that. Gives the mark.
 */
export function renew(fence: Fence): string {
  fence.own = randomUUID();
  return fence.own;
}

/** Whether the mark still has to be written. */
export function isOutside({ own, seen }: Fence): boolean {
  return own !== seen;
}

/** Writes the mark, unless another one stands there by now. Gives a row if it was written. */
export function enter(index: D1Database, { bucketId, slot }: Slot, { own, seen }: Fence): D1PreparedStatement {
  return index
    .prepare(
      `INSERT INTO slots (bucket_id, slot, holder) VALUES (?1, ?2, ?3)
       ON CONFLICT DO UPDATE SET holder = excluded.holder WHERE holder = ?4 RETURNING 1`,
    )
    .bind(bucketId, slot, own, seen);
}

/** SQL: this instance's mark stands in the slot. Bucket ?1, and two parameters from ?`at` on: those of insideBinds. */
export function isInside(at: number): string {
  return `EXISTS (SELECT 1 FROM slots WHERE bucket_id = (?1 + 0) AND slot = (?${at} + 0) AND holder = (?${at + 1} || ''))`;
}

export function insideBinds({ slot }: Slot, { own }: Fence): [slot: number, holder: string] {
  return [slot, own];
}
