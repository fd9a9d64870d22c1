/**
 * ListObjects, ListObjectsV2 and ListObjectVersions.
 *
 * A page may be cut short, even empty, where many delete markers stand in front: IsTruncated and the marker say so, and
 * v1 gives NextMarker always, not only with a delimiter, since the last key shown isn't where it stopped.
 */
import { invalidArgument } from "../errors.ts";
import { type ListedVersion, type ListPage, listObjects, listVersions } from "../store/listing.ts";
import { lastModified, shownVersionId, type Version } from "../store/versions.ts";
import type { Context } from "./context.ts";
import { operation } from "./operation.ts";
import { commonPrefixes, entriesOf, readEncoding, readLimit, readToken, writeToken } from "./page.ts";
import { owner } from "./service.ts";
import { checkVersionId } from "./versionid.ts";
import { type Node, xml, xmlResponse } from "./xml.ts";

const MAX_KEYS = { least: 0, most: 1000 };

export const ListObjects = operation("GET /:bucket", "list-objects", async (ctx) => {
  const query = readQuery(ctx);
  const marker = ctx.parameter("marker") ?? "";
  const page = await findObjects(ctx, query, marker);
  const { encode } = query;
  return xmlResponse(
    xml("ListBucketResult", [
      ["Name", ctx.bucket],
      ["Prefix", encode(query.prefix)],
      ["Marker", encode(marker)],
      ["NextMarker", page.next === undefined ? undefined : encode(page.next)],
      ...frame(query, page.next !== undefined),
      ...objectElements(page, query, owner(ctx)),
    ]),
  );
});

export const ListObjectsV2 = operation("GET /:bucket?list-type=2", "list-objects", async (ctx) => {
  const query = readQuery(ctx);
  const startAfter = ctx.parameter("start-after");
  const page = await findObjects(ctx, query, readToken(ctx) ?? startAfter);
  const { encode } = query;
  return xmlResponse(
    xml("ListBucketResult", [
      ["Name", ctx.bucket],
      ["Prefix", encode(query.prefix)],
      ["StartAfter", startAfter && encode(startAfter)],
      ["ContinuationToken", ctx.parameter("continuation-token")],
      ["NextContinuationToken", page.next === undefined ? undefined : writeToken(page.next)],
      ["KeyCount", page.entries.length],
      ...frame(query, page.next !== undefined),
      ...objectElements(page, query, ctx.parameter("fetch-owner") === "true" ? owner(ctx) : undefined),
    ]),
  );
});

export const ListObjectVersions = operation("GET /:bucket?versions", "list-object-versions", async (ctx) => {
  const query = readQuery(ctx);
  const { encode, limit } = query;
  const { keyMarker, versionIdMarker } = readMarkers(ctx);
  const page =
    limit === 0
      ? EMPTY
      : await listVersions(ctx.env, ctx.entry.bucketId, { ...query, after: keyMarker, versionIdMarker });
  return xmlResponse(
    xml("ListVersionsResult", [
      ["Name", ctx.bucket],
      ["Prefix", encode(query.prefix)],
      ["KeyMarker", encode(keyMarker ?? "")],
      ["VersionIdMarker", versionIdMarker ?? ""],
      ["NextKeyMarker", page.next === undefined ? undefined : encode(page.next)],
      ["NextVersionIdMarker", page.nextVersionIdMarker],
      ...frame(query, page.next !== undefined),
      ...entriesOf(page).map((version) => versionElement(version, query, owner(ctx))),
      ...commonPrefixes(page, query.encode),
    ]),
  );
});

interface Query {
  prefix: string;
  delimiter: string;
  limit: number;
  encodingType: string | undefined;
  encode: (key: string) => string;
}

const EMPTY: ListPage<never> & { nextVersionIdMarker?: string } = { entries: [] };

function readQuery(ctx: Context): Query {
  return {
    prefix: ctx.parameter("prefix") ?? "",
    delimiter: ctx.parameter("delimiter") ?? "",
    limit: readLimit(ctx, "max-keys", MAX_KEYS),
    ...readEncoding(ctx),
  };
}

/** A page of no keys is empty and at its end, however many there are. */
async function findObjects(ctx: Context, query: Query, after: string | undefined): Promise<ListPage<Version>> {
  const page = { ...query, after: after || undefined };
  return query.limit === 0 ? EMPTY : await listObjects(ctx.env, ctx.entry.bucketId, page);
}

function readMarkers(ctx: Context): { keyMarker: string | undefined; versionIdMarker: string | undefined } {
  const keyMarker = ctx.parameter("key-marker") || undefined;
  const versionIdMarker = ctx.parameter("version-id-marker") || undefined;
  if (versionIdMarker === undefined) return { keyMarker, versionIdMarker };
  if (keyMarker === undefined) {
    const message = "A version-id marker cannot be specified without a key marker.";
    throw invalidArgument("version-id-marker", versionIdMarker, message);
  }
  return { keyMarker, versionIdMarker: checkVersionId(versionIdMarker, "version-id-marker") };
}

/** What every listing says of itself behind its markers. */
function frame({ limit, delimiter, encode, encodingType }: Query, isTruncated: boolean): Node[] {
  return [
    ["MaxKeys", limit],
    ["Delimiter", delimiter === "" ? undefined : encode(delimiter)],
    ["EncodingType", encodingType],
    ["IsTruncated", isTruncated],
  ] as Node[];
}

function objectElements(page: ListPage<Version>, query: Query, ownerElement: Node | undefined): Node[] {
  const contents = entriesOf(page).map((version): Node => {
    return ["Contents", [["Key", query.encode(version.key)], ...facts(version), ownerElement, storageClass(version)]];
  });
  return [...contents, ...commonPrefixes(page, query.encode)];
}

function versionElement(version: ListedVersion, { encode }: Query, ownerElement: Node): Node {
  const identity: Node[] = [
    ["Key", encode(version.key)],
    ["VersionId", shownVersionId(version)],
    ["IsLatest", version.isLatest],
  ];
  if (version.isDeleteMarker) return ["DeleteMarker", [...identity, modified(version), ownerElement]];
  return ["Version", [...identity, ...facts(version), ownerElement, storageClass(version)]];
}

function facts(version: Version): Node[] {
  const checksum: Node[] = version.checksum
    ? [
        ["ChecksumAlgorithm", version.checksum.algorithm],
        ["ChecksumType", version.checksum.type],
      ]
    : [];
  return [modified(version), ["ETag", `"${version.etag}"`], ...checksum, ["Size", version.size]];
}

function modified(version: Version): Node {
  return ["LastModified", new Date(lastModified(version)).toISOString()];
}

function storageClass(version: Version): Node {
  return ["StorageClass", version.headers["x-amz-storage-class"] ?? "STANDARD"];
}
