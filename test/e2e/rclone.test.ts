import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startZones, temporaryFolder, type Zones } from "../harness.ts";
import { needs, run, TREE, writeRandom, writeTree } from "./tools.ts";

let zones: Zones;
let folder: string;

beforeAll(async () => {
  zones = await startZones();
  folder = temporaryFolder();
  writeTree(join(folder, "tree"));
});

afterAll(async () => {
  await zones?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach((context) => needs("rclone", context));

/** The remote `zonal:` by environment alone; large files go up in parts of 5 MiB. */
function rclone(zone: string, ...args: string[]): Promise<string> {
  const { key, secret } = zones.organizations.main;
  const env = {
    RCLONE_CONFIG: "/dev/null",
    RCLONE_CONFIG_ZONAL_TYPE: "s3",
    RCLONE_CONFIG_ZONAL_PROVIDER: "Other",
    RCLONE_CONFIG_ZONAL_ENDPOINT: zones.endpoint(zone),
    RCLONE_CONFIG_ZONAL_REGION: zone,
    RCLONE_CONFIG_ZONAL_ACCESS_KEY_ID: key,
    RCLONE_CONFIG_ZONAL_SECRET_ACCESS_KEY: secret,
    RCLONE_CONFIG_ZONAL_UPLOAD_CUTOFF: "5Mi",
    RCLONE_CONFIG_ZONAL_CHUNK_SIZE: "5Mi",
    RCLONE_RETRIES: "1",
  };
  return run("rclone", args, { env });
}

describe.each(["ch-dk-2", "at-vie-1"])("rclone at the endpoint of %s", (zone) => {
  const remote = `zonal:rclone-${zone}`;

  test("syncs a folder to a new bucket, which check finds equal", { timeout: 60_000 }, async () => {
    await rclone(zone, "mkdir", remote);
    await rclone(zone, "sync", join(folder, "tree"), remote);
    await rclone(zone, "check", "--download", join(folder, "tree"), remote);
    await rclone(zone, "check", join(folder, "tree"), remote);
    const listed = await rclone(zone, "lsf", "--recursive", "--files-only", remote);
    expect(listed.trim().split("\n").sort()).toEqual(Object.keys(TREE).sort());
  });

  test("keeps modification times, so that a second sync copies nothing", async () => {
    const log = join(folder, `second-${zone}.log`);
    await rclone(zone, "sync", "--log-level", "INFO", "--log-file", log, join(folder, "tree"), remote);
    expect(await run("cat", [log])).not.toMatch(/Copied|Updated/);
  });

  test("carries changes and removals over", { timeout: 60_000 }, async () => {
    const other = join(folder, `other-${zone}`);
    writeTree(other);
    rmSync(join(other, "deep"), { recursive: true });
    writeRandom(join(other, "new.bin"), 300);
    await rclone(zone, "sync", other, remote);
    await rclone(zone, "check", other, remote);
    await rclone(zone, "sync", remote, join(folder, `back-${zone}`));
    await rclone(zone, "check", "--download", join(folder, `back-${zone}`), remote);
  });

  test("removes the bucket with all that it holds", async () => {
    await rclone(zone, "purge", remote);
    expect(await rclone(zone, "lsd", "zonal:")).not.toContain(`rclone-${zone}`);
  });
});
