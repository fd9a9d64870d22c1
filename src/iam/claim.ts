/**
 * What a request says of its own signature, read and nothing of it believed yet: the Authorization header's
 * components or a presigned query's parameters, in one form.
 *
 * Refuses SigV2, SigV4A, two mechanisms at once, and whatever isn't of SigV4's form; messages are S3's own.
 */
import { type ErrorDetails, S3Error } from "../errors.ts";
import type { QueryPair } from "./canonical.ts";

export const UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD";
export const STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
export const STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
export const STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

const ALGORITHM = "AWS4-HMAC-SHA256";
const MAX_EXPIRES_SECONDS = 7 * 24 * 3600;

/** What a request says of its own signature, before anything of it is believed. */
export interface Claim {
  isPresigned: boolean;
  accessKeyId: string;
  sessionToken: string | undefined;
  /** `day/region/service/aws4_request` */
  scope: string;
  day: string;
  region: string;
  service: string;
  terminal: string;
  signedHeaders: string[];
  signature: string;
  /** `yyyyMMddTHHmmssZ`, whatever form the date had */
  amzDate: string;
  /** seconds; presigned only */
  expires: number | undefined;
  /** last line of the canonical request */
  payloadHash: string;
}

/** undefined: the request carries no signature. Throws S3's errors for whatever isn't of SigV4's form. */
export function readClaim(headers: Headers, query: QueryPair[]): Claim | undefined {
  const authorization = headers.get("authorization");
  const names = new Set(query.map((pair) => pair.name));
  const isPresigned = names.has("X-Amz-Algorithm") || names.has("X-Amz-Signature") || names.has("X-Amz-Credential");
  const isSigV2 = names.has("Signature") || names.has("AWSAccessKeyId");
  if (authorization && (isPresigned || isSigV2)) throw onlyOneMechanism(authorization);
  if (isSigV2) throw unsupportedMechanism();
  if (isPresigned) return readQueryClaim(headers, new Map(query.map((pair) => [pair.name, pair.value])));
  return authorization ? readHeaderClaim(headers, authorization) : undefined;
}

function onlyOneMechanism(authorization: string): S3Error {
  const message =
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified";
  return new S3Error("InvalidArgument", message, {
    ArgumentName: "Authorization",
    ArgumentValue: authorization.split(" ", 1)[0],
  });
}

function unsupportedMechanism(): S3Error {
  const message = `The authorization mechanism you have provided is not supported. Please use ${ALGORITHM}.`;
  return new S3Error("InvalidRequest", message);
}

function readHeaderClaim(headers: Headers, authorization: string): Claim {
  const [algorithm, components] = splitOnce(authorization.trim(), " ");
  if (algorithm === "AWS" || algorithm.startsWith("AWS4-ECDSA")) throw unsupportedMechanism();
  if (algorithm !== ALGORITHM) throw unsupportedAuthorizationType(algorithm);
  const { Credential, SignedHeaders, Signature } = readComponents(components);
  const payloadHash = headers.get("x-amz-content-sha256");
  if (payloadHash === null) {
    throw new S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
  }
  checkPayloadHash(payloadHash);
  return {
    ...readCredential(Credential, false),
    isPresigned: false,
    sessionToken: headers.get("x-amz-security-token") ?? undefined,
    signedHeaders: readSignedHeaders(SignedHeaders, false),
    signature: Signature,
    amzDate: readDate(headers.get("x-amz-date") ?? headers.get("date")),
    expires: undefined,
    payloadHash,
  };
}

/** The scheme alone is echoed: what follows it may be a password or a bearer token. */
function unsupportedAuthorizationType(scheme: string): S3Error {
  const details = { ArgumentName: "Authorization", ArgumentValue: scheme };
  return new S3Error("InvalidArgument", "Unsupported Authorization Type", details);
}

function readComponents(text: string): { Credential: string; SignedHeaders: string; Signature: string } {
  const components: Record<string, string> = {};
  for (const component of text.split(",")) {
    const [name, value] = splitOnce(component.trim(), "=");
    if (!value) throw malformed(false, `the authorization component "${component.trim()}" is malformed.`);
    components[name] = value;
  }
  const { Credential, SignedHeaders, Signature } = components;
  if (!Credential || !SignedHeaders || !Signature || Object.keys(components).length !== 3) {
    const text = "the authorization header requires three components: Credential, SignedHeaders, and Signature.";
    throw malformed(false, text);
  }
  return { Credential, SignedHeaders, Signature };
}

function readQueryClaim(headers: Headers, query: Map<string, string>): Claim {
  const required = ["Algorithm", "Credential", "Signature", "Date", "SignedHeaders", "Expires"];
  if (required.some((name) => !query.get(`X-Amz-${name}`))) {
    throw badParameters(
      "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    );
  }
  if (query.get("X-Amz-Algorithm") !== ALGORITHM) throw badParameters(`X-Amz-Algorithm only supports "${ALGORITHM}"`);
  const amzDate = query.get("X-Amz-Date")!;
  if (parseAmzDate(amzDate) === undefined) {
    throw badParameters(`X-Amz-Date must be in the ISO8601 Long Format "yyyyMMdd'T'HHmmss'Z'"`);
  }
  const signedHeaders = readSignedHeaders(query.get("X-Amz-SignedHeaders")!, true);
  const inHeader = signedHeaders.includes("x-amz-content-sha256") ? headers.get("x-amz-content-sha256") : null;
  const payloadHash = inHeader ?? query.get("X-Amz-Content-Sha256") ?? UNSIGNED_PAYLOAD;
  checkPayloadHash(headers.get("x-amz-content-sha256") ?? payloadHash);
  return {
    ...readCredential(query.get("X-Amz-Credential")!, true),
    isPresigned: true,
    sessionToken: query.get("X-Amz-Security-Token") ?? headers.get("x-amz-security-token") ?? undefined,
    signedHeaders,
    signature: query.get("X-Amz-Signature")!,
    amzDate,
    expires: readExpires(query.get("X-Amz-Expires")!),
    payloadHash,
  };
}

/** Names only: `Headers.get` throws a TypeError for anything else, and a line break would forge a canonical request. */
function readSignedHeaders(text: string, isPresigned: boolean): string[] {
  const names = text.split(";");
  if (names.every((name) => /^[\w!#$%&'*+.^`|~-]+$/.test(name))) return names;
  throw malformed(isPresigned, "the SignedHeaders are mal-formed; expecting names separated by semicolons.");
}

function readExpires(text: string): number {
  if (/^-\d+$/.test(text)) throw badParameters("X-Amz-Expires must be non-negative");
  if (!/^\d+$/.test(text)) throw badParameters("X-Amz-Expires should be a number");
  if (Number(text) <= MAX_EXPIRES_SECONDS) return Number(text);
  throw badParameters(
    `X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than ${MAX_EXPIRES_SECONDS} seconds`,
  );
}

function readCredential(credential: string, isPresigned: boolean) {
  const parts = credential.split("/");
  const [day, region, service, terminal] = parts.slice(-4);
  const accessKeyId = parts.slice(0, -4).join("/");
  if (parts.length < 5 || !day || !region || !service || !terminal) {
    const form = '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request"';
    throw malformed(isPresigned, `the Credential is mal-formed; expecting ${form}.`);
  }
  if (!accessKeyId) {
    throw malformed(isPresigned, "a non-empty Access Key (AKID) must be provided in the credential.");
  }
  return { accessKeyId, scope: parts.slice(-4).join("/"), day, region, service, terminal };
}

/** `x-amz-date` or `date`, in SigV4's form or as an HTTP date, which older clients sign. */
function readDate(text: string | null): string {
  const httpDate = text && /^[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d /.test(text);
  if (text !== null && !httpDate && parseAmzDate(text) !== undefined) return text;
  const time = httpDate ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return toAmzDate(time);
  throw new S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header");
}

/** The last date that was parsed: requests of one second carry the same, and each looks at its own three times. */
let lastDate: { text: string; time: number | undefined } | undefined;

/** `yyyyMMddTHHmmssZ` as milliseconds; undefined if it isn't that or no such day. */
export function parseAmzDate(text: string): number | undefined {
  if (lastDate?.text !== text) lastDate = { text, time: readAmzDate(text) };
  return lastDate.time;
}

function readAmzDate(text: string): number | undefined {
  const fields = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (!fields) return undefined;
  const [, year, month, day, hour, minute, second] = fields;
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // Date.parse takes the 31st of any month for the 1st of the next.
  return Number.isNaN(time) || toAmzDate(time) !== text ? undefined : time;
}

function toAmzDate(time: number): string {
  return new Date(time).toISOString().replace(/[:-]|\.\d{3}/g, "");
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** The error for a credential or scope that won't do: header and query have a code each. */
export function malformed(isPresigned: boolean, what: string, details?: ErrorDetails): S3Error {
  return isPresigned
    ? badParameters(`Error parsing the X-Amz-Credential parameter; ${what}`, details)
    : new S3Error("AuthorizationHeaderMalformed", `The authorization header is malformed; ${what}`, details);
}

function badParameters(message: string, details?: ErrorDetails): S3Error {
  return new S3Error("AuthorizationQueryParametersError", message, details);
}

/** Throws InvalidArgument, which S3 answers with these very words. */
export function checkPayloadHash(value: string): void {
  const words = [UNSIGNED_PAYLOAD, STREAMING_UNSIGNED_TRAILER, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER];
  if (words.includes(value) || /^[0-9a-fA-F]{64}$/.test(value)) return;
  const message = `x-amz-content-sha256 must be ${words.join(", ")} or a valid sha256 value.`;
  const details = { ArgumentName: "x-amz-content-sha256", ArgumentValue: value };
  throw new S3Error("InvalidArgument", message, details);
}
