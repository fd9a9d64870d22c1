/**
 * The headers of objects: what a client says of one, and what it is told.
 *
 * Refused by name (501): SSE-C, SSE-KMS, object lock, and what only directory buckets know. SSE-S3 is what every
 * object has, so AES256 is accepted and always reported.
 * What surprised us: `aws-chunked` in Content-Encoding names the framing of the request and is no property of the
 * object; an empty Content-Type is sent, and signed, by exo for small uploads and reads back as binary/octet-stream.
 */
import { S3Error } from "../errors.ts";
import type { Found, Written } from "../store/objects.ts";
import type { Checksum, ContentHeaders, Description, Version } from "../store/versions.ts";
import { lastModified, shownVersionId } from "../store/versions.ts";
import { readMetadata, writeMetadata } from "./metadata.ts";
import { namesOf } from "./names.ts";
import { parseTagging } from "./tags.ts";

export const DEFAULT_CONTENT_TYPE = "binary/octet-stream";
const CONTENT_HEADERS = [
  "content-type",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
  "x-amz-website-redirect-location",
  "x-amz-storage-class",
];
/** Names that are accepted and echoed; all mean the same here. */
export const STORAGE_CLASSES = [
  "STANDARD",
  "REDUCED_REDUNDANCY",
  "STANDARD_IA",
  "ONEZONE_IA",
  "INTELLIGENT_TIERING",
  "GLACIER",
  "GLACIER_IR",
  "DEEP_ARCHIVE",
];

/** What the headers of PutObject, CreateMultipartUpload or CopyObject say of the object. */
export function describe(headers: Headers): Description {
  return {
    headers: contentHeaders(headers),
    metadata: readMetadata(headers),
    tags: parseTagging(headers.get("x-amz-tagging")),
  };
}

export function contentHeaders(headers: Headers): ContentHeaders {
  const result: ContentHeaders = {};
  for (const name of CONTENT_HEADERS) {
    const value = name === "content-encoding" ? contentEncoding(headers) : headers.get(name);
    if (value) result[name] = value;
  }
  checkStorageClass(result["x-amz-storage-class"]);
  checkRedirect(result["x-amz-website-redirect-location"]);
  return result;
}

/**
 * Headers of an answer on their way: a Headers object is made of all at once, since each that is set on one by itself
 * costs a call out of JavaScript.
 */
export type AnswerHeaders = Map<string, string>;

/** Sets what GET and HEAD say of a version. */
export function describeVersion(headers: AnswerHeaders, found: Found, version: Version): void {
  for (const [name, value] of Object.entries(version.headers)) headers.set(name, value);
  headers.set("content-type", version.headers["content-type"] || DEFAULT_CONTENT_TYPE);
  if (version.headers["x-amz-storage-class"] === "STANDARD") headers.delete("x-amz-storage-class");
  writeMetadata(headers, version.metadata);
  identifyVersion(headers, version, found.versioning !== "Unversioned");
  headers.set("accept-ranges", "bytes");
  headers.set("x-amz-server-side-encryption", "AES256");
  const tags = Object.keys(version.tags).length;
  if (tags > 0) headers.set("x-amz-tagging-count", String(tags));
  if (found.replicationStatus) headers.set("x-amz-replication-status", found.replicationStatus);
  if (found.replicationFailure) headers.set("x-zonal-replication-failure", found.replicationFailure);
}

/** Sets the validators of a version: ETag, Last-Modified and, in a bucket that is or was versioned, its id. */
export function identifyVersion(headers: AnswerHeaders, version: Version, isVersioned: boolean): void {
  headers.set("etag", `"${version.etag}"`);
  headers.set("last-modified", new Date(lastModified(version)).toUTCString());
  if (isVersioned) headers.set("x-amz-version-id", shownVersionId(version));
}

/** What the answer to a write says: of the object for PutObject, of the encryption and version id for all. */
export function writtenHeaders(written: Written): AnswerHeaders {
  const headers = new Map([["x-amz-server-side-encryption", "AES256"]]);
  if (written.isVersioned) headers.set("x-amz-version-id", shownVersionId(written.version));
  return headers;
}

export function writeChecksum(headers: AnswerHeaders, checksum: Checksum | null): void {
  if (!checksum) return;
  headers.set(`x-amz-checksum-${checksum.algorithm.toLowerCase()}`, checksum.value);
  headers.set("x-amz-checksum-type", checksum.type);
}

/** Throws NotImplemented for a header whose meaning is not built: ignoring it would change what the client asked for. */
export function refuseUnbuiltHeaders(headers: Headers): void {
  for (const name of namesOf(headers)) {
    if (UNBUILT.some((prefix) => name.startsWith(prefix))) throw notImplementedHeader(name);
  }
  const encryption = headers.get("x-amz-server-side-encryption");
  if (encryption?.startsWith("aws:")) throw notImplementedHeader("x-amz-server-side-encryption");
  if (encryption !== null && encryption !== "AES256") {
    throw new S3Error("InvalidEncryptionAlgorithmError", undefined, { ArgumentValue: encryption });
  }
}

/** Header names, or beginnings of them. */
const UNBUILT = [
  "x-amz-server-side-encryption-",
  "x-amz-copy-source-server-side-encryption-",
  "x-amz-object-lock-",
  "x-amz-write-offset-bytes",
  "x-amz-if-match-",
];

function notImplementedHeader(name: string): S3Error {
  return new S3Error("NotImplemented", "A header you provided implies functionality that is not implemented", {
    Header: name,
  });
}

/** Without aws-chunked, which was for the way only. */
function contentEncoding(headers: Headers): string {
  const codings = (headers.get("content-encoding") ?? "").split(",").map((coding) => coding.trim());
  return codings.filter((coding) => coding !== "" && coding.toLowerCase() !== "aws-chunked").join(",");
}

function checkStorageClass(storageClass: string | undefined): void {
  if (storageClass !== undefined && !STORAGE_CLASSES.includes(storageClass)) throw new S3Error("InvalidStorageClass");
}

function checkRedirect(location: string | undefined): void {
  if (location === undefined || /^(\/|https?:\/\/)/.test(location)) return;
  throw new S3Error("InvalidRedirectLocation");
}
