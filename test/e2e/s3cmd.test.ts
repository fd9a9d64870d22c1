import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startZones, temporaryFolder, type Zones } from "../harness.ts";
import { needs, run, sha256, writeRandom } from "./tools.ts";

let zones: Zones;
let folder: string;

beforeAll(async () => {
  zones = await startZones();
  folder = temporaryFolder();
  writeRandom(join(folder, "small.bin"), 5_000);
  writeRandom(join(folder, "large.bin"), 22 * 1024 * 1024);
  for (const { name } of zones.zones) writeFileSync(configuration(name), describeZone(name));
});

afterAll(async () => {
  await zones?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach((context) => needs("s3cmd", context));

const configuration = (zone: string) => join(folder, `${zone}.s3cfg`);

function describeZone(zone: string): string {
  const { key, secret } = zones.organizations.main;
  const { host } = new URL(zones.endpoint(zone));
  const settings = { access_key: key, secret_key: secret, host_base: host, host_bucket: host, bucket_location: zone };
  const lines = Object.entries({ ...settings, use_https: "False", multipart_chunk_size_mb: "5" });
  return ["[default]", ...lines.map(([name, value]) => `${name} = ${value}`), ""].join("\n");
}

function s3cmd(zone: string, ...args: string[]): Promise<string> {
  return run("s3cmd", ["--config", configuration(zone), "--no-progress", ...args]);
}

describe.each(["ch-dk-2", "at-vie-1"])("s3cmd at the endpoint of %s", (zone) => {
  const bucket = `s3://s3cmd-${zone}`;

  test("makes a bucket in its zone", async () => {
    await s3cmd(zone, "mb", bucket);
    expect(await s3cmd(zone, "ls")).toContain(bucket);
    expect(await s3cmd(zone, "info", bucket)).toMatch(new RegExp(`Location: +${zone}`));
  });

  test.each(["small.bin", "large.bin"])("puts and gets %s", async (name) => {
    const back = join(folder, `${zone}-${name}`);
    await s3cmd(zone, "put", join(folder, name), `${bucket}/a folder/${name}`);
    await s3cmd(zone, "get", `${bucket}/a folder/${name}`, back);
    expect(await sha256(back)).toBe(await sha256(join(folder, name)));
  });

  test("lists folders and what is below them", async () => {
    expect(await s3cmd(zone, "ls", bucket)).toMatch(/DIR +s3:\/\/\S+\/a folder\//);
    const all = await s3cmd(zone, "ls", "--recursive", bucket);
    expect(all.trim().split("\n")).toHaveLength(2);
    expect(all).toMatch(/ 5000 +s3:\/\/\S+\/a folder\/small\.bin/);
  });

  test("reads the bucket through the other zone's endpoint as well", async () => {
    const other = zone === "ch-dk-2" ? "at-vie-1" : "ch-dk-2";
    expect(await s3cmd(other, "ls", "--recursive", bucket)).toBe(await s3cmd(zone, "ls", "--recursive", bucket));
    const back = join(folder, `${zone}-through-${other}`);
    await s3cmd(other, "get", `${bucket}/a folder/small.bin`, back);
    expect(await sha256(back)).toBe(await sha256(join(folder, "small.bin")));
  });

  test("removes objects and the bucket", async () => {
    await s3cmd(zone, "del", "--recursive", "--force", bucket);
    await s3cmd(zone, "rb", bucket);
    expect(await s3cmd(zone, "ls")).not.toContain(bucket);
  });
});
