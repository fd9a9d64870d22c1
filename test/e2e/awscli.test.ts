import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startZones, temporaryFolder, type Zones } from "../harness.ts";
import { needs, run, sha256, TREE, writeRandom, writeTree } from "./tools.ts";

const MIB = 1024 * 1024;
/**
 * An empty file goes by itself. botocore asks for `100 Continue` before an empty body too; workerd, as Go's servers,
 * answers 200 at once, and botocore then takes that status for its next answer's on the same connection (it resets it
 * only for requests without Expect). BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE=true is its own way around.
 */
const { "empty.bin": _, ...FULL } = TREE;
let zones: Zones;
let folder: string;

beforeAll(async () => {
  zones = await startZones();
  folder = temporaryFolder();
  writeFileSync(join(folder, "config"), "");
  writeFileSync(join(folder, "credentials"), "");
});

afterAll(async () => {
  await zones?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach((context) => needs("aws", context));

function aws(zone: string, ...args: string[]): Promise<string> {
  const { key, secret } = zones.organizations.main;
  const env = {
    AWS_ACCESS_KEY_ID: key,
    AWS_SECRET_ACCESS_KEY: secret,
    AWS_CONFIG_FILE: join(folder, "config"),
    AWS_SHARED_CREDENTIALS_FILE: join(folder, "credentials"),
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_PAGER: "",
  };
  return run("aws", ["--endpoint-url", zones.endpoint(zone), "--region", zone, ...args], { env });
}

describe.each(["ch-dk-2", "at-vie-1"])("awscli at the endpoint of %s", (zone) => {
  const bucket = `awscli-${zone}`;

  test("makes a bucket and lists it", async () => {
    await aws(zone, "s3", "mb", `s3://${bucket}`);
    expect(await aws(zone, "s3", "ls")).toContain(bucket);
  });

  test("copies 200 MiB to the bucket and back", { timeout: 240_000 }, async () => {
    const [there, back] = [join(folder, "there.bin"), join(folder, "back.bin")];
    writeRandom(there, 200 * MIB);
    await aws(zone, "s3", "cp", "--no-progress", there, `s3://${bucket}/200MiB.bin`);
    expect(await aws(zone, "s3", "ls", `s3://${bucket}/`)).toMatch(new RegExp(` ${200 * MIB} 200MiB.bin`));
    await aws(zone, "s3", "cp", "--no-progress", `s3://${bucket}/200MiB.bin`, back);
    expect(await sha256(back)).toBe(await sha256(there));
  });

  test("copies an empty file to the bucket and back", async () => {
    const [there, back] = [join(folder, "empty.bin"), join(folder, `empty-back-${zone}.bin`)];
    writeRandom(there, 0);
    await aws(zone, "s3", "cp", there, `s3://${bucket}/empty.bin`);
    await aws(zone, "s3", "cp", `s3://${bucket}/empty.bin`, back);
    expect(await sha256(back)).toBe(await sha256(there));
  });

  test("syncs a folder up and down, and finds nothing to do the second time", { timeout: 120_000 }, async () => {
    const [up, down] = [join(folder, "up"), join(folder, `down-${zone}`)];
    writeTree(up, FULL);
    mkdirSync(down);
    await aws(zone, "s3", "sync", "--no-progress", up, `s3://${bucket}/tree`);
    expect(await aws(zone, "s3", "sync", "--no-progress", up, `s3://${bucket}/tree`)).toBe("");
    await aws(zone, "s3", "sync", "--no-progress", `s3://${bucket}/tree`, down);
    for (const name of Object.keys(FULL)) {
      expect(await sha256(join(down, name)), name).toBe(await sha256(join(up, name)));
    }
  });

  test("lists a prefix with its common prefixes, and everything below it recursively", async () => {
    const listed = await aws(zone, "s3", "ls", `s3://${bucket}/tree/`);
    expect(listed.match(/PRE \S.*/g)?.sort()).toEqual(["PRE a+b/", "PRE deep/", "PRE grün/"]);
    expect(listed).toMatch(/ 1 one byte\.txt/);
    const all = await aws(zone, "s3", "ls", "--recursive", "--summarize", `s3://${bucket}/tree/`);
    expect(all).toMatch(new RegExp(`Total Objects: ${Object.keys(FULL).length}\\b`));
  });

  test("removes one object, a prefix, and the bucket with all that is left", { timeout: 60_000 }, async () => {
    await aws(zone, "s3", "rm", `s3://${bucket}/200MiB.bin`);
    await aws(zone, "s3", "rm", "--recursive", `s3://${bucket}/tree/deep/`);
    const left = await aws(zone, "s3", "ls", "--recursive", `s3://${bucket}/`);
    expect(left).not.toMatch(/200MiB\.bin|deep/);
    expect(left).toContain("tree/large.bin");
    await aws(zone, "s3", "rb", "--force", `s3://${bucket}`);
    expect(await aws(zone, "s3", "ls")).not.toContain(bucket);
  });
});

describe("awscli at another zone's endpoint", () => {
  test("copies to and from a bucket that lives elsewhere", { timeout: 60_000 }, async () => {
    const [there, back] = [join(folder, "elsewhere.bin"), join(folder, "elsewhere-back.bin")];
    writeRandom(there, 20 * MIB);
    await aws("ch-dk-2", "s3", "mb", "s3://awscli-elsewhere");
    await aws("at-vie-1", "s3", "cp", "--no-progress", there, "s3://awscli-elsewhere/20MiB.bin");
    await aws("at-vie-1", "s3", "cp", "--no-progress", "s3://awscli-elsewhere/20MiB.bin", back);
    expect(await sha256(back)).toBe(await sha256(there));
  });
});
