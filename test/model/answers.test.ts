/** The checks of what was answered and what is missing, on histories made by hand. The others are in checks.test.ts. */
import { describe, expect, it } from "vitest";
import {
  both,
  broken,
  contentOf,
  found,
  historyOf,
  none,
  one,
  put,
  type Said,
  stands,
  two,
  V1,
  V2,
} from "./fixture.ts";
import { type End, type FinalVersion, NULL } from "./history.ts";

describe("an answer", () => {
  const refused = (code: string, more: Partial<Said> = {}): Said => put("r", { result: "refused", code, ...more });

  it("must be a refusal only in words that the history bears out", () => {
    const condition = { ifMatch: contentOf("x") };
    expect(broken(historyOf([refused("NoSuchKey", { condition })], none))).toEqual([]);
    expect(broken(historyOf([refused("AccessDenied", { condition })], none))).toEqual(["answers"]);
    expect(broken(historyOf([refused("AccessDenied")], none))).toEqual(["answers"]);
    expect(broken(historyOf([refused("PreconditionFailed")], none))).toEqual(["answers"]);
    expect(broken(historyOf([refused("NoSuchKey", { condition: { ifNoneMatch: "*" } })], none))).toEqual(["answers"]);
    expect(broken(historyOf([{ kind: "remove", versionId: V1, result: "refused" }], none))).toEqual(["answers"]);
  });

  it("must not say that a version isn't there which is", () => {
    const tag = (end: End): Said => ({ kind: "tag", end, versionId: V1, result: "refused", code: "NoSuchVersion" });
    const copied = (end: End): Said => {
      const source = { end, key: "k", versionId: V1 };
      return { kind: "copy", key: "other", result: "refused", code: "NoSuchVersion", source };
    };
    const a = put("a", { versionId: V1 });
    expect(broken(historyOf([a, tag(0)], one))).toEqual(["answers", "linearizable"]);
    expect(broken(historyOf([a, copied(0)], one))).toEqual(["answers"]);
    expect(broken(historyOf([a, copied(1)], one))).toEqual([]);
    expect(broken(historyOf([a, { kind: "remove", versionId: V1 }, tag(0), copied(0)], none))).toEqual([]);
  });

  it("must not say that an upload is closed which nobody closed", () => {
    const gone: Said = { kind: "complete", id: "m", uploadId: "u", result: "refused", code: "NoSuchUpload" };
    expect(broken(historyOf([{ ...gone, id: "n", kind: "abort" }], none))).toEqual(["answers"]);
    expect(broken(historyOf([gone], none))).toEqual(["answers"]);
    expect(broken(historyOf([{ kind: "abort", uploadId: "u" }, gone], none))).toEqual([]);
  });

  it("of a read must be S3's word for what isn't there", () => {
    const missing = (code: string): Said => ({ kind: "get", status: 404, code, seen: { isMarker: false } });
    expect(broken(historyOf([missing("NoSuchKey")], none))).toEqual([]);
    expect(broken(historyOf([missing("NoSuchBucket")], none))).toEqual(["answers"]);
    const list: Said = { kind: "list", key: "", result: "refused", status: 403, code: "AccessDenied" };
    expect(broken(historyOf([list], none))).toEqual(["answers"]);
  });

  it("must come where no fault struck", () => {
    const history = historyOf([put("a", { result: "unknown", status: 503, code: "ServiceUnavailable" })], none);
    expect(broken(history)).toEqual([]);
    expect(broken({ ...history, struck: 0 })).toEqual(["answers"]);
  });

  it("of DeleteObjects must tell of every key", () => {
    const absent: Said = { kind: "delete", id: "d", result: "unknown", status: 200, code: "no result" };
    expect(broken(historyOf([absent], none))).toEqual(["answers"]);
  });

  it("must name the version that was made, and its ETag", () => {
    expect(broken(historyOf([put("a")], none))).toEqual(["acknowledged"]);
    expect(broken(historyOf([{ kind: "delete", id: "d" }], none))).toEqual(["acknowledged"]);
    const etag = contentOf("other");
    const put1 = put("a", { versionId: V1, etag });
    expect(broken(historyOf([put1], one))).toContain("acknowledged");
    expect(broken(historyOf([put("a", { etag })], [[], []], "alone"))).toContain("acknowledged");
  });

  it("of a GET by id must be that version", () => {
    const said: Said[] = [
      put("a", { versionId: V1 }),
      put("b", { versionId: V2 }),
      { kind: "getVersion", versionId: V1, seen: found("b", V2) },
    ];
    expect(broken(historyOf(said, two))).toEqual(["reads"]);
  });
});

describe("what is missing, or shown otherwise,", () => {
  it("must be missing for a removal at that very end", () => {
    const said: Said[] = [
      put("a", { versionId: V1 }),
      { kind: "get", end: 1, seen: found("a", V1) },
      { kind: "remove", versionId: V1, result: "unknown" },
    ];
    expect(broken(historyOf(said, [one[0], []]))).toEqual(["equal", "linearizable"]);
    const unseen = said.filter(({ kind }) => kind !== "get");
    expect(broken(historyOf(unseen, [one[0], []]))).toEqual(["equal"]);
  });

  it("must not be listed twice, out of order or unknown among objects", () => {
    const object = (key: string) => ({ key, isMarker: false, isLatest: true, etag: contentOf("a") });
    const history = (...keys: string[]) =>
      historyOf([put("a", { versionId: V1 }), { kind: "list", key: "", listed: keys.map(object) }], one);
    expect(broken(history("k"))).toEqual([]);
    expect(broken(history("k", "k"))).toEqual(["listings"]);
    expect(broken(history("k", "nobody's"))).toEqual(["listings"]);
  });

  it("must be the same page by page", () => {
    const history = historyOf([put("a", { versionId: V1 }), put("b", { versionId: V2 })], two);
    expect(broken(history)).toEqual([]);
    history.finals[1].walked.versions = history.finals[1].versions.slice(0, 1);
    expect(broken(history)).toEqual(["listings"]);
  });

  it("must not be an upload that was aborted and completed afterwards", () => {
    const said: Said[] = [
      { kind: "abort", uploadId: "u" },
      { kind: "complete", id: "m", uploadId: "u", versionId: V1 },
    ];
    const ends = both((end) => [stands("m", V1, end)]);
    expect(broken(historyOf(said, ends))).toEqual(["uploads"]);
  });
});

describe("a null version beside replicas", () => {
  const at = (id: string): Said => put(id, { end: 1, versionId: NULL });
  const nulled = (writer: string): FinalVersion => {
    const seen = { ...stands(writer, V1).seen, versionId: NULL, status: undefined };
    return stands(writer, V1, 0, { versionId: NULL, seen });
  };
  const read: Said = { kind: "getVersion", end: 1, versionId: NULL, status: 404, code: "NoSuchVersion", seen: {} };
  const oneWay = (said: Said[], versions: FinalVersion[]) => broken(historyOf(said, [[], versions], "one-way"));

  it("is that of the last write", () => {
    expect(oneWay([read, at("a"), at("b")], [nulled("b")])).toEqual([]);
    expect(oneWay([at("a"), at("b")], [nulled("a")])).toEqual(["nulls"]);
    const stale: Said = { ...read, status: 200, code: undefined, seen: { ...found("a", NULL) } };
    expect(oneWay([at("a"), at("b"), stale], [nulled("b")])).toEqual(["nulls"]);
  });

  it("must be there once it was acknowledged", () => {
    expect(oneWay([at("a"), read], [nulled("a")])).toEqual(["nulls"]);
    expect(oneWay([at("a")], [])).toEqual(["nulls"]);
  });
});
