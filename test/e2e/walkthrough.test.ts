/**
 * The walkthroughs that users were promised, by the CLI letter for letter (`exo` is `zonal`) and by the AWS SDK: leader
 * and follower, and both directions. Tables are compared whole; what differs from run to run (ids, times, the owner's
 * name) is put in their place first.
 */
import { execFile } from "node:child_process";
import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  CreateBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutBucketReplicationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT, startZones, temporaryFolder, until, type Zones } from "../harness.ts";
import { seedPolicy } from "../links.ts";

let zones: Zones;
let folder: string;

beforeAll(async () => {
  zones = await startZones();
  folder = realpathSync(temporaryFolder());
  mkdirSync(join(folder, "bin"));
  symlinkSync(join(ROOT, "dist/zonal.js"), join(folder, "bin/zonal"));
});
afterAll(async () => {
  await zones?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a line in a shell, as a person types it in a folder of their own. Gives what it prints to standard output. */
async function shell(directory: string, line: string): Promise<string> {
  const env: Record<string, string> = {
    PATH: `${join(folder, "bin")}:${process.env.PATH}`,
    HOME: folder,
    ZONAL_LOCAL: join(zones.stateDir, "local.json"),
    ZONAL_TABLE: "box",
    COLUMNS: "115",
  };
  const { stdout } = await promisify(execFile)("bash", ["-o", "pipefail", "-c", line], {
    cwd: join(folder, directory),
    env: env as NodeJS.ProcessEnv,
  });
  return stdout;
}

function makeFiles(directory: string, files: Record<string, unknown>): void {
  mkdirSync(join(folder, directory), { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(
      join(folder, directory, name),
      typeof content === "string" ? content : JSON.stringify(content, null, 2),
    );
  }
}

/** The file as the seed prints it: policy.json is 418 bytes, a-b.json 410. */
function policyFile(source: string, destination: string): string {
  return `${JSON.stringify(seedPolicy(source, destination), null, 2)}\n`;
}

/** As the seed prints it. */
function configurationFile(role: string, id: string, destination: string): string {
  return `{
    "Role": "${role}",
    "Rules": [{
        "ID": "${id}",
        "Priority": 1,
        "Filter": {
            "Prefix": ""
        },
        "Status": "Enabled",
        "DeleteMarkerReplication": {
            "Status": "Enabled"
        },
        "Destination": {
            "Bucket": "${destination}"
        }
    }]
}
`;
}

const TIME = /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/g;

/** A table whose cells are as wide as what stands in them. */
function box(rows: [string, string][], { header }: { header?: string } = {}): string {
  const widths = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]!.length), i === 0 ? (header ?? "").length : 0));
  const rule = `┼${widths.map((width) => "─".repeat(width + 2)).join("┼")}┼`;
  const line = ([name, value]: [string, string]) => `│ ${name.padEnd(widths[0]!)} │ ${value.padEnd(widths[1]!)} │`;
  const pad = (text: string, width: number) =>
    text.padStart(text.length + Math.floor((width - text.length) / 2)).padEnd(width);
  const head = header === undefined ? [] : [`│ ${pad(header, widths[0]!)} │ ${" ".repeat(widths[1]!)} │`, rule];
  return `${[rule, ...head, ...rows.map(line), rule].join("\n")}\n`;
}

function roleTable(id: string, name: string, description: string): string {
  return box([
    ["ID", id],
    ["Name", name],
    ["Description", description],
    ["Editable", "true"],
    ["Labels", "n/a"],
    ["Permissions", "n/a"],
  ]);
}

function bucketTable(name: string, zone: string, owner: string): string {
  const rows: [string, string][] = [
    ["Name", name],
    ["Zone", zone],
    ["ACL", ""],
    ...["Read", "Write", "Read ACP", "Write ACP"].map((right): [string, string] => [
      "",
      `  ${right.padEnd(12)}   -${" ".repeat(owner.length + 1)}`,
    ]),
    ["", `  Full Control   ${owner}  `],
    ["", ""],
    ["CORS", ""],
    ["Object Ownership", "BucketOwnerEnforced"],
  ];
  return box(rows, { header: "STORAGE" });
}

const idOf = (table: string) => /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(table)![0];

/** The bars as they stand in the end; on the way each is drawn several times. */
function lastBars(output: string): string[] {
  const lines = output
    .replaceAll(/\p{Cc}\[[0-9]*[A-Z]/gu, "")
    .split(/[\r\n]+/)
    .filter(Boolean);
  return [...new Map(lines.map((line) => [line.split(" ")[0], line])).values()];
}

describe("leader and follower, by the CLI", () => {
  it("runs as it was printed", async () => {
    makeFiles("leader", { "policy.json": policyFile("my-source", "my-destination").trimEnd() });
    const run = (line: string) => shell("leader", line);

    const role = await run(
      "cat policy.json | zonal iam role create --editable=true --description 'sos bucket replication between my-source and my-destination' --policy - replication-my-source-my-destination",
    );
    const roleId = idOf(role);
    expect(role).toBe(
      roleTable(
        roleId,
        "replication-my-source-my-destination",
        "sos bucket replication between my-source and my-destination",
      ),
    );

    expect(await run("zonal storage create --zone ch-dk-2 my-source")).toBe(
      bucketTable("my-source", "ch-dk-2", "main"),
    );
    expect(await run("zonal storage create --zone at-vie-1 my-destination")).toBe(
      bucketTable("my-destination", "at-vie-1", "main"),
    );
    expect(await run("zonal storage bucket versioning enable --zone ch-dk-2 my-source")).toBe("");
    expect(await run("zonal storage bucket versioning enable --zone at-vie-1 my-destination")).toBe("");

    makeFiles("leader", { "config.json": configurationFile(roleId, "vie1-follower", "my-destination") });
    expect(await run("zonal storage bucket replication set --zone ch-dk-2 sos://my-source ./config.json")).toBe("");

    const bars = lastBars(await run("zonal storage upload -r ./ sos://my-source/"));
    const [config, policy] = ["config.json", "policy.json"].map((name) => bars.find((bar) => bar.startsWith(name))!);
    expect(config).toMatch(/^config\.json {6}\[=+\] \d+\.00 b \/ \d+\.00 b \| 0s$/);
    expect(policy).toMatch(/^policy\.json {6}\[=+\] \d+\.00 b \/ \d+\.00 b \| 0s$/);

    await until(async () => (await run("zonal storage show sos://my-source/policy.json")).includes("COMPLETED"));
    await until(async () => (await run("zonal storage show sos://my-source/config.json")).includes("COMPLETED"));
    const source = await run("zonal storage list sos://my-source/");
    const destination = await run("zonal storage list sos://my-destination/");
    expect(destination).toBe(source);
    expect(source.replace(TIME, "TIME").replace(/\d+ B/g, "N B")).toBe(
      "TIME  N B  config.json\nTIME  N B  policy.json\n",
    );

    const shown = await run("zonal storage show sos://my-source/config.json");
    expect(shown).toMatch(/│ Path +│ config\.json +│\n│ Bucket +│ my-source +│/);
    expect(shown).toMatch(/│ Replication Status │ COMPLETED +│/);
    const replica = await run("zonal storage show sos://my-destination/config.json");
    expect(replica).toMatch(/│ Path +│ config\.json +│\n│ Bucket +│ my-destination +│/);
    expect(replica).toMatch(/│ Replication Status │ REPLICA +│/);
  }, 60_000);
});

describe("both directions, by the CLI", () => {
  it("runs as it was printed", async () => {
    makeFiles("both", {
      "a-b.json": policyFile("bucket-a", "bucket-b").trimEnd(),
      "b-a.json": policyFile("bucket-b", "bucket-a").trimEnd(),
    });
    const run = (line: string) => shell("both", line);
    const makeRole = async (one: string, other: string) => {
      const file = `${one.at(-1)}-${other.at(-1)}.json`;
      const description = `sos bucket replication between ${one} and ${other}`;
      const table = await run(
        `cat ${file} | zonal iam role create --editable=true --description '${description}' --policy - replication-${one}-${other}`,
      );
      expect(table).toBe(roleTable(idOf(table), `replication-${one}-${other}`, description));
      return idOf(table);
    };
    const [aToB, bToA] = [await makeRole("bucket-a", "bucket-b"), await makeRole("bucket-b", "bucket-a")];

    expect(await run("zonal storage create --zone ch-dk-2 bucket-a")).toBe(bucketTable("bucket-a", "ch-dk-2", "main"));
    expect(await run("zonal storage create --zone at-vie-1 bucket-b")).toBe(
      bucketTable("bucket-b", "at-vie-1", "main"),
    );
    await run("zonal storage bucket versioning enable --zone ch-dk-2 bucket-a");
    await run("zonal storage bucket versioning enable --zone at-vie-1 bucket-b");
    makeFiles("both", {
      "conf-a.json": configurationFile(aToB, "to-bucket-b", "bucket-b"),
      "conf-b.json": configurationFile(bToA, "to-bucket-a", "bucket-a"),
    });
    await run("zonal storage bucket replication set --zone ch-dk-2 sos://bucket-a ./conf-a.json");
    await run("zonal storage bucket replication set --zone at-vie-1 sos://bucket-b ./conf-b.json");

    const toA = lastBars(await run("zonal storage upload *a.json sos://bucket-a"));
    const toB = lastBars(await run("zonal storage upload *b.json sos://bucket-b"));
    expect(toA.map((bar) => bar.split(" ")[0])).toEqual(["b-a.json", "conf-a.json"]);
    expect(toB.map((bar) => bar.split(" ")[0])).toEqual(["a-b.json", "conf-b.json"]);

    const names = /a-b\.json\n.*b-a\.json\n.*conf-a\.json\n.*conf-b\.json\n$/;
    await until(async () => names.test(await run("zonal storage list sos://bucket-a")));
    await until(async () => names.test(await run("zonal storage list sos://bucket-b")));
    expect(await run("zonal storage list sos://bucket-a")).toBe(await run("zonal storage list sos://bucket-b"));
  }, 60_000);
});

describe("both walkthroughs, by the AWS SDK", () => {
  const [near, far] = ["ch-dk-2", "at-vie-1"] as const;

  async function prepare(zone: string, bucket: string): Promise<void> {
    const client = zones.s3(zone);
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    await client.send(
      new PutBucketVersioningCommand({ Bucket: bucket, VersioningConfiguration: { Status: "Enabled" } }),
    );
  }

  async function replicate(zone: string, source: string, destination: string): Promise<void> {
    const role = {
      name: `replication-${source}-${destination}`,
      editable: true,
      policy: seedPolicy(source, destination),
    };
    const { body } = await zones.control<{ reference: { id: string } }>("POST", "/iam-role", role);
    const configuration = JSON.parse(configurationFile(body.reference.id, "follower", destination));
    await zones
      .s3(zone)
      .send(new PutBucketReplicationCommand({ Bucket: source, ReplicationConfiguration: configuration }));
  }

  async function listing(zone: string, bucket: string): Promise<string[]> {
    const { Contents = [] } = await zones.s3(zone).send(new ListObjectsV2Command({ Bucket: bucket }));
    return Contents.map(({ Key, Size, LastModified, ETag }) => `${Key} ${Size} ${LastModified!.toISOString()} ${ETag}`);
  }

  const status = async (zone: string, bucket: string, key: string) =>
    (await zones.s3(zone).send(new HeadObjectCommand({ Bucket: bucket, Key: key }))).ReplicationStatus;

  it("show the same objects at both ends, COMPLETED and REPLICA", async () => {
    for (const [zone, bucket] of [
      [near, "sdk-a"],
      [far, "sdk-b"],
    ] as const)
      await prepare(zone, bucket);
    await replicate(near, "sdk-a", "sdk-b");
    await zones.s3(near).send(new PutObjectCommand({ Bucket: "sdk-a", Key: "leader", Body: "from the leader" }));
    await until(async () => (await status(near, "sdk-a", "leader")) === "COMPLETED");
    expect(await status(far, "sdk-b", "leader")).toBe("REPLICA");

    await replicate(far, "sdk-b", "sdk-a");
    await zones.s3(far).send(new PutObjectCommand({ Bucket: "sdk-b", Key: "other way", Body: "from b" }));
    await until(async () => (await status(far, "sdk-b", "other way")) === "COMPLETED");
    expect(await status(near, "sdk-a", "other way")).toBe("REPLICA");
    const [inA, inB] = [await listing(near, "sdk-a"), await listing(far, "sdk-b")];
    expect(inA).toHaveLength(2);
    expect(inB).toEqual(inA);
  });
});
