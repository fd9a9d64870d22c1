import { describe, expect, test } from "vitest";
import { environment, type Handler, s3Error, startStand, zonal } from "./stand.ts";

const HEAD = { headers: { "x-amz-bucket-region": "at-vie-1" } };
const ACL =
  '<AccessControlPolicy><AccessControlList><Grant><Grantee xmlns:xsi="x" xsi:type="CanonicalUser"><ID>o</ID><DisplayName>main</DisplayName>' +
  "</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>";

function objectWith(headers: Record<string, string>): Handler {
  return ({ method, query }) => {
    if (method === "HEAD") return HEAD;
    const fixed = { "last-modified": "Thu, 02 Jan 2025 03:04:05 GMT", "content-type": "text/plain; charset=utf-8" };
    return "acl" in query ? { body: ACL } : { headers: { ...fixed, ...headers }, body: "hello, world" };
  };
}

describe("zonal storage show of an object", () => {
  test("the replication status stands in its row, the URL is the real one", async () => {
    await using stand = await startStand(
      objectWith({
        "x-amz-replication-status": "REPLICA",
        "x-amz-meta-k1": Buffer.from("vü").toString("latin1"),
        "x-amz-meta-b": "12",
        expires: "Thu, 02 Jan 2025 03:04:05 GMT",
      }),
    );
    const env = { ...environment(stand), ZONAL_TABLE: "box" };
    const { stdout } = await zonal(["storage", "show", "sos://my-destination/a/b c.txt"], { env });
    const url = `${stand.origin}/my-destination/a/b%20c.txt`;
    const width = url.length;
    const row = (name: string, value = "") => `│ ${name.padEnd(18)} │ ${value.padEnd(width)} │\n`;
    const rule = `┼${"─".repeat(20)}┼${"─".repeat(width + 2)}┼\n`;
    expect(stdout).toBe(
      rule +
        row("     STORAGE") +
        rule +
        row("Path", "a/b c.txt") +
        row("Bucket", "my-destination") +
        row("Last Modified", "2025-01-02 03:04:05 UTC") +
        row("Size", "12 B") +
        row("URL", url) +
        row("Replication Status", "REPLICA") +
        row("ACL") +
        row("", "  Read           -     ") +
        row("", "  Write          -     ") +
        row("", "  Read ACP       -     ") +
        row("", "  Write ACP      -     ") +
        row("", "  Full Control   main  ") +
        row("") +
        row("Metadata") +
        row("", "  b    12  ") +
        row("", "  k1   vü  ") +
        row("") +
        row("Headers") +
        row("", "  Content-Type   text/plain; charset=utf-8      ") +
        row("", "  Expires        2025-01-02 03:04:05 +0000 UTC  ") +
        row("") +
        rule,
    );
    expect(stand.requests.map(({ zone }) => zone)).toEqual(["ch-dk-2", "at-vie-1", "at-vie-1"]);
  });

  test("without replication there is no such row, in JSON an empty status; without metadata null", async () => {
    await using stand = await startStand(objectWith({}));
    const env = environment(stand);
    expect((await zonal(["storage", "show", "sos://b/k"], { env })).stdout).not.toContain("Replication");
    expect((await zonal(["storage", "show", "sos://b/k", "-O", "json"], { env })).stdout).toBe(
      '{"name":"k","bucket":"b","last_modified":"2025-01-02 03:04:05 UTC","size":12,' +
        '"acl":{"read":"-","write":"-","read_acp":"-","write_acp":"-","full_control":"main"},"metadata":null,' +
        `"headers":{"Content-Type":"text/plain; charset=utf-8"},"url":"${stand.origin}/b/k","replication_status":""}\n`,
    );
  });

  test("an object that isn't there says S3's code", async () => {
    await using stand = await startStand(({ method }) =>
      method === "HEAD" ? HEAD : s3Error(404, "NoSuchKey", "The specified key does not exist."),
    );
    expect(await zonal(["storage", "show", "sos://b/k"], { env: environment(stand) })).toMatchObject({
      code: 1,
      stderr: "error: unable to retrieve object information: NoSuchKey: The specified key does not exist.\n",
    });
  });
});

/** S3 with these keys, which answers each of them in DeleteObjects, `locked` with an error. */
function deletable(keys: string[]): Handler {
  return ({ method, query, body }) => {
    if (method === "HEAD") return HEAD;
    if ("list-type" in query) {
      const found = keys.filter((key) => key.startsWith(query.prefix ?? ""));
      const own = query.delimiter ? found.filter((key) => !key.slice(query.prefix?.length).includes("/")) : found;
      const entries = own.map((key) => `<Contents><Key>${encodeURIComponent(key)}</Key><Size>1</Size></Contents>`);
      return { body: `<ListBucketResult><EncodingType>url</EncodingType>${entries.join("")}</ListBucketResult>` };
    }
    if (method === "POST") {
      const sent = body.toString().match(/(?<=<Key>)[^<]*/g) ?? [];
      const outcome = (key: string) =>
        key === "locked"
          ? `<Error><Key>${key}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`
          : `<Deleted><Key>${key}</Key></Deleted>`;
      return { body: `<DeleteResult>${sent.map(outcome).join("")}</DeleteResult>` };
    }
    if ("uploads" in query) {
      const upload = "<Upload><Key>a%2Fb+c</Key><UploadId>u</UploadId></Upload>";
      return {
        body: `<ListMultipartUploadsResult><EncodingType>url</EncodingType>${upload}</ListMultipartUploadsResult>`,
      };
    }
    return { status: 204 };
  };
}

describe("zonal storage delete and rb", () => {
  test("one key is that key alone; a prefix is its own level, with -r all below it", async () => {
    await using stand = await startStand(deletable(["a", "a/b", "ab", "p/x", "p/y/z"]));
    const env = environment(stand);
    const deleted = async (...args: string[]) =>
      (await zonal(["storage", "delete", "-f", "-v", ...args], { env })).stdout;
    expect(await deleted("sos://b/a")).toBe("a\n");
    expect(await deleted("sos://b/p/")).toBe("p/x\n");
    expect(await deleted("-r", "sos://b/p/")).toBe("p/x\np/y/z\n");
    expect(await deleted("sos://b")).toBe("a\nab\n");
    expect(await deleted("sos://b/nothing")).toBe("");
    const post = stand.requests.find(({ method }) => method === "POST")!;
    expect(post.headers["content-md5"]).toMatch(/^[\w+/]{22}==$/);
  });

  test("2,500 keys go in three requests, a key that XML can't carry in one of its own", async () => {
    const keys = Array.from({ length: 2500 }, (_, i) => `k${String(i).padStart(4, "0")}`);
    await using stand = await startStand(deletable(["\u0001", ...keys]));
    const { stdout } = await zonal(["storage", "rm", "-rfv", "sos://b/"], { env: environment(stand) });
    expect(stdout.split("\n")).toHaveLength(2502);
    expect(stand.requests.filter(({ method }) => method === "POST")).toHaveLength(3);
    expect(stand.log().at(-1)).toBe("DELETE /b/%01");
  });

  test("a key that can't be deleted is named on standard error, and the command ends with 0", async () => {
    await using stand = await startStand(deletable(["free", "locked"]));
    const outcome = await zonal(["storage", "delete", "-rfv", "sos://b/"], { env: environment(stand) });
    expect(outcome).toEqual({ code: 0, stdout: "free\n", stderr: "locked: Access Denied\n" });
  });

  test("delete asks first", async () => {
    await using stand = await startStand(deletable(["a"]));
    const outcome = await zonal(["storage", "delete", "sos://b/"], { env: environment(stand), input: "no\n" });
    expect(outcome).toMatchObject({ code: 0, stdout: "[+] Are you sure you want to delete sos://b//? [yN]: " });
    expect(stand.requests).toHaveLength(0);
  });

  test("rb -r deletes objects, ends uploads, then deletes the bucket", async () => {
    await using stand = await startStand(deletable(["a"]));
    const outcome = await zonal(["storage", "rb", "-rf", "sos://b"], { env: environment(stand) });
    expect(outcome).toEqual({ code: 0, stdout: "Bucket sos://b deleted successfully\n", stderr: "" });
    expect(stand.log().slice(-4)).toEqual([
      "POST /b?delete",
      "GET /b?encoding-type=url&uploads",
      "DELETE /b/a/b%20c?uploadId=u",
      "DELETE /b",
    ]);
  });

  test("rb of a bucket that isn't empty says what to do", async () => {
    await using stand = await startStand(({ method }) =>
      method === "HEAD" ? HEAD : s3Error(409, "BucketNotEmpty", "no"),
    );
    const { code, stderr } = await zonal(["storage", "rb", "-f", "b"], { env: environment(stand) });
    expect(code).toBe(1);
    expect(stderr).toBe(
      "error: unable to delete bucket: bucket is not empty, either delete files before or use flag `-r`\n",
    );
  });
});
