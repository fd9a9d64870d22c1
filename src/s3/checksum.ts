/**
 * The checksums that a client may name: Content-MD5 and `x-amz-checksum-*`, as header or trailer, and those of a
 * multipart object. What they are and how they are asked for; body.ts holds them against the bytes.
 *
 * Refuses more than one, values that aren't base64 of the right length, and by name the algorithms that S3 knows and
 * we don't (MD5, SHA512, XXHASH*).
 *
 * Rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
 */
import { createHash, type Hash } from "node:crypto";
import { S3Error } from "../errors.ts";
import type { ChecksumAlgorithm } from "../store/versions.ts";
import { type Crc, combineCrcs, createCrc } from "./crc.ts";
import { namesOf } from "./names.ts";

/** Bytes of each digest. */
const LENGTHS: Record<ChecksumAlgorithm, number> = { CRC32: 4, CRC32C: 4, CRC64NVME: 8, SHA1: 20, SHA256: 32 };

/** A checksum that the client announced for the body it sends. */
export interface AnnouncedChecksum {
  algorithm: ChecksumAlgorithm;
  /** base64; undefined if it comes as a trailer, after the body */
  value: string | undefined;
}

/** Undefined for a word that is none of the five; case doesn't matter, as with S3. */
export function checksumAlgorithm(word: string): ChecksumAlgorithm | undefined {
  const algorithm = word.toUpperCase();
  return Object.hasOwn(LENGTHS, algorithm) ? (algorithm as ChecksumAlgorithm) : undefined;
}

/** `x-amz-checksum-crc32` and so on. */
export function checksumHeader(algorithm: ChecksumAlgorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`;
}

export function createChecksum(algorithm: ChecksumAlgorithm): Crc | Hash {
  return algorithm.startsWith("CRC")
    ? createCrc(algorithm as "CRC32" | "CRC32C" | "CRC64NVME")
    : createHash(algorithm.toLowerCase());
}

/**
 * What the headers announce: one `x-amz-checksum-*`, or one named in `x-amz-trailer`. Throws InvalidRequest, and
 * NotImplemented for an algorithm of S3's that we don't have.
 */
export function announcedChecksum(headers: Headers): AnnouncedChecksum | undefined {
  const given = namesOf(headers).filter((name) => /^x-amz-checksum-(?!(mode|type|algorithm)$)/.test(name));
  const trailers = (headers.get("x-amz-trailer") ?? "")
    .toLowerCase()
    .split(",")
    .map((name) => name.trim());
  const names = [...given, ...trailers.filter((name) => name !== "")];
  if (names.length > 1) {
    const message = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.";
    throw new S3Error("InvalidRequest", message);
  }
  const algorithm = names[0] === undefined ? undefined : algorithmOf(names[0], given.length > 0);
  checkSdkAlgorithm(headers, algorithm);
  if (!algorithm) return undefined;
  const value = headers.get(checksumHeader(algorithm)) ?? undefined;
  if (value !== undefined && !isChecksumValue(algorithm, value)) {
    throw new S3Error("InvalidRequest", `Value for ${checksumHeader(algorithm)} header is invalid.`);
  }
  return { algorithm, value };
}

function algorithmOf(name: string, isHeader: boolean): ChecksumAlgorithm {
  const word = name.replace(/^x-amz-checksum-/, "");
  const algorithm = word === name ? undefined : checksumAlgorithm(word);
  if (algorithm) return algorithm;
  if (/^x-amz-checksum-(md5|sha512|xxhash(64|3|128))$/.test(name)) {
    throw new S3Error("NotImplemented", undefined, { Header: name });
  }
  throw new S3Error(
    "InvalidRequest",
    isHeader
      ? "The algorithm type you specified in x-amz-checksum- header is invalid."
      : "The value specified in the x-amz-trailer header is not supported",
  );
}

/** SDKs send the algorithm beside the value; alone, or another than the value's, it is an error to S3. */
function checkSdkAlgorithm(headers: Headers, announced: ChecksumAlgorithm | undefined): void {
  const word = headers.get("x-amz-sdk-checksum-algorithm");
  if (word === null) return;
  const algorithm = checksumAlgorithm(word);
  if (!algorithm || (announced && algorithm !== announced)) {
    throw new S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.");
  }
  if (announced) return;
  const message =
    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.";
  throw new S3Error("InvalidRequest", message);
}

/** True of base64 of as many bytes as the algorithm gives. */
export function isChecksumValue(algorithm: ChecksumAlgorithm, value: string): boolean {
  return decodeBase64(value)?.length === LENGTHS[algorithm];
}

/** Lower-case hex; undefined without the header. Throws InvalidDigest for anything but base64 of 16 bytes. */
export function contentMd5(headers: Headers): string | undefined {
  const value = headers.get("content-md5");
  if (value === null) return undefined;
  const bytes = decodeBase64(value);
  if (bytes?.length === 16) return bytes.toString("hex");
  throw new S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.", { "Content-MD5": value });
}

/** Node decodes what it can and skips the rest: only what encodes to the same text again was base64. */
function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64");
  return bytes.toString("base64") === text ? bytes : undefined;
}

/** BadDigest, in S3's words. */
export function checksumMismatch(algorithm: ChecksumAlgorithm): S3Error {
  return new S3Error("BadDigest", `The ${algorithm} you specified did not match the calculated checksum.`);
}

/** FULL_OBJECT: base64 CRC of the whole object, from its parts' CRCs (base64) and sizes. SHA-1 and SHA-256 have none. */
export function fullObjectChecksum(
  algorithm: "CRC32" | "CRC32C" | "CRC64NVME",
  parts: { value: string; size: number }[],
): string {
  const pieces = parts.map(({ value, size }) => ({ digest: Buffer.from(value, "base64"), size }));
  return combineCrcs(algorithm, pieces).toString("base64");
}

/** COMPOSITE: the checksum of the parts' raw checksums, in order, and their number. */
export function compositeChecksum(algorithm: ChecksumAlgorithm, values: string[]): string {
  const checksum = createChecksum(algorithm);
  for (const value of values) checksum.update(Buffer.from(value, "base64"));
  return `${checksum.digest().toString("base64")}-${values.length}`;
}
