/**
 * The address of a request: bucket, key and query, taken from the request target as the client sent it.
 *
 * Split by hand: `new URL()` folds `..`, `%2E%2E` and `//`, which are ordinary parts of a key. `request.url` still has
 * them on a socket of our own. A key is decoded once and never normalised, trimmed or replaced; what is no UTF-8 after
 * decoding is refused. The signature is verified over the raw text, so it is kept beside what was read from it.
 */
import { S3Error } from "../errors.ts";

/** Bytes of UTF-8 in a key, by https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html */
export const KEY_MAX_BYTES = 1024;

export interface Target {
  /** as received, beginning with `/` */
  rawPath: string;
  /** as received, without `?` */
  rawQuery: string;
  /** undefined: the request is about the account */
  bucket: string | undefined;
  /** undefined: the request is about the bucket (also where the path ends in the slash behind it) */
  key: string | undefined;
  query: Query;
}

/** The parameters of a query, by exact name. `?acl` and `?acl=` are the same. */
export class Query {
  readonly #values = new Map<string, string[]>();

  /** `+` is a space here, as in a form; in a path it isn't. Throws InvalidURI. */
  constructor(rawQuery: string) {
    for (const pair of rawQuery.split("&")) {
      if (pair === "") continue;
      const [name = "", value = ""] = splitOnce(pair, "=").map((text) => decode(text.replaceAll("+", " ")));
      const values = this.#values.get(name);
      if (values) values.push(value);
      else this.#values.set(name, [value]);
    }
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The one value. Throws InvalidArgument for a parameter that is given twice: which one was meant can't be known. */
  get(name: string): string | undefined {
    const values = this.#values.get(name);
    if (values && values.length > 1) {
      throw new S3Error("InvalidArgument", `The query parameter ${name} was given more than once.`, {
        ArgumentName: name,
      });
    }
    return values?.[0];
  }

  names(): string[] {
    return [...this.#values.keys()];
  }
}

/** The request target (path and query) of a URL as workerd shows it, untouched. */
export function requestTarget(url: string): string {
  const authority = url.indexOf("://") + 3;
  const start = url.slice(authority).search(/[/?]/);
  return start < 0 ? "/" : url.slice(authority + start);
}

/**
 * Reads a request target. `host` (the Host header) names the bucket where it is a name right below one of `domains`
 * (virtual-hosted style); else the bucket is the first segment of the path.
 * Throws InvalidURI, KeyTooLongError, InvalidArgument.
 */
export function parseTarget(rawTarget: string, host = "", domains: readonly string[] = []): Target {
  const [rawPath = "", rawQuery = ""] = splitOnce(rawTarget, "?");
  if (rawPath !== "" && !rawPath.startsWith("/")) throw new S3Error("InvalidURI");
  const hosted = virtualBucket(host, domains);
  const [rawBucket = "", rawKey = ""] = hosted ? [hosted, rawPath.slice(1)] : splitOnce(rawPath.slice(1), "/");
  if (rawBucket === "" && rawKey !== "") throw new S3Error("InvalidURI");
  const key = checkKey(decode(rawKey));
  return {
    rawPath: rawPath || "/",
    rawQuery,
    bucket: decode(rawBucket) || undefined,
    key: key || undefined,
    query: new Query(rawQuery),
  };
}

/** The key itself. Throws KeyTooLongError. */
export function checkKey(key: string): string {
  const bytes = Buffer.byteLength(key);
  if (bytes > KEY_MAX_BYTES) {
    throw new S3Error("KeyTooLongError", undefined, { Size: bytes, MaxSizeAllowed: KEY_MAX_BYTES });
  }
  return key;
}

/** A key as it stands in a request target that `parseTarget` reads back as that key. */
export function encodeKey(key: string): string {
  return percentEncode(key).replaceAll("%2F", "/");
}

/** Everything but RFC 3986's unreserved characters, as SigV4 encodes. */
export function percentEncode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function virtualBucket(host: string, domains: readonly string[]): string | undefined {
  const name = host.replace(/:\d*$/, "").toLowerCase();
  const domain = domains.find((domain) => name.endsWith(`.${domain}`));
  return domain === undefined ? undefined : name.slice(0, -domain.length - 1);
}

/** decodeURIComponent refuses what isn't percent-encoded UTF-8, overlong forms and surrogates too. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error("InvalidURI");
  }
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
