/**
 * The bench's Worker: a zone as it is, but in the zone named `bare` the platform without us, `BLOBS.put`, `BLOBS.get`,
 * one row inserted into INDEX, one row selected. So both run in one workerd, on one disk, each with a bucket and a
 * database of its own.
 *
 * Routes of `bare`: PUT and GET of `/blobs/KEY` and `/d1/KEY`. It checks nothing and signs nothing: what it is compared
 * with includes everything that S3 asks for. A row holds its body as text, so bodies of the bench are ASCII.
 */
import zone, { Peer, Sequencer } from "../../src/zone.ts";

export { Peer, Sequencer };

export default {
  ...zone,
  async fetch(request, env, execution) {
    if (env.ZONE !== "bare") return await zone.fetch!(request, env, execution);
    const [, service, key = ""] = new URL(request.url).pathname.split("/");
    const isPut = request.method === "PUT";
    if (service === "blobs") return isPut ? await putBlob(env, key, request) : await getBlob(env, key);
    return isPut ? await insertRow(env, key, request) : await selectRow(env, key);
  },
} satisfies ExportedHandler<Env, never>;

async function putBlob(env: Env, key: string, request: Request): Promise<Response> {
  const object = await env.BLOBS.put(key, request.body);
  return new Response(null, { headers: { etag: object!.httpEtag } });
}

async function getBlob(env: Env, key: string): Promise<Response> {
  const object = await env.BLOBS.get(key);
  if (!object) return new Response(null, { status: 404 });
  return new Response(object.body, { headers: { etag: object.httpEtag } });
}

async function insertRow(env: Env, key: string, request: Request): Promise<Response> {
  const body = await request.text();
  await env.INDEX.prepare("INSERT INTO bare (key, body) VALUES (?1, ?2)").bind(key, body).run();
  return new Response();
}

async function selectRow(env: Env, key: string): Promise<Response> {
  const row = await env.INDEX.prepare("SELECT body FROM bare WHERE key = ?1").bind(key).first<{ body: string }>();
  return row ? new Response(row.body) : new Response(null, { status: 404 });
}
