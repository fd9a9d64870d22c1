/** The canonical form beside that of another signer (aws4fetch), and that no two requests share one. */
import { AwsV4Signer } from "aws4fetch";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalRequests, parseQuery } from "../../src/iam/canonical.ts";

const text = fc.string({ unit: fc.constantFrom(..."aZ9-._~ !'()*+&=/;:@,$%?#éß日😀"), maxLength: 8 });
const key = text.map((each) => `k${each}`);
const pairs = fc.array(
  fc.tuple(
    text.map((each) => `q${each}`),
    text,
  ),
  { maxLength: 4 },
);
const value = fc.string({ unit: fc.constantFrom(..."aZ9 -=,;/"), maxLength: 8 });
const request = fc.record({
  method: fc.constantFrom("GET", "PUT", "DELETE", "HEAD", "POST"),
  key,
  pairs,
  headers: fc.dictionary(fc.constantFrom("x-amz-meta-a", "x-amz-meta-b", "x-amz-acl"), value),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

/** What RFC 3986 leaves as it is, and S3 with it. */
const encode = (part: string) =>
  encodeURIComponent(part).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
const pathOf = (name: string) => `/bucket/${name.split("/").map(encode).join("/")}`;
const queryOf = (list: [string, string][]) => list.map((pair) => pair.map(encode).join("=")).join("&");

function ours(
  { method, key: name, pairs: list, headers }: Request,
  path = pathOf(name),
  query = queryOf(list),
): string[] {
  const all = {
    ...headers,
    host: "zone.example",
    "x-amz-date": "20260102T030405Z",
    "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
  };
  const signed = { signedHeaders: Object.keys(all).sort(), payloadHash: "UNSIGNED-PAYLOAD" };
  const received = { method, rawPath: path, rawQuery: query, headers: new Headers(all), acceptEncodings: [] };
  return [...canonicalRequests(received, parseQuery(query), signed)];
}

/** aws4fetch's own, but for the path: URL folds dots, so that is set as it is sent. */
async function theirs({ method, key: name, pairs: list, headers }: Request): Promise<string> {
  const url = new URL("https://zone.example/");
  url.search = queryOf(list);
  const signer = new AwsV4Signer({
    method,
    url: url.href,
    headers: { ...headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
    accessKeyId: "key",
    secretAccessKey: "secret",
    service: "s3",
    region: "zone",
    datetime: "20260102T030405Z",
  });
  signer.encodedPath = pathOf(name);
  return await signer.canonicalString();
}

/** Equal just where two requests mean the same: a key, parameters in any order, headers but for white space. */
function meaningOf({ method, key: name, pairs: list, headers }: Request): string {
  const trimmed = Object.entries(headers).map(([header, each]) => [header, each.trim().replace(/ +/g, " ")]);
  return JSON.stringify([method, name, list.map((pair) => JSON.stringify(pair)).sort(), trimmed.sort()]);
}

describe("the canonical form", () => {
  it("is that of aws4fetch", async () => {
    // Of parameters by one name aws4fetch signs the first one alone.
    const once = request.filter(({ pairs: list }) => new Set(list.map(([name]) => name)).size === list.length);
    await fc.assert(
      fc.asyncProperty(once, async (each) => {
        expect(ours(each)[0]).toBe(await theirs(each));
      }),
    );
  });

  it("doesn't depend on which characters a client left unencoded, nor on the case of its hex digits", () => {
    const small = (c: string) => encode(c).replace(/%../g, (escaped) => escaped.toLowerCase());
    const lax = (part: string) => Array.from(part, (c) => (/[!'()*:@,$;]/.test(c) ? c : small(c))).join("");
    fc.assert(
      fc.property(request, (each) => {
        const path = `/bucket/${each.key.split("/").map(lax).join("/")}`;
        const query = each.pairs.map((pair) => pair.map(lax).join("=")).join("&");
        expect(ours(each, path, query)[0]).toBe(ours(each)[0]);
      }),
    );
  });

  it("differs where requests differ", () => {
    fc.assert(
      fc.property(request, request, (one, other) => {
        const isSame = meaningOf(one) === meaningOf(other);
        expect(ours(one)[0] === ours(other)[0]).toBe(isSame);
      }),
      { numRuns: 300 },
    );
  });

  it("differs where a parameter or a header is changed by a character", () => {
    fc.assert(
      fc.property(request, text, (each, more) => {
        fc.pre(more !== "");
        const [first] = ours(each);
        expect(ours({ ...each, key: each.key + more })[0]).not.toBe(first);
        expect(ours({ ...each, pairs: [...each.pairs, [`q${more}`, ""]] })[0]).not.toBe(first);
        expect(ours({ ...each, headers: { ...each.headers, "x-amz-meta-c": "x" } })[0]).not.toBe(first);
      }),
    );
  });
});
