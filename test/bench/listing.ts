/**
 * A page of ListObjectsV2 in different mixes of keys, each in a bucket of its own, beside the page of a bucket that holds
 * just as many keys as a page shows.
 *
 * A key counts as examined if the listing had to look at it: each one shown, the one behind them that tells whether there
 * is more, each common prefix (but not each key under it), each key under a delete marker.
 */
import { Agent } from "node:http";
import type { Zones } from "../harness.ts";
import { type Place, versionedBucket } from "../links.ts";
import { S3Calls } from "./calls.ts";
import { Counter } from "./counter.ts";
import { fill, type Rows } from "./fill.ts";
import { SOURCE } from "./lines.ts";
import { type Call, type Measured, median, percentile, run, send } from "./load.ts";
import { cpuOf, takeTurns } from "./measure.ts";
import type { BenchOptions, Page, Sizes } from "./report.ts";

export const LIST = "LIST page of 1,000";
const PAGE = 1000;
/** Pages of a large bucket that are asked for, from different places. */
const PLACES = 16;

interface Mix {
  name: string;
  bucket: string;
  rows: Rows[];
  query?: Record<string, string>;
  /** keys, if pages are asked for from different places of them */
  spread?: number;
  /** keys or common prefixes that a page examines; all pages up to the first key, if it `walks` */
  examined: number;
  /** goes from page to page until there is a key */
  walks?: boolean;
}

export async function measureListing(
  zones: Zones,
  options: BenchOptions,
  cpuTime: () => number | undefined,
): Promise<Page[]> {
  const mixes = makeMixes(options.sizes.listing);
  options.progress(`${LIST}: filling ${mixes.length} buckets`);
  for (const mix of mixes) {
    const place = await versionedBucket(zones, SOURCE, mix.bucket);
    await fillAll(zones, place, mix.rows);
  }
  const lister = new Lister(zones, cpuTime);
  const measured = await takeTurns(LIST, mixes, options, async (mix, seconds) => await lister.measure(mix, seconds));
  const pages: Page[] = [];
  for (const mix of mixes) {
    pages.push(...summarize(mix, measured.get(mix)!, measured.get(mixes[0]!)!, await lister.rowsPerKey(mix)));
  }
  return pages;
}

async function fillAll(zones: Zones, place: Place, all: Rows[]): Promise<void> {
  for (const rows of all) await fill(zones, place, rows);
}

function makeMixes({ few, many, versioned, versions, deleteMarkers, prefixes }: Sizes["listing"]): Mix[] {
  const key = "printf('key-%07d', n)";
  const page = (keys: number) => Math.min(keys, PAGE + 1);
  const perPrefix = Math.ceil(many / prefixes);
  return [
    { name: `${text(few)} keys`, bucket: "list-few", rows: [{ keys: few, key }], examined: page(few) },
    {
      name: `${text(many)} keys`,
      bucket: "list-many",
      rows: [{ keys: many, key }],
      spread: many,
      examined: PAGE + 1,
    },
    {
      name: `${text(few)} keys, ${versions} versions each`,
      bucket: "list-few-versions",
      rows: [{ keys: few, key, versions }],
      examined: page(few),
    },
    {
      name: `${text(versioned)} keys, ${versions} versions each`,
      bucket: "list-versions",
      rows: [{ keys: versioned, key, versions }],
      spread: versioned,
      examined: page(versioned),
    },
    {
      name: `delimiter, ${text(many)} keys under ${text(prefixes)} common prefixes`,
      bucket: "list-prefixes",
      rows: [{ keys: many, key: `printf('prefix-%05d/%07d', n / ${perPrefix}, n)` }],
      query: { delimiter: "/" },
      examined: page(prefixes),
    },
    {
      name: `behind ${text(deleteMarkers)} delete markers`,
      bucket: "list-markers",
      rows: [
        { keys: deleteMarkers, key: "printf('deleted-%07d', n)", areDeleteMarkers: true },
        { keys: few, key },
      ],
      examined: deleteMarkers + page(few),
      walks: true,
    },
  ];
}

function text(count: number): string {
  return count.toLocaleString("en");
}

/** `first`: milliseconds of the first page alone, if there were several up to the first key. */
type MeasuredPages = Measured & { first?: number };

class Lister {
  readonly #s3: S3Calls;
  readonly #counter: Counter;
  readonly #cpuTime: () => number | undefined;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(zones: Zones, cpuTime: () => number | undefined) {
    this.#s3 = new S3Calls(zones.endpoint(SOURCE), SOURCE, zones.organizations.main);
    this.#counter = new Counter(zones, SOURCE);
    this.#cpuTime = cpuTime;
  }

  async measure(mix: Mix, seconds: number): Promise<MeasuredPages> {
    if (mix.walks) return await this.#walk(mix);
    return await run(this.#calls(mix), { clients: 1, seconds, repeats: true, warmsUp: true, cpuTime: this.#cpuTime });
  }

  async rowsPerKey(mix: Mix): Promise<number> {
    const calls = this.#calls(mix);
    await this.#counter.start();
    if (mix.walks) await this.#walk(mix);
    else for (const call of calls) await send(this.#agent, call);
    const { requests } = await this.#counter.stop();
    return requests.rowsRead / mix.examined / (mix.walks ? 1 : calls.length);
  }

  #calls({ bucket, query, spread }: Mix): Call[] {
    if (spread === undefined) return [this.#s3.list(bucket, { ...query })];
    return Array.from({ length: PLACES }, (_, i) => {
      const n = Math.floor((Math.max(0, spread - PAGE - 2) * i) / (PLACES - 1));
      return this.#s3.list(bucket, { ...query, "start-after": `key-${String(n).padStart(7, "0")}` });
    });
  }

  async #walk({ bucket }: Mix): Promise<MeasuredPages> {
    const before = this.#cpuTime();
    const start = performance.now();
    let first: number | undefined;
    for (let token: string | undefined; ; ) {
      const call = this.#s3.list(bucket, token === undefined ? {} : { "continuation-token": token });
      const { text } = await send(this.#agent, call);
      const now = performance.now() - start;
      if (text.includes("<Contents>")) {
        const cpu = before === undefined ? undefined : this.#cpuTime()! - before;
        return { requests: 1, seconds: now / 1000, latencies: [now], cpu, first };
      }
      first ??= now;
      token = /<NextContinuationToken>([^<]*)</.exec(text)?.[1];
      if (token === undefined) throw new Error(`no key was found in ${bucket}`);
    }
  }
}

function summarize({ name, walks }: Mix, own: MeasuredPages[], base: MeasuredPages[], rowsPerKey: number): Page[] {
  const p50 = ({ latencies }: Measured) => percentile(latencies, 0.5);
  const compared = (times: number[]) => median(times.map((time, i) => time / p50(base[i]!)));
  const common = { line: LIST, rowsPerKey };
  const whole: Page = {
    ...common,
    subject: walks ? `${name}, all pages to the first key` : name,
    p50: median(own.map(p50)),
    p99: median(own.map(({ latencies }) => percentile(latencies, 0.99))),
    cpu: cpuOf(own),
    ratio: compared(own.map(p50)),
  };
  const firsts = own.flatMap(({ first }) => first ?? []);
  if (firsts.length < own.length) return [whole];
  const first = { p50: median(firsts), p99: Math.max(...firsts), ratio: compared(firsts) };
  return [{ ...common, subject: `${name}, one page`, ...first }, whole];
}
