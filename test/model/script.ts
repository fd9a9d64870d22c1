/**
 * The Workers that histories run on, and the same with a mistake put in on purpose: what the checker is worth shows in
 * whether it finds that. The mistake is put in while bundling; nothing in src knows of it.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";
import { ROOT } from "../harness.ts";

interface Change {
  file: string;
  /** found exactly once */
  text: RegExp;
  replacement: string;
}

interface Mutation {
  /** names of the checks of which one must find it */
  caughtBy: string[];
  changes: Change[];
}

export const MUTATIONS: Record<string, Mutation> = {
  /** a local version is inserted whatever stands there already */
  guard: {
    caughtBy: ["linearizable", "order"],
    changes: [
      {
        file: "src/store/commit.ts",
        text: /AND coalesce\(\$\{GREATEST\}, ''\) < r\.value ->> 'version_id'\s+AND coalesce\([^\n]*'base' = coalesce\(\$\{GREATEST\}, ''\), true\)/g,
        replacement: "",
      },
    ],
  },
  /** a receipt removes its row whatever was changed since it was sent */
  receipt: {
    caughtBy: ["equal"],
    changes: [{ file: "src/store/outbox.ts", text: /AND o\.change = r\.value ->> 'change'/g, replacement: "" }],
  },
  /** a replica is taken in though it was removed here by its id */
  removed: {
    caughtBy: ["removed", "linearizable"],
    changes: [
      {
        file: "src/store/commit.ts",
        text: /AND NOT EXISTS \(SELECT 1 FROM removed x WHERE [^`]*?x\.version_id = r\.value ->> 'version_id'\)/g,
        replacement: "",
      },
    ],
  },
  /** an instance of a Sequencer that was replaced writes all the same */
  fence: {
    caughtBy: ["once", "linearizable", "removed"],
    changes: [{ file: "src/store/commit.ts", text: /AND (\$\{isInside\(5\)\})/g, replacement: "AND ($1 OR true)" }],
  },
  /** of reads that are put together each is given what the first one asked for */
  together: {
    caughtBy: ["linearizable"],
    changes: [
      {
        file: "src/store/reads.ts",
        text: /settle\(texts\.get\(key\) \?\? null\)/g,
        replacement: "settle((key, [...texts.values()][0]) ?? null)",
      },
    ],
  },
};

/** Gives the bundle of an entry file, each bundled once; with zones that fail, and with a mutation if one is named. */
export function scripts(mutation?: string): (main: string) => Promise<string> {
  const bundled = new Map<string, Promise<string>>();
  const changes = mutation === undefined ? [] : MUTATIONS[mutation]?.changes;
  if (!changes) throw new Error(`--mutation: there are ${Object.keys(MUTATIONS).join(", ")}`);
  return async (main) => {
    const entry = main === "src/zone.ts" ? "test/model/zone.ts" : main;
    if (!bundled.has(entry))
      bundled.set(entry, bundleChanged(join(ROOT, entry), main === "src/zone.ts" ? changes : []));
    return await bundled.get(entry)!;
  };
}

async function bundleChanged(entry: string, changes: Change[]): Promise<string> {
  const made = new Set<Change>();
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "import"],
    external: ["cloudflare:*", "node:*"],
    logLevel: "silent",
    plugins: [changing(changes, made)],
  });
  if (made.size < changes.length) throw new Error("the mutation's file isn't part of the Worker");
  return outputFiles[0]!.text;
}

function changing(changes: Change[], made: Set<Change>): Plugin {
  return {
    name: "mutation",
    setup({ onLoad }) {
      for (const change of changes) {
        onLoad({ filter: new RegExp(`${change.file.replaceAll(".", "\\.")}$`) }, async ({ path }) => {
          const text = await readFile(path, "utf8");
          const found = text.match(change.text)?.length ?? 0;
          if (found !== 1) throw new Error(`the mutation's text stands ${found} times in ${change.file}`);
          made.add(change);
          return { contents: text.replace(change.text, change.replacement), loader: "ts" };
        });
      }
    },
  };
}
