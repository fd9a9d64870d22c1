import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { environment, type Handler, s3Error, startStand, temporaryFolder, zonal } from "./stand.ts";

const ACL = `<?xml version="1.0" encoding="UTF-8"?>
<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>o</ID><DisplayName>main</DisplayName></Owner>
<AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>o</ID>
<DisplayName>xxxxxxxxxxxxxxxxxxxxxxx</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`;
const OWNERSHIP = `<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`;
const REPLICATION = {
  Role: "6f00a21e-a535-4286-86c5-e81eeab3b4ff",
  Rules: [
    {
      ID: "vie1-follower",
      Priority: 1,
      Filter: { Prefix: "" },
      Status: "Enabled",
      DeleteMarkerReplication: { Status: "Enabled" },
      Destination: { Bucket: "my-destination" },
    },
  ],
};
const REPLICATION_XML =
  '<ReplicationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' +
  "<Role>6f00a21e-a535-4286-86c5-e81eeab3b4ff</Role><Rule>" +
  "<DeleteMarkerReplication><Status>Enabled</Status></DeleteMarkerReplication>" +
  "<Destination><Bucket>my-destination</Bucket></Destination><Filter><Prefix></Prefix></Filter>" +
  "<ID>vie1-follower</ID><Priority>1</Priority><Status>Enabled</Status></Rule></ReplicationConfiguration>";

/** S3 with one bucket in ch-dk-2 that has neither CORS nor anything else set. */
const bucket: Handler = ({ method, query }) => {
  if (method === "PUT" || method === "DELETE") return {};
  if (method === "HEAD") return { headers: { "x-amz-bucket-region": "ch-dk-2" } };
  if ("acl" in query) return { body: ACL };
  if ("cors" in query) return s3Error(404, "NoSuchCORSConfiguration", "The CORS configuration does not exist");
  if ("ownershipControls" in query) return { body: OWNERSHIP };
  if ("versioning" in query) return { body: "<VersioningConfiguration/>" };
  return "replication" in query ? { body: REPLICATION_XML } : undefined;
};

describe("zonal storage create and show", () => {
  test("create makes the bucket at the zone and shows it, as the walkthrough prints it", async () => {
    await using stand = await startStand(bucket);
    const env = { ...environment(stand), ZONAL_TABLE: "box" };
    const { code, stdout } = await zonal(["storage", "create", "--zone", "at-vie-1", "my-destination"], { env });
    expect(code).toBe(0);
    expect(stdout).toBe(`\
┼──────────────────┼────────────────────────────────────────────┼
│     STORAGE      │                                            │
┼──────────────────┼────────────────────────────────────────────┼
│ Name             │ my-destination                             │
│ Zone             │ at-vie-1                                   │
│ ACL              │                                            │
│                  │   Read           -                         │
│                  │   Write          -                         │
│                  │   Read ACP       -                         │
│                  │   Write ACP      -                         │
│                  │   Full Control   xxxxxxxxxxxxxxxxxxxxxxx   │
│                  │                                            │
│ CORS             │                                            │
│ Object Ownership │ BucketOwnerEnforced                        │
┼──────────────────┼────────────────────────────────────────────┼
`);
    expect(stand.requests.every(({ zone }) => zone === "at-vie-1")).toBe(true);
    expect(stand.log()).toEqual([
      "PUT /my-destination",
      "GET /my-destination?acl",
      "GET /my-destination?cors",
      "GET /my-destination?ownershipControls",
    ]);
  });

  test("mb with a canned ACL, quiet", async () => {
    await using stand = await startStand(bucket);
    const args = ["storage", "mb", "sos://b/", "--acl", "public-read", "-Q"];
    expect(await zonal(args, { env: environment(stand) })).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(stand.log()).toEqual(["PUT /b"]);
    expect(stand.requests[0]!.headers).toMatchObject({ "x-amz-acl": "public-read", "content-length": "0" });
  });

  test("a name that is taken says S3's code and message", async () => {
    await using stand = await startStand(() => s3Error(409, "BucketAlreadyExists", "It isn&apos;t available."));
    const { code, stdout, stderr } = await zonal(["storage", "create", "b"], { env: environment(stand) });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toBe("error: unable to create bucket: BucketAlreadyExists: It isn't available.\n");
  });

  test("show as JSON has exo's keys, CORS rules and group grants among them", async () => {
    await using stand = await startStand((request) => {
      if ("cors" in request.query) {
        const rule = (origin: string) =>
          `<CORSRule><AllowedOrigin>${origin}</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod></CORSRule>`;
        return { body: `<CORSConfiguration>${rule("a")}${rule("*")}</CORSConfiguration>` };
      }
      if (!("acl" in request.query)) return bucket(request);
      const grantee = `<Grantee xmlns:xsi="x" xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>`;
      return {
        body: ACL.replace(
          "<AccessControlList>",
          `<AccessControlList><Grant>${grantee}<Permission>READ</Permission></Grant>`,
        ),
      };
    });
    const env = environment(stand);
    const { stdout } = await zonal(["storage", "show", "sos://b", "-O", "json"], { env });
    expect(stdout).toBe(
      '{"name":"b","zone":"ch-dk-2","acl":{"read":"ALL_USERS","write":"-","read_acp":"-","write_acp":"-",' +
        '"full_control":"xxxxxxxxxxxxxxxxxxxxxxx"},"cors":[{"allowed_origins":["a"],"allowed_methods":["GET","PUT"]},' +
        '{"allowed_origins":["*"],"allowed_methods":["GET","PUT"]}],"objectOwnership":"BucketOwnerEnforced"}\n',
    );
    const table = (await zonal(["storage", "show", "b"], { env })).stdout
      .split("\n")
      .map((line) => line.slice(21).trimEnd());
    const start = table.findIndex((line) => line.startsWith("{"));
    expect(table.slice(start, start + 5).map((line) => line.replace(/ +\|$/, ""))).toEqual([
      "{",
      "    Allowed Origins   [a]",
      "    Allowed Methods   [GET PUT]",
      "}",
      "",
    ]);
  });
});

describe("zonal storage bucket versioning", () => {
  test("enable and suspend say nothing, status says it in a table", async () => {
    await using stand = await startStand(bucket);
    const env = environment(stand);
    const run = (...args: string[]) => zonal(["storage", "bucket", "versioning", ...args], { env });
    expect(await run("enable", "--zone", "ch-dk-2", "my-source")).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(await run("suspend", "sos://my-source")).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(stand.requests.map(({ body }) => /<Status>(\w+)</.exec(body.toString())?.[1])).toEqual([
      "Enabled",
      "Suspended",
    ]);
    expect((await run("status", "my-source")).stdout).toBe(`\
| BUCKET OBJECT VERSIONING |           |
|--------------------------|-----------|
| Bucket                   | my-source |
| Object Versioning        | Disabled  |
`);
    const asJson = await zonal(["storage", "b", "v", "status", "b", "-O", "json"], { env });
    expect(asJson.stdout).toBe('{"bucket":"b","objectVersioning":"Disabled"}\n');
  });

  test("-z may stand after storage and after bucket; a command that finds the bucket itself refuses it", async () => {
    await using stand = await startStand(bucket);
    const env = environment(stand);
    for (const args of [
      ["storage", "-z", "z1", "bucket"],
      ["storage", "bucket", "-z", "z1"],
    ]) {
      expect(await zonal([...args, "versioning", "enable", "b"], { env })).toMatchObject({ code: 0 });
    }
    expect(stand.requests.map(({ zone }) => zone)).toEqual(["z1", "z1"]);
    const refused = await zonal(["storage", "show", "-z", "z1", "sos://b"], { env });
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/^error: unknown option '--zone'/);
  });
});

describe("zonal storage bucket replication", () => {
  const set = (file: string, env: Record<string, string>, input = "") =>
    zonal(["storage", "bucket", "replication", "set", "--zone", "ch-dk-2", "sos://my-source", file], { env, input });

  test("set sends the walkthrough's configuration as the AWS SDK writes it", async () => {
    using folder = temporaryFolder();
    await using stand = await startStand(bucket);
    writeFileSync(join(folder.path, "config.json"), JSON.stringify(REPLICATION, null, 4));
    const args = ["storage", "bucket", "replication", "set", "--zone", "ch-dk-2", "sos://my-source", "./config.json"];
    const outcome = await zonal(args, { env: environment(stand), cwd: folder.path });
    expect(outcome).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(stand.log()).toEqual(["PUT /my-source?replication"]);
    expect(stand.requests[0]!.body.toString()).toBe(REPLICATION_XML);
  });

  test("names in any case; without a filter the empty prefix, without a priority 0", async () => {
    await using stand = await startStand(bucket);
    const input = '{"role":"r","RULES":[{"status":"Enabled","destination":{"bucket":"b"}}]}';
    expect(await set("-", environment(stand), input)).toMatchObject({ code: 0 });
    expect(stand.requests[0]!.body.toString()).toContain(
      "<Role>r</Role><Rule><Destination><Bucket>b</Bucket></Destination><Filter><Prefix></Prefix></Filter><Priority>0</Priority><Status>Enabled</Status></Rule>",
    );
  });

  test("a tag filter goes to the server, and a field that S3 doesn't have is refused by name", async () => {
    await using stand = await startStand(bucket);
    const env = environment(stand);
    const And = {
      Prefix: "p&",
      Tags: [
        { Key: "a", Value: "1" },
        { Key: "b", Value: "2" },
      ],
    };
    const rule = { ...REPLICATION.Rules[0], Filter: { And } };
    await set("-", env, JSON.stringify({ ...REPLICATION, Rules: [rule] }));
    expect(stand.requests[0]!.body.toString()).toContain(
      "<And><Prefix>p&#38;</Prefix><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value>2</Value></Tag></And>",
    );
    const unknown = await set("-", env, JSON.stringify({ ...REPLICATION, Rules: [{ ...rule, Filer: {} }] }));
    expect(unknown).toMatchObject({ code: 1 });
    expect(unknown.stderr).toBe('error: unknown field "Rules.0.Filer" in the replication configuration\n');
    expect(stand.requests).toHaveLength(1);
  });

  test("show prints exo's table, and JSON that can be set again", async () => {
    await using stand = await startStand(bucket);
    const env = { ...environment(stand), ZONAL_TABLE: "box" };
    const show = ["storage", "bucket", "replication", "show", "my-source"];
    expect((await zonal(show, { env })).stdout).toBe(`\
┼────────────────────┼──────────────────────────────────────────────┼
│ BUCKET REPLICATION │                                              │
┼────────────────────┼──────────────────────────────────────────────┼
│ Bucket             │ my-source                                    │
│ Role               │ 6f00a21e-a535-4286-86c5-e81eeab3b4ff         │
│ Rules              │                                              │
│                    │   ID                        vie1-follower    │
│                    │   Status                    Enabled          │
│                    │   Priority                               1   │
│                    │   DeleteMarkerReplication   Enabled          │
│                    │   Filter prefix                              │
│                    │   Destination Bucket        my-destination   │
│                    │                                              │
┼────────────────────┼──────────────────────────────────────────────┼
`);
    const asJson = await zonal([...show, "-O", "json"], { env });
    expect(asJson.stdout).toBe(
      '{"Role":"6f00a21e-a535-4286-86c5-e81eeab3b4ff","Rules":[{"Destination":{"Bucket":"my-destination",' +
        '"AccessControlTranslation":null,"Account":null,"EncryptionConfiguration":null,"Metrics":null,"ReplicationTime":null,' +
        '"StorageClass":""},"Status":"Enabled","DeleteMarkerReplication":{"Status":"Enabled"},' +
        '"ExistingObjectReplication":null,"Filter":{"Prefix":""},"ID":"vie1-follower","Priority":1}],"Bucket":"my-source"}\n',
    );
    await set("-", env, asJson.stdout);
    expect(stand.requests.at(-1)!.body.toString()).toBe(REPLICATION_XML);
  });

  test("delete, and the error where there is none", async () => {
    await using stand = await startStand(({ method }) =>
      method === "DELETE" ? { status: 204 } : s3Error(404, "ReplicationConfigurationNotFoundError", "not found"),
    );
    const env = environment(stand);
    const run = (name: string) => zonal(["storage", "bucket", "replication", name, "sos://b"], { env });
    expect(await run("delete")).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(await run("show")).toMatchObject({
      code: 1,
      stderr: "error: ReplicationConfigurationNotFoundError: not found\n",
    });
  });
});
