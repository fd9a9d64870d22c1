/** The canonical request, and header values as the bytes that they are on the wire: in workerd, over a raw socket. */
import { createHash, createHmac } from "node:crypto";
import { connect } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canonicalRequests, parseQuery } from "../../src/iam/canonical.ts";
import { bundle } from "../../src/local/bundle.ts";
import { ROOT } from "../harness.ts";

const ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE";
const SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

describe("the canonical request", () => {
  const first = (rawPath: string, rawQuery: string, headers = {}, signedHeaders = ["host"]) => {
    const request = {
      method: "GET",
      rawPath,
      rawQuery,
      headers: new Headers(headers),
      acceptEncodings: ["gzip", "br"],
    };
    return [...canonicalRequests(request, parseQuery(rawQuery), { signedHeaders, payloadHash: "HASH" })];
  };
  const lines = (canonicalRequest: string | undefined) => canonicalRequest!.split("\n");

  test("decodes and encodes again, once, and normalises no path", () => {
    expect(lines(first("/b/a b%20!(%c3%bc)ü//../%2e%252F", "")[0])[1]).toBe(
      "/b/a%20b%20%21%28%C3%BC%29%C3%BC//../.%252F",
    );
    expect(lines(first("/b/a%2Fb%", "")[0])[1]).toBe("/b/a/b%25");
    expect(lines(first("/b/a%2Fb", "")[1])[1]).toBe("/b/a%2Fb");
  });

  test("?acl is acl=, + is a space, and what is no UTF-8 stays what it was", () => {
    expect(lines(first("/", "acl")[0])[2]).toBe("acl=");
    expect(lines(first("/", "prefix=a+b%2B&x=%ff&y=1=2")[0])[2]).toBe("prefix=a%20b%2B&x=%FF&y=1%3D2");
    expect(lines(first("/", "a-b=1&a=2&a=1&&")[0])[2]).toBe("a=1&a=2&a-b=1");
  });

  test("has its query in one order, whatever order it came in", () => {
    const name = fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom(..."aAb-=&/é") });
    const pairs = fc.array(fc.tuple(name, name), { maxLength: 6 });
    const property = fc.property(
      pairs.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
      ([all, shuffled]) => {
        const query = (list: [string, string][]) =>
          list.map((pair) => pair.map(encodeURIComponent).join("=")).join("&");
        expect(first("/", query(shuffled))[0]).toBe(first("/", query(all))[0]);
      },
    );
    fc.assert(property);
  });

  test("has header values without white space around, and with single spaces within", () => {
    const canonical = first("/", "", { host: "h", "x-amz-meta-a": "  a   b\t c  " }, [
      "host",
      "x-amz-meta-a",
      "content-type",
    ])[0];
    expect(lines(canonical).slice(3)).toEqual([
      "host:h",
      "x-amz-meta-a:a b c",
      "content-type:",
      "",
      "host;x-amz-meta-a;content-type",
      "HASH",
    ]);
  });

  test("a signed accept-encoding is tried as received, then as it may have been before the edge", () => {
    const all = first("/", "", { host: "h", "accept-encoding": "gzip, br" }, ["accept-encoding", "host"]);
    expect(all.map((canonical) => lines(canonical)[3])).toEqual([
      "accept-encoding:gzip, br",
      "accept-encoding:gzip",
      "accept-encoding:br",
    ]);
  });
});

describe("in workerd", () => {
  let miniflare: Miniflare;
  let port: number;

  beforeAll(async () => {
    const contents = await bundle(join(ROOT, "test/iam/worker.ts"));
    miniflare = new Miniflare({
      workers: [
        {
          config: {
            name: "signature",
            compatibilityDate: "2026-11-01",
            compatibilityFlags: ["nodejs_compat"],
            manifest: { mainModule: "worker.mjs", modules: { "worker.mjs": { type: "esm", contents } } },
            env: { SECRET: { type: "text", value: SECRET } },
          },
          dev: { unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }] },
        },
      ],
      cf: false,
      enableDevRegistry: false,
      logRequests: false,
    });
    port = Number((await miniflare.unsafeGetDirectURL("signature")).port);
  });
  afterAll(() => miniflare.dispose());

  /** Signs header values as bytes and sends just those. `sent` takes a value's place on the wire. */
  async function send(
    target: string,
    headers: Record<string, Buffer | string>,
    sent: Record<string, Buffer | string> = {},
  ) {
    const amzDate = new Date().toISOString().replace(/[:-]|\.\d{3}/g, "");
    const all: Record<string, Buffer | string> = {
      host: `127.0.0.1:${port}`,
      "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
      "x-amz-date": amzDate,
      ...headers,
    };
    const names = Object.keys(all).sort();
    const scope = `${amzDate.slice(0, 8)}/ch-dk-2/s3/aws4_request`;
    const [path, query = ""] = target.split("?");
    const canonical = Buffer.concat([
      Buffer.from(`GET\n${path}\n${query}\n`),
      ...names.map((name) => Buffer.concat([Buffer.from(`${name}:`), Buffer.from(all[name]!), Buffer.from("\n")])),
      Buffer.from(`\n${names.join(";")}\nUNSIGNED-PAYLOAD`),
    ]);
    const stringToSign = `AWS4-HMAC-SHA256\n${amzDate}\n${scope}\n${createHash("sha256").update(canonical).digest("hex")}`;
    const header = `AWS4-HMAC-SHA256 Credential=${ACCESS_KEY}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature(scope, stringToSign)}`;
    const lines = Object.entries({ ...all, ...sent, authorization: header, connection: "close" });
    const wire = [
      Buffer.from(`GET ${target} HTTP/1.1\r\n`),
      ...lines.flatMap(([name, value]) => [Buffer.from(`${name}: `), Buffer.from(value), Buffer.from("\r\n")]),
      Buffer.from("\r\n"),
    ];
    return await exchange(Buffer.concat(wire));
  }

  function exchange(request: Buffer): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      let answer = "";
      socket.on("data", (data) => {
        answer += data;
      });
      socket.on("end", () => resolve(answer.slice(answer.indexOf("\r\n\r\n") + 4)));
      socket.on("error", reject);
      socket.write(request);
    });
  }

  test("header values in UTF-8 are verified as the bytes that were sent", async () => {
    for (const value of ["grüß", "€ 😀 \u00a0", "\ufeffx\ufffd", "a\u0301"]) {
      expect(await send("/b/k", { "x-amz-meta-name": Buffer.from(value) })).toBe(ACCESS_KEY);
    }
    const other = { "x-amz-meta-name": Buffer.from("grüss") };
    expect(await send("/b/k", { "x-amz-meta-name": Buffer.from("grüß") }, other)).toBe("SignatureDoesNotMatch");
  });

  test("header values in latin-1 reach no Worker as they were sent, and don't match", async () => {
    expect(await send("/b/k", { "x-amz-meta-name": Buffer.from("grüß", "latin1") })).toBe("SignatureDoesNotMatch");
  });

  test("an empty content-type header is signed, the query's acl= as acl, the raw path as it is", async () => {
    expect(await send("/b/k", { "content-type": "" })).toBe(ACCESS_KEY);
    expect(await send("/b/a/../%2E%2E//c", {})).toBe(ACCESS_KEY);
    expect(await send("/b?acl=", {})).toBe(ACCESS_KEY);
  });

  test("a proxy that rewrites accept-encoding doesn't break a signature over identity", async () => {
    expect(await send("/b/k", { "accept-encoding": "identity" }, { "accept-encoding": "gzip, br" })).toBe(ACCESS_KEY);
    expect(await send("/b/k", { "accept-encoding": "zstd" }, { "accept-encoding": "gzip" })).toBe(
      "SignatureDoesNotMatch",
    );
  });
});

function signature(scope: string, stringToSign: string): string {
  const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  return hmac(scope.split("/").reduce<string | Buffer>(hmac, `AWS4${SECRET}`), stringToSign).toString("hex");
}
