/**
 * CopyObject. A copy is a new version with a single body, whatever its source was made of; its replication state is its
 * own. Storage class and website redirect are those of the request, never of the source, as with S3.
 */
import { invalidArgument, S3Error } from "../errors.ts";
import { type Body, putObject, type Written } from "../store/objects.ts";
import { type ChecksumAlgorithm, type Description, lastModified } from "../store/versions.ts";
import { checkAclHeaders } from "./acl.ts";
import { MAX_PUT_BYTES } from "./body.ts";
import { checksumAlgorithm } from "./checksum.ts";
import { type ByteRange, checkSourceConditions, writeConditions } from "./conditions.ts";
import type { Context } from "./context.ts";
import type { OpenSource } from "./copysource.ts";
import { withChecksum } from "./hashing.ts";
import { contentHeaders, describe, writtenHeaders } from "./headers.ts";
import { operation } from "./operation.ts";
import { openSource } from "./source.ts";
import { type Content, type Node, xml, xmlResponse } from "./xml.ts";

export const CopyObject = operation("PUT /:bucket/:key+|x-amz-copy-source", "put-object", async (ctx) => {
  checkAclHeaders(ctx);
  const source = await openSource(ctx);
  checkSourceConditions(ctx.headers, source);
  checkSize(source.size);
  refuseIdleCopy(ctx, source);
  const description = await describeCopy(ctx, source);
  const body = await copiedBody(source, undefined, requestedAlgorithm(ctx) ?? source.checksum?.algorithm);
  const written = await putObject(ctx.env, ctx.entry, ctx.key, description, body, writeConditions(ctx.headers));
  const headers = writtenHeaders(written);
  if (source.versionId !== undefined) headers.set("x-amz-copy-source-version-id", source.versionId);
  return xmlResponse(xml("CopyObjectResult", copyResult(written)), { headers: Object.fromEntries(headers) });
});

/** Throws InvalidRequest for more than one PUT takes. */
export function checkSize(size: number): void {
  if (size <= MAX_PUT_BYTES) return;
  const message = `The specified copy source is larger than the maximum allowable size for a copy source: ${MAX_PUT_BYTES}`;
  throw new S3Error("InvalidRequest", message);
}

/**
 * The source's bytes on their way to the store, which verifies them where the source's ETag is their MD5. A checksum of
 * the whole source is taken over with them; any other is calculated on the way.
 */
export async function copiedBody(
  source: OpenSource,
  range: ByteRange | undefined,
  algorithm: ChecksumAlgorithm | undefined,
): Promise<Body> {
  const isWhole = range === undefined || range.length === source.size;
  const body: Body = {
    size: range?.length ?? source.size,
    stream: await source.read(range),
    md5: isWhole && !source.etag.includes("-") ? source.etag : undefined,
  };
  if (algorithm === undefined) return body;
  const { checksum } = source;
  const isKnown = isWhole && checksum?.type === "FULL_OBJECT" && checksum.algorithm === algorithm;
  return isKnown ? { ...body, checksum: () => checksum } : withChecksum(body, algorithm);
}

/** Throws InvalidRequest for a word that is no algorithm. */
export function requestedAlgorithm(ctx: Context): ChecksumAlgorithm | undefined {
  const word = ctx.headers.get("x-amz-checksum-algorithm");
  const algorithm = word === null ? undefined : checksumAlgorithm(word);
  if (word !== null && !algorithm) {
    throw new S3Error(
      "InvalidRequest",
      "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
    );
  }
  return algorithm;
}

async function describeCopy(ctx: Context, source: OpenSource): Promise<Description> {
  const requested = describe(ctx.headers);
  const isReplaced = directive(ctx, "x-amz-metadata-directive") === "REPLACE";
  const tags = directive(ctx, "x-amz-tagging-directive") === "REPLACE" ? requested.tags : await source.tags();
  if (Object.keys(tags).length > 0) ctx.authorize("put-object-tagging");
  if (isReplaced) return { ...requested, tags };
  const {
    "x-amz-storage-class": _storageClass,
    "x-amz-website-redirect-location": _redirect,
    ...kept
  } = source.headers;
  return { headers: { ...kept, ...ofTheCopy(ctx) }, metadata: source.metadata, tags };
}

/** What a copy has of the request even where it takes its headers from the source. */
function ofTheCopy(ctx: Context): Record<string, string> {
  const own = Object.entries(contentHeaders(ctx.headers)).filter(([name]) => name.startsWith("x-amz-"));
  return Object.fromEntries(own);
}

/** Throws InvalidArgument. */
function directive(ctx: Context, name: string): "COPY" | "REPLACE" {
  const value = ctx.headers.get(name) ?? "COPY";
  if (value === "COPY" || value === "REPLACE") return value;
  throw invalidArgument(name, value, `Unknown ${name.includes("tagging") ? "tagging" : "metadata"} directive.`);
}

/** Copying the current version onto itself changes nothing, which S3 takes for a mistake; an older one is brought back so. */
function refuseIdleCopy(ctx: Context, source: OpenSource): void {
  const isItself = source.bucket === ctx.bucket && source.key === ctx.key;
  const namesVersion = ctx.headers.get("x-amz-copy-source")!.includes("?versionId=");
  const changes = [
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "x-amz-server-side-encryption",
    "x-amz-checksum-algorithm",
  ];
  const isChanged =
    directive(ctx, "x-amz-metadata-directive") === "REPLACE" || changes.some((name) => ctx.headers.has(name));
  if (!isItself || namesVersion || isChanged) return;
  throw new S3Error(
    "InvalidRequest",
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
  );
}

function copyResult({ version }: Written): Content {
  return [
    ["ETag", `"${version.etag}"`],
    ["LastModified", new Date(lastModified(version)).toISOString()],
    ...checksumElements(version.checksum),
  ];
}

/** A checksum as elements of an answer. */
export function checksumElements(checksum: Written["version"]["checksum"]): Node[] {
  if (!checksum) return [];
  return [
    [`Checksum${checksum.algorithm}`, checksum.value],
    ["ChecksumType", checksum.type],
  ];
}
