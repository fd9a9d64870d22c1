/**
 * A copy's source in another zone, as a client of that zone's S3 door: through the service binding, in a session of the
 * caller's own role, so that the other zone decides by itself whether it may be read.
 *
 * Without a binding (a zone of another account) the copy is not implemented: `fetch` folds `..` in a key.
 */
import { S3Error } from "../errors.ts";
import { openSession } from "../iam/sessions.ts";
import { send } from "../peers/client.ts";
import type { Checksum } from "../store/versions.ts";
import { findZone, peer, type Zone } from "../zones.ts";
import { checksumAlgorithm } from "./checksum.ts";
import { type ByteRange, unquote } from "./conditions.ts";
import type { Context } from "./context.ts";
import type { CopySource, OpenSource } from "./copysource.ts";
import { markerByVersionId } from "./find.ts";
import { contentHeaders } from "./headers.ts";
import { readMetadata } from "./metadata.ts";
import { encodeKey, percentEncode } from "./target.ts";
import { parseXml } from "./xml.ts";

/** Long enough to begin every read of one copy; a read that has begun goes on. */
const SESSION_SECONDS = 15 * 60;

/** Throws NoSuchKey, NoSuchVersion, AccessDenied, InvalidRequest, NotImplemented, ServiceUnavailable. */
export async function openRemoteSource(ctx: Context, zoneName: string, source: CopySource): Promise<OpenSource> {
  const zone = findZone(ctx.env, zoneName);
  if (!zone || !peer(ctx.env, zone)) {
    throw new S3Error("NotImplemented", `Copying from the zone ${zoneName} is not implemented.`);
  }
  const head = await ask(ctx, zone, "HEAD", source, { headers: { "x-amz-checksum-mode": "ENABLED" } });
  if (!head.ok) throw refusalOf(head, source);
  const { headers } = head;
  const etag = unquote(headers.get("etag")!);
  const versionId = headers.get("x-amz-version-id") ?? undefined;
  // What is read is what was looked at, or nothing.
  const pinned = { ...source, versionId: versionId === "null" ? source.versionId : (versionId ?? source.versionId) };
  return {
    bucket: source.bucket,
    key: source.key,
    etag,
    lastModified: Date.parse(headers.get("last-modified")!),
    size: Number(headers.get("content-length")),
    headers: contentHeaders(headers),
    metadata: readMetadata(headers),
    versionId,
    checksum: checksumOf(headers),
    tags: async () => (headers.has("x-amz-tagging-count") ? await readTags(ctx, zone, pinned) : {}),
    read: (range) => readBody(ctx, zone, pinned, { etag, size: Number(headers.get("content-length")), range }),
  };
}

async function readBody(
  ctx: Context,
  zone: Zone,
  source: CopySource,
  { etag, size, range }: { etag: string; size: number; range?: ByteRange },
): Promise<ReadableStream<Uint8Array>> {
  const length = range?.length ?? size;
  const response = await ask(ctx, zone, "GET", source, {
    headers: {
      "if-match": `"${etag}"`,
      ...(range && { range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
    },
  });
  if (!response.ok || !response.body) throw refusalOf(response, source);
  return response.body.pipeThrough(new FixedLengthStream(length));
}

async function readTags(ctx: Context, zone: Zone, source: CopySource): Promise<Record<string, string>> {
  const response = await ask(ctx, zone, "GET", source, { query: { tagging: "" } });
  if (!response.ok) throw refusalOf(response, source);
  const tags =
    parseXml(await response.text(), "Tagging")
      .get("TagSet")
      ?.all("Tag") ?? [];
  return Object.fromEntries(tags.map((tag) => [tag.textOf("Key") ?? "", tag.textOf("Value") ?? ""]));
}

/** Sends a request for the source, in a session of the caller's role. Throws ServiceUnavailable. */
async function ask(
  ctx: Context,
  zone: Zone,
  method: string,
  { bucket, key, versionId }: CopySource,
  { headers = {}, query = {} }: { headers?: Record<string, string>; query?: Record<string, string> },
): Promise<Response> {
  const { role, organization, accessKeyId } = ctx.identity;
  const session = {
    roleId: role.id,
    organizationId: organization.id,
    ttlSeconds: SESSION_SECONDS,
    callerKey: accessKeyId,
  };
  return await send(ctx.env, zone, await openSession(ctx.env, session), {
    method,
    path: `/${bucket}/${encodeKey(key)}`,
    query: encodeQuery(versionId === undefined ? query : { ...query, versionId }),
    headers,
    sourceIp: ctx.arrival.sourceIp,
  });
}

/** Sorted, as SigV4 wants it. */
function encodeQuery(query: Record<string, string>): string {
  const pairs = Object.entries(query).map(([name, value]) => `${percentEncode(name)}=${percentEncode(value)}`);
  return pairs.sort().join("&");
}

function checksumOf(headers: Headers): Checksum | null {
  for (const [name, value] of headers) {
    const algorithm = checksumAlgorithm(name.replace("x-amz-checksum-", ""));
    if (algorithm) return { algorithm, value, type: headers.get("x-amz-checksum-type") as Checksum["type"] };
  }
  return null;
}

/** What another zone's refusal means for the copy: by status, because HEAD says no more. */
function refusalOf(response: Response, { bucket, key, versionId }: CopySource): S3Error {
  const { status, headers } = response;
  if (status === 404 && !headers.has("x-amz-bucket-region")) {
    return new S3Error("NoSuchBucket", undefined, { BucketName: bucket });
  }
  if (status === 404 && versionId !== undefined) {
    return new S3Error("NoSuchVersion", undefined, { Key: key, VersionId: versionId });
  }
  if (status === 404) return new S3Error("NoSuchKey", undefined, { Key: key });
  if (status === 403) return new S3Error("AccessDenied");
  if (status === 405) return markerByVersionId();
  if (status === 412) return new S3Error("OperationAborted");
  if (status === 400) return new S3Error("InvalidRequest", "The copy source can't be read.");
  return new S3Error("ServiceUnavailable");
}
