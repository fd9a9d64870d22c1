/**
 * The source of a copy: an object of this zone, or of another one of the same account, read through that zone's S3 door.
 *
 * Whoever copies must be allowed `get-object` on the source, and that is asked of the very key that is read then.
 */
import { findBucket } from "../directory.ts";
import { isS3Error, S3Error } from "../errors.ts";
import { findObject } from "../store/objects.ts";
import { lastModified, shownVersionId } from "../store/versions.ts";
import type { Context } from "./context.ts";
import { type CopySource, type OpenSource, parseCopySource } from "./copysource.ts";
import { markerByVersionId, requireObject } from "./find.ts";
import { openRemoteSource } from "./remote.ts";
import { KEY_MAX_BYTES } from "./target.ts";

/** Throws AccessDenied, NoSuchBucket, NoSuchKey, NoSuchVersion, InvalidRequest for a delete marker by its id, NotImplemented. */
export async function openSource(ctx: Context): Promise<OpenSource> {
  const [decoded, literal] = parseCopySource(ctx.headers.get("x-amz-copy-source")!);
  try {
    return await openAllowed(ctx, decoded);
  } catch (error) {
    if (!literal || !isS3Error(error) || error.code !== "NoSuchKey") throw error;
    ctx.authorize("put-object", { ...ctx.parameters, source_key: literal.key });
    return await openAllowed(ctx, literal);
  }
}

async function openAllowed(ctx: Context, source: CopySource, fresh = false): Promise<OpenSource> {
  const { bucket, key, versionId } = source;
  if (Buffer.byteLength(key) > KEY_MAX_BYTES) throw new S3Error("KeyTooLongError");
  ctx.authorize("get-object", { bucket, key, ...(versionId !== undefined && { version_id: versionId }) });
  const entry = await findBucket(ctx.env, bucket, { fresh });
  if (!entry) throw new S3Error("NoSuchBucket", undefined, { BucketName: bucket });
  const expected = ctx.headers.get("x-amz-source-expected-bucket-owner") ?? entry.organizationId;
  if (entry.organizationId !== ctx.identity.organization.id || entry.organizationId !== expected) {
    throw new S3Error("AccessDenied");
  }
  if (entry.zone !== ctx.env.ZONE) return await openRemoteSource(ctx, entry.zone, source);
  try {
    return await openLocalSource(ctx, entry, source);
  } catch (error) {
    // The directory's cached row may be of a bucket that is gone.
    if (fresh || !isS3Error(error) || error.code !== "NoSuchBucket") throw error;
    return await openAllowed(ctx, source, true);
  }
}

async function openLocalSource(
  ctx: Context,
  place: { bucketId: number; slots: number },
  { bucket, key, versionId }: CopySource,
): Promise<OpenSource> {
  const found = await findObject(ctx.env, place, key, versionId);
  if (found.version?.isDeleteMarker && versionId !== undefined) throw markerByVersionId();
  const version = requireObject(found, key, versionId);
  return {
    bucket,
    key,
    etag: version.etag,
    lastModified: lastModified(version),
    size: version.size,
    headers: version.headers,
    metadata: version.metadata,
    versionId: found.versioning === "Unversioned" ? undefined : shownVersionId(version),
    checksum: version.checksum,
    tags: async () => {
      if (Object.keys(version.tags).length > 0) ctx.authorize("get-object-tagging", { bucket, key });
      return version.tags;
    },
    read: async (range) => asStream(await found.read(range)),
  };
}

function asStream(body: ReadableStream<Uint8Array> | Uint8Array): ReadableStream<Uint8Array> {
  return body instanceof Uint8Array ? new Response(body).body! : body;
}
