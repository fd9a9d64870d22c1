/**
 * Names the files of `src` in what a Worker prints. workerd names places in the bundled module, since it doesn't read
 * source maps; each bundle holds its own, inline.
 */
import { SourceMap } from "node:module";
import type { WorkerOptions } from "miniflare";

const INLINE = /\/\/# sourceMappingURL=data:application\/json;base64,([\w+/=]+)\s*$/;
/** `file:///anywhere/zone.mjs:12:34` */
const PLACE = /file:\/\/[^\s()]*\/([\w-]+\.mjs):(\d+):(\d+)/g;

type Module = NonNullable<WorkerOptions["config"]["manifest"]>["modules"][string];

export class Stacks {
  /** bundled modules by their names; all zones have the same ones */
  readonly #modules: Map<string, string>;
  readonly #maps = new Map<string, SourceMap>();

  constructor(workers: WorkerOptions[]) {
    const modules = workers.flatMap(({ config }) => Object.entries<Module>(config.manifest?.modules ?? {}));
    this.#modules = new Map(modules.map(([name, { contents }]) => [name, String(contents)]));
  }

  /** The text with all places that are known replaced; what isn't stays as it is. */
  resolve(text: string): string {
    return text.replace(PLACE, (place, name: string, line: string, column: string) => {
      const entry = this.#mapOf(name)?.findEntry(Number(line) - 1, Number(column) - 1);
      if (!entry || !("originalSource" in entry)) return place;
      return `${entry.originalSource}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
    });
  }

  /** Read when the first stack needs it: a map is larger than its module. */
  #mapOf(name: string): SourceMap | undefined {
    const known = this.#maps.get(name);
    if (known) return known;
    const [, data] = INLINE.exec(this.#modules.get(name) ?? "") ?? [];
    if (data === undefined) return undefined;
    const map = new SourceMap(JSON.parse(Buffer.from(data, "base64").toString()));
    this.#maps.set(name, map);
    return map;
  }
}
