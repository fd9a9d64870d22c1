/**
 * Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * All samples of a metric stand together below its HELP and TYPE. Buckets of a histogram count what lies at or below
 * their bound, the last one everything.
 */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type Labels = Record<string, string>;

export class Exposition {
  readonly #lines: string[] = [];

  /** A metric of type gauge or counter, with a sample for each set of labels. */
  add(type: "gauge" | "counter", name: string, help: string, samples: [labels: Labels, value: number][]): void {
    this.#head(type, name, help);
    for (const [labels, value] of samples) this.#sample(name, labels, value);
  }

  /**
   * A histogram for each set of labels. `counts[i]` lie between bound i - 1 and bound i; one more than there are bounds:
   * above them all.
   */
  addHistogram(
    name: string,
    help: string,
    bounds: readonly number[],
    samples: { labels: Labels; counts: readonly number[]; sum: number }[],
  ): void {
    this.#head("histogram", name, help);
    for (const { labels, counts, sum } of samples) {
      let total = 0;
      for (const [i, count] of counts.entries()) {
        total += count;
        this.#sample(`${name}_bucket`, { ...labels, le: i < bounds.length ? String(bounds[i]) : "+Inf" }, total);
      }
      this.#sample(`${name}_sum`, labels, sum);
      this.#sample(`${name}_count`, labels, total);
    }
  }

  toString(): string {
    return this.#lines.map((line) => `${line}\n`).join("");
  }

  #head(type: string, name: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`);
  }

  #sample(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    this.#lines.push(`${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}`);
  }
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
