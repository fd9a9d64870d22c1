/**
 * Conditions and ranges of a request, by RFC 9110 sections 13 and 14 as S3 applies them.
 *
 * If-Match decides before If-Unmodified-Since, and If-None-Match before If-Modified-Since; the date is looked at only
 * where the ETag header is absent. S3 serves one range: several, or another unit, mean the whole object. A date that
 * is none is refused, not ignored.
 */
import { S3Error } from "../errors.ts";
import type { WriteConditions } from "../store/objects.ts";

/** What conditions are held against. */
export interface Validators {
  /** without quotes */
  etag: string;
  /** milliseconds */
  lastModified: number;
}

export interface ByteRange {
  offset: number;
  length: number;
}

/**
 * Decides the conditions of a read: `notModified` is 304 for GET and HEAD. Throws PreconditionFailed, InvalidArgument.
 * `prefix` is set for the conditions on a copy's source (`x-amz-copy-source-`).
 */
export function evaluateConditions(headers: Headers, object: Validators, prefix = ""): "proceed" | "notModified" {
  const header = (name: string) => headers.get(prefix + name);
  const seconds = Math.floor(object.lastModified / 1000);
  const ifMatch = parseETags(header("if-match"));
  const ifNoneMatch = parseETags(header("if-none-match"));
  const unmodifiedSince = parseDate(header("if-unmodified-since"), `${prefix}if-unmodified-since`);
  const modifiedSince = parseDate(header("if-modified-since"), `${prefix}if-modified-since`);
  if (ifMatch && !matches(ifMatch, object.etag)) throw preconditionFailed(`${prefix}If-Match`);
  if (!ifMatch && unmodifiedSince !== undefined && seconds > unmodifiedSince) {
    throw preconditionFailed(`${prefix}If-Unmodified-Since`);
  }
  if (ifNoneMatch) return matches(weakened(ifNoneMatch), object.etag) ? "notModified" : "proceed";
  return modifiedSince !== undefined && seconds <= modifiedSince ? "notModified" : "proceed";
}

/** Conditions on the source of a copy: what would be 304 is 412 there. */
export function checkSourceConditions(headers: Headers, source: Validators): void {
  const prefix = "x-amz-copy-source-";
  if (evaluateConditions(headers, source, prefix) === "notModified") throw preconditionFailed(`${prefix}If-None-Match`);
}

/** Conditions of a write, for the store to decide. */
export function writeConditions(headers: Headers): WriteConditions {
  return { ifMatch: parseETags(headers.get("if-match")), ifNoneMatch: parseETags(headers.get("if-none-match")) };
}

/** ETags of a header, without quotes; a weak one never matches what is compared strongly, so it keeps its mark. */
export function parseETags(header: string | null): string[] | "*" | undefined {
  if (header === null) return undefined;
  if (header.trim() === "*") return "*";
  return header.split(",").map((etag) => unquote(etag.trim()));
}

export function unquote(etag: string): string {
  return etag.replace(/^"(.*)"$/, "$1");
}

/**
 * The bytes that a Range header asks for, clamped to the object; undefined: all of them, by 200. Throws InvalidRange.
 * If-Range holds the range back where the object has changed.
 */
export function parseRange(headers: Headers, size: number, object: Validators): ByteRange | undefined {
  const header = headers.get("range");
  const match = /^bytes=(\d*)-(\d*)$/.exec(header?.replaceAll(" ", "") ?? "");
  if (!match || (match[1] === "" && match[2] === "") || !isRangeWanted(headers.get("if-range"), object))
    return undefined;
  const [first, last] = [
    match[1] === "" ? undefined : Number(match[1]),
    match[2] === "" ? undefined : Number(match[2]),
  ];
  if (first !== undefined && last !== undefined && last < first) return undefined;
  const offset = first ?? Math.max(0, size - last!);
  const end = first === undefined ? size : Math.min(size, (last ?? size) + 1);
  if (offset >= end) throw new S3Error("InvalidRange", undefined, { RangeRequested: header!, ActualObjectSize: size });
  return { offset, length: end - offset };
}

/** The range of x-amz-copy-source-range: both ends given, both within the source. Throws InvalidArgument, InvalidRange. */
export function parseCopyRange(header: string, size: number): ByteRange {
  const match = /^bytes=(\d+)-(\d+)$/.exec(header);
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || last < first) {
    throw new S3Error(
      "InvalidArgument",
      "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
      { ArgumentName: "x-amz-copy-source-range", ArgumentValue: header },
    );
  }
  if (last >= size)
    throw new S3Error("InvalidRange", `Range specified is not valid for source object of size: ${size}`);
  return { offset: first, length: last - first + 1 };
}

function matches(etags: string[] | "*", etag: string): boolean {
  return etags === "*" || etags.includes(etag);
}

/** If-None-Match compares weakly: proxies that compress mark an ETag as weak, and it names the same object still. */
function weakened(etags: string[] | "*"): string[] | "*" {
  return etags === "*" ? etags : etags.map((etag) => unquote(etag.replace(/^W\//, "")));
}

function isRangeWanted(ifRange: string | null, object: Validators): boolean {
  if (ifRange === null) return true;
  if (/^(W\/)?"/.test(ifRange)) return unquote(ifRange) === object.etag;
  return Math.floor(object.lastModified / 1000) === parseDate(ifRange, "if-range");
}

/** Seconds since the epoch. Throws InvalidArgument. */
function parseDate(header: string | null, name: string): number | undefined {
  if (header === null) return undefined;
  const milliseconds = Date.parse(header);
  if (Number.isNaN(milliseconds)) {
    throw new S3Error("InvalidArgument", `Bad value for ${name}: not a date`, { ArgumentName: name });
  }
  return Math.floor(milliseconds / 1000);
}

function preconditionFailed(condition: string): S3Error {
  return new S3Error("PreconditionFailed", undefined, { Condition: condition });
}
