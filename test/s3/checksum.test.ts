/** Checksums: the algorithms against known values and against each other, and what headers may announce. */
import { createHash, randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  announcedChecksum,
  checksumAlgorithm,
  checksumHeader,
  compositeChecksum,
  contentMd5,
  createChecksum,
  fullObjectChecksum,
} from "../../src/s3/checksum.ts";
import type { ChecksumAlgorithm } from "../../src/store/versions.ts";

const ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"] as const;
const CRCS = ["CRC32", "CRC32C", "CRC64NVME"] as const;

function checksum(algorithm: ChecksumAlgorithm, ...pieces: Uint8Array[]): Buffer {
  const running = createChecksum(algorithm);
  for (const piece of pieces) running.update(piece);
  return running.digest();
}

describe("the algorithms", () => {
  test.each([
    ["CRC32", "cbf43926"],
    ["CRC32C", "e3069283"],
    ["CRC64NVME", "ae8b14860a799888"],
    ["SHA1", createHash("sha1").update("123456789").digest("hex")],
    ["SHA256", createHash("sha256").update("123456789").digest("hex")],
  ] as const)("%s of 123456789 is %s", (algorithm, expected) => {
    expect(checksum(algorithm, Buffer.from("123456789")).toString("hex")).toBe(expected);
  });

  test("CRC32C of the published trailer example is sOO8/Q==", () => {
    expect(checksum("CRC32C", Buffer.alloc(66560, "a")).toString("base64")).toBe("sOO8/Q==");
  });

  test.each(ALGORITHMS)("%s is the same however the bytes come, aligned or not", (algorithm) => {
    const bytes = randomBytes(20_000);
    const cuts = fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 6 });
    const property = fc.property(cuts, fc.integer({ min: 0, max: 7 }), (positions, offset) => {
      const moved = new Uint8Array(bytes.length + offset).subarray(offset);
      moved.set(bytes);
      const ends = [...positions.sort((a, b) => a - b), bytes.length];
      const pieces = ends.map((end, index) => moved.subarray(index ? ends[index - 1] : 0, end));
      expect(checksum(algorithm, ...pieces)).toEqual(checksum(algorithm, bytes));
    });
    fc.assert(property);
  });

  test.each(CRCS)("%s by tables is what it is bit by bit", (algorithm) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(checksum(algorithm, bytes).toString("hex")).toBe(bitByBit(algorithm, bytes));
      }),
    );
  });
});

describe("a multipart object's checksum", () => {
  const parts = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 8 });

  test.each(CRCS)("FULL_OBJECT %s of the parts is that of their concatenation", (algorithm) => {
    const property = fc.property(parts, (pieces) => {
      const known = pieces.map((piece) => ({
        value: checksum(algorithm, piece).toString("base64"),
        size: piece.length,
      }));
      expect(fullObjectChecksum(algorithm, known)).toBe(checksum(algorithm, ...pieces).toString("base64"));
    });
    fc.assert(property);
  });

  test.each(CRCS)("FULL_OBJECT %s of parts of 5 GiB, as if they had been read", (algorithm) => {
    // Zeros: the CRC of 5 GiB of them is had by doubling, which leans on pieces of known sizes only.
    let zeros = { value: checksum(algorithm, new Uint8Array(1)).toString("base64"), size: 1 };
    const sum = (all: { value: string; size: number }[]) => ({
      value: fullObjectChecksum(algorithm, all),
      size: all.reduce((total, part) => total + part.size, 0),
    });
    for (let doubling = 0; doubling < 20; doubling++) zeros = sum([zeros, zeros]);
    expect(zeros).toEqual({ value: checksum(algorithm, new Uint8Array(1 << 20)).toString("base64"), size: 1 << 20 });
    for (let doubling = 0; doubling < 12; doubling++) zeros = sum([zeros, zeros]);
    const five = sum([zeros, sum([zeros, sum([zeros, sum([zeros, zeros])])])]);
    expect(five).toEqual(sum([sum([sum([zeros, zeros]), sum([zeros, zeros])]), zeros]));
  });

  test.each(ALGORITHMS)("COMPOSITE %s is the checksum of the parts' checksums, and their number", (algorithm) => {
    const pieces = [Buffer.from("a"), Buffer.from("bc"), Buffer.alloc(0)];
    const digests = pieces.map((piece) => checksum(algorithm, piece));
    const expected = checksum(algorithm, Buffer.concat(digests)).toString("base64");
    expect(
      compositeChecksum(
        algorithm,
        digests.map((digest) => digest.toString("base64")),
      ),
    ).toBe(`${expected}-3`);
  });
});

describe("what the headers announce", () => {
  const announced = (headers: Record<string, string>) => announcedChecksum(new Headers(headers));
  const invalid = (message: string) => expect.objectContaining({ code: "InvalidRequest", message });

  test("nothing, a header, or a trailer", () => {
    expect(announced({ "x-amz-checksum-mode": "ENABLED", "x-amz-checksum-algorithm": "SHA1" })).toBeUndefined();
    expect(announced({ "x-amz-checksum-type": "FULL_OBJECT" })).toBeUndefined();
    for (const algorithm of ALGORITHMS) {
      const value = checksum(algorithm, Buffer.from("x")).toString("base64");
      const sdk = { "x-amz-sdk-checksum-algorithm": algorithm.toLowerCase() };
      expect(announced({ [checksumHeader(algorithm)]: value })).toEqual({ algorithm, value });
      expect(announced({ [checksumHeader(algorithm)]: value, ...sdk })).toEqual({ algorithm, value });
      expect(announced({ "x-amz-trailer": checksumHeader(algorithm), ...sdk })).toEqual({
        algorithm,
        value: undefined,
      });
    }
  });

  test("more than one is InvalidRequest", () => {
    const refused = invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
    const crc32 = { "x-amz-checksum-crc32": "AAAAAA==" };
    expect(() => announced({ ...crc32, "x-amz-checksum-crc32c": "AAAAAA==" })).toThrow(refused);
    expect(() => announced({ ...crc32, "x-amz-trailer": "x-amz-checksum-crc32" })).toThrow(refused);
    expect(() => announced({ "x-amz-trailer": "x-amz-checksum-crc32, x-amz-checksum-sha1" })).toThrow(refused);
  });

  test("bad base64, another length, or a repeated header is InvalidRequest", () => {
    for (const value of [
      "",
      "AAAAAA",
      "AAAAAA=",
      "AAAAAAA=",
      "AAAAAB==",
      "AAAA AA==",
      "AAAAAA==, AAAAAA==",
      "????",
      "AA-_AA==",
    ]) {
      const refused = invalid("Value for x-amz-checksum-crc32 header is invalid.");
      expect(() => announced({ "x-amz-checksum-crc32": value })).toThrow(refused);
    }
  });

  test("x-amz-sdk-checksum-algorithm alone, unknown, or for another algorithm is InvalidRequest", () => {
    expect(() => announced({ "x-amz-sdk-checksum-algorithm": "CRC32" })).toThrow(
      invalid(
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
      ),
    );
    const refused = invalid("Value for x-amz-sdk-checksum-algorithm header is invalid.");
    const crc32 = { "x-amz-checksum-crc32": "AAAAAA==" };
    expect(() => announced({ ...crc32, "x-amz-sdk-checksum-algorithm": "SHA1" })).toThrow(refused);
    expect(() => announced({ ...crc32, "x-amz-sdk-checksum-algorithm": "CRC" })).toThrow(refused);
  });

  test("algorithms of S3's that aren't built are refused by name, others as unknown", () => {
    for (const name of ["md5", "sha512", "xxhash64", "xxhash3", "xxhash128"]) {
      const refused = expect.objectContaining({
        code: "NotImplemented",
        details: { Header: `x-amz-checksum-${name}` },
      });
      expect(() => announced({ [`x-amz-checksum-${name}`]: "AAAA" })).toThrow(refused);
    }
    expect(() => announced({ "x-amz-checksum-crc16": "AAAA" })).toThrow(
      invalid("The algorithm type you specified in x-amz-checksum- header is invalid."),
    );
    for (const name of ["content-md5", "x-amz-checksum-crc16", "x-amz-meta-a"]) {
      const refused = invalid("The value specified in the x-amz-trailer header is not supported");
      expect(() => announced({ "x-amz-trailer": name })).toThrow(refused);
    }
    expect(checksumAlgorithm("constructor")).toBeUndefined();
  });

  test("Content-MD5 is base64 of 16 bytes, or InvalidDigest", () => {
    const md5 = createHash("md5").update("x").digest();
    expect(contentMd5(new Headers())).toBeUndefined();
    expect(contentMd5(new Headers({ "content-md5": md5.toString("base64") }))).toBe(md5.toString("hex"));
    for (const value of ["", "x", md5.toString("hex"), md5.toString("base64").slice(0, -1), "AAAAAA=="]) {
      const refused = expect.objectContaining({ code: "InvalidDigest", status: 400 });
      expect(() => contentMd5(new Headers({ "content-md5": value }))).toThrow(refused);
    }
  });
});

/** As the catalogues of CRCs define them. */
function bitByBit(algorithm: (typeof CRCS)[number], bytes: Uint8Array): string {
  const polynomial = { CRC32: 0xedb88320n, CRC32C: 0x82f63b78n, CRC64NVME: 0x9a6c9329ac4bc9b5n }[algorithm];
  const width = algorithm === "CRC64NVME" ? 64n : 32n;
  const ones = (1n << width) - 1n;
  let value = ones;
  for (const byte of bytes) {
    value ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ polynomial : value >> 1n;
  }
  return (value ^ ones).toString(16).padStart(Number(width) / 4, "0");
}
