import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeKey, parseTarget, Query, requestTarget } from "../../src/s3/target.ts";

const key = fc.string({ unit: "binary", minLength: 1, maxLength: 60 }).filter((text) => text.isWellFormed());
const codeOf = (read: () => unknown) => {
  try {
    read();
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("The request target", () => {
  test("is the URL behind its authority, untouched", () => {
    expect(requestTarget("http://h:9000/b/a/../%2E%2E//c?x=%41")).toBe("/b/a/../%2E%2E//c?x=%41");
    expect(requestTarget("http://h:9000")).toBe("/");
    expect(requestTarget("http://h?list-type=2")).toBe("?list-type=2");
  });

  test("names bucket and key in path style", () => {
    expect(parseTarget("/")).toMatchObject({ bucket: undefined, key: undefined });
    expect(parseTarget("/b")).toMatchObject({ bucket: "b", key: undefined });
    expect(parseTarget("/b/")).toMatchObject({ bucket: "b", key: undefined });
    expect(parseTarget("/b/k/l?acl")).toMatchObject({ bucket: "b", key: "k/l", rawPath: "/b/k/l", rawQuery: "acl" });
  });

  test.each(["a/../b", "..", ".", "/a", "a//b", "a/", " a ", "a+b", "~", "?", "#", "%", "%2F", "ü中\u{1F600}"])(
    "leaves the key %j as it is",
    (key) => {
      expect(parseTarget(`/b/${encodeKey(key)}`).key).toBe(key);
    },
  );

  test("gives back any key that was percent-encoded", () => {
    fc.assert(
      fc.property(key, (key) => {
        expect(parseTarget(`/b/${encodeKey(key)}`).key).toBe(key);
        expect(parseTarget(`/b/${encodeURIComponent(key)}`).key).toBe(key);
      }),
    );
  });

  test("decodes once", () => {
    expect(parseTarget("/b/%2525").key).toBe("%25");
    expect(parseTarget("/b/a+b").key).toBe("a+b");
  });

  test.each(["/b/%", "/b/%zz", "/b/%ff", "/b/%c0%af", "/b/%ed%a0%80", "/%ff", "/b?prefix=%ff", "//k", "b"])(
    "%s is InvalidURI",
    (target) => {
      expect(codeOf(() => parseTarget(target))).toBe("InvalidURI");
    },
  );

  test("takes keys of 1,024 bytes and no more", () => {
    expect(parseTarget(`/b/${"ü".repeat(512)}`).key).toHaveLength(512);
    expect(codeOf(() => parseTarget(`/b/${"ü".repeat(512)}x`))).toBe("KeyTooLongError");
  });

  test("names the bucket by the host where that is a name below a zone's", () => {
    const domains = ["sos-ch-dk-2.example"];
    expect(parseTarget("/k", "My.b.sos-ch-dk-2.example:443", domains)).toMatchObject({ bucket: "my.b", key: "k" });
    expect(parseTarget("/?acl", "b.sos-ch-dk-2.example", domains)).toMatchObject({ bucket: "b", key: undefined });
    expect(parseTarget("//k", "b.sos-ch-dk-2.example", domains)).toMatchObject({ bucket: "b", key: "/k" });
    expect(parseTarget("/b/k", "sos-ch-dk-2.example", domains)).toMatchObject({ bucket: "b", key: "k" });
  });
});

describe("The query", () => {
  test("is the same with `?acl` and `?acl=`", () => {
    for (const query of [new Query("acl"), new Query("acl=")]) {
      expect(query.has("acl")).toBe(true);
      expect(query.get("acl")).toBe("");
    }
  });

  test("reads `+` as a space and splits at the first `=`", () => {
    expect(new Query("prefix=a+b%2Bc=d&&x").get("prefix")).toBe("a b+c=d");
  });

  test("refuses a parameter that is asked for and given twice", () => {
    const query = new Query("prefix=a&prefix=b&other=1&other=2");
    expect(query.has("prefix")).toBe(true);
    expect(codeOf(() => query.get("prefix"))).toBe("InvalidArgument");
  });
});
