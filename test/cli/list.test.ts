import { describe, expect, test } from "vitest";
import { environment, type Handler, startStand, zonal } from "./stand.ts";

const HEAD = { headers: { "x-amz-bucket-region": "at-vie-1" } };

function contents(key: string, size: number, time: string): string {
  return `<Contents><Key>${key}</Key><LastModified>${time}</LastModified><ETag>&quot;e&quot;</ETag><Size>${size}</Size></Contents>`;
}

function version(key: string, id: string, time: string, size: number): string {
  return `<Version><Key>${key}</Key><VersionId>${id}</VersionId><IsLatest>false</IsLatest><LastModified>${time}</LastModified><Size>${size}</Size></Version>`;
}

describe("zonal storage list", () => {
  test("objects in S3's order, asked from the zone that holds the bucket", async () => {
    await using stand = await startStand(({ method, query }) => {
      if (method === "HEAD") return HEAD;
      const page = (body: string) => ({ body: `<ListBucketResult>${body}</ListBucketResult>` });
      if (query["continuation-token"] === undefined) {
        return page(
          `<IsTruncated>true</IsTruncated><NextContinuationToken>a+/=</NextContinuationToken>${contents("config.json", 372, "2025-02-20T15:50:12.000Z")}`,
        );
      }
      return page(`<IsTruncated>false</IsTruncated>${contents("policy.json", 418, "2025-02-20T15:50:13.999Z")}`);
    });
    const { code, stdout } = await zonal(["storage", "list", "sos://my-source/"], { env: environment(stand) });
    expect(code).toBe(0);
    expect(stdout).toBe("2025-02-20 15:50:12 UTC  372 B  config.json\n2025-02-20 15:50:13 UTC  418 B  policy.json\n");
    expect(stand.requests.map(({ zone }) => zone)).toEqual(["ch-dk-2", "at-vie-1", "at-vie-1"]);
    expect(stand.requests[2]!.query).toEqual({
      "continuation-token": "a+/=",
      delimiter: "/",
      "encoding-type": "url",
      "list-type": "2",
      prefix: "",
    });
  });

  test("common prefixes first; keys that were encoded are decoded; JSON has exo's keys", async () => {
    await using stand = await startStand(({ method }) =>
      method === "HEAD"
        ? HEAD
        : {
            body:
              `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>` +
              `${contents("a+%2B%C3%BC%25%01", 1536, "2025-01-02T03:04:05Z")}<CommonPrefixes><Prefix>de+ep/</Prefix></CommonPrefixes></ListBucketResult>`,
          },
    );
    const env = environment(stand);
    expect((await zonal(["storage", "ls", "b"], { env })).stdout).toBe(
      "                        DIR      de ep/\n2025-01-02 03:04:05 UTC 1.5 KiB  a +ü%\\x01\n",
    );
    expect(JSON.parse((await zonal(["storage", "ls", "b", "-O", "json"], { env })).stdout)).toEqual([
      { name: "de ep/", size: 0, dir: true, version_id: null, version_number: null },
      {
        name: "a +ü%\u0001",
        size: 1536,
        last_modified: "2025-01-02 03:04:05 UTC",
        dir: false,
        version_id: null,
        version_number: null,
      },
    ]);
    expect((await zonal(["storage", "ls", "b", "-O", "text"], { env })).stdout).toBe(
      "de ep/\t0\t\ttrue\t<nil>\t<nil>\na +ü%\u0001\t1536\t2025-01-02 03:04:05 UTC\tfalse\t<nil>\t<nil>\n",
    );
    expect((await zonal(["storage", "ls", "-s", "b"], { env })).stdout).toBe("de ep/\na +ü%\\x01\n");
  });

  test("--versions: newest first, numbered from each key's oldest, two of one time by their ids", async () => {
    await using stand = await startStand(({ method, query }) => {
      if (method === "HEAD") return HEAD;
      const page = (body: string) => ({
        body: `<ListVersionsResult><EncodingType>url</EncodingType>${body}</ListVersionsResult>`,
      });
      if (query["key-marker"] === undefined) {
        return page(
          `<IsTruncated>true</IsTruncated><NextKeyMarker>v+1</NextKeyMarker><NextVersionIdMarker>12</NextVersionIdMarker>` +
            version("v+1", "2000000000000000012", "2025-01-02T03:04:05Z", 3) +
            version("v+1", "2000000000000000011", "2025-01-02T03:04:05Z", 2),
        );
      }
      return page(`<IsTruncated>false</IsTruncated>${version("w", "null", "2025-01-02T03:04:04Z", 0)}<DeleteMarker/>`);
    });
    const env = environment(stand);
    expect((await zonal(["storage", "list", "--versions", "-r", "sos://b"], { env })).stdout).toBe(
      "2025-01-02 03:04:05 UTC    3 B  v 1 2000000000000000012 v1\n" +
        "2025-01-02 03:04:05 UTC    2 B  v 1 2000000000000000011 v0\n" +
        "2025-01-02 03:04:04 UTC    0 B  w   null                v0\n",
    );
    expect(stand.requests[2]!.query).toMatchObject({ "key-marker": "v 1", "version-id-marker": "12", versions: "" });
    expect(stand.requests[1]!.query.delimiter).toBeUndefined();
  });

  test("buckets come from the control API, of all zones or of one", async () => {
    const buckets = [
      { name: "my-bucket", "zone-name": "ch-dk-2", size: 12, "created-at": "2025-01-02T03:04:05Z" },
      { name: "b", "zone-name": "at-vie-1", size: 0, "created-at": "2025-01-02T03:04:05Z" },
    ];
    const usage: Handler = ({ path }) =>
      path === "/v2/sos-buckets-usage" ? { body: JSON.stringify({ "sos-buckets-usage": buckets }) } : undefined;
    await using stand = await startStand(usage);
    const env = environment(stand);
    expect((await zonal(["storage", "list"], { env })).stdout).toBe(
      "2025-01-02 03:04:05 UTC ch-dk-2    12 B  my-bucket/\n2025-01-02 03:04:05 UTC at-vie-1    0 B  b/\n",
    );
    expect((await zonal(["storage", "list", "-z", "ch-dk-2", "-O", "json"], { env })).stdout).toBe(
      '[{"name":"my-bucket","zone":"ch-dk-2","size":12,"created":"2025-01-02 03:04:05 UTC"}]\n',
    );
    expect((await zonal(["storage", "list", "-z", "ch-dk-2"], { env })).stdout).toBe(
      "2025-01-02 03:04:05 UTC ch-dk-2   12 B  my-bucket/\n",
    );
  });

  test("an empty listing prints nothing", async () => {
    await using stand = await startStand(({ method }) => (method === "HEAD" ? HEAD : { body: "<ListBucketResult/>" }));
    const outcome = await zonal(["storage", "list", "sos://b/nothing/"], { env: environment(stand) });
    expect(outcome).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  test("a bucket that isn't there, and one that is forbidden", async () => {
    const denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    await using stand = await startStand(({ method, path }) => {
      if (path === "/gone") return { status: 404 };
      return { status: 403, headers: { "x-amz-bucket-region": "ch-dk-2" }, body: method === "HEAD" ? "" : denied };
    });
    const env = environment(stand);
    expect(await zonal(["storage", "list", "sos://gone"], { env })).toMatchObject({
      code: 1,
      stderr: 'error: bucket "gone" not found\n',
    });
    expect(await zonal(["storage", "list", "sos://b"], { env })).toMatchObject({
      code: 1,
      stderr: "error: AccessDenied: Access Denied\n",
    });
  });
});
