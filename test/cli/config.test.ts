import { describe, expect, test } from "vitest";
import { readConfig } from "../../src/cli/config.ts";

describe("Configuration", () => {
  const nowhere = "/nonexistent";

  test("the ZONAL variables come before exo's, a key only with its secret", () => {
    const env = {
      ZONAL_API_KEY: "Z",
      EXOSCALE_API_KEY: "E",
      EXOSCALE_SECRET: "s",
      EXOSCALE_API_ENDPOINT: "http://h/v2/",
    };
    expect(readConfig(env, nowhere, undefined)).toEqual({
      key: "E",
      secret: "s",
      api: "http://h/v2",
      sosEndpoint: undefined,
      zones: undefined,
      defaultZone: "ch-dk-2",
    });
    expect(readConfig({ ...env, ZONAL_API_SECRET: "z", ZONAL_ZONE: "at-vie-1" }, nowhere, undefined)).toMatchObject({
      key: "Z",
      secret: "z",
      defaultZone: "at-vie-1",
    });
  });

  test("without a key the error says what to set", () => {
    expect(() => readConfig({ EXOSCALE_API_KEY: "E" }, nowhere, undefined)).toThrow(/set ZONAL_API_KEY/);
  });
});
