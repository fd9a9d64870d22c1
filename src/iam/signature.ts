/**
 * SigV4 as AWS publishes it for S3, verified: the Authorization header, presigned queries, and the signatures of the
 * chunks of an aws-chunked body (src/s3/chunked.ts calls those). Pure but for the look-up of the secret.
 *
 * Refuses SigV2 and SigV4A, two mechanisms at once, an `x-amz-*` header that isn't signed, a scope of another day,
 * region or service, and clocks more than 15 minutes apart. A request without any signature is anonymous: undefined.
 *
 * What surprised us:
 * - workerd decodes header values as UTF-8 and puts U+FFFD in the place of bytes that aren't (measured; no
 *   compatibility date or flag changes it, a service binding and RPC neither). So a value that was sent as UTF-8 is
 *   had back exactly by encoding it again, which is what hashing a JavaScript string does; a value sent as latin-1 is
 *   lost for good and ends as SignatureDoesNotMatch. S3 itself refuses what the AWS SDK for JavaScript makes of a
 *   non-ASCII value too: signs it as UTF-8, sends it as latin-1.
 * - workerd joins two headers of one name as `a, b`, where signers write `a,b`: repeated headers don't verify.
 * - Clients leave different characters unencoded in paths and queries, or encode a key's slashes. S3 decodes and
 *   encodes again; a client that signed just what it sent is tried second.
 */
import { createHmac, hash, timingSafeEqual } from "node:crypto";
import { type ErrorDetails, invalidArgument, S3Error } from "../errors.ts";
import { canonicalRequests, parseQuery, type QueryPair, type SignedRequest } from "./canonical.ts";
import {
  type Claim,
  checkPayloadHash,
  malformed,
  parseAmzDate,
  readClaim,
  STREAMING_SIGNED_TRAILER,
  STREAMING_UNSIGNED_TRAILER,
  UNSIGNED_PAYLOAD,
} from "./claim.ts";

export type { SignedRequest } from "./canonical.ts";

/** How the body is protected; what body.ts needs to take it in. */
export type Payload =
  | { kind: "hash"; sha256: string }
  | { kind: "unsigned" }
  | {
      kind: "streaming-signed";
      trailer: boolean;
      signingKey: ArrayBuffer;
      seedSignature: string;
      amzDate: string;
      scope: string;
    }
  | { kind: "streaming-unsigned-trailer" };

/** A body whose chunks are signed, each signature on top of the one before. */
export type SignedStream = Extract<Payload, { kind: "streaming-signed" }>;

export interface Verified {
  accessKeyId: string;
  sessionToken: string | undefined;
  region: string;
  payload: Payload;
  isPresigned: boolean;
}

export interface VerifyOptions {
  /** accepted regions of a scope; the first is named when another one was signed for */
  regions: readonly string[];
  /** milliseconds since the epoch */
  now: number;
  /** the secret for an access key id and session token; throws InvalidAccessKeyId or InvalidToken */
  secretOf(accessKeyId: string, sessionToken: string | undefined): Promise<string>;
}

const ALGORITHM = "AWS4-HMAC-SHA256";
const MAX_SKEW_MS = 15 * 60 * 1000;
const EMPTY_SHA256 = hash("sha256", "");

/**
 * Verifies a request's signature. undefined: it carries none at all (anonymous).
 * Throws S3's errors: AccessDenied, AuthorizationHeaderMalformed, AuthorizationQueryParametersError, InvalidArgument,
 * InvalidRequest, RequestTimeTooSkewed, SignatureDoesNotMatch, and what `secretOf` throws.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
 */
export async function verify(request: SignedRequest, options: VerifyOptions): Promise<Verified | undefined> {
  const query = parseQuery(request.rawQuery);
  const claim = readClaim(request.headers, query);
  if (!claim) return undefined;
  checkScope(claim, options.regions);
  checkTime(claim, options.now);
  checkEverythingIsSigned(request.headers, claim);
  const secret = await options.secretOf(claim.accessKeyId, claim.sessionToken);
  const signingKey = signingKeyOf(claim.accessKeyId, secret, claim.day, claim.region);
  checkSignature(request, query, claim, signingKey);
  const { accessKeyId, sessionToken, region, isPresigned } = claim;
  const payload = payloadOf(declaredPayload(request.headers, claim), { claim, signingKey });
  return { accessKeyId, sessionToken, region, payload, isPresigned };
}

/** The header need not be signed in a presigned request, so it may say only what the signature has left open. */
function declaredPayload(headers: Headers, claim: Claim): string {
  const inHeader = headers.get("x-amz-content-sha256");
  if (claim.isPresigned && claim.payloadHash !== UNSIGNED_PAYLOAD) return claim.payloadHash;
  return inHeader ?? claim.payloadHash;
}

/**
 * The `x-amz-*` parameters of a presigned query that count as headers, by lower-case name; with header authentication
 * they mean nothing. Left out are SigV4's own, and checksums: the AWS SDK for JavaScript presigns the CRC32 of an
 * empty body by default, and S3 doesn't look at it (https://github.com/ministackorg/ministack/issues/1695).
 */
export function hoistedHeaders(rawQuery: string): Record<string, string> {
  const own = /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|security-token|content-sha256)$/;
  const hoisted: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(rawQuery)) {
    const header = name.toLowerCase();
    if (!header.startsWith("x-amz-") || own.test(header) || /^x-amz-(sdk-)?checksum-(?!mode$)/.test(header)) continue;
    if (!/^[a-z0-9-]+$/.test(header) || /[\0\r\n]/.test(value)) {
      throw invalidArgument(header, value, "This parameter can't stand for a header.");
    }
    hoisted[header] = value;
  }
  return hoisted;
}

/** Signature of a chunk, whose SHA-256 is given, on top of the one before. https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html */
export function chunkSignature(stream: SignedStream, previousSignature: string, sha256: string): string {
  return streamSignature(stream, "AWS4-HMAC-SHA256-PAYLOAD", [previousSignature, EMPTY_SHA256, sha256]);
}

/** Signature of the trailer (`name:value\n` each). https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html */
export function trailerSignature(stream: SignedStream, previousSignature: string, sha256: string): string {
  return streamSignature(stream, "AWS4-HMAC-SHA256-TRAILER", [previousSignature, sha256]);
}

/** Compares in constant time: how much of a guess is right must not show. */
export function isSameSignature(calculated: string, provided: string): boolean {
  const [a, b] = [Buffer.from(calculated), Buffer.from(provided)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function streamSignature(stream: SignedStream, algorithm: string, rest: string[]): string {
  const stringToSign = [algorithm, stream.amzDate, stream.scope, ...rest].join("\n");
  return hmac(new Uint8Array(stream.signingKey), stringToSign).toString("hex");
}

function checkScope(claim: Claim, regions: readonly string[]): void {
  const refuse = (what: string, details?: ErrorDetails) => malformed(claim.isPresigned, what, details);
  const date = claim.amzDate.slice(0, 8);
  if (!/^\d{8}$/.test(claim.day)) {
    const form = 'This date in the credential must be in the format "yyyyMMdd".';
    throw refuse(`incorrect date format "${claim.day}". ${form}`);
  }
  if (claim.day !== date) {
    throw refuse(`Invalid credential date "${claim.day}". This date is not the same as X-Amz-Date: "${date}".`);
  }
  if (!regions.includes(claim.region)) {
    throw refuse(`the region '${claim.region}' is wrong; expecting '${regions[0]}'`, { Region: regions[0] });
  }
  if (claim.service !== "s3") {
    throw refuse(`incorrect service "${claim.service}". This endpoint belongs to "s3".`);
  }
  if (claim.terminal !== "aws4_request") {
    throw refuse(`incorrect terminal "${claim.terminal}". This endpoint uses "aws4_request".`);
  }
}

function checkTime(claim: Claim, now: number): void {
  const time = parseAmzDate(claim.amzDate)!;
  const ServerTime = new Date(now).toISOString();
  if (claim.expires === undefined) {
    if (Math.abs(now - time) <= MAX_SKEW_MS) return;
    const details = { RequestTime: claim.amzDate, ServerTime, MaxAllowedSkewMilliseconds: MAX_SKEW_MS };
    throw new S3Error("RequestTimeTooSkewed", undefined, details);
  }
  if (time - now > MAX_SKEW_MS) throw new S3Error("AccessDenied", "Request is not valid yet", { ServerTime });
  const end = time + claim.expires * 1000;
  // An expiry of 0 has passed even where the client's clock is ahead.
  if (claim.expires > 0 && now < end) return;
  const details = { "X-Amz-Expires": claim.expires, Expires: new Date(end).toISOString(), ServerTime };
  throw new S3Error("AccessDenied", "Request has expired", details);
}

function checkEverythingIsSigned(headers: Headers, claim: Claim): void {
  const signed = new Set(claim.signedHeaders.map((name) => name.toLowerCase()));
  const isExcepted = (name: string) => claim.isPresigned && name === "x-amz-content-sha256";
  const unsigned = [...headers.keys()].filter(
    (name) => (name === "host" || name.startsWith("x-amz-")) && !signed.has(name) && !isExcepted(name),
  );
  if (!unsigned.length) return;
  const details = { HeadersNotSigned: unsigned.join(", ") };
  throw new S3Error("AccessDenied", "There were headers present in the request which were not signed", details);
}

function payloadOf(value: string, signed?: { claim: Claim; signingKey: ArrayBuffer }): Payload {
  checkPayloadHash(value);
  if (value === UNSIGNED_PAYLOAD) return { kind: "unsigned" };
  if (value === STREAMING_UNSIGNED_TRAILER) return { kind: "streaming-unsigned-trailer" };
  if (!value.startsWith("STREAMING-")) return { kind: "hash", sha256: value.toLowerCase() };
  if (!signed) throw new S3Error("AccessDenied");
  const { signature: seedSignature, amzDate, scope } = signed.claim;
  const trailer = value === STREAMING_SIGNED_TRAILER;
  return { kind: "streaming-signed", trailer, signingKey: signed.signingKey, seedSignature, amzDate, scope };
}

// ------------------------------------------------------------------------------------------------------ the signature

/** Tries each form that a faithful client may have signed; all of them are made with the secret. */
function checkSignature(request: SignedRequest, query: QueryPair[], claim: Claim, signingKey: ArrayBuffer): void {
  const key = new Uint8Array(signingKey);
  let first: ErrorDetails | undefined;
  for (const canonicalRequest of canonicalRequests(request, query, claim)) {
    const stringToSign = [ALGORITHM, claim.amzDate, claim.scope, sha256(canonicalRequest)].join("\n");
    if (isSameSignature(hmac(key, stringToSign).toString("hex"), claim.signature)) return;
    first ??= { StringToSign: stringToSign, CanonicalRequest: withoutSecrets(canonicalRequest) };
  }
  const details = { AWSAccessKeyId: claim.accessKeyId, SignatureProvided: claim.signature, ...first };
  throw new S3Error("SignatureDoesNotMatch", undefined, details);
}

/** A session token and a customer's encryption key stand in the canonical request; an answer may be logged. */
function withoutSecrets(canonicalRequest: string): string {
  const secrets = /(x-amz-(?:security-token|(?:copy-source-)?server-side-encryption-customer-key)[:=])[^&\n]*/gi;
  return canonicalRequest.replace(secrets, "$1REDACTED");
}

const signingKeys = new Map<string, { secret: string; signingKey: ArrayBuffer }>();
const SIGNING_KEYS_KEPT = 1000;

/** Derived once a key, day and region; a secret that has changed derives anew. */
function signingKeyOf(accessKeyId: string, secret: string, day: string, region: string): ArrayBuffer {
  const name = `${accessKeyId}/${day}/${region}`;
  const kept = signingKeys.get(name);
  if (kept?.secret === secret) return kept.signingKey;
  const derived = hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), "s3"), "aws4_request");
  const signingKey = new Uint8Array(derived).buffer;
  if (signingKeys.size >= SIGNING_KEYS_KEPT) signingKeys.delete(signingKeys.keys().next().value!);
  signingKeys.set(name, { secret, signingKey });
  return signingKey;
}

function hmac(key: string | Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256(text: string): string {
  return hash("sha256", text);
}
