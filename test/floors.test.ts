/**
 * The house's shape: imports point down, doors and rooms keep to themselves, nothing runs in a circle, files are short.
 *
 * Imports are read from the text, type-only ones too: TypeScript 7 has no compiler API, and a bundler forgets them.
 */
import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT } from "./harness.ts";

interface Import {
  from: string;
  to: string;
  isTypeOnly: boolean;
}

const ENTRIES = ["zone.ts", "control.ts"];
const DOORS = ["s3", "control", "replication"];
const ROOMS = ["store", "iam", "peers", "directory.ts"];
/** zones.ts keeps no state: it reads what the Worker was configured with. */
const GROUND = ["errors.ts", "cache.ts", "zones.ts", "log.ts", "trips.ts"];
/** Programs of their own: they speak HTTP to the server, and import none of it. */
const PROGRAMS = ["cli", "local", "portal"];
/** The only types that a room takes from another. */
const SHARED_TYPES = ["directory.ts"];
const LONGEST = 400;

const SRC = join(ROOT, "src");
const files = globSync("**/*.{ts,tsx}", { cwd: SRC, exclude: ["env.d.ts"] }).sort();
const imports = files.flatMap(importsOf);

function importsOf(file: string): Import[] {
  const text = readFileSync(join(SRC, file), "utf8");
  const statements = text.matchAll(/^\s*(?:import|export)\s+(type\s)?([^;"'=]*?\sfrom\s+)?["'](\.[^"']*)["']/gm);
  const calls = text.matchAll(/\bimport\(\s*["'](\.[^"']*)["']\s*\)/g);
  return [
    ...Array.from(statements, ([, type, names, path]) => toImport(file, path!, Boolean(type) || onlyTypes(names))),
    ...Array.from(calls, ([, path]) => toImport(file, path!, false)),
  ];
}

/** `import { type A, type B } from` names nothing but types. */
function onlyTypes(names = ""): boolean {
  const braces = /^\{([^}]*)\}/.exec(names.trim())?.[1];
  return braces?.split(",").every((name) => !name.trim() || name.trim().startsWith("type ")) ?? false;
}

function toImport(from: string, path: string, isTypeOnly: boolean): Import {
  return { from, to: relative(SRC, join(SRC, dirname(from), path)), isTypeOnly };
}

/** The first folder below src, or the file's own name if it stands in src itself. */
function place(file: string): string {
  return file.split("/")[0]!;
}

function floor(file: string): number {
  if (ENTRIES.includes(file)) return 3;
  if (DOORS.includes(place(file))) return 2;
  if (ROOMS.includes(place(file))) return 1;
  return 0;
}

const written = ({ from, to }: Import) => `${from} -> ${to}`;

describe("Floors", () => {
  test("every file of src has its place", () => {
    const places = [...ENTRIES, ...DOORS, ...ROOMS, ...GROUND, ...PROGRAMS];
    expect(files.filter((file) => !places.includes(place(file)))).toEqual([]);
  });

  test("every import leads to a file that is there", () => {
    const assets = /\.(css|svg|json)$/;
    const lost = imports.filter(({ to }) => !files.includes(to) && !assets.test(to));
    expect(lost.map(written)).toEqual([]);
  });

  test("imports point down", () => {
    const server = imports.filter(({ from }) => !PROGRAMS.includes(place(from)));
    expect(server.filter(({ from, to }) => floor(to) > floor(from)).map(written)).toEqual([]);
  });

  test("a door or a room imports no other one, but for the directory's types", () => {
    const sideways = imports.filter(({ from, to }) => {
      const isNeighbour = floor(from) === floor(to) && place(from) !== place(to) && [1, 2].includes(floor(from));
      return isNeighbour && !PROGRAMS.includes(place(from));
    });
    const refused = sideways.filter(({ to, isTypeOnly }) => !(isTypeOnly && SHARED_TYPES.includes(to)));
    expect(refused.map(written)).toEqual([]);
  });

  test("the CLI, the portal and the local runner import nothing of the server, and the server nothing of them", () => {
    const crossing = imports.filter(({ from, to }) => {
      return place(from) !== place(to) && (PROGRAMS.includes(place(from)) || PROGRAMS.includes(place(to)));
    });
    expect(crossing.map(written)).toEqual([]);
  });

  test("no import runs in a circle, types neither", () => {
    expect(findCircle()).toBeUndefined();
  });

  test("no file is longer than 400 lines", () => {
    const all = globSync(["src/**/*.{ts,tsx}", "test/**/*.{ts,tsx}", "bin/*.mjs"], { cwd: ROOT });
    const length = (file: string) => readFileSync(join(ROOT, file), "utf8").split("\n").length - 1;
    expect(all.filter((file) => length(file) > LONGEST)).toEqual([]);
  });
});

/** A chain of imports that comes back to its first file, or undefined. */
function findCircle(): string | undefined {
  const done = new Set<string>();
  const walk = (file: string, chain: string[]): string | undefined => {
    if (chain.includes(file)) return [...chain.slice(chain.indexOf(file)), file].join(" -> ");
    if (done.has(file)) return undefined;
    for (const { to } of imports.filter(({ from }) => from === file)) {
      const circle = walk(to, [...chain, file]);
      if (circle) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of files) {
    const circle = walk(file, []);
    if (circle) return circle;
  }
  return undefined;
}
