/** Ranges, from the header to the bytes: parseRange, then segments cut to size, beside a slice of an array. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parseCopyRange, parseRange } from "../../src/s3/conditions.ts";
import { readInline, readSegments, type Segment } from "../../src/store/bodies.ts";

// Workers have it and Node hasn't. Its length is for workerd, and would be taken for a transformer here.
class LengthlessStream extends TransformStream<Uint8Array, Uint8Array> {
  constructor(_length: number) {
    super();
  }
}
beforeAll(() => void vi.stubGlobal("FixedLengthStream", LengthlessStream));
afterAll(() => void vi.unstubAllGlobals());

const validators = { etag: "e", lastModified: 0 };
const bytes = fc.uint8Array({ minLength: 1, maxLength: 60 });
const number = fc.option(fc.nat(80), { nil: undefined });

/** The bytes that RFC 9110, section 14.1.2, says are meant; undefined: it can't be satisfied. */
function meant(body: Uint8Array, first: number | undefined, last: number | undefined): Uint8Array | undefined {
  const all = Array.from(body.keys());
  const wanted =
    first === undefined
      ? all.filter((i) => i >= body.length - last!)
      : all.filter((i) => i >= first && (last === undefined || i <= last));
  return wanted.length === 0 ? undefined : Uint8Array.from(wanted, (i) => body[i]!);
}

const range = fc
  .tuple(number, number)
  .filter(([first, last]) => first !== undefined || last !== undefined)
  .filter(([first, last]) => first === undefined || last === undefined || first <= last);

/** A body in segments, cut anywhere, in a store that gives ranges as R2 does. */
function segmented(body: Uint8Array, cuts: number[]): { segments: Segment[]; env: Pick<Env, "BLOBS"> } {
  const inner = cuts.map((cut) => cut % body.length);
  const edges = [...new Set([0, ...inner, body.length])].sort((a, b) => a - b);
  const segments = edges.slice(1).map((end, i): Segment => {
    const offset = edges[i]!;
    return { partNumber: i + 1, offset, size: end - offset, md5: "", checksum: null, r2Key: `${offset}` };
  });
  const get = async (key: string, options: { range?: { offset: number; length: number } } = {}) => {
    const segment = segments.find(({ r2Key }) => r2Key === key)!;
    const { offset, length } = options.range ?? { offset: 0, length: segment.size };
    if (length <= 0 || offset + length > segment.size) throw new Error("no such range");
    const from = segment.offset + offset;
    return { body: new Response(body.slice(from, from + length)).body };
  };
  return { segments, env: { BLOBS: { get } } as unknown as Pick<Env, "BLOBS"> };
}

async function read(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

describe("a range", () => {
  it("gives the bytes that it means, from an inline body and from any segments", async () => {
    const cuts = fc.array(fc.nat(59), { maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(bytes, range, cuts, async (body, [first, last], where) => {
        const headers = new Headers({ range: `bytes=${first ?? ""}-${last ?? ""}` });
        const expected = meant(body, first, last);
        if (!expected) {
          expect(() => parseRange(headers, body.length, validators)).toThrow(/range/i);
          return;
        }
        const parsed = parseRange(headers, body.length, validators)!;
        expect(Uint8Array.from(readInline(Buffer.from(body).toString("base64"), parsed))).toEqual(expected);
        const { segments, env } = segmented(body, where);
        const touched = segments.filter(
          ({ offset, size }) => offset < parsed.offset + parsed.length && offset + size > parsed.offset,
        );
        expect(await read(await readSegments(env, touched, parsed))).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it("of several, or backwards, or of another unit, means the whole object", () => {
    const others = fc.oneof(
      fc.tuple(fc.nat(9), fc.nat(9)).map(([a, b]) => `bytes=${a}-${a + b},${a + 20}-${b + 40}`),
      fc.tuple(fc.nat(9), fc.nat(9)).map(([a, b]) => `bytes=${a + b + 1}-${a}`),
      fc.constantFrom("items=0-1", "bytes=-", "bytes 0-1", "bytes=a-b", ""),
    );
    fc.assert(
      fc.property(others, (header) => {
        expect(parseRange(new Headers({ range: header }), 100, validators)).toBeUndefined();
      }),
    );
  });

  it("of a copy is taken whole or refused: never clamped", () => {
    fc.assert(
      fc.property(fc.nat(80), fc.nat(80), fc.integer({ min: 1, max: 60 }), (first, last, size) => {
        const parse = () => parseCopyRange(`bytes=${first}-${last}`, size);
        if (first <= last && last < size) expect(parse()).toEqual({ offset: first, length: last - first + 1 });
        else expect(parse).toThrow();
      }),
    );
  });
});
