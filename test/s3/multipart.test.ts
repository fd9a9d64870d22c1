import { createHash } from "node:crypto";
import {
  AbortMultipartUploadCommand,
  type ChecksumAlgorithm,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startZones, type Zones } from "../harness.ts";
import { send } from "./raw.ts";

const MIN_PART = 5 * 1024 * 1024;
const FIRST = Buffer.alloc(MIN_PART, "first ");
const LAST = Buffer.from("last");

let zones: Zones;
let s3: S3Client;

beforeAll(async () => {
  zones = await startZones({ zones: ["ch-dk-2", "at-vie-1"] });
  s3 = zones.s3("ch-dk-2");
  await s3.send(new CreateBucketCommand({ Bucket: "home" }));
  await zones.s3("at-vie-1").send(new CreateBucketCommand({ Bucket: "far" }));
});
afterAll(async () => await zones?.stop());

const refused = (code: string, status: number) => ({
  name: code,
  $metadata: expect.objectContaining({ httpStatusCode: status }),
});
const create = async (Key: string, more: Partial<CreateMultipartUploadCommandInput> = {}) => {
  return (await s3.send(new CreateMultipartUploadCommand({ Bucket: "home", Key, ...more }))).UploadId!;
};
const upload = async (
  Key: string,
  UploadId: string,
  PartNumber: number,
  Body: Uint8Array,
  more = {},
): Promise<CompletedPart> => {
  const { $metadata: _, ...part } = await s3.send(
    new UploadPartCommand({ Bucket: "home", Key, UploadId, PartNumber, Body, ...more }),
  );
  return { ...part, PartNumber };
};
const complete = (Key: string, UploadId: string, Parts: CompletedPart[], more = {}) => {
  return s3.send(
    new CompleteMultipartUploadCommand({ Bucket: "home", Key, UploadId, MultipartUpload: { Parts }, ...more }),
  );
};
const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest();

describe("A multipart upload", () => {
  test("becomes one object of its parts, with S3's ETag, headers and metadata", async () => {
    const UploadId = await create("whole", { ContentType: "text/x", Metadata: { a: "1" }, Tagging: "t=1" });
    const parts = [await upload("whole", UploadId, 2, FIRST), await upload("whole", UploadId, 5, LAST)];
    await expect(s3.send(new HeadObjectCommand({ Bucket: "home", Key: "whole" }))).rejects.toMatchObject({
      name: "NotFound",
    });
    const done = await complete("whole", UploadId, parts);
    const etag = `"${createHash("md5")
      .update(Buffer.concat([md5(FIRST), md5(LAST)]))
      .digest("hex")}-2"`;
    expect(done).toMatchObject({
      ETag: etag,
      Bucket: "home",
      Key: "whole",
      Location: `${zones.endpoint("ch-dk-2")}/home/whole`,
    });
    const object = await s3.send(new GetObjectCommand({ Bucket: "home", Key: "whole" }));
    const body = Buffer.from(await object.Body!.transformToByteArray());
    expect(body.equals(Buffer.concat([FIRST, LAST]))).toBe(true);
    expect(object).toMatchObject({
      ETag: etag,
      ContentLength: MIN_PART + 4,
      ContentType: "text/x",
      Metadata: { a: "1" },
      TagCount: 1,
    });
  });

  test("is read by part, and across parts", async () => {
    const read = async (more = {}) => {
      const answer = await s3.send(new GetObjectCommand({ Bucket: "home", Key: "whole", ...more }));
      return { ...answer, text: await answer.Body!.transformToString() };
    };
    expect(await read({ PartNumber: 2 })).toMatchObject({
      text: "last",
      PartsCount: 2,
      ContentRange: `bytes ${MIN_PART}-${MIN_PART + 3}/${MIN_PART + 4}`,
    });
    const range = await read({ Range: `bytes=${MIN_PART - 2}-${MIN_PART + 1}` });
    expect(range).toMatchObject({ text: `${FIRST.toString("latin1").slice(-2)}la`, ContentLength: 4 });
    const head = await s3.send(new HeadObjectCommand({ Bucket: "home", Key: "whole", PartNumber: 1 }));
    expect(head).toMatchObject({ ContentLength: MIN_PART, PartsCount: 2 });
    expect(await send(zones, "HEAD", "/home/whole?partNumber=3")).toMatchObject({ status: 416 });
  });

  test("completed again with the same parts answers the same, with others NoSuchUpload", async () => {
    const UploadId = await create("again");
    const part = await upload("again", UploadId, 1, LAST);
    const first = await complete("again", UploadId, [part]);
    expect((await complete("again", UploadId, [part])).ETag).toBe(first.ETag);
    await expect(complete("again", UploadId, [{ ...part, PartNumber: 2 }])).rejects.toMatchObject(
      refused("NoSuchUpload", 404),
    );
  });

  test("takes the part that was put last under a number", async () => {
    const UploadId = await create("twice");
    const old = await upload("twice", UploadId, 1, Buffer.from("old"));
    const part = await upload("twice", UploadId, 1, LAST);
    await expect(complete("twice", UploadId, [old])).rejects.toMatchObject(refused("InvalidPart", 400));
    await complete("twice", UploadId, [part]);
  });

  test("is refused with parts that are absent, out of order, too small or too many", async () => {
    const UploadId = await create("refused");
    const [one, two] = [await upload("refused", UploadId, 1, LAST), await upload("refused", UploadId, 2, LAST)];
    await expect(complete("refused", UploadId, [one, { ...one, PartNumber: 3 }])).rejects.toMatchObject(
      refused("EntityTooSmall", 400),
    );
    await expect(complete("refused", UploadId, [{ ...one, PartNumber: 3 }])).rejects.toMatchObject(
      refused("InvalidPart", 400),
    );
    await expect(complete("refused", UploadId, [two, one])).rejects.toMatchObject({
      $metadata: { httpStatusCode: 400 },
    });
    await expect(complete("refused", UploadId, [])).rejects.toMatchObject(refused("MalformedXML", 400));
    expect(
      await send(zones, "POST", `/home/refused?uploadId=${UploadId}`, {
        body: "<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
      }),
    ).toMatchObject({ code: "MalformedXML" });
  });

  test("takes ETags written as entities, as exo does", async () => {
    const UploadId = await create("entities");
    const { ETag } = await upload("entities", UploadId, 1, LAST);
    const part = `<Part><ETag>&#34;${ETag!.replaceAll('"', "")}&#34;</ETag><PartNumber>1</PartNumber></Part>`;
    const body = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${part}</CompleteMultipartUpload>`;
    expect(await send(zones, "POST", `/home/entities?uploadId=${UploadId}`, { body })).toMatchObject({ status: 200 });
  });

  test("is NoSuchUpload under another key, another bucket, or after it was aborted", async () => {
    const UploadId = await create("mine");
    await upload("mine", UploadId, 1, LAST);
    await expect(upload("other", UploadId, 1, LAST)).rejects.toMatchObject(refused("NoSuchUpload", 404));
    expect(await send(zones, "GET", `/far/mine?uploadId=${UploadId}`)).toMatchObject({
      status: 404,
      code: "NoSuchUpload",
    });
    await s3.send(new AbortMultipartUploadCommand({ Bucket: "home", Key: "mine", UploadId }));
    await expect(upload("mine", UploadId, 1, LAST)).rejects.toMatchObject(refused("NoSuchUpload", 404));
    await expect(
      s3.send(new AbortMultipartUploadCommand({ Bucket: "home", Key: "mine", UploadId })),
    ).rejects.toMatchObject(refused("NoSuchUpload", 404));
    await expect(s3.send(new ListPartsCommand({ Bucket: "home", Key: "mine", UploadId }))).rejects.toMatchObject(
      refused("NoSuchUpload", 404),
    );
  });

  test("is held to the conditions of its completion", async () => {
    await s3.send(new PutObjectCommand({ Bucket: "home", Key: "there", Body: "b" }));
    const UploadId = await create("there");
    const part = await upload("there", UploadId, 1, LAST);
    await expect(complete("there", UploadId, [part], { IfNoneMatch: "*" })).rejects.toMatchObject(
      refused("PreconditionFailed", 412),
    );
    await complete("there", UploadId, [part]);
  });

  test.each(["0", "10001", "x", "-1", "1.5"])("is InvalidArgument with the part number %s", async (partNumber) => {
    expect(await send(zones, "PUT", `/home/k?partNumber=${partNumber}&uploadId=u`, { body: "b" })).toMatchObject({
      code: "InvalidArgument",
    });
  });

  test("needs its object to have the size that the client says", async () => {
    const UploadId = await create("sized");
    const part = await upload("sized", UploadId, 1, LAST);
    await expect(complete("sized", UploadId, [part], { MpuObjectSize: 5 })).rejects.toMatchObject(
      refused("InvalidRequest", 400),
    );
    await complete("sized", UploadId, [part], { MpuObjectSize: 4 });
  });
});

describe("Checksums of a multipart upload", () => {
  test.each([
    ["CRC32", undefined, "COMPOSITE"],
    ["CRC32", "FULL_OBJECT", "FULL_OBJECT"],
    ["CRC32C", "COMPOSITE", "COMPOSITE"],
    ["CRC64NVME", undefined, "FULL_OBJECT"],
    ["SHA1", undefined, "COMPOSITE"],
    ["SHA256", "COMPOSITE", "COMPOSITE"],
  ] as [ChecksumAlgorithm, "FULL_OBJECT" | "COMPOSITE" | undefined, string][])(
    "by %s, asked for as %s, are %s",
    async (algorithm, ChecksumType, type) => {
      const key = `summed-${algorithm}-${type}`;
      const UploadId = await create(key, { ChecksumAlgorithm: algorithm, ChecksumType });
      // One part told its checksum, the other left it to us: aws4fetch sends none.
      const first = await upload(key, UploadId, 1, FIRST, { ChecksumAlgorithm: algorithm });
      const untold = await send(zones, "PUT", `/home/${key}?partNumber=2&uploadId=${UploadId}`, { body: LAST });
      const name = `Checksum${algorithm}` as "ChecksumCRC32";
      const value = untold.headers[`x-amz-checksum-${algorithm.toLowerCase()}`] as string;
      const done = await complete(key, UploadId, [first, { PartNumber: 2, ETag: untold.headers.etag, [name]: value }]);
      expect(done.ChecksumType).toBe(type);
      expect(done[name]!.endsWith("-2")).toBe(type === "COMPOSITE");
      const head = await s3.send(new HeadObjectCommand({ Bucket: "home", Key: key, ChecksumMode: "ENABLED" }));
      expect(head).toMatchObject({ [name]: done[name], ChecksumType: type });
      if (type === "FULL_OBJECT") await putWhole(algorithm, name, done[name]!);
    },
  );

  /** A body that is put whole has the checksum that its parts come to. */
  async function putWhole(algorithm: ChecksumAlgorithm, name: "ChecksumCRC32", expected: string) {
    const Body = Buffer.concat([FIRST, LAST]);
    const put = await s3.send(
      new PutObjectCommand({ Bucket: "home", Key: "in-one", Body, ChecksumAlgorithm: algorithm }),
    );
    expect(put[name]).toBe(expected);
  }

  test("are refused where type and algorithm don't go together", async () => {
    await expect(create("k", { ChecksumAlgorithm: "SHA256", ChecksumType: "FULL_OBJECT" })).rejects.toMatchObject(
      refused("InvalidRequest", 400),
    );
    expect(
      await send(zones, "POST", "/home/k?uploads", { headers: { "x-amz-checksum-type": "COMPOSITE" } }),
    ).toMatchObject({ code: "InvalidRequest" });
    expect(
      await send(zones, "POST", "/home/k?uploads", { headers: { "x-amz-checksum-algorithm": "CRC16" } }),
    ).toMatchObject({ code: "InvalidRequest" });
  });

  test("are refused where a part, or the whole, has another", async () => {
    const UploadId = await create("mismatch", { ChecksumAlgorithm: "CRC64NVME" });
    await expect(upload("mismatch", UploadId, 1, LAST, { ChecksumAlgorithm: "SHA1" })).rejects.toMatchObject(
      refused("InvalidRequest", 400),
    );
    const part = await upload("mismatch", UploadId, 1, LAST, { ChecksumAlgorithm: "CRC64NVME" });
    const ChecksumCRC64NVME = Buffer.alloc(8).toString("base64");
    await expect(complete("mismatch", UploadId, [{ ...part, ChecksumCRC64NVME }])).rejects.toMatchObject(
      refused("InvalidPart", 400),
    );
    await expect(complete("mismatch", UploadId, [part], { ChecksumCRC64NVME })).rejects.toMatchObject(
      refused("BadDigest", 400),
    );
    await expect(complete("mismatch", UploadId, [part], { ChecksumType: "COMPOSITE" })).rejects.toMatchObject(
      refused("InvalidRequest", 400),
    );
    await complete("mismatch", UploadId, [part], { ChecksumType: "FULL_OBJECT" });
  });
});

describe("UploadPartCopy", () => {
  test.each(["home", "far"])("copies a whole object or a range of one in the bucket %s", async (bucket) => {
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "source", Body: FIRST }));
    await s3.send(new PutObjectCommand({ Bucket: bucket, Key: "short", Body: "0123456789" }));
    const UploadId = await create("copied", { ChecksumAlgorithm: "CRC32" });
    const part = async (PartNumber: number, CopySource: string, CopySourceRange?: string): Promise<CompletedPart> => {
      const { CopyPartResult } = await s3.send(
        new UploadPartCopyCommand({ Bucket: "home", Key: "copied", UploadId, PartNumber, CopySource, CopySourceRange }),
      );
      return { ETag: CopyPartResult!.ETag, ChecksumCRC32: CopyPartResult!.ChecksumCRC32, PartNumber };
    };
    const parts = [await part(1, `${bucket}/source`), await part(2, `${bucket}/short`, "bytes=2-4")];
    await complete("copied", UploadId, parts);
    const object = await s3.send(new GetObjectCommand({ Bucket: "home", Key: "copied" }));
    const body = Buffer.from(await object.Body!.transformToByteArray());
    expect(body.equals(Buffer.concat([FIRST, Buffer.from("234")]))).toBe(true);
  });

  test.each([
    ["bytes=0-10", "InvalidRange"],
    ["bytes=5-", "InvalidArgument"],
    ["0-1", "InvalidArgument"],
  ])("of the range %s is %s", async (range, code) => {
    const UploadId = await create("ranged");
    await s3.send(new PutObjectCommand({ Bucket: "home", Key: "short", Body: "0123456789" }));
    const headers = { "x-amz-copy-source": "home/short", "x-amz-copy-source-range": range };
    expect(await send(zones, "PUT", `/home/ranged?partNumber=1&uploadId=${UploadId}`, { headers })).toMatchObject({
      code,
    });
  });
});

describe("ListParts", () => {
  test("lists parts by number, page by page", async () => {
    const UploadId = await create("listed", { ChecksumAlgorithm: "SHA256", StorageClass: "STANDARD_IA" });
    for (const number of [3, 1, 10]) await upload("listed", UploadId, number, LAST, { ChecksumAlgorithm: "SHA256" });
    const list = (more = {}) => s3.send(new ListPartsCommand({ Bucket: "home", Key: "listed", UploadId, ...more }));
    const all = await list();
    expect(all.Parts!.map(({ PartNumber, Size, ETag }) => [PartNumber, Size, ETag])).toEqual(
      [1, 3, 10].map((n) => [n, 4, `"${md5(LAST).toString("hex")}"`]),
    );
    expect(all).toMatchObject({
      IsTruncated: false,
      MaxParts: 1000,
      StorageClass: "STANDARD_IA",
      ChecksumAlgorithm: "SHA256",
      ChecksumType: "COMPOSITE",
      Owner: { DisplayName: "main" },
      Initiator: { DisplayName: "main" },
    });
    expect(all.Parts![0]).toMatchObject({ ChecksumSHA256: expect.any(String), LastModified: expect.any(Date) });
    const page = await list({ MaxParts: 2 });
    expect(page).toMatchObject({ IsTruncated: true, NextPartNumberMarker: "3" });
    const rest = await list({ MaxParts: 2, PartNumberMarker: page.NextPartNumberMarker });
    expect(rest.Parts!.map(({ PartNumber }) => PartNumber)).toEqual([10]);
  });
});

describe("ListMultipartUploads", () => {
  test("lists open uploads by key, with prefix and delimiter, page by page", async () => {
    const keys = ["up/a", "up/b", "up/b", "up/c/1", "up/c/2"];
    const ids: string[] = [];
    for (const key of keys) ids.push(await create(key));
    const list = (more = {}) => s3.send(new ListMultipartUploadsCommand({ Bucket: "home", Prefix: "up/", ...more }));
    expect((await list()).Uploads!.map(({ UploadId }) => UploadId).sort()).toEqual([...ids].sort());
    const folded = await list({ Delimiter: "/" });
    expect(folded.Uploads!.map(({ Key }) => Key)).toEqual(["up/a", "up/b", "up/b"]);
    expect(folded.CommonPrefixes).toEqual([{ Prefix: "up/c/" }]);
    const seen: string[] = [];
    let markers: { KeyMarker?: string; UploadIdMarker?: string } = {};
    for (;;) {
      const page = await list({ MaxUploads: 2, ...markers });
      seen.push(...page.Uploads!.map(({ UploadId }) => UploadId!));
      if (!page.IsTruncated) break;
      markers = { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker };
    }
    expect(seen.sort()).toEqual([...ids].sort());
  });
});
