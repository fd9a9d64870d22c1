/** The framing's parser: AWS's published streams, any stream cut anywhere, and every way in which one may be broken. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SignedStream } from "../../src/iam/signature.ts";
import { ChunkedDecoder, type Framing } from "../../src/s3/chunked.ts";
import { check, EXAMPLES } from "../iam/examples.ts";
import { encode, type Form, SIGNED, SIGNED_TRAILER } from "./encode.ts";

const TRAILER = "x-amz-checksum-crc32";
const VALUE = "AAAAAA==";

/** Feeds the wire in reads of the sizes given, over and over. Reads are copies: the decoder moves bytes in place. */
function decode(wire: Uint8Array, framing: Framing, reads: number[] = [wire.length || 1]) {
  const decoder = new ChunkedDecoder(framing);
  const pieces: Buffer[] = [];
  for (let at = 0, read = 0; at < wire.length; read++) {
    const bytes = new Uint8Array(wire.subarray(at, at + reads[read % reads.length]!));
    at += bytes.length;
    pieces.push(Buffer.from(decoder.push(bytes)));
  }
  return { trailer: decoder.end(), bytes: Buffer.concat(pieces) };
}

function framing(size: number, form: Form): Framing {
  const hasTrailer = form.trailer !== undefined;
  const signed = !form.signed ? undefined : hasTrailer ? SIGNED_TRAILER : SIGNED;
  return { signed, hasTrailer: hasTrailer || !form.signed, size, announced: form.trailer ? TRAILER : undefined };
}

const FORMS: [name: string, form: Form][] = [
  ["signed", { signed: true }],
  ["signed with trailer", { signed: true, trailer: `${TRAILER}:${VALUE}` }],
  ["unsigned with trailer", { signed: false, trailer: `${TRAILER}:${VALUE}` }],
  ["unsigned without the trailer that it may have", { signed: false }],
];

describe("AWS's published streams", () => {
  const chunk = (size: string, signature: string, letters: number) =>
    `${size};chunk-signature=${signature}\r\n${"a".repeat(letters)}${letters ? "\r\n" : ""}`;
  const PLAIN =
    chunk("10000", "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648", 65536) +
    chunk("400", "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497", 1024) +
    chunk("0", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9", 0);
  const WITH_TRAILER =
    chunk("10000", "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", 65536) +
    chunk("400", "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7", 1024) +
    chunk("0", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992", 0);
  const SIGNATURE = "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";

  async function read(wire: string, announced?: string) {
    const example = announced ? "chunked upload with trailer" : "chunked upload";
    const signed = (await check(EXAMPLES[example]))!.payload as SignedStream;
    return decode(Buffer.from(wire), { signed, hasTrailer: signed.trailer, size: 66560, announced });
  }

  test("the chunked upload is verified, and any byte changed in it refused", async () => {
    const wire = `${PLAIN}\r\n`;
    expect(wire.length).toBe(66824);
    expect((await read(wire)).bytes).toEqual(Buffer.alloc(66560, "a"));
    const refused = expect.objectContaining({ code: "SignatureDoesNotMatch" });
    await expect(read(wire.replace("aaa", "aba"))).rejects.toEqual(refused);
    await expect(read(wire.replace("ad80", "ad81"))).rejects.toEqual(refused);
    await expect(read(wire.replace("0055", "0056"))).rejects.toEqual(refused);
    await expect(read(wire.replace("b6c6", "b6c7"))).rejects.toEqual(refused);
  });

  test("the chunked upload with a trailer is verified, its trailer too", async () => {
    const name = "x-amz-checksum-crc32c";
    const wire = `${WITH_TRAILER}${name}:sOO8/Q==\r\n${SIGNATURE}\r\n\r\n`;
    expect(wire.length).toBe(66946);
    expect(await read(wire, name)).toMatchObject({ trailer: "sOO8/Q==" });
    const refused = expect.objectContaining({ code: "SignatureDoesNotMatch" });
    await expect(read(wire.replace("sOO8", "sOO9"), name)).rejects.toEqual(refused);
    await expect(read(wire.replace("d81f", "d81e"), name)).rejects.toEqual(refused);
  });

  test("minio-go's line ends are understood", async () => {
    const name = "x-amz-checksum-crc32c";
    expect(await read(`${WITH_TRAILER}${name}:sOO8/Q==\n\r\n${SIGNATURE}\r\n\r\n`, name)).toMatchObject({
      trailer: "sOO8/Q==",
    });
    const unsigned = { signed: undefined, hasTrailer: true, size: 1, announced: TRAILER };
    const wire = Buffer.from(`1\r\na\r\n0\r\n${TRAILER}:${VALUE}\n\r\n\r\n`);
    expect(decode(wire, unsigned)).toMatchObject({ trailer: VALUE });
    expect(decode(wire, unsigned, [1])).toMatchObject({ trailer: VALUE });
  });
});

describe.each(FORMS)("a stream %s", (_, form) => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 6 });
  const reads = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 8 });

  test("gives the same bytes wherever the reads cut it", () => {
    const property = fc.property(chunks, reads, (parts, sizes) => {
      const bytes = Buffer.concat(parts);
      const decoded = decode(encode(parts, form), framing(bytes.length, form), sizes);
      expect(decoded.bytes.equals(bytes)).toBe(true);
      expect(decoded.trailer).toBe(form.trailer && VALUE);
    });
    fc.assert(property, { numRuns: 300 });
  });

  test("is refused where it ends early, wherever that is", () => {
    const parts = [Buffer.from("hello"), Buffer.from("world!")];
    const wire = encode(parts, form);
    for (let end = 0; end < wire.length; end++) {
      const cut = () => decode(wire.subarray(0, end), framing(11, form), [7]);
      expect(cut).toThrow(expect.objectContaining({ code: "IncompleteBody" }));
    }
  });

  test("is refused with anything after its end", () => {
    for (const garbage of ["x", "\n", "\r\n\r\n", "0\r\n\r\n"]) {
      const wire = Buffer.concat([encode([Buffer.from("a")], form), Buffer.from(garbage)]);
      expect(() => decode(wire, framing(1, form))).toThrow(expect.objectContaining({ code: "IncompleteBody" }));
    }
  });

  test("is refused with more or fewer bytes than x-amz-decoded-content-length", () => {
    const wire = encode([Buffer.from("hello"), Buffer.from("world")], form);
    for (const size of [0, 4, 9, 11]) {
      expect(() => decode(wire, framing(size, form))).toThrow(
        expect.objectContaining({
          code: "IncompleteBody",
          details: expect.objectContaining({ NumberBytesExpected: size }),
        }),
      );
    }
  });

  test("holds nothing but its final chunk for an empty body", () => {
    expect(decode(encode([], form), framing(0, form)).bytes).toHaveLength(0);
  });
});

describe("framing that isn't of the form", () => {
  const unsigned = { signed: undefined, hasTrailer: true, size: 5, announced: undefined };
  test.each([
    "",
    "hello",
    "5\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5;ext\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    `${"0".repeat(17)}5\r\nhello\r\n0\r\n\r\n`,
    "ffffffffffffffff\r\nhello",
    "5".repeat(10_000),
  ])("%j is IncompleteBody", (wire) => {
    expect(() => decode(Buffer.from(wire), unsigned, [4096])).toThrow(
      expect.objectContaining({ code: "IncompleteBody" }),
    );
  });

  test("a signed stream's chunk without a signature is IncompleteBody", () => {
    const wire = Buffer.from("1\r\na\r\n0\r\n\r\n");
    const refused = expect.objectContaining({ code: "IncompleteBody" });
    expect(() => decode(wire, framing(1, { signed: true }))).toThrow(refused);
  });

  test("chunks in another order, or one left out, are SignatureDoesNotMatch", () => {
    const wire = encode([Buffer.from("aa"), Buffer.from("bb"), Buffer.from("cc")], { signed: true }).toString("latin1");
    const [a, b, c, end] = wire.match(/[0-9a-f]+;.*\r\n(..\r\n)?/g)!;
    const refused = expect.objectContaining({ code: "SignatureDoesNotMatch" });
    const read = (size: number, ...pieces: (string | undefined)[]) =>
      decode(Buffer.from(`${pieces.join("")}\r\n`), framing(size, { signed: true }));
    expect(read(6, a, b, c, end).bytes.toString()).toBe("aabbcc");
    expect(() => read(6, a, c, b, end)).toThrow(refused);
    expect(() => read(4, a, c, end)).toThrow(refused);
    expect(() => read(4, a, b, end)).toThrow(refused);
  });
});

describe("trailers", () => {
  const malformed = expect.objectContaining({ code: "MalformedTrailerError" });
  const incomplete = expect.objectContaining({ code: "IncompleteBody" });
  const unsigned = (announced: string | undefined) => ({ signed: undefined, hasTrailer: true, size: 1, announced });

  test.each([
    ["an announced one is missing", `\r\n`],
    ["another comes than was announced", `x-amz-checksum-sha1:${VALUE}\r\n\r\n`],
    ["one comes twice", `${TRAILER}:${VALUE}\r\n${TRAILER}:${VALUE}\r\n\r\n`],
    ["it has no colon", `${TRAILER}\r\n\r\n`],
    ["it has no name", `:${VALUE}\r\n\r\n`],
    ["an unsigned stream has a trailer signature", `${TRAILER}:${VALUE}\r\nx-amz-trailer-signature:0\r\n\r\n`],
  ])("are MalformedTrailerError where %s", (_, section) => {
    expect(() => decode(Buffer.from(`1\r\na\r\n0\r\n${section}`), unsigned(TRAILER))).toThrow(malformed);
  });

  test("that weren't announced are MalformedTrailerError", () => {
    expect(() => decode(Buffer.from(`1\r\na\r\n0\r\n${TRAILER}:${VALUE}\r\n\r\n`), unsigned(undefined))).toThrow(
      malformed,
    );
  });

  test("of a signed stream must be signed, and be all of what is signed", () => {
    const form = { signed: true, trailer: `${TRAILER}:${VALUE}` };
    const wire = encode([Buffer.from("a")], form).toString("latin1");
    const read = (text: string) => decode(Buffer.from(text), framing(1, form));
    expect(read(wire).trailer).toBe(VALUE);
    expect(() => read(wire.replace(/x-amz-trailer-signature:.*\r\n/, ""))).toThrow(incomplete);
    expect(() => read(wire.replace(`${TRAILER}:${VALUE}\r\n`, ""))).toThrow(
      expect.objectContaining({ code: "SignatureDoesNotMatch" }),
    );
    const empty = encode([Buffer.from("a")], { signed: true, trailer: "" }).toString("latin1");
    expect(() => read(empty)).toThrow(malformed);
    expect(() => read(empty.replace(/\r\n$/, `${TRAILER}:${VALUE}\r\n\r\n`))).toThrow(malformed);
  });

  test("in a form that has none are IncompleteBody", () => {
    const wire = encode([Buffer.from("a")], { signed: true })
      .toString("latin1")
      .replace(/\r\n$/, `${TRAILER}:${VALUE}\r\n\r\n`);
    expect(() => decode(Buffer.from(wire), framing(1, { signed: true }))).toThrow(incomplete);
  });
});
