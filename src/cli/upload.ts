/**
 * `zonal storage upload`: local files into a bucket.
 *
 * A file under 5 MiB is one PutObject, a larger one a multipart upload of 5 MiB parts (more where there would be over
 * 10,000), five at once; a part that fails for good ends the upload. Files go one after the other.
 * A folder with a slash at its end gives keys relative to it, without one its name stays in the keys. Folders behind
 * symbolic links are left out, what is neither file nor folder is named on standard error.
 */
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { basename, join, normalize } from "node:path";
import { Readable } from "node:stream";
import { type Command, Option } from "commander";
import { type Payload, type S3Client, textPayload } from "./client.ts";
import { accountOf, OBJECT_ACLS, optionsOf, parseAddress } from "./command.ts";
import { write } from "./output.ts";
import { Bar } from "./progress.ts";
import { contentType } from "./sniff.ts";
import { inParallel, interruptible } from "./transfer.ts";
import { leaf, writeXml } from "./xml.ts";

const PART_BYTES = 5 * 1024 * 1024;
const MAX_PARTS = 10_000;
const PARTS_AT_ONCE = 5;
/** parts are in memory while they are sent */
const MAX_MEMORY = 64 * 1024 * 1024;
const SLICE_BYTES = 64 * 1024;

interface UploadOptions {
  recursive?: boolean;
  dryRun?: boolean;
  acl?: string;
}
interface Source {
  path: string;
  key: string;
}
/** What one upload needs at every step. */
interface Upload {
  s3: S3Client;
  bucket: string;
  key: string;
  headers: Record<string, string>;
  file: FileHandle;
  size: number;
  bar: Bar;
  signal: AbortSignal;
}

export function addUpload(storage: Command): void {
  storage
    .command("upload")
    .alias("put")
    .description("Upload files")
    .argument("<files...>", "files, or with -r folders too; then the destination sos://BUCKET/[PREFIX/]")
    .usage("[options] <file...> sos://BUCKET/[PREFIX/]")
    .option("-r, --recursive", "folders with all that is in them")
    .option("-n, --dry-run", "say what would be uploaded, and don't")
    .addOption(new Option("--acl <acl>", "canned ACL of the objects").choices(OBJECT_ACLS))
    .action(upload);
}

async function upload(words: string[], options: UploadOptions, command: Command): Promise<void> {
  const paths = words.slice(0, -1);
  if (paths.length === 0) command.error("error: missing destination: FILE... sos://BUCKET/[PREFIX/]");
  const { bucket, path } = parseAddress(words.at(-1) ?? "");
  const prefix = path === "/" ? "" : (path ?? "");
  if (paths.length > 1 && prefix && !prefix.endsWith("/")) {
    throw new Error('multiple files to upload, destination must end with "/"');
  }
  const s3 = await accountOf(command).s3Of(bucket);
  if (options.dryRun) write("[DRY-RUN]\n");
  const headers: Record<string, string> = options.acl ? { "x-amz-acl": options.acl } : {};
  await interruptible("Upload", async (signal) => {
    for await (const source of sourcesOf(paths, prefix, options.recursive ?? false)) {
      if (options.dryRun) write(`${source.path} -> ${bucket}/${source.key}\n`);
      else await uploadFile(s3, bucket, source, headers, optionsOf(command).quiet, signal);
    }
  });
}

/** The files that the paths mean, with their keys. Throws on a folder without `recursive`. */
async function* sourcesOf(paths: string[], prefix: string, recursive: boolean): AsyncGenerator<Source> {
  for (const path of paths) {
    if (!(await stat(path)).isDirectory()) {
      yield { path: normalize(path), key: prefix === "" || prefix.endsWith("/") ? prefix + basename(path) : prefix };
      continue;
    }
    if (!recursive) throw new Error(`${JSON.stringify(path)} is a directory, use flag \`-r\` to upload recursively`);
    const folder = normalize(path).replace(/(?<=.)\/$/, "");
    const base = prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
    // "." is joined away, so that it gives keys like "./"
    const start = path.endsWith("/") ? folder.length + (folder === "." || folder === "/" ? 0 : 1) : 0;
    for await (const file of filesBelow(folder)) {
      yield { path: file, key: base + (folder === "." ? file : file.slice(start)) };
    }
  }
}

/** In the order of names, as a walk through the folders meets them. */
async function* filesBelow(folder: string): AsyncGenerator<string> {
  const entries = await readdir(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      yield* filesBelow(path);
      continue;
    }
    const kind = entry.isSymbolicLink() ? await stat(path) : entry;
    if (kind.isFile()) yield path;
    else process.stderr.write(`left out ${path}: ${kind.isDirectory() ? "a link to a folder" : "not a file"}\n`);
  }
}

async function uploadFile(
  s3: S3Client,
  bucket: string,
  { path, key }: Source,
  headers: Record<string, string>,
  isQuiet: boolean | undefined,
  signal: AbortSignal,
): Promise<void> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const type = contentType(await read(file, 0, Math.min(512, size)));
    const all = { ...headers, ...(type && { "content-type": type }) };
    const bar = new Bar(path, size, isQuiet);
    try {
      await (size < PART_BYTES ? putObject : putParts)({ s3, bucket, key, headers: all, file, size, bar, signal });
    } catch (error) {
      bar.abort();
      throw error;
    }
    bar.finish();
  } finally {
    await file.close();
  }
}

async function putObject({ s3, bucket, key, headers, file, size, bar, signal }: Upload): Promise<void> {
  const body = counted(textPayload(await read(file, 0, size)), bar);
  await s3.call({ method: "PUT", bucket, key, headers, body, signal });
}

async function putParts(upload: Upload): Promise<void> {
  const { s3, bucket, key, headers, signal } = upload;
  const begun = { method: "POST" as const, bucket, key, query: { uploads: "" }, headers, signal };
  const uploadId = leaf(await s3.callXml(begun, "InitiateMultipartUploadResult"), "UploadId");
  if (!uploadId) throw new Error("the server gave no upload id");
  try {
    await sendParts(upload, uploadId);
  } catch (error) {
    // If this fails too, the upload stays until the zone drops stale ones; the first error is the one to tell.
    await s3.call({ method: "DELETE", bucket, key, query: { uploadId } }).catch(() => undefined);
    const cause = (error as Error).message;
    throw new Error(`upload multipart failed, upload id: ${uploadId}, cause: ${cause}`, { cause: error });
  }
}

async function sendParts(upload: Upload, uploadId: string): Promise<void> {
  const { s3, bucket, key, file, size, bar, signal } = upload;
  const partBytes = size / PART_BYTES >= MAX_PARTS ? Math.floor(size / MAX_PARTS) + 1 : PART_BYTES;
  const atOnce = Math.max(1, Math.min(PARTS_AT_ONCE, Math.floor(MAX_MEMORY / partBytes)));
  const parts = await inParallel(Math.ceil(size / partBytes), atOnce, signal, async (index, stop) => {
    const start = index * partBytes;
    const bytes = await read(file, start, Math.min(partBytes, size - start));
    const query = { partNumber: String(index + 1), uploadId };
    const body = counted(textPayload(bytes), bar);
    const answer = await s3.call({ method: "PUT", bucket, key, query, body, signal: stop });
    return { ETag: answer.header("etag") ?? "", PartNumber: String(index + 1) };
  });
  const body = writeXml("CompleteMultipartUpload", { Part: parts });
  const headers = { "content-type": "application/xml" };
  const request = { method: "POST" as const, bucket, key, query: { uploadId }, headers, body, signal };
  await s3.callXml(request, "CompleteMultipartUploadResult");
}

/** Exactly these bytes. Throws where the file has become shorter. */
async function read(file: FileHandle, start: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, start + done);
    if (bytesRead === 0) throw new Error("the file became shorter while it was read");
    done += bytesRead;
  }
  return bytes;
}

/** The payload, moving the bar as its bytes are taken, and back when it is sent again. */
function counted(payload: Payload, bar: Bar): Payload {
  const bytes = payload.open() as Buffer;
  let taken = 0;
  function* slices() {
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      const slice = bytes.subarray(at, at + SLICE_BYTES);
      yield slice;
      taken += slice.length;
      bar.add(slice.length);
    }
  }
  const open = () => {
    bar.add(-taken);
    taken = 0;
    return Readable.from(slices(), { objectMode: false });
  };
  return { ...payload, open };
}
