/**
 * The platform without us: `BLOBS.put` and `BLOBS.get`, one row of INDEX inserted, selected, deleted, and a replication
 * that sends one request for each object.
 *
 * Routes: PUT and GET of `/blobs/KEY`; PUT, GET and DELETE of `/d1/KEY`; POST of `/d1` deletes the keys of a JSON array;
 * POST of `/replicate` (Errand) and of `/carry` (Transfer). It checks nothing and asks for no signature: what it is compared with includes
 * everything that S3 asks for. A row holds its body as text, so bodies of the bench are ASCII.
 */
import { AwsV4Signer } from "aws4fetch";
import { findZone, peer } from "../../src/zones.ts";

/** Objects of the table `bare` to be written to a bucket of another zone. */
export interface Errand {
  keys: string[];
  zone: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
}

/** Blobs to be put into R2 of another zone under the same keys. */
export interface Transfer {
  keys: string[];
  zone: string;
}

/** Cloudflare lets an invocation wait for so many answers at once. */
export const LANES = 6;

export async function serveBare(request: Request, env: Env): Promise<Response> {
  const [, service, key = ""] = new URL(request.url).pathname.split("/");
  switch (`${request.method} ${service}`) {
    case "PUT blobs":
      return await putBlob(env, key, request);
    case "GET blobs":
      return await getBlob(env, key);
    case "PUT d1":
      return await insertRow(env, key, request);
    case "GET d1":
      return await selectRow(env, key);
    case "DELETE d1":
      return await deleteRows(env, [key]);
    case "POST d1":
      return await deleteRows(env, await request.json());
    case "POST carry":
      return await carry(env, await request.json());
    case "POST replicate":
      return await replicate(env, await request.json());
    default:
      return new Response(null, { status: 404 });
  }
}

async function putBlob(env: Env, key: string, request: Request): Promise<Response> {
  const object = await env.BLOBS.put(key, request.body);
  return new Response(null, { headers: { etag: object!.httpEtag } });
}

async function getBlob(env: Env, key: string): Promise<Response> {
  const object = await env.BLOBS.get(key);
  if (!object) return new Response(null, { status: 404 });
  return new Response(object.body, { headers: { etag: object.httpEtag } });
}

/** One after the other, as the parts of a version travel: read here, handed from Worker to Worker, put there. */
async function carry(env: Env, { keys, zone: name }: Transfer): Promise<Response> {
  const zone = findZone(env, name)!;
  for (const key of keys) {
    const { body, size } = (await env.BLOBS.get(key))!;
    const headers = { "content-length": String(size) };
    const request = new Request(`${zone.endpoint}/${key}`, { method: "PUT", headers, body });
    const answer = await peer(env, zone)!.serve(request, CARRIED, "");
    if (answer.status !== 200) throw new Error(`${key} was answered ${answer.status}: ${await answer.text()}`);
  }
  return new Response();
}

/** At the other end: target of a request that isn't for the zone, but for its bare R2. */
export const CARRIED = "/-/carried";

/** Over a binding a body comes without its length, which R2 wants to know. */
export async function storeCarried(env: Env, request: Request): Promise<Response> {
  const size = Number(request.headers.get("content-length"));
  const body = request.body!.pipeThrough(new FixedLengthStream(size));
  await env.BLOBS.put(`carried${new URL(request.url).pathname}`, body);
  return new Response();
}

async function insertRow(env: Env, key: string, request: Request): Promise<Response> {
  const body = await request.text();
  await env.INDEX.prepare("INSERT INTO bare (key, body) VALUES (?1, ?2)").bind(key, body).run();
  return new Response();
}

async function selectRow(env: Env, key: string): Promise<Response> {
  const row = await findRow(env, key);
  return row ? new Response(row.body) : new Response(null, { status: 404 });
}

async function findRow(env: Env, key: string): Promise<{ body: string } | null> {
  return await env.INDEX.prepare("SELECT body FROM bare WHERE key = ?1").bind(key).first();
}

/** 404 if one of them wasn't there: deleting nothing is fast. */
async function deleteRows(env: Env, keys: string[]): Promise<Response> {
  const sql = "DELETE FROM bare WHERE key IN (SELECT value FROM json_each(?1))";
  const { meta } = await env.INDEX.prepare(sql).bind(JSON.stringify(keys)).run();
  return new Response(null, { status: meta.changes === keys.length ? 204 : 404 });
}

/** Reads, signs and sends them one by one in a few lanes, and keeps no books. */
async function replicate(env: Env, errand: Errand): Promise<Response> {
  const keys = errand.keys.values();
  const lane = async () => {
    for (const key of keys) await sendOne(env, errand, key);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return new Response();
}

async function sendOne(env: Env, { zone: name, bucket, ...credentials }: Errand, key: string): Promise<void> {
  const zone = findZone(env, name)!;
  const { body } = (await findRow(env, key))!;
  const target = `/${bucket}/${key}`;
  const signer = new AwsV4Signer({
    ...credentials,
    method: "PUT",
    url: zone.endpoint + target,
    headers: { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
    service: "s3",
    region: name,
    cache: signingKeys,
  });
  const { url, headers } = await signer.sign();
  headers.set("host", url.host);
  headers.set("content-length", String(body.length)); // which fetch would set, but not a call over a binding
  const request = new Request(url, { method: "PUT", headers, body });
  const answer = await peer(env, zone)!.serve(request, target, "");
  if (answer.status !== 200) throw new Error(`PUT ${target} was answered ${answer.status}: ${await answer.text()}`);
  await answer.body?.cancel();
}

const signingKeys = new Map<string, ArrayBuffer>();
