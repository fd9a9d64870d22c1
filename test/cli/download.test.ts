import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { environment, type Handler, s3Error, startStand, temporaryFolder, zonal } from "./stand.ts";

const HEAD = { headers: { "x-amz-bucket-region": "ch-dk-2" } };

/** S3 with these objects, listed in any prefix, read whole or from a byte on. */
function bucketWith(objects: Record<string, Buffer | string>): Handler {
  return ({ method, path, query, headers }) => {
    if (method === "HEAD") return HEAD;
    if ("list-type" in query) {
      const keys = Object.keys(objects)
        .filter((key) => key.startsWith(query.prefix ?? ""))
        .sort();
      const own = query.delimiter ? keys.filter((key) => !key.slice(query.prefix?.length).includes("/")) : keys;
      const entry = (key: string) =>
        `<Contents><Key>${key}</Key><LastModified>2025-01-02T03:04:05Z</LastModified><Size>${objects[key]!.length}</Size></Contents>`;
      return {
        body: `<ListBucketResult><IsTruncated>false</IsTruncated>${own.map(entry).join("")}</ListBucketResult>`,
      };
    }
    const content = objects[decodeURIComponent(path).slice("/b/".length)];
    if (content === undefined) return s3Error(404, "NoSuchKey", "The specified key does not exist.");
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    return { status: headers.range ? 206 : 200, headers: { etag: '"e"' }, body: Buffer.from(content).subarray(start) };
  };
}

describe("zonal storage download", () => {
  test("one object, by its name or another, never over a file that is there without -f", async () => {
    using folder = temporaryFolder();
    await using stand = await startStand(bucketWith({ "a/hello.txt": "hello", "a/hello.txt2": "no" }));
    const run = (...args: string[]) =>
      zonal(["storage", "download", "sos://b/a/hello.txt", ...args], { env: environment(stand), cwd: folder.path });
    const first = await run();
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toMatch(/^a\/hello\.txt {6}\[=+\] 5\.00 b \/ 5\.00 b \| 0s\n$/);
    expect(readFileSync(join(folder.path, "hello.txt"), "utf8")).toBe("hello");
    writeFileSync(join(folder.path, "hello.txt"), "mine");
    expect(await run()).toMatchObject({
      code: 1,
      stderr: 'error: failed to download single file: file "hello.txt" already exists, use flag `-f` to overwrite\n',
    });
    expect(await run("-f", "-Q")).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(readFileSync(join(folder.path, "hello.txt"), "utf8")).toBe("hello");
    await run("other.txt", "-Q");
    mkdirSync(join(folder.path, "d"));
    await run("d", "-Q");
    expect(readFileSync(join(folder.path, "other.txt"), "utf8")).toBe("hello");
    expect(readFileSync(join(folder.path, "d/hello.txt"), "utf8")).toBe("hello");
  });

  test("a transfer that breaks off goes on where it stopped, on the same ETag", async () => {
    using folder = temporaryFolder();
    const content = randomBytes(300_000);
    const whole = bucketWith({ big: content });
    let breaks = 0;
    await using stand = await startStand(async (request) => {
      const reply = await whole(request);
      const isRead = request.method === "GET" && !("list-type" in request.query);
      return isRead && breaks++ < 2 ? { ...reply, breakAfter: 100_000 } : reply;
    });
    const outcome = await zonal(["storage", "get", "sos://b/big", "-Q"], { env: environment(stand), cwd: folder.path });
    expect(outcome).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(readFileSync(join(folder.path, "big")).equals(content)).toBe(true);
    const reads = stand.requests.slice(2).map(({ headers }) => [headers.range, headers["if-match"]]);
    expect(reads).toHaveLength(3);
    expect(reads[0]).toEqual([undefined, undefined]);
    expect(reads[2]![0]).toMatch(/^bytes=\d+-$/);
    expect(reads[2]![1]).toBe('"e"');
  });

  test("one that fails for good leaves nothing behind", async () => {
    using folder = temporaryFolder();
    const whole = bucketWith({ big: "content" });
    await using stand = await startStand((request) =>
      request.path === "/b/big" ? s3Error(403, "AccessDenied", "Access Denied") : whole(request),
    );
    const outcome = await zonal(["storage", "download", "sos://b/big"], { env: environment(stand), cwd: folder.path });
    expect(outcome).toEqual({
      code: 1,
      stdout: "",
      stderr: "error: failed to download single file: AccessDenied: Access Denied\n",
    });
    expect(readdirSync(folder.path)).toEqual([]);
  });

  test("a prefix with all below it; a key can't lead out of the folder, and the others are still downloaded", async () => {
    using folder = temporaryFolder();
    const objects = { "p/a": "1", "p/x/y": "2", "p/../../out": "3", "p/empty": "", q: "4" };
    await using stand = await startStand(bucketWith(objects));
    const env = environment(stand);
    const missing = await zonal(["storage", "download", "-r", "sos://b/p/", "to"], { env, cwd: folder.path });
    expect(missing).toMatchObject({ code: 1, stderr: 'error: destination folder "to" does not exist\n' });
    mkdirSync(join(folder.path, "to"));
    const outcome = await zonal(["storage", "download", "-r", "-Q", "sos://b/p/", "to"], { env, cwd: folder.path });
    expect(outcome).toEqual({
      code: 0,
      stdout: "",
      stderr: "failed to download object p/../../out: its key leads out of the destination folder\n",
    });
    expect(readFileSync(join(folder.path, "to/x/y"), "utf8")).toBe("2");
    expect(readFileSync(join(folder.path, "to/empty"), "utf8")).toBe("");
    expect(readdirSync(join(folder.path, "to")).sort()).toEqual(["a", "empty", "x"]);
    expect(existsSync(join(folder.path, "out"))).toBe(false);
  });

  test("nothing at that address, and a dry run", async () => {
    using folder = temporaryFolder();
    await using stand = await startStand(bucketWith({ "p/a": "1", "p/b": "2" }));
    const run = (...args: string[]) =>
      zonal(["storage", "download", ...args], { env: environment(stand), cwd: folder.path });
    expect(await run("sos://b/p")).toEqual({ code: 0, stdout: 'no objects exist at "p"\n', stderr: "" });
    expect(await run("-n", "sos://b/p/")).toEqual({
      code: 0,
      stdout: "[DRY-RUN]\nb/p/a -> a\nb/p/b -> b\n",
      stderr: "",
    });
    expect(readdirSync(folder.path)).toEqual([]);
  });
});
