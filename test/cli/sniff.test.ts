import { describe, expect, test } from "vitest";
import { contentType } from "../../src/cli/sniff.ts";

describe("Content types", () => {
  const padded = (start: string) =>
    Buffer.concat([Buffer.from(start, "latin1"), Buffer.alloc(512, " ")]).subarray(0, 512);

  test("below 512 bytes there is none", () => {
    expect(contentType(Buffer.alloc(511, "a"))).toBeUndefined();
  });

  test("text, known formats and anything else", () => {
    expect(contentType(Buffer.from("é".repeat(300)).subarray(0, 512))).toBe("text/plain; charset=utf-8");
    expect(contentType(Buffer.from(`a${"é".repeat(300)}`).subarray(0, 512))).toBe("text/plain; charset=utf-8");
    expect(contentType(padded("<!DOCTYPE html><html>"))).toBe("text/html; charset=utf-8");
    expect(contentType(padded("<?xml version='1.0'?>"))).toBe("text/xml; charset=utf-8");
    expect(contentType(padded("\x89PNG\r\n\x1a\n"))).toBe("image/png");
    expect(contentType(padded("RIFF....WEBPVP8 "))).toBe("image/webp");
    expect(contentType(padded("a\0b"))).toBe("application/octet-stream");
    expect(contentType(padded("\xe9t\xe9"))).toBe("application/octet-stream");
  });
});
