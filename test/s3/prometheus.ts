/**
 * Reads Prometheus' text format 0.0.4, and refuses what isn't quite that: samples without a TYPE before them, a metric's
 * lines apart from each other, the same labels twice, escapes that there aren't, histograms whose buckets don't add up.
 */
export interface Sample {
  labels: Record<string, string>;
  value: number;
}

export interface Metric {
  type: string;
  help: string;
  /** by name: that of the metric, or with `_bucket`, `_sum` and `_count` behind it */
  samples: Map<string, Sample[]>;
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;
const VALUE = /^(?:[+-]?Inf|NaN|[+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)$/;

export class Metrics {
  readonly #metrics = new Map<string, Metric>();
  #current = "";

  constructor(text: string) {
    if (!text.endsWith("\n")) throw new Error("the last line doesn't end");
    for (const line of text.slice(0, -1).split("\n")) this.#read(line);
    for (const [name, metric] of this.#metrics) if (metric.type === "histogram") checkHistogram(name, metric);
  }

  get(name: string): Metric {
    const metric = this.#metrics.get(name);
    if (!metric) throw new Error(`there is no metric ${name}`);
    return metric;
  }

  /** The one sample of a metric that has these labels, and perhaps others; undefined if there is none. */
  value(name: string, labels: Record<string, string> = {}, suffix = ""): number | undefined {
    const samples = this.get(name).samples.get(name + suffix) ?? [];
    const found = samples.filter((sample) =>
      Object.entries(labels).every(([key, text]) => sample.labels[key] === text),
    );
    if (found.length > 1) throw new Error(`${name} has ${found.length} samples with ${JSON.stringify(labels)}`);
    return found[0]?.value;
  }

  #read(line: string): void {
    const comment = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`, "s").exec(line);
    if (comment) this.#begin(comment[1]!, comment[2]!, comment[3]!);
    else this.#take(line);
  }

  #take(line: string): void {
    const sample = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`, "s").exec(line);
    if (!sample) throw new Error(`this is no line: ${line}`);
    const [, name = "", labels = "", value = ""] = sample;
    const { type, samples } = this.get(this.#current);
    const suffixes = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    if (!suffixes.some((suffix) => name === this.#current + suffix)) throw new Error(`${name} is out of its place`);
    if (!VALUE.test(value)) throw new Error(`${value} is no value`);
    const read = { labels: readLabels(labels), value: Number(value.replace("Inf", "Infinity")) };
    const alike = samples.get(name) ?? [];
    if (alike.some((other) => isEqual(other.labels, read.labels))) throw new Error(`twice: ${line}`);
    samples.set(name, [...alike, read]);
  }

  #begin(kind: string, name: string, text: string): void {
    if (kind === "HELP") {
      if (this.#metrics.has(name)) throw new Error(`${name} begins again`);
      if (/\\(?![\\n])/.test(text)) throw new Error(`${name} has a wrong escape in its HELP`);
      this.#metrics.set(name, { type: "", help: text, samples: new Map() });
      this.#current = name;
    } else {
      const metric = this.get(name);
      const isRight = this.#current === name && metric.type === "" && metric.samples.size === 0;
      if (!isRight || !/^(counter|gauge|histogram)$/.test(text)) throw new Error(`the TYPE of ${name} is wrong`);
      metric.type = text;
    }
  }
}

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  for (let at = 0; at < text.length; at = LABEL.lastIndex) {
    const [, name = "", value = ""] = LABEL.exec(text) ?? [];
    if (name === "" || name in labels) throw new Error(`these are no labels: ${text}`);
    labels[name] = value.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char));
  }
  return labels;
}

function isEqual(one: Record<string, string>, other: Record<string, string>): boolean {
  return JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());
}

/** Buckets rise with their bounds to +Inf, which holds as many as `_count` says. */
function checkHistogram(name: string, { samples }: Metric): void {
  for (const { labels, value: count } of samples.get(`${name}_count`) ?? []) {
    const buckets = (samples.get(`${name}_bucket`) ?? []).filter(({ labels: { le, ...others } }) =>
      isEqual(others, labels),
    );
    const bounds = buckets.map(({ labels: { le } }) => Number(le!.replace("Inf", "Infinity")));
    const rises = (values: number[], isStrict: boolean) =>
      values.every((value, i) => i === 0 || value > values[i - 1]! || (!isStrict && value === values[i - 1]));
    const counts = buckets.map(({ value }) => value);
    const isWhole = bounds.at(-1) === Number.POSITIVE_INFINITY && counts.at(-1) === count;
    if (!rises(bounds, true) || !rises(counts, false) || !isWhole) throw new Error(`the buckets of ${name} are wrong`);
    if (!samples.get(`${name}_sum`)?.some((sum) => isEqual(sum.labels, labels))) throw new Error(`${name} has no sum`);
  }
}
