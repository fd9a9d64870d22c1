/**
 * The folder that a local run keeps its state in, and who may use it now.
 *
 *   state.json    version of this layout, and the zones with their numbers
 *   secrets.json  ROOT_KEY, ADMIN_TOKEN and the organizations' first keys (mode 600)
 *   local.json    where everything answers, for clients (mode 600)
 *   lock.json     the runner that works on this state
 *   data/         what Miniflare persists: R2, D1, Durable Objects
 *
 * It refuses a state of another layout, and one that another runner works on. Files are written beside and renamed, so
 * that a crash leaves the old or the new one.
 */
import { randomBytes } from "node:crypto";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { end, startOf, workerdsOf } from "./processes.ts";
import type { LocalZone } from "./zones.ts";

/** Raised when an older runner's state can't be read any more. */
const LAYOUT = 1;

/** An organization with its owner's key. */
export interface Organization {
  id: string;
  name: string;
  key: string;
  secret: string;
}

export interface Secrets {
  ROOT_KEY: string;
  ADMIN_TOKEN: string;
  organizations: Organization[];
}

interface Layout {
  version: number;
  zones: LocalZone[];
}

export class State {
  /** absolute, links resolved: it identifies the state among processes */
  readonly folder: string;
  zones: LocalZone[];
  readonly secrets: Secrets;

  private constructor(folder: string, zones: LocalZone[], secrets: Secrets) {
    this.folder = folder;
    this.zones = zones;
    this.secrets = secrets;
  }

  /**
   * Opens the state, made if absent, and takes it for this process. What a killed runner left running on it is ended.
   * Throws where another runner works on it, or it is of another layout.
   */
  static async open(path: string): Promise<State> {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const folder = realpathSync(path);
    lock(folder);
    try {
      await end(workerdsOf(folder));
      const layout = readLayout(folder);
      const secrets = readJson<Secrets>(folder, "secrets.json") ?? newSecrets();
      if (!layout && existsSync(join(folder, "data"))) throw new Error(`${folder} holds data but no state.json`);
      const state = new State(folder, layout?.zones ?? [], secrets);
      state.saveSecrets();
      return state;
    } catch (error) {
      unlock(folder);
      throw error;
    }
  }

  get data(): string {
    return join(this.folder, "data");
  }

  saveZones(zones: LocalZone[]): void {
    this.zones = zones;
    writeJson(this.folder, "state.json", { version: LAYOUT, zones } satisfies Layout);
  }

  saveSecrets(): void {
    writeJson(this.folder, "secrets.json", this.secrets);
  }

  /** Tells clients where everything answers. It stays when the run ends: the keys in it are still good. */
  saveLocal(local: object): void {
    writeJson(this.folder, "local.json", local);
  }

  close(): void {
    unlock(this.folder);
  }
}

function newSecrets(): Secrets {
  return {
    ROOT_KEY: randomBytes(32).toString("base64"),
    ADMIN_TOKEN: randomBytes(24).toString("base64url"),
    organizations: [],
  };
}

function readLayout(folder: string): Layout | undefined {
  const layout = readJson<Layout>(folder, "state.json");
  if (layout && layout.version !== LAYOUT) {
    throw new Error(
      `the state in ${folder} has layout version ${layout.version}, and this Zonal reads ${LAYOUT}: take another --state, or remove the folder with all that it holds`,
    );
  }
  return layout;
}

/** Linking is atomic and fails where the name is taken; a lock whose runner is gone is taken over. */
function lock(folder: string): void {
  const owner = readJson<{ pid: number; start: string }>(folder, "lock.json");
  if (owner && startOf(owner.pid) === owner.start) {
    throw new Error(
      `another server (process ${owner.pid}) works on the state in ${folder}: stop it, or take another --state`,
    );
  }
  if (owner) unlock(folder);
  const own = join(folder, `lock.${process.pid}`);
  writeFileSync(own, JSON.stringify({ pid: process.pid, start: startOf(process.pid) }));
  linkSync(own, join(folder, "lock.json"));
  rmSync(own);
}

function unlock(folder: string): void {
  rmSync(join(folder, "lock.json"), { force: true });
}

function readJson<T>(folder: string, name: string): T | undefined {
  const path = join(folder, name);
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} is damaged`, { cause: error });
  }
}

function writeJson(folder: string, name: string, value: object): void {
  const path = join(folder, name);
  writeFileSync(`${path}.new`, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
