/**
 * `zonal storage delete` and `rb`: objects and buckets away.
 *
 * In a versioned bucket a delete adds delete markers and removes no version; so `rb -r` leaves such a bucket not empty.
 * Keys that one can't be deleted say so on standard error, and the command still ends with 0: that is `exo`'s way.
 */
import type { Command } from "commander";
import { type S3Client, xmlHeaders } from "./client.ts";
import { accountOf, explain, optionsOf, parseAddress, parseBucket } from "./command.ts";
import { RequestError } from "./http.ts";
import { decoder, selectObjects } from "./objects.ts";
import { confirm, write } from "./output.ts";
import { printable } from "./table.ts";
import { children, fitsXml, leaf, writeXml } from "./xml.ts";

const BATCH = 1000;

interface DeleteOptions {
  recursive?: boolean;
  force?: boolean;
  verbose?: boolean;
}

export function addDelete(storage: Command): void {
  storage
    .command("delete")
    .aliases(["del", "rm"])
    .description("Delete objects: one, or with a / at the end those of a prefix")
    .argument("<address>", "sos://BUCKET/[OBJECT|PREFIX/]")
    .option("-f, --force", "don't ask")
    .option("-r, --recursive", "everything below the prefix")
    .option("-v, --verbose", "print the deleted keys")
    .action(deleteObjects);
  storage
    .command("rb")
    .description("Delete a bucket")
    .argument("<bucket>", "sos://BUCKET, or its bare name", parseBucket)
    .option("-f, --force", "don't ask")
    .option("-r, --recursive", "delete its objects first, and end its uploads")
    .action(deleteBucket);
}

async function deleteObjects(address: string, options: DeleteOptions, command: Command): Promise<void> {
  const { bucket, path } = parseAddress(address);
  const prefix = path || "/";
  const question = `Are you sure you want to delete sos://${bucket}/${prefix}?`;
  if (!options.force && !(await confirm(question))) return;
  const s3 = await accountOf(command).s3Of(bucket);
  const root = prefix === "/" ? "" : prefix;
  const deleted = await explain("unable to delete objects", deleteAll(s3, bucket, root, options.recursive ?? false));
  if (options.verbose) for (const key of deleted) write(`${printable(key)}\n`);
}

async function deleteBucket(bucket: string, options: DeleteOptions, command: Command): Promise<void> {
  if (!options.force && !(await confirm(`Are you sure you want to delete sos://${bucket}?`))) return;
  const s3 = await accountOf(command).s3Of(bucket);
  if (options.recursive) {
    await explain("unable to delete objects", deleteAll(s3, bucket, "", true));
    await explain("unable to end uploads", abortUploads(s3, bucket));
  }
  await explain("unable to delete bucket", removeBucket(s3, bucket, options.recursive ?? false));
  if (!optionsOf(command).quiet) write(`Bucket sos://${bucket} deleted successfully\n`);
}

async function removeBucket(s3: S3Client, bucket: string, isEmptied: boolean): Promise<void> {
  try {
    await s3.call({ method: "DELETE", bucket });
  } catch (error) {
    if (!(error instanceof RequestError && error.code === "BucketNotEmpty")) throw error;
    const remedy = isEmptied
      ? "it holds versions or delete markers, which only a delete by version id removes"
      : "either delete files before or use flag `-r`";
    throw new Error(`bucket is not empty, ${remedy}`, { cause: error });
  }
}

/** The keys are gathered first: a listing must not run over a bucket that shrinks under it. */
async function deleteAll(s3: S3Client, bucket: string, prefix: string, recursive: boolean): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of selectObjects(s3, { bucket, prefix, recursive })) keys.push(key);
  const deleted: string[] = [];
  const fitting = keys.filter(fitsXml);
  for (let i = 0; i < fitting.length; i += BATCH) {
    deleted.push(...(await deleteBatch(s3, bucket, fitting.slice(i, i + BATCH))));
  }
  for (const key of keys.filter((one) => !fitsXml(one))) {
    await s3.call({ method: "DELETE", bucket, key });
    deleted.push(key);
  }
  return deleted;
}

async function deleteBatch(s3: S3Client, bucket: string, keys: string[]): Promise<string[]> {
  const body = writeXml("Delete", { Object: keys.map((Key) => ({ Key })) });
  const request = { method: "POST" as const, bucket, query: { delete: "" }, headers: xmlHeaders(body), body };
  const result = await s3.callXml(request, "DeleteResult");
  for (const error of children(result, "Error")) {
    const reason = leaf(error, "Message") ?? leaf(error, "Code") ?? "undefined error";
    process.stderr.write(`${printable(leaf(error, "Key") ?? "")}: ${reason}\n`);
  }
  return children(result, "Deleted").map((one) => leaf(one, "Key") ?? "");
}

async function abortUploads(s3: S3Client, bucket: string): Promise<void> {
  for (;;) {
    const list = { uploads: "", "encoding-type": "url" };
    const result = await s3.callXml({ method: "GET", bucket, query: list }, "ListMultipartUploadsResult");
    const decode = decoder(result);
    const uploads = children(result, "Upload");
    for (const upload of uploads) {
      const query = { uploadId: leaf(upload, "UploadId") ?? "" };
      await s3.call({ method: "DELETE", bucket, key: decode(leaf(upload, "Key") ?? ""), query });
    }
    if (uploads.length === 0 || leaf(result, "IsTruncated") !== "true") return;
  }
}
