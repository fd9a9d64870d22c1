/**
 * `zonal storage list`: buckets, or the objects of one.
 *
 * Common prefixes come first, then objects in S3's order. With --versions: all versions of all keys, newest first,
 * numbered from the oldest of each key (v0); delete markers aren't shown. All that is `exo`'s way.
 */
import type { Command } from "commander";
import { accountOf, optionsOf, parseAddress, show, zoneOption } from "./command.ts";
import { type Listed, listObjects, listVersions, type Page } from "./objects.ts";
import { formatTime, humanSize, type Result, write } from "./output.ts";
import { alignColumns, printable } from "./table.ts";

interface ListOptions {
  recursive?: boolean;
  stream?: boolean;
  versions?: boolean;
}
interface BucketUsage {
  name: string;
  "zone-name": string;
  /** absent where the zone can't be reached */
  size?: number;
  "created-at": string;
}
type Numbered = Listed & { versionNumber?: number };

export function addList(storage: Command): void {
  storage
    .command("list")
    .alias("ls")
    .description("List buckets, or a bucket's objects: sos://BUCKET/PREFIX/")
    .argument("[address]", "sos://BUCKET[/[PREFIX/]]; without it, all buckets are listed")
    .option("-r, --recursive", "all objects below the prefix, not only its own level")
    .option("-s, --stream", "print bare keys as they arrive")
    .option("--versions", "list versions, newest first")
    .addOption(zoneOption())
    .action(async (address: string | undefined, options: ListOptions, command: Command) => {
      if (address === undefined) return listBuckets(command);
      await listBucket(address, options, command);
    });
}

async function listBuckets(command: Command): Promise<void> {
  const { zone } = optionsOf(command);
  const answer = await accountOf(command).control().get<{ "sos-buckets-usage"?: BucketUsage[] }>("/sos-buckets-usage");
  const buckets = (answer["sos-buckets-usage"] ?? [])
    .filter((bucket) => !zone || bucket["zone-name"] === zone)
    .map(({ name, size, ...rest }) => {
      return { name, zone: rest["zone-name"], size, created: formatTime(rest["created-at"]) };
    });
  const rows = buckets.map((one) => [one.created, one.zone, sizeCell(one.size), `${one.name}/`]);
  show(command, { json: buckets, table: alignColumns(rows) });
}

async function listBucket(text: string, options: ListOptions, command: Command): Promise<void> {
  const { bucket, path } = parseAddress(text);
  const { recursive = false, stream, versions } = options;
  const s3 = await accountOf(command).s3Of(bucket);
  // The prefix "/" means the root, as for all commands that take an address.
  const query = { bucket, prefix: path === "/" ? "" : (path ?? ""), recursive };
  const pages = versions ? listVersions(s3, query) : listObjects(s3, query);
  if (stream) return printKeys(pages);
  const all: Page = { objects: [], prefixes: [] };
  for await (const page of pages) {
    all.objects.push(...page.objects);
    all.prefixes.push(...page.prefixes);
  }
  show(command, listing(all.prefixes, versions ? numberVersions(all.objects) : all.objects));
}

async function printKeys(pages: AsyncGenerator<Page>): Promise<void> {
  for await (const page of pages) {
    for (const name of [...page.prefixes, ...page.objects.map(({ key }) => key)]) write(`${printable(name)}\n`);
  }
}

/** Versions of one millisecond have ids in the order of their writing. */
function numberVersions(versions: Listed[]): Numbered[] {
  const counts = new Map<string, number>();
  return versions
    .map((version) => ({ version, time: Date.parse(version.lastModified), id: (version.versionId ?? "").padStart(20) }))
    .sort((a, b) => a.time - b.time || (a.id < b.id ? -1 : 1))
    .map(({ version }) => {
      const versionNumber = counts.get(version.key) ?? 0;
      counts.set(version.key, versionNumber + 1);
      return { ...version, versionNumber };
    })
    .reverse();
}

function listing(prefixes: string[], objects: Numbered[]): Result {
  const none = { version_id: null, version_number: null };
  const rows = [
    ...prefixes.map((prefix) => [" ", "DIR ", printable(prefix)]),
    ...objects.map(({ key, size, lastModified, versionId, versionNumber }) => [
      formatTime(lastModified),
      sizeCell(size),
      printable(key),
      ...(versionId === undefined ? [] : [versionId, `v${versionNumber}`]),
    ]),
  ];
  return {
    json: [
      ...prefixes.map((name) => ({ name, size: 0, last_modified: undefined, dir: true, ...none })),
      ...objects.map(({ key, size, lastModified, versionId, versionNumber }) => ({
        name: key,
        size,
        last_modified: formatTime(lastModified),
        dir: false,
        version_id: versionId ?? null,
        version_number: versionNumber ?? null,
      })),
    ],
    table: alignColumns(rows),
  };
}

function sizeCell(size: number | undefined): string {
  return `${(size === undefined ? "-" : humanSize(size)).padStart(6)} `;
}
