import { describe, expect, test } from "vitest";
import { type Shared, workerOptions } from "../../src/local/workers.ts";
import { readWrangler } from "../../src/local/wrangler.ts";
import { ROOT } from "../harness.ts";

const shared: Shared = {
  zones: ["ch-dk-2", "at-vie-1", "de-fra-1"].map((name, index) => ({
    name,
    number: index + 1,
    endpoint: `http://127.0.0.1:${9000 + index}`,
    workerName: `zonal-${name}`,
  })),
  apiEndpoint: "http://127.0.0.1:9080/v2",
  secrets: { ROOT_KEY: "root", ADMIN_TOKEN: "token" },
  vars: { IAM_CACHE_SECONDS: "1" },
};

function bindings(environment: string): Record<string, unknown> {
  const worker = readWrangler(ROOT).find((each) => each.environment === environment)!;
  return workerOptions({ worker, port: 9000, script: "" }, shared).config.env as Record<string, unknown>;
}

describe("A local Worker", () => {
  test.each(["at-vie-1", "control"])(
    "(%s) reaches the entrypoint Peer of every other zone of the run",
    (environment) => {
      for (const [binding, worker] of [
        ["PEER_CH_DK_2", "zonal-ch-dk-2"],
        ["PEER_DE_FRA_1", "zonal-de-fra-1"],
      ] as const) {
        expect(bindings(environment)[binding]).toEqual({ type: "worker", worker, exportName: "Peer" });
      }
    },
  );

  test("reaches itself, and its switch, by entrypoints of their own", () => {
    const own = { type: "worker", worker: "zonal-ch-dk-2" };
    expect(bindings("ch-dk-2")).toMatchObject({
      PEER_CH_DK_2: { ...own, exportName: "LocalPeer" },
      SWITCH: { ...own, exportName: "Switch" },
    });
    expect(bindings("control")).not.toHaveProperty("SWITCH");
  });

  test("is told the local endpoints in place of production's, and that it runs locally", () => {
    expect(bindings("ch-dk-2")).toMatchObject({
      ZONE: { type: "text", value: "ch-dk-2" },
      ZONES: { type: "json", value: [{ name: "ch-dk-2", number: 1, endpoint: "http://127.0.0.1:9000" }, {}, {}] },
      API_ENDPOINT: { type: "text", value: "http://127.0.0.1:9080/v2" },
      LOCAL: { type: "text", value: "1" },
      LOG: { type: "text", value: "off" },
      IAM_CACHE_SECONDS: { type: "text", value: "1" },
    });
  });

  test("gets the secrets that it requires and no others", () => {
    expect(bindings("control")).toMatchObject({ ROOT_KEY: { value: "root" }, ADMIN_TOKEN: { value: "token" } });
    expect(bindings("ch-dk-2")).not.toHaveProperty("ADMIN_TOKEN");
  });
});
