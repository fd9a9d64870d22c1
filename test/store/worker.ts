/**
 * A Worker that is nothing but the store: a test names one of its functions and gives the arguments. Bodies go in and
 * come out as text.
 */
import { S3Error } from "../../src/errors.ts";
import * as arrivals from "../../src/store/arrivals.ts";
import * as buckets from "../../src/store/buckets.ts";
import * as garbage from "../../src/store/garbage.ts";
import * as links from "../../src/store/links.ts";
import * as listing from "../../src/store/listing.ts";
import * as metrics from "../../src/store/metrics.ts";
import * as objects from "../../src/store/objects.ts";
import * as outbox from "../../src/store/outbox.ts";
import { Sequencer as Plain } from "../../src/store/sequencer.ts";
import { commitAll } from "../../src/store/slots.ts";
import * as uploads from "../../src/store/uploads.ts";
import { limited, lost } from "./limits.ts";

export class Sequencer extends Plain {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, { ...env, INDEX: limited(env.INDEX) });
  }
}

const plain = { headers: {}, metadata: {}, tags: {} };

function bodyOf(text: string): objects.Body {
  const bytes = new TextEncoder().encode(text);
  const { readable, writable } = new FixedLengthStream(bytes.length);
  const writer = writable.getWriter();
  void writer.write(bytes).then(() => writer.close());
  return { size: bytes.length, stream: readable };
}

const simple = {
  async put(
    env: Env,
    place: objects.Place,
    key: string,
    text: string,
    options: { tags?: Record<string, string> } & objects.WriteConditions = {},
  ) {
    const { tags = {}, ...conditions } = options;
    return await objects.putObject(env, place, key, { ...plain, tags }, bodyOf(text), conditions);
  },
  async get(
    env: Env,
    place: objects.Place,
    key: string,
    versionId?: string,
    range?: { offset: number; length: number },
  ) {
    const found = await objects.findObject(env, place, key, versionId);
    const { version, replicationStatus } = found;
    if (!version || version.isDeleteMarker) return { version, replicationStatus };
    const text = await new Response((await found.read(range)) as BodyInit).text();
    return { version, replicationStatus, text, parts: found.partCount() };
  },
  async countBlobs(env: Env) {
    return (await env.BLOBS.list()).objects.length;
  },
  async putPart(env: Env, upload: uploads.Upload, partNumber: number, size: number) {
    const { readable, writable } = new FixedLengthStream(size);
    const writer = writable.getWriter();
    void writer.write(new Uint8Array(size).fill(96 + partNumber)).then(() => writer.close());
    return await uploads.putPart(env, upload, partNumber, { size, stream: readable });
  },
};

/** An INDEX that counts the rows that D1 says it read, in batches: a page reads by nothing else. */
function counting(env: Env): { env: Env; rowsRead: () => number } {
  let rowsRead = 0;
  const prepare = (sql: string) => env.INDEX.prepare(sql);
  const batch = async (statements: D1PreparedStatement[]) => {
    const results = await env.INDEX.batch(statements);
    for (const { meta } of results) rowsRead += meta.rows_read;
    return results;
  };
  return { env: { ...env, INDEX: { prepare, batch } as unknown as D1Database }, rowsRead: () => rowsRead };
}

async function countRows(env: Env, name: string, ...args: unknown[]): Promise<{ rowsRead: number }> {
  const counter = counting(env);
  await (rooms[name] as (...args: unknown[]) => unknown)(counter.env, ...args);
  return { rowsRead: counter.rowsRead() };
}

const rooms: Record<string, unknown> = {
  ...arrivals,
  ...buckets,
  ...garbage,
  ...links,
  ...listing,
  ...metrics,
  ...objects,
  ...outbox,
  ...uploads,
  ...simple,
  countRows,
  commitAll,
  loseAnswer: async (_env: Env, isWritten: boolean) => Object.assign(lost, { answers: 1, isWritten }),
};

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { name, args } = (await request.json()) as { name: string; args: unknown[] };
    try {
      const result = await (rooms[name] as (...args: unknown[]) => unknown)(
        env,
        ...args.map((arg) => (arg === "(undefined)" ? undefined : arg)),
      );
      return Response.json(result ?? null);
    } catch (error) {
      if (error instanceof S3Error) return Response.json({ code: error.code, message: error.message }, { status: 418 });
      return new Response(String((error as Error).stack), { status: 500 });
    }
  },
};
