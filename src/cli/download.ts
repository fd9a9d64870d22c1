/**
 * `zonal storage download`: objects into local files.
 *
 * An object is written beside its destination and moved there when it is whole, so that a broken transfer leaves nothing
 * half; one that breaks off goes on where it stopped, on the same version. A key can't lead out of the destination
 * folder. Of several objects those that fail are named on standard error and the command ends with 0: `exo`'s way.
 */
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, normalize, relative, sep } from "node:path";
import type { Command } from "commander";
import type { S3Client } from "./client.ts";
import { accountOf, explain, optionsOf, parseAddress } from "./command.ts";
import { ConnectionError, connectionError } from "./http.ts";
import { type Listed, selectObjects } from "./objects.ts";
import { write } from "./output.ts";
import { Bar } from "./progress.ts";
import { printable } from "./table.ts";
import { interruptible } from "./transfer.ts";

interface DownloadOptions {
  recursive?: boolean;
  force?: boolean;
  dryRun?: boolean;
}
/** What one download needs at every step. */
interface Download {
  s3: S3Client;
  bucket: string;
  object: Listed;
  signal: AbortSignal;
  bar: Bar;
}

export function addDownload(storage: Command): void {
  storage
    .command("download")
    .alias("get")
    .description("Download objects: one, or with a / at the end those of a prefix")
    .argument("<address>", "sos://BUCKET/[OBJECT|PREFIX/]")
    .argument("[destination]", "file or folder; the current folder if absent")
    .option("-r, --recursive", "everything below the prefix, into an existing folder")
    .option("-f, --force", "overwrite files that are there")
    .option("-n, --dry-run", "say what would be downloaded, and don't")
    .action(download);
}

async function download(
  address: string,
  destination: string | undefined,
  options: DownloadOptions,
  command: Command,
): Promise<void> {
  const { bucket, path } = parseAddress(address);
  const prefix = path || "/";
  const root = prefix === "/" ? "" : prefix;
  const s3 = await accountOf(command).s3Of(bucket);
  const objects: Listed[] = [];
  const selected = selectObjects(s3, { bucket, prefix: root, recursive: options.recursive ?? false });
  for await (const object of selected) objects.push(object);
  if (options.dryRun) write("[DRY-RUN]\n");
  if (objects.length === 0) return write(`no objects exist at ${JSON.stringify(prefix)}\n`);
  const get: GetObject = (object, to, signal) => downloadOne({ s3, bucket, object, signal }, to, command);
  await interruptible("Download", async (signal) => {
    const [only] = objects;
    if (only && objects.length === 1 && !options.recursive) {
      return explain("failed to download single file", get(only, destination ?? "", signal));
    }
    await downloadAll(objects, root, destination, signal, get);
  });
}

type GetObject = (object: Listed, to: string, signal: AbortSignal) => Promise<void>;

/** Below the destination folder as below the prefix. */
async function downloadAll(
  objects: Listed[],
  prefix: string,
  destination: string | undefined,
  signal: AbortSignal,
  get: GetObject,
): Promise<void> {
  const folder = destination ?? ".";
  const found = await stat(folder).catch(() => undefined);
  if (!found) throw new Error(`destination folder ${JSON.stringify(folder)} does not exist`);
  if (!found.isDirectory()) throw new Error("destination is not a folder");
  for (const object of objects) {
    try {
      await get(object, pathBelow(folder, object.key.slice(prefix.length)), signal);
    } catch (error) {
      signal.throwIfAborted();
      process.stderr.write(`failed to download object ${printable(object.key)}: ${(error as Error).message}\n`);
    }
  }
}

/** Throws where a key's `..` would lead out of the folder. */
function pathBelow(folder: string, key: string): string {
  const path = join(folder, key);
  const inside = relative(folder, path);
  if (inside === "" || inside === ".." || inside.startsWith(`..${sep}`)) {
    throw new Error("its key leads out of the destination folder");
  }
  return path;
}

async function downloadOne(from: Omit<Download, "bar">, to: string, command: Command): Promise<void> {
  const { quiet, force, dryRun } = optionsOf<DownloadOptions>(command);
  const { bucket, object } = from;
  const path = await destinationOf(object.key, to, force ?? false);
  if (dryRun) return write(`${printable(`${bucket}/${object.key}`)} -> ${path}\n`);
  await mkdir(dirname(path), { recursive: true });
  const bar = new Bar(object.key, object.size, quiet);
  const partial = `${path}.${process.pid}.part`;
  const file = await open(partial, "wx");
  try {
    await fill(file, { ...from, bar });
    await file.close();
    await rename(partial, path);
  } catch (error) {
    bar.abort();
    await file.close();
    await rm(partial, { force: true });
    throw error;
  }
  bar.finish();
}

/** The file to write. An existing one is refused without `force`, in an existing folder the object gets its own name. */
async function destinationOf(key: string, to: string, force: boolean): Promise<string> {
  const name = basename(key);
  if (["", ".", ".."].includes(name)) throw new Error(`the key ${JSON.stringify(key)} is no file name`);
  if (to.endsWith("/")) return destinationOf(key, join(to, name), force);
  const path = to ? normalize(to) : name;
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return destinationOf(key, join(path, name), force);
  if (found && !found.isFile()) throw new Error("destination provided exists but is not a regular file or folder");
  if (found && !force) throw new Error(`file ${JSON.stringify(path)} already exists, use flag \`-f\` to overwrite`);
  return path;
}

/** All of the object's bytes. A connection that broke off after some bytes is opened anew for the rest. */
async function fill(file: FileHandle, download: Download): Promise<void> {
  const state = { offset: 0, etag: "", size: Number.POSITIVE_INFINITY };
  while (state.offset < state.size) {
    const before = state.offset;
    try {
      await readOn(file, download, state);
    } catch (error) {
      if (!(error instanceof ConnectionError) || state.offset === before) throw error;
    }
  }
}

async function readOn(
  file: FileHandle,
  { s3, bucket, object, signal, bar }: Download,
  state: { offset: number; etag: string; size: number },
): Promise<void> {
  const headers = state.offset > 0 ? { range: `bytes=${state.offset}-`, "if-match": state.etag } : undefined;
  const { answer, header } = await s3.open({ method: "GET", bucket, key: object.key, headers, signal });
  if (state.offset > 0 && answer.statusCode !== 206) throw new Error("the server doesn't give the rest of an object");
  state.etag ||= header("etag") ?? "";
  if (state.offset === 0) state.size = Number(header("content-length") ?? object.size);
  try {
    for await (const chunk of answer) {
      await file.write(chunk);
      state.offset += chunk.length;
      bar.add(chunk.length);
    }
  } catch (error) {
    throw signal.aborted ? error : connectionError(new URL(s3.endpoint), error as Error);
  }
}
