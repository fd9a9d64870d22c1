import { join } from "node:path";
import { expect, test } from "vitest";
import { bundle } from "../../src/local/bundle.ts";
import { Stacks } from "../../src/local/stacks.ts";
import { ROOT } from "../harness.ts";

const contents = await bundle(join(ROOT, "src/errors.ts"));
const modules = { "zone.mjs": { type: "esm" as const, contents } };
const stacks = new Stacks([{ config: { name: "zone", manifest: { mainModule: "zone.mjs", modules } } }]);
const line = contents.split("\n").findIndex((text) => text.includes("extends Error")) + 1;

test("A stack names files of src in the place of the bundled module", () => {
  expect(stacks.resolve(`Error: x\n    at f (file:///home/me/zone.mjs:${line}:1)\n    at g`)).toMatch(
    /^Error: x\n {4}at f \(src\/errors\.ts:\d+:\d+\)\n {4}at g$/,
  );
});

test.each([
  "file:///home/me/other.mjs:1:1",
  "file:///home/me/zone.mjs",
  "https://example.org/zone.mjs:1:1",
  "zone.mjs:1:1",
])("what can't be told stays as it is: %s", (place) => {
  expect(stacks.resolve(`at ${place}`)).toBe(`at ${place}`);
});
