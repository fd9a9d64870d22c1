import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  environment,
  type Handler,
  type Recorded,
  type Reply,
  s3Error,
  startStand,
  temporaryFolder,
  zonal,
} from "./stand.ts";

const MIB = 1024 * 1024;
const HEAD = { headers: { "x-amz-bucket-region": "ch-dk-2" } };

/** S3 that takes everything; `partReply` may refuse a part. */
function store(partReply: (request: Recorded) => Reply | undefined = () => undefined): Handler {
  return (request) => {
    const { method, query, body } = request;
    if (method === "HEAD") return HEAD;
    if ("uploads" in query) {
      return { body: "<InitiateMultipartUploadResult><UploadId>u+1/=</UploadId></InitiateMultipartUploadResult>" };
    }
    if (query.partNumber) return partReply(request) ?? { headers: { etag: `"${md5(body)}"` } };
    if (method === "POST")
      return { body: "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>" };
    return { headers: { etag: `"${md5(body)}"` } };
  };
}

function md5(content: Buffer): string {
  return createHash("md5").update(content).digest("hex");
}

function folderWith(files: Record<string, string | Buffer>) {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder.path, name, ".."), { recursive: true });
    writeFileSync(join(folder.path, name), content);
  }
  return folder;
}

describe("zonal storage upload", () => {
  test("a folder with its bars, as the walkthrough prints them", async () => {
    using folder = folderWith({ "policy.json": "p".repeat(418), "config.json": "c".repeat(372) });
    await using stand = await startStand(store());
    const env = { ...environment(stand), COLUMNS: "119" };
    const outcome = await zonal(["storage", "upload", "-r", "./", "sos://my-source/"], { env, cwd: folder.path });
    expect(outcome).toEqual({
      code: 0,
      stdout:
        "config.json      [===========================================================================] 372.00 b / 372.00 b | 0s\n" +
        "policy.json      [===========================================================================] 418.00 b / 418.00 b | 0s\n",
      stderr: "",
    });
    expect(stand.log()).toEqual(["HEAD /my-source", "PUT /my-source/config.json", "PUT /my-source/policy.json"]);
    expect(stand.requests[1]!.body.toString()).toBe("c".repeat(372));
  });

  test("several files into a bucket without a slash at its end", async () => {
    using folder = folderWith({ "b-a.json": "{}", "conf-a.json": "{}" });
    await using stand = await startStand(store());
    const args = ["storage", "upload", "b-a.json", "conf-a.json", "sos://bucket-a", "-Q", "--acl", "private"];
    expect(await zonal(args, { env: environment(stand), cwd: folder.path })).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    expect(stand.log().slice(1)).toEqual(["PUT /bucket-a/b-a.json", "PUT /bucket-a/conf-a.json"]);
    expect(stand.requests[1]!.headers).toMatchObject({ "x-amz-acl": "private", "content-length": "2" });
    expect(stand.requests[1]!.headers["content-type"]).toBeUndefined();
  });

  test("keys: another name, below a prefix, a folder with and without a slash at its end", async () => {
    using folder = folderWith({ "f.txt": "1", "d/a": "2", "d/x/y": "3", "d/.hidden": "4" });
    symlinkSync("../f.txt", join(folder.path, "d/link"));
    symlinkSync("x", join(folder.path, "d/to-folder"));
    await using stand = await startStand(store());
    const keys = async (...args: string[]) => {
      const outcome = await zonal(["storage", "put", "-n", "-r", ...args], {
        env: environment(stand),
        cwd: folder.path,
      });
      return outcome.stdout.split("\n").slice(1, -1);
    };
    expect(await keys("f.txt", "sos://b/z.txt")).toEqual(["f.txt -> b/z.txt"]);
    expect(await keys("./f.txt", "sos://b/p/")).toEqual(["f.txt -> b/p/f.txt"]);
    expect(await keys("d/", "sos://b")).toEqual([
      "d/.hidden -> b/.hidden",
      "d/a -> b/a",
      "d/link -> b/link",
      "d/x/y -> b/x/y",
    ]);
    expect((await keys("d", "sos://b/p")).at(-1)).toBe("d/x/y -> b/p/d/x/y");
    expect((await keys(".", "sos://b/p/")).at(-1)).toBe("f.txt -> b/p/f.txt");
    expect((await keys(`${folder.path}/d/`, "sos://b")).at(-1)).toBe(`${folder.path}/d/x/y -> b/x/y`);
    expect(stand.requests.every(({ method }) => method === "HEAD")).toBe(true);
  });

  test("a link to a folder is left out, and said so", async () => {
    using folder = folderWith({ "d/a": "1" });
    symlinkSync("d", join(folder.path, "link"));
    await using stand = await startStand(store());
    const { code, stderr } = await zonal(["storage", "upload", "-r", "./", "sos://b"], {
      env: environment(stand),
      cwd: folder.path,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "left out link: a link to a folder\n" });
  });

  test("keys with .., //, spaces and letters from anywhere are sent and signed as they are", async () => {
    using folder = folderWith({ "a.txt": "x" });
    await using stand = await startStand(store());
    const key = "a/../b//./sp ace+ü%2E日本'()*!~ ";
    const outcome = await zonal(["storage", "upload", "a.txt", `sos://b/${key}`], {
      env: environment(stand),
      cwd: folder.path,
    });
    expect(outcome).toMatchObject({ code: 0, stderr: "" });
    expect(stand.requests[1]!.path).toBe("/b/a/../b//./sp%20ace%2B%C3%BC%252E%E6%97%A5%E6%9C%AC%27%28%29%2A%21~%20");
    expect(decodeURIComponent(stand.requests[1]!.path)).toBe(`/b/${key}`);
  });

  test("just under 5 MiB is one PutObject, an empty file one with an empty bar", async () => {
    using folder = folderWith({ big: Buffer.alloc(5 * MIB - 1, "line\n"), empty: "" });
    await using stand = await startStand(store());
    const { code, stdout } = await zonal(["storage", "upload", "big", "empty", "sos://b"], {
      env: environment(stand),
      cwd: folder.path,
    });
    expect(code).toBe(0);
    expect(stdout.split("\n")[0]).toMatch(/^big {14}\[=+\] 5\.00 MiB \/ 5\.00 MiB \| \d+s$/);
    expect(stdout.split("\n")[1]).toMatch(/^empty {12}\[-+\] 0\.00 b \/ 0\.00 b \| 0s$/);
    expect(stand.log()).toEqual(["HEAD /b", "PUT /b/big", "PUT /b/empty"]);
    expect(stand.requests[1]!.headers["content-type"]).toBe("text/plain; charset=utf-8");
  });

  test("from 5 MiB it is a multipart upload, and a part that met a 503 or a broken connection is sent again", async () => {
    const content = randomBytes(11 * MIB + 7);
    using folder = folderWith({ big: content });
    let refusals = 0;
    await using stand = await startStand(
      store(({ query }) => {
        if (refusals >= 2 || query.partNumber !== "2") return undefined;
        return refusals++ === 0
          ? s3Error(503, "SlowDown", "Please reduce your request rate.")
          : { body: "xx", breakAfter: 1 };
      }),
    );
    const { code, stdout, stderr } = await zonal(["storage", "upload", "big", "sos://b/k"], {
      env: environment(stand),
      cwd: folder.path,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^big {14}\[=+\] 11\.00 MiB \/ 11\.00 MiB \| \d+s\n$/);
    const parts = stand.requests.filter(({ query }) => query.partNumber);
    expect(parts.map(({ query }) => query.partNumber).sort()).toEqual(["1", "2", "2", "2", "3"]);
    expect(stand.requests[1]).toMatchObject({
      method: "POST",
      query: { uploads: "" },
      headers: { "content-type": "application/octet-stream" },
    });
    const complete = stand.requests.at(-1)!;
    expect(complete).toMatchObject({ method: "POST", query: { uploadId: "u+1/=" } });
    const slices = [0, 5, 10].map((at) => content.subarray(at * MIB, at === 10 ? undefined : (at + 5) * MIB));
    expect(complete.body.toString().match(/[0-9a-f]{32}/g)).toEqual(slices.map(md5));
    expect(complete.body.toString().match(/(?<=<PartNumber>)\d+/g)).toEqual(["1", "2", "3"]);
  });

  test("a part that is refused aborts the upload", async () => {
    using folder = folderWith({ big: Buffer.alloc(30 * MIB) });
    await using stand = await startStand(
      store(({ query }) => (query.partNumber === "3" ? s3Error(403, "AccessDenied", "Access Denied") : undefined)),
    );
    const outcome = await zonal(["storage", "upload", "big", "sos://b"], { env: environment(stand), cwd: folder.path });
    expect(outcome).toEqual({
      code: 1,
      stdout: "",
      stderr: "error: upload multipart failed, upload id: u+1/=, cause: AccessDenied: Access Denied\n",
    });
    expect(stand.log()).toContain("DELETE /b/big?uploadId=u+1/=");
  });

  test("a CompleteMultipartUpload that says an error with status 200 is an error", async () => {
    using folder = folderWith({ big: Buffer.alloc(5 * MIB) });
    await using stand = await startStand((request) => {
      const isComplete = request.method === "POST" && "uploadId" in request.query;
      return isComplete ? { ...s3Error(200, "InvalidPart", "gone"), status: 200 } : store()(request);
    });
    const { code, stderr } = await zonal(["storage", "upload", "big", "sos://b"], {
      env: environment(stand),
      cwd: folder.path,
    });
    expect(code).toBe(1);
    expect(stderr).toContain("cause: InvalidPart: gone");
  });

  test("Ctrl-C aborts the upload and ends in order", async () => {
    using folder = folderWith({ big: Buffer.alloc(20 * MIB) });
    let kill: (signal: NodeJS.Signals) => void = () => undefined;
    await using stand = await startStand(
      store(({ query }) => {
        if (query.partNumber === "2") kill("SIGINT");
        return undefined;
      }),
    );
    const { code, stderr } = await zonal(["storage", "upload", "big", "sos://b"], {
      env: environment(stand),
      cwd: folder.path,
      onStart: (send) => {
        kill = send;
      },
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "\rUpload interrupted by user\n" });
    expect(stand.log()).toContain("DELETE /b/big?uploadId=u+1/=");
  });

  test("what can't be uploaded is told before anything is sent", async () => {
    using folder = folderWith({ a: "1", b: "2", "d/c": "3" });
    await using stand = await startStand(store());
    const run = async (...args: string[]) =>
      (await zonal(["storage", "upload", ...args], { env: environment(stand), cwd: folder.path })).stderr;
    expect(await run("a", "b", "sos://b/prefix")).toBe(
      'error: multiple files to upload, destination must end with "/"\n',
    );
    expect(await run("d", "sos://b")).toBe('error: "d" is a directory, use flag `-r` to upload recursively\n');
    expect(await run("nothing", "sos://b")).toMatch(/^error: ENOENT: .*nothing/);
    expect(await run("sos://b")).toMatch(/^error: missing destination[\s\S]*Usage: zonal storage upload/);
    expect(await run("a", "sos://b", "--acl", "mine")).toMatch(
      /^error: option '--acl <acl>' argument 'mine' is invalid/,
    );
    expect(stand.requests.every(({ method }) => method === "HEAD")).toBe(true);
  });
});
