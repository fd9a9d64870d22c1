/**
 * The canonical request of SigV4, from path, query and headers as they were received.
 *
 * S3 encodes once (other services twice) and normalises no path: `//` and `..` are part of a key. It decodes what came
 * and encodes that again, so that a client which leaves `!` or `(` unencoded in the URL, but signs the canonical form,
 * verifies. Some sign just what they send (a key with `%2F`, small hex digits): those are tried second.
 */
export interface SignedRequest {
  method: string;
  /** path as received, not decoded, starting with `/` */
  rawPath: string;
  /** query as received, without `?` */
  rawQuery: string;
  headers: Headers;
  /** what the edge may have rewritten: other values to try for a signed `accept-encoding` */
  acceptEncodings: string[];
}

/** A query parameter as sent and decoded; `?acl` has an empty value. */
export interface QueryPair {
  rawName: string;
  rawValue: string;
  name: string;
  value: string;
}

export function parseQuery(rawQuery: string): QueryPair[] {
  return rawQuery
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const at = pair.indexOf("=");
      const [rawName, rawValue] = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
      return { rawName, rawValue, name: decode(rawName), value: decode(rawValue) };
    });
}

/**
 * Each canonical request that a faithful client may have signed, the likeliest first: encoded again and as sent, and
 * for a signed `accept-encoding` the value received, then those that it may have had before the edge rewrote it.
 */
export function* canonicalRequests(
  request: SignedRequest,
  query: QueryPair[],
  signed: { signedHeaders: string[]; payloadHash: string },
): Generator<string> {
  for (const [path, parameters] of targets(request, query)) {
    for (const acceptEncoding of acceptEncodings(request, signed.signedHeaders)) {
      const headers = signed.signedHeaders.map((name) => canonicalHeader(request.headers, name, acceptEncoding));
      const names = signed.signedHeaders.join(";");
      yield [request.method, path, parameters, ...headers, "", names, signed.payloadHash].join("\n");
    }
  }
}

function* targets(request: SignedRequest, query: QueryPair[]): Generator<[path: string, query: string]> {
  const pairs = query.filter((pair) => pair.name !== "X-Amz-Signature");
  const path = encodeAgain(request.rawPath).replaceAll("%2F", "/");
  const parameters = sortPairs(
    pairs.map(({ rawName, rawValue }) => [encodeAgain(plusAsSpace(rawName)), encodeAgain(plusAsSpace(rawValue))]),
  );
  yield [path, parameters];
  const asSent = sortPairs(pairs.map(({ rawName, rawValue }) => [rawName, rawValue]));
  if (path !== request.rawPath || parameters !== asSent) yield [request.rawPath, asSent];
}

/** By name and then by value: not by the joined text, where `a-b=` would stand before `a=`. */
function sortPairs(pairs: [name: string, value: string][]): string {
  const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
  return pairs
    .sort(([name, value], [otherName, otherValue]) => compare(name, otherName) || compare(value, otherValue))
    .map((pair) => pair.join("="))
    .join("&");
}

function acceptEncodings(request: SignedRequest, signedHeaders: string[]): Iterable<string> {
  if (!signedHeaders.includes("accept-encoding")) return [""];
  return new Set([request.headers.get("accept-encoding") ?? "", ...request.acceptEncodings]);
}

/** A signed header that isn't there counts as empty: some proxies drop an empty `Content-Type:`, which `exo` signs. */
function canonicalHeader(headers: Headers, name: string, acceptEncoding: string): string {
  const value = name === "accept-encoding" ? acceptEncoding : (headers.get(name) ?? "");
  // ASCII only: to a signer that works on bytes, a no-break space isn't white space.
  return `${name.toLowerCase()}:${value.replace(/[ \t]+/g, " ").replace(/^ | $/g, "")}`;
}

const ENCODED = Array.from({ length: 256 }, (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`);

/** Percent-encodes what isn't unreserved, after decoding; a `%` that starts no escape stands for itself. */
function encodeAgain(raw: string): string {
  if (/^[A-Za-z0-9\-._~]*$/.test(raw)) return raw;
  return decodeBytes(raw).replace(/[^A-Za-z0-9\-._~]/g, (byte) => ENCODED[byte.charCodeAt(0)]!);
}

/** Bytes as a string of characters 0-255: what was escaped needn't be UTF-8. */
function decodeBytes(raw: string): string {
  return Buffer.from(raw, "utf8")
    .toString("latin1")
    .replace(/%[0-9a-f]{2}/gi, (escaped: string) => String.fromCharCode(Number.parseInt(escaped.slice(1), 16)));
}

function decode(raw: string): string {
  return Buffer.from(decodeBytes(plusAsSpace(raw)), "latin1").toString("utf8");
}

/** In a query S3 takes `+` for a space, as forms do. */
function plusAsSpace(raw: string): string {
  return raw.replaceAll("+", "%20");
}
