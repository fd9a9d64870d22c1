import fc from "fast-check";
import { expect, it } from "vitest";
import { decodeFrames, decodePieceHeader, type Entry, encodeFrame, encodePieceHeader } from "../../src/peers/frames.ts";

const entry = fc.record({
  key: fc.string({ unit: "binary", minLength: 1 }),
  versionId: fc.constant("1882839214215963841"),
  isDeleteMarker: fc.boolean(),
  size: fc.nat(),
  etag: fc.string(),
  headers: fc.dictionary(fc.string(), fc.string()),
  metadata: fc.dictionary(fc.string(), fc.string()),
  tags: fc.constant({}),
  checksum: fc.constant(null),
});

it("a row of frames gives back its entries and bodies, whatever stands in keys and headers", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(entry, fc.uint8Array({ maxLength: 50 })), { maxLength: 5 }), (rows) => {
      const frames = decodeFrames(Buffer.concat(rows.map(([each, body]) => encodeFrame(each as Entry, body))));
      expect(frames.map(({ entry: { inlineBytes: _, ...each } }) => each)).toEqual(
        rows.map(([each]) => JSON.parse(JSON.stringify(each))),
      );
      expect(frames.map(({ inline }) => [...inline])).toEqual(rows.map(([, body]) => [...body]));
    }),
  );
});

it("a row that ends in the middle of a frame is InvalidRequest", () => {
  const frame = encodeFrame({ key: "k" } as Entry, new Uint8Array(10));
  for (let length = 1; length < frame.length; length++) {
    expect(() => decodeFrames(frame.subarray(0, length))).toThrow("no row of replication frames");
  }
});

it("a piece's header carries any key", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (key) => {
      const header = { key, versionId: "1", partNumber: 1, partOffset: 0, size: 5, md5: "m", checksum: null };
      expect(encodePieceHeader(header)).toMatch(/^[A-Za-z0-9_-]+$/);
      expect(decodePieceHeader(encodePieceHeader(header))).toEqual(header);
    }),
  );
  expect(() => decodePieceHeader("%%%")).toThrow();
});
