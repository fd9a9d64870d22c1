import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readWrangler } from "../../src/local/wrangler.ts";
import { ROOT } from "../harness.ts";

function folderWith(toml: string): string {
  const folder = mkdtempSync(join(tmpdir(), "zonal-wrangler-"));
  writeFileSync(join(folder, "wrangler.toml"), toml);
  return folder;
}

describe("wrangler.toml", () => {
  test("gives an environment for each zone and one for the control API", () => {
    const workers = readWrangler(ROOT);
    expect(workers.map((worker) => worker.environment)).toEqual(["ch-dk-2", "at-vie-1", "control"]);
    expect(workers.map((worker) => worker.main)).toEqual(["src/zone.ts", "src/zone.ts", "src/control.ts"]);
  });

  test("gives a zone all that it binds", () => {
    const zone = readWrangler(ROOT)[0]!;
    expect(zone.buckets.map(({ binding }) => binding)).toEqual(["BLOBS"]);
    expect(zone.databases.map(({ binding }) => binding)).toEqual(["INDEX", "CONTROL"]);
    expect(zone.databases.map(({ migrations }) => migrations)).toEqual(["migrations/index", "migrations/control"]);
    expect(zone.durableObjects).toEqual([{ binding: "SEQUENCER", className: "Sequencer" }]);
    expect(zone.exports).toEqual({ Sequencer: { type: "durable-object", storage: "sqlite" } });
    expect(zone.secrets).toEqual(["ROOT_KEY"]);
    expect(zone.compatibilityFlags).toContain("nodejs_compat");
  });

  test("declares a consumer for every queue, dead letter queues too: the simulator drops what nobody consumes", () => {
    for (const { consumers, producers } of readWrangler(ROOT)) {
      const consumed = consumers.map(({ queue }) => queue);
      const sent = [...producers.map(({ queue }) => queue), ...consumers.map((each) => each.deadLetterQueue)];
      expect(consumed).toEqual(expect.arrayContaining(sent.filter((queue) => queue !== undefined)));
    }
  });

  test("is refused where it binds what the local run doesn't know", () => {
    const folder = folderWith('name = "x"\n[[env.a.kv_namespaces]]\nbinding = "KV"\nid = "1"\n');
    expect(() => readWrangler(folder)).toThrow("env.a: the local run doesn't know kv_namespaces");
  });

  test("lets an environment inherit the entry file and the compatibility date, but no bindings", () => {
    const top = 'name = "x"\nmain = "m.ts"\ncompatibility_date = "2026-01-01"\n[vars]\nA = "1"\n[env.a]\n';
    expect(readWrangler(folderWith(top))[0]).toMatchObject({
      name: "x-a",
      main: "m.ts",
      compatibilityDate: "2026-01-01",
      vars: {},
    });
  });
});
