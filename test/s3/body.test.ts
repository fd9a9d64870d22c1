/** Bodies as they arrive in workerd, on their way to R2: what is stored, and that nothing is where anything is wrong. */
import { createHash, randomBytes } from "node:crypto";
import { type OutgoingHttpHeaders, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Payload } from "../../src/iam/signature.ts";
import { bundle } from "../../src/local/bundle.ts";
import { takeBody } from "../../src/s3/body.ts";
import { createChecksum } from "../../src/s3/checksum.ts";
import type { ChecksumAlgorithm } from "../../src/store/versions.ts";
import { ROOT } from "../harness.ts";
import { encode, SIGNED, SIGNED_TRAILER, SIGNING_KEY } from "./encode.ts";

const UNSIGNED: Payload = { kind: "unsigned" };
const UNSIGNED_TRAILER: Payload = { kind: "streaming-unsigned-trailer" };
const ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
const DATA = randomBytes(300_000);

let miniflare: Miniflare;
let port: number;

beforeAll(async () => {
  const contents = await bundle(join(ROOT, "test/s3/body.worker.ts"));
  miniflare = new Miniflare({
    workers: [
      {
        config: {
          name: "body",
          compatibilityDate: "2026-11-01",
          compatibilityFlags: ["nodejs_compat"],
          manifest: { mainModule: "worker.mjs", modules: { "worker.mjs": { type: "esm", contents } } },
          env: { BLOBS: { type: "r2", name: "blobs" } },
        },
        dev: { unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }] },
      },
    ],
    cf: false,
    enableDevRegistry: false,
    logRequests: false,
  });
  port = Number((await miniflare.unsafeGetDirectURL("body")).port);
});
afterAll(() => miniflare.dispose());

let keys = 0;

function testHeaders(payload: Payload): Record<string, string> {
  return {
    "test-payload": JSON.stringify(payload, (name, value) =>
      name === "signingKey" ? SIGNING_KEY.toString("hex") : value,
    ),
  };
}

/** PUTs a body under a fresh key (or sends a document) and gives the answer's text. */
function send(
  body: Uint8Array,
  payload: Payload,
  headers: OutgoingHttpHeaders = {},
  place = "object",
): Promise<string> {
  const length = "transfer-encoding" in headers ? {} : { "content-length": body.length };
  const all = { ...length, ...testHeaders(payload), ...headers };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: "127.0.0.1", port, path: `/${place}/${++keys}`, method: "PUT", headers: all },
      (answer) => {
        let text = "";
        answer.on("data", (data) => {
          text += data;
        });
        answer.on("end", () => resolve(text));
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

async function put(...args: Parameters<typeof send>) {
  return JSON.parse(await send(...args));
}

const document = (body: Uint8Array, payload: Payload, headers?: OutgoingHttpHeaders) =>
  send(body, payload, headers, "document");

function checksum(algorithm: ChecksumAlgorithm, bytes: Uint8Array): string {
  const running = createChecksum(algorithm);
  running.update(bytes);
  return running.digest().toString("base64");
}

const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest();
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const pieces = (size: number) =>
  Array.from({ length: Math.ceil(DATA.length / size) }, (_, n) => DATA.subarray(n * size, (n + 1) * size));
const decoded = { "x-amz-decoded-content-length": String(DATA.length), "content-encoding": "aws-chunked" };
const refused = (code: string) => ({ code, isStored: false });

describe("a plain body", () => {
  test("is handed to the store untouched, with the digests to verify", () => {
    const headers = { "content-length": "5", "content-md5": md5(Buffer.from("hello")).toString("base64") };
    const incoming = new Request("http://h/", { method: "PUT", body: "hello", headers });
    const payload: Payload = { kind: "hash", sha256: sha256(Buffer.from("hello")) };
    const body = takeBody(incoming, payload);
    expect(body.stream).toBe(incoming.body);
    expect(body).toMatchObject({ size: 5, sha256: payload.sha256, md5: "5d41402abc4b2a76b9719d911017c592" });
  });

  test("is stored as it is, also an empty one", async () => {
    const stored = { size: DATA.length, md5: md5(DATA).toString("hex"), checksum: null };
    expect(await put(DATA, UNSIGNED)).toEqual(stored);
    expect(await put(DATA, { kind: "hash", sha256: sha256(DATA) })).toEqual(stored);
    expect(await put(Buffer.alloc(0), UNSIGNED)).toMatchObject({ size: 0, md5: "d41d8cd98f00b204e9800998ecf8427e" });
  });

  test("that isn't what x-amz-content-sha256 or Content-MD5 say is stored by no one", async () => {
    expect(await put(DATA, { kind: "hash", sha256: sha256(Buffer.from("x")) })).toMatchObject({ isStored: false });
    const wrong = { "content-md5": md5(Buffer.from("x")).toString("base64") };
    expect(await put(DATA, UNSIGNED, wrong)).toMatchObject({ isStored: false });
  });

  test("without Content-Length is MissingContentLength", async () => {
    expect(await put(DATA, UNSIGNED, { "transfer-encoding": "chunked" })).toMatchObject(
      refused("MissingContentLength"),
    );
  });

  test("over 5 GiB is EntityTooLarge, before any of it is read", async () => {
    const answer = await sendHalf(5 * 1024 ** 3 + 1, "");
    expect(answer).toMatchObject({ ...refused("EntityTooLarge"), details: { MaxSizeAllowed: 5 * 1024 ** 3 } });
  });

  test("with a malformed Content-MD5 is InvalidDigest", async () => {
    expect(await put(DATA, UNSIGNED, { "content-md5": "x" })).toMatchObject(refused("InvalidDigest"));
  });

  test("from a client that ends early isn't stored, with a checksum or without", async () => {
    expect(await sendHalf(50, "hello")).toMatchObject({ isStored: false });
    const answer = await sendHalf(50, "hello", { "x-amz-checksum-crc32": "AAAAAA==" });
    expect(answer).toMatchObject(refused("IncompleteBody"));
  });
});

describe("a checksum header", () => {
  test.each(ALGORITHMS)("of %s that is right is to be stored", async (algorithm) => {
    for (const bytes of [DATA, Buffer.from("tiny"), Buffer.alloc(0)]) {
      const value = checksum(algorithm, bytes);
      const answer = await put(bytes, UNSIGNED, { [`x-amz-checksum-${algorithm.toLowerCase()}`]: value });
      expect(answer).toEqual({
        size: bytes.length,
        md5: md5(bytes).toString("hex"),
        checksum: { algorithm, type: "FULL_OBJECT", value },
      });
    }
  });

  test.each(["CRC32", "CRC32C", "CRC64NVME", "SHA1"] as const)(
    "of %s that is wrong is BadDigest, and nothing stored",
    async (algorithm) => {
      const value = checksum(algorithm, Buffer.from("other"));
      for (const bytes of [DATA, Buffer.from("tiny"), Buffer.alloc(0)]) {
        const answer = await put(bytes, UNSIGNED, { [`x-amz-checksum-${algorithm.toLowerCase()}`]: value });
        expect(answer).toMatchObject({
          ...refused("BadDigest"),
          message: `The ${algorithm} you specified did not match the calculated checksum.`,
        });
      }
    },
  );

  test("of SHA256 is R2's to verify, and BadDigest if it is wrong", async () => {
    const wrong = { "x-amz-checksum-sha256": checksum("SHA256", Buffer.from("other")) };
    expect(await put(DATA, UNSIGNED, wrong)).toMatchObject({ isStored: false, mismatch: "BadDigest" });
    const payload: Payload = { kind: "hash", sha256: sha256(DATA) };
    expect(await put(DATA, payload, wrong)).toMatchObject(refused("BadDigest"));
    expect(await put(DATA, payload, { "x-amz-checksum-sha256": checksum("SHA256", DATA) })).toMatchObject({
      checksum: { algorithm: "SHA256" },
    });
  });

  test("beside a payload hash: both are verified", async () => {
    const crc32 = { "x-amz-checksum-crc32": checksum("CRC32", DATA) };
    expect(await put(DATA, { kind: "hash", sha256: sha256(DATA) }, crc32)).toMatchObject({ size: DATA.length });
    expect(await put(DATA, { kind: "hash", sha256: "0".repeat(64) }, crc32)).toMatchObject({ isStored: false });
  });
});

describe("an aws-chunked body", () => {
  const trailer = (algorithm: ChecksumAlgorithm, value = checksum(algorithm, DATA)) =>
    `x-amz-checksum-${algorithm.toLowerCase()}:${value}`;
  const announce = (algorithm: string) => ({
    ...decoded,
    "x-amz-trailer": `x-amz-checksum-${algorithm.toLowerCase()}`,
  });
  const stored = { size: DATA.length, md5: md5(DATA).toString("hex") };

  test("is stored without its framing, in all forms", async () => {
    for (const size of [100_000, 65_536, 1_000]) {
      expect(await put(encode(pieces(size), { signed: true }), SIGNED, decoded)).toMatchObject(stored);
      expect(await put(encode(pieces(size), { signed: false }), UNSIGNED_TRAILER, decoded)).toMatchObject(stored);
      const wire = encode(pieces(size), { signed: true, trailer: trailer("CRC32") });
      expect(await put(wire, SIGNED_TRAILER, announce("crc32"))).toMatchObject(stored);
    }
    const empty = { ...decoded, "x-amz-decoded-content-length": "0" };
    expect(await put(encode([], { signed: true }), SIGNED, empty)).toMatchObject({ size: 0 });
  });

  test("may come without Content-Length", async () => {
    const chunked = { ...decoded, "transfer-encoding": "chunked" };
    expect(await put(encode(pieces(65_536), { signed: true }), SIGNED, chunked)).toMatchObject(stored);
  });

  test.each(ALGORITHMS)("has its %s verified, as trailer or header", async (algorithm) => {
    const value = checksum(algorithm, DATA);
    const expected = { ...stored, checksum: { algorithm, type: "FULL_OBJECT", value } };
    const wire = encode(pieces(50_000), { signed: false, trailer: trailer(algorithm) });
    expect(await put(wire, UNSIGNED_TRAILER, announce(algorithm))).toEqual(expected);
    const header = { ...decoded, [`x-amz-checksum-${algorithm.toLowerCase()}`]: value };
    expect(await put(encode(pieces(50_000), { signed: true }), SIGNED, header)).toEqual(expected);
    const wrong = encode(pieces(50_000), {
      signed: false,
      trailer: trailer(algorithm, checksum(algorithm, Buffer.from("x"))),
    });
    expect(await put(wrong, UNSIGNED_TRAILER, announce(algorithm))).toMatchObject(refused("BadDigest"));
  });

  test("with a trailer that is no checksum's value is InvalidRequest", async () => {
    const wire = encode(pieces(50_000), { signed: false, trailer: trailer("CRC32", "AAAA") });
    expect(await put(wire, UNSIGNED_TRAILER, announce("crc32"))).toMatchObject({
      ...refused("InvalidRequest"),
      message: "Value for x-amz-checksum-crc32 trailing header is invalid.",
    });
  });

  test("whose last chunk's signature is wrong, or whose end is missing, isn't stored", async () => {
    const wire = encode(pieces(65_536), { signed: true });
    const tampered = Buffer.from(wire);
    const digit = wire.lastIndexOf("=") + 1;
    tampered.write(tampered[digit] === 0x30 ? "1" : "0", digit);
    expect(await put(tampered, SIGNED, decoded)).toMatchObject(refused("SignatureDoesNotMatch"));
    const final = wire.lastIndexOf("0;chunk-signature");
    expect(await put(wire.subarray(0, final), SIGNED, decoded)).toMatchObject(refused("IncompleteBody"));
    expect(await put(encode(pieces(65_536), { signed: false }), UNSIGNED_TRAILER, announce("crc32"))).toMatchObject(
      refused("MalformedTrailerError"),
    );
  });

  test("needs x-amz-decoded-content-length, a number", async () => {
    const wire = encode([], { signed: true });
    expect(await put(wire, SIGNED)).toMatchObject(refused("MissingContentLength"));
    for (const value of ["", "-1", "1e3", "0x10", "9".repeat(30)]) {
      const answer = await put(wire, SIGNED, { "x-amz-decoded-content-length": value });
      expect(answer).toMatchObject({ ...refused("InvalidArgument"), details: { ArgumentValue: value } });
    }
  });

  test("whose form has no trailer mustn't announce one", async () => {
    expect(await put(encode(pieces(65_536), { signed: true }), SIGNED, announce("crc32"))).toMatchObject(
      refused("MalformedTrailerError"),
    );
    expect(await put(DATA, UNSIGNED, { "x-amz-trailer": "x-amz-checksum-crc32" })).toMatchObject(
      refused("MalformedTrailerError"),
    );
  });

  test("without x-amz-content-sha256 is known by its Content-Encoding", async () => {
    const wire = encode(pieces(65_536), { signed: false, trailer: trailer("CRC32") });
    expect(await put(wire, UNSIGNED, announce("crc32"))).toMatchObject(stored);
    const plain = { ...announce("crc32"), "x-amz-trailer": [], "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
    expect(await put(DATA, UNSIGNED, plain)).toMatchObject(stored);
  });
});

describe("a document", () => {
  const XML = Buffer.from("<Delete/>");

  test("is given whole, in all forms; no body is an empty document", async () => {
    const size = { "x-amz-decoded-content-length": String(XML.length) };
    expect(await document(XML, UNSIGNED)).toBe("<Delete/>");
    expect(await document(XML, UNSIGNED, { "transfer-encoding": "chunked" })).toBe("<Delete/>");
    expect(
      await document(XML, { kind: "hash", sha256: sha256(XML) }, { "content-md5": md5(XML).toString("base64") }),
    ).toBe("<Delete/>");
    expect(await document(encode([XML], { signed: true }), SIGNED, size)).toBe("<Delete/>");
    const trailer = { ...size, "x-amz-trailer": "x-amz-checksum-crc32" };
    const wire = encode([XML], { signed: false, trailer: `x-amz-checksum-crc32:${checksum("CRC32", XML)}` });
    expect(await document(wire, UNSIGNED_TRAILER, trailer)).toBe("<Delete/>");
    expect(await document(Buffer.alloc(0), UNSIGNED)).toBe("");
  });

  test("is refused where a digest is wrong", async () => {
    const other = Buffer.from("other");
    const code = async (...args: Parameters<typeof document>) => JSON.parse(await document(...args)).code;
    expect(await code(XML, { kind: "hash", sha256: sha256(other) })).toBe("XAmzContentSHA256Mismatch");
    expect(await code(XML, UNSIGNED, { "content-md5": md5(other).toString("base64") })).toBe("BadDigest");
    for (const algorithm of ALGORITHMS) {
      const header = { [`x-amz-checksum-${algorithm.toLowerCase()}`]: checksum(algorithm, other) };
      expect(await code(XML, UNSIGNED, header)).toBe("BadDigest");
    }
  });

  test("is refused where it is longer than allowed, whether it says so or not", async () => {
    const long = Buffer.alloc(1001);
    const expected = { code: "MaxMessageLengthExceeded", details: { MaxMessageLengthBytes: 1000 } };
    expect(await document(Buffer.alloc(1000), UNSIGNED)).toHaveLength(1000);
    expect(JSON.parse(await document(long, UNSIGNED))).toMatchObject(expected);
    expect(JSON.parse(await document(long, UNSIGNED, { "transfer-encoding": "chunked" }))).toMatchObject(expected);
  });
});

/** Says that `length` bytes come, sends `text`, ends its own side, and reads the answer. */
function sendHalf(length: number, text: string, headers: Record<string, string> = {}) {
  const all = {
    host: "h",
    "content-length": String(length),
    connection: "close",
    ...testHeaders(UNSIGNED),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    let answer = "";
    socket.on("data", (data) => {
      answer += data;
    });
    socket.on("end", () => {
      socket.destroy();
      resolve(JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4)));
    });
    socket.on("error", reject);
    socket.end(`PUT /object/${++keys} HTTP/1.1\r\n${lines.join("")}\r\n${text}`);
  });
}
