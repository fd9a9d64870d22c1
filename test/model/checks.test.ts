/** The checks, on histories made by hand: one that holds, and for each check those that must not. */
import { describe, expect, it } from "vitest";
import { check } from "./check.ts";
import {
  both,
  broken,
  contentOf,
  found,
  historyOf,
  idOf,
  marker,
  none,
  older,
  one,
  put,
  type Said,
  stands,
  two,
  V1,
  V2,
  V3,
} from "./fixture.ts";
import { type FinalVersion, NULL } from "./history.ts";

const listed = (...entries: [writer: string, versionId: string][]) =>
  entries.map(([writer, versionId], i) => {
    return { key: "k", versionId, isMarker: false, isLatest: i === 0, etag: contentOf(writer) };
  });

describe("a history that holds", () => {
  it("has reads of what was written, in an order", () => {
    const said: Said[] = [
      put("a", { versionId: V1 }),
      { kind: "get", seen: found("a", V1) },
      put("b", { versionId: V2, condition: { ifMatch: contentOf("a") } }),
      put("c", { result: "refused", code: "PreconditionFailed", condition: { ifNoneMatch: "*" } }),
      { kind: "listVersions", key: "", listed: listed(["b", V2], ["a", V1]) },
      { kind: "list", key: "", listed: [{ key: "k", isMarker: false, isLatest: true, etag: contentOf("b") }] },
    ];
    expect(check(historyOf(said, two))).toMatchObject({ violations: [], givenUp: 0 });
  });

  it("may have writes without an answer, done or not", () => {
    const unknown = put("b", { result: "unknown" });
    expect(broken(historyOf([put("a", { versionId: V1 }), unknown], one))).toEqual([]);
    expect(broken(historyOf([put("a", { versionId: V1 }), unknown], two))).toEqual([]);
  });

  it("may have a replica that arrives late, and one that was removed before it could", () => {
    const arrival: Said[] = [
      put("a", { versionId: V1 }),
      { kind: "get", end: 1, seen: { isMarker: false } },
      { kind: "get", end: 1, seen: found("a", V1) },
    ];
    expect(broken(historyOf(arrival, one))).toEqual([]);
    expect(broken(historyOf([put("a", { versionId: V1 }), { kind: "remove", versionId: V1 }], none))).toEqual([]);
  });

  it("may have two writes at once that are answered in any order", () => {
    const said = [
      put("a", { versionId: V2, start: 0, finish: 20 }),
      put("b", { versionId: V1, start: 0, finish: 10 }),
      { kind: "get" as const, start: 30, finish: 31, seen: found("a", V2) },
    ];
    expect(
      broken(
        historyOf(
          said,
          both((end) => [stands("a", V2, end), stands("b", V1, end, older)]),
        ),
      ),
    ).toEqual([]);
  });
});

describe("an acknowledged write", () => {
  it("must be there", () => {
    expect(broken(historyOf([put("a", { versionId: V1 })], none))).toContain("acknowledged");
    expect(broken(historyOf([{ kind: "delete", id: "d", versionId: V1 }], none))).toContain("acknowledged");
  });

  it("must be there with its bytes", () => {
    const wrong = both((end) => [stands("a", V1, end, { seen: { ...stands("a", V1, end).seen, content: "other" } })]);
    expect(broken(historyOf([put("a", { versionId: V1 })], wrong))).toContain("acknowledged");
  });

  it("must be readable", () => {
    const unreadable = both((end) => [stands("a", V1, end, { seen: undefined, failure: "500 InternalError" })]);
    expect(broken(historyOf([put("a", { versionId: V1 })], unreadable))).toContain("reads");
  });

  it("must be there for whom asks afterwards", () => {
    const missing: Said[] = [put("a", { versionId: V1 }), { kind: "get", seen: { isMarker: false } }];
    expect(broken(historyOf(missing, one))).toEqual(["linearizable"]);
    const byId: Said[] = [
      put("a", { versionId: V1 }),
      { kind: "getVersion", versionId: V1, seen: { isMarker: false } },
    ];
    expect(broken(historyOf(byId, one))).toEqual(["linearizable"]);
  });

  it("must be in every listing from then on", () => {
    const hidden: Said[] = [put("a", { versionId: V1 }), { kind: "listVersions", key: "", listed: [] }];
    expect(broken(historyOf(hidden, one))).toEqual(["linearizable"]);
    const hiddenObject: Said[] = [put("a", { versionId: V1 }), { kind: "list", key: "", listed: [] }];
    expect(broken(historyOf(hiddenObject, one))).toEqual(["linearizable"]);
  });
});

describe("a write that was refused, or that nobody made,", () => {
  it("must not be there", () => {
    const refused = put("a", { result: "refused", code: "PreconditionFailed" });
    expect(broken(historyOf([refused], one))).toContain("reads");
    expect(broken(historyOf([], one))).toContain("reads");
  });

  it("must not be listed", () => {
    const stray: Said[] = [{ kind: "listVersions", key: "", listed: listed(["x", V1]) }, put("a", { versionId: V2 })];
    expect(
      broken(
        historyOf(
          stray,
          both((end) => [stands("a", V2, end)]),
        ),
      ),
    ).toContain("once");
  });

  it("must not be read before it was sent", () => {
    const early: Said[] = [{ kind: "get", seen: found("a", V1) }, put("a", { versionId: V1 })];
    expect(broken(historyOf(early, one))).toEqual(expect.arrayContaining(["linearizable", "reads"]));
  });
});

describe("a write without an answer", () => {
  it("must be whole where it is there", () => {
    const torn = both((end) => [stands("a", V1, end, { seen: { ...stands("a", V1, end).seen, content: "half" } })]);
    expect(broken(historyOf([put("a", { result: "unknown" })], torn))).toContain("reads");
  });

  it("must not go again once it was seen", () => {
    const said: Said[] = [
      put("a", { result: "unknown" }),
      { kind: "get", seen: found("a", V1) },
      { kind: "get", seen: { isMarker: false } },
    ];
    expect(broken(historyOf(said, one))).toEqual(["linearizable"]);
  });
});

describe("a conditional write", () => {
  it("must not win twice", () => {
    const said = [
      put("a", { versionId: V1, condition: { ifNoneMatch: "*" }, start: 0, finish: 10 }),
      put("b", { versionId: V2, condition: { ifNoneMatch: "*" }, start: 0, finish: 10 }),
    ];
    expect(broken(historyOf(said, two))).toEqual(["linearizable"]);
  });

  it("must not be done on an ETag that isn't current", () => {
    const said = [
      put("a", { versionId: V1 }),
      put("b", { versionId: V2 }),
      put("c", { versionId: V3, condition: { ifMatch: contentOf("a") } }),
    ];
    const three = both((end) => [stands("c", V3, end), stands("b", V2, end, older), stands("a", V1, end, older)]);
    expect(broken(historyOf(said, three))).toEqual(["linearizable"]);
  });

  it("must not be refused where its condition held", () => {
    const condition = { ifMatch: contentOf("a") };
    const said = [put("a", { versionId: V1 }), put("b", { result: "refused", code: "PreconditionFailed", condition })];
    expect(broken(historyOf(said, one))).toEqual(["linearizable"]);
    const missing = put("b", { result: "refused", code: "NoSuchKey", condition });
    expect(broken(historyOf([put("a", { versionId: V1 }), missing], one))).toEqual(["linearizable"]);
  });
});

describe("version ids", () => {
  it("must grow with time at an end", () => {
    const said = [put("a", { versionId: V2 }), put("b", { versionId: V1 })];
    const ends = both((end) => [stands("a", V2, end), stands("b", V1, end, older)]);
    expect(broken(historyOf(said, ends))).toEqual(["linearizable", "order"]);
  });

  it("must be greater than that of a replica seen before", () => {
    const there = idOf(2000, 1);
    const said: Said[] = [
      put("a", { versionId: there, end: 1 }),
      { kind: "get", seen: found("a", there) },
      put("b", { versionId: V1 }),
    ];
    const ends = both((end) => [stands("a", there, end), stands("b", V1, end, older)]);
    expect(broken(historyOf(said, ends))).toEqual(["linearizable"]);
  });
});

describe("nothing is applied twice:", () => {
  it("one write, one version", () => {
    const ends = both((end) => [stands("a", V2, end), stands("a", V1, end, older)]);
    expect(broken(historyOf([put("a", { versionId: V1 })], ends))).toContain("once");
  });

  it("one DELETE, one delete marker", () => {
    const ends = both(() => [marker(V2), marker(V1, older)]);
    expect(broken(historyOf([{ kind: "delete", id: "d", versionId: V1 }], ends))).toContain("once");
    const unknown: Said[] = [
      { kind: "delete", id: "d", versionId: V1 },
      { kind: "delete", id: "e", result: "unknown" },
    ];
    expect(broken(historyOf(unknown, ends))).toEqual([]);
  });

  it("a Complete that is repeated is answered the same", () => {
    const said: Said[] = [
      { kind: "complete", id: "m", versionId: V1 },
      { kind: "complete", id: "m", versionId: V2 },
    ];
    expect(
      broken(
        historyOf(
          said,
          both((end) => [stands("m", V1, end)]),
        ),
      ),
    ).toContain("once");
  });
});

describe("a version that was removed by its id", () => {
  const said: Said[] = [put("a", { versionId: V1 }), { kind: "remove", versionId: V1 }];

  it("must not come back", () => {
    expect(broken(historyOf(said, one))).toEqual(expect.arrayContaining(["linearizable", "removed"]));
    expect(broken(historyOf([...said, { kind: "get", seen: found("a", V1) }], none))).toContain("removed");
  });

  it("must not come back at the other end, where it was seen and removed", () => {
    const there: Said[] = [
      put("a", { versionId: V1 }),
      { kind: "get", end: 1, seen: found("a", V1) },
      { kind: "remove", end: 1, versionId: V1 },
    ];
    expect(broken(historyOf(there, one))).toContain("removed");
    expect(broken(historyOf(there, [one[0], []]))).toEqual([]);
  });
});

describe("after quiet", () => {
  it("both ends must hold the same versions", () => {
    expect(broken(historyOf([put("a", { versionId: V1 })], [one[0], []]))).toEqual(["equal"]);
  });

  it("and each version must be the same at both", () => {
    const tagged = stands("a", V1, 1, { seen: { ...stands("a", V1, 1).seen, tag: "t" } });
    expect(broken(historyOf([put("a", { versionId: V1 })], [one[0], [tagged]]))).toEqual(["equal"]);
  });

  it("nothing may be PENDING, and FAILED only what the other end has removed", () => {
    const history = historyOf([put("a", { versionId: V1 })], one);
    history.finals[0].pending = 1;
    expect(broken(history)).toEqual(["settled"]);
    history.finals[0].pending = 0;
    history.finals[0].failed.set(`k ${V1}`, "DstObjectHardDeleted");
    expect(broken(history)).toEqual(["settled", "statuses"]);
  });

  it("the status must be COMPLETED, and REPLICA at the other end", () => {
    const pending = stands("a", V1, 0, { seen: { ...stands("a", V1).seen, status: "PENDING" } });
    expect(broken(historyOf([put("a", { versionId: V1 })], [[pending], one[1]]))).toEqual(["statuses"]);
  });

  it("the greatest version must be the latest, it alone", () => {
    const both2 = both((end) => [stands("b", V2, end, older), stands("a", V1, end)]);
    expect(broken(historyOf([put("a", { versionId: V1 }), put("b", { versionId: V2 })], both2))).toEqual(["listings"]);
  });

  it("tags must be those of an edit that none came after", () => {
    const tagged = both((end) => [stands("a", V1, end, { seen: { ...stands("a", V1, end).seen, tag: "1" } })]);
    const edit = (tag: string): Said => ({ kind: "tag", versionId: V1, tag });
    expect(broken(historyOf([put("a", { versionId: V1 }), edit("2"), edit("1")], tagged))).toEqual([]);
    expect(broken(historyOf([put("a", { versionId: V1 }), edit("1"), edit("2")], tagged))).toEqual(["tags"]);
    expect(broken(historyOf([put("a", { versionId: V1, tag: "1" })], tagged))).toEqual([]);
  });

  it("an upload that was completed must not be open", () => {
    const history = historyOf(
      [{ kind: "complete", id: "m", uploadId: "u", versionId: V1 }],
      both((end) => [stands("m", V1, end)]),
    );
    history.finals[0].uploads.push("u");
    expect(broken(history)).toEqual(["uploads"]);
  });
});

describe("a bucket whose versioning changes, without a link", () => {
  const nulled = (writer: string): FinalVersion[] => {
    const seen = { ...stands(writer, V1).seen, versionId: NULL, status: undefined };
    return [stands(writer, V1, 0, { versionId: NULL, seen })];
  };
  const alone = (said: Said[], versions: FinalVersion[]) => broken(historyOf(said, [versions, []], "alone"));

  it("keeps one null version, and others beside it", () => {
    expect(alone([put("a"), put("b", { versionId: NULL })], nulled("b"))).toEqual([]);
    const [latest] = nulled("b");
    const before = { ...stands("a", V1), isLatest: false };
    expect(alone([put("a", { versionId: V1 }), put("b", { versionId: NULL })], [latest!, before])).toEqual([]);
    expect(alone([put("a"), { kind: "delete", id: "d" }], [])).toEqual([]);
  });

  it("must not keep the null version that was replaced, nor lose one that wasn't", () => {
    const [latest] = nulled("b");
    const kept = { ...nulled("a")[0]!, isLatest: false };
    expect(alone([put("a"), put("b")], [latest!, kept])).toContain("linearizable");
    expect(alone([put("a")], [])).toContain("linearizable");
    expect(alone([put("a"), { kind: "get", seen: { isMarker: false } }], nulled("a"))).toContain("linearizable");
  });

  it("must let one conditional write win", () => {
    const both = [
      put("a", { condition: { ifNoneMatch: "*" }, start: 0, finish: 10 }),
      put("b", { condition: { ifNoneMatch: "*" }, start: 0, finish: 10 }),
    ];
    expect(alone(both, nulled("b"))).toContain("linearizable");
  });
});
