/**
 * Runs every zone and the control Worker in one Miniflare, state on disk. `npm start` and the tests use it alike.
 *
 * What surprised us: cron never fires by itself in Miniflare, so a timer calls `scheduled()`; queued messages die with
 * it, so the first call comes right after the start and finds what a crash left to be replicated; and Miniflare puts
 * signal handlers of its own, which exit with 130 or 143, where a server that was asked to stop should exit with 0.
 */
import { join, resolve } from "node:path";
import type { Miniflare } from "miniflare";
import { bundle } from "./bundle.ts";
import { Door, type ZoneSwitch } from "./door.ts";
import { Output, type Printed } from "./log.ts";
import { migrate } from "./migrations.ts";
import { createOrganizations } from "./organizations.ts";
import { choosePorts, type PortRequest } from "./ports.ts";
import { end, STATE_VARIABLE, workerdsOf } from "./processes.ts";
import { Stacks } from "./stacks.ts";
import { type Organization, State } from "./state.ts";
import { HOST, type Placement, type Shared, SWITCH_BINDING, workerOptions, ZONE_MODULE } from "./workers.ts";
import { readWrangler, type WorkerDescription } from "./wrangler.ts";
import { chooseZones, describeZone } from "./zones.ts";

export interface RunnerOptions {
  /** folder of the state, made if absent */
  state: string;
  /** names; undefined: those of the state, else those of wrangler.toml */
  zones?: string[];
  /** port of the first zone, the others follow; 0: any free ones */
  port: number;
  apiPort: number;
  /** in place of both: those of an earlier run, zones first */
  ports?: number[];
  /** over those of wrangler.toml, for every Worker; LOG is off unless this says otherwise */
  vars?: Record<string, unknown>;
  /** where goes what the Workers print; their log lines as they come, by default */
  output?: Output;
  /** gives the bundled Worker of an entry file (as wrangler.toml names it); esbuild by default */
  script?: (main: string) => Promise<string>;
  /** milliseconds between two calls of each zone's `scheduled()`; 0: only `runScheduled` calls it */
  scheduleEvery?: number;
}

/** What local.json tells to clients. */
export interface Local {
  api: string;
  portal: string;
  /** the runner's own door */
  runner: string;
  zones: { name: string; endpoint: string }[];
  organizations: Organization[];
}

type Database = Awaited<ReturnType<Miniflare["getD1Database"]>>;

const ROOT = resolve(import.meta.dirname, "../..");

export class Runner {
  readonly local: Local;
  /** of the zones, then of the control API */
  readonly ports: number[];
  readonly #miniflare: Miniflare;
  readonly #door: Door;
  readonly #state: State;
  readonly #workerNames: Map<string, string>;
  #timer: NodeJS.Timeout | undefined;

  private constructor({ miniflare, door }: Running, state: State, plan: Plan) {
    this.#miniflare = miniflare;
    this.#door = door;
    this.#state = state;
    this.ports = plan.placements.map(({ port }) => port);
    this.#workerNames = new Map(plan.zones.map((zone) => [zone.name, zone.workerName]));
    this.local = {
      api: plan.apiEndpoint,
      portal: new URL("/", plan.apiEndpoint).href,
      runner: door.url,
      zones: plan.zones.map(({ name, endpoint }) => ({ name, endpoint })),
      organizations: state.secrets.organizations,
    };
  }

  /** Returns when everything answers and local.json is written. Throws what a person can mend as a plain Error. */
  static async start(options: RunnerOptions): Promise<Runner> {
    const state = await State.open(options.state);
    let running: Running | undefined;
    try {
      const plan = await makePlan(options, state);
      running = await startMiniflare(options, state, plan);
      await applyMigrations(running.miniflare, plan);
      await createOrganizations(plan.apiEndpoint, state);
      const runner = new Runner(running, state, plan);
      state.saveLocal(runner.local);
      runner.#schedule(options.scheduleEvery ?? 60_000);
      return runner;
    } catch (error) {
      await running?.door.close();
      await running?.miniflare.dispose();
      state.close();
      throw error;
    }
  }

  /** Calls the zone's `scheduled()` and waits for it. */
  async runScheduled(zone: string): Promise<void> {
    const worker = await this.#miniflare.getWorker(this.#workerName(zone));
    await worker.scheduled({ cron: "* * * * *" });
  }

  /** A zone's database, to look into. */
  async database(zone: string, binding: string): Promise<Database> {
    return await this.#miniflare.getD1Database(binding, this.#workerName(zone));
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#door.close();
    await this.#miniflare.dispose();
    this.#state.close();
  }

  /** Ends workerd as a power cut would: nothing is finished, nothing is told. */
  async kill(): Promise<void> {
    const gone = end(workerdsOf(this.#state.folder));
    await this.stop(); // at once, or Miniflare would start workerd again
    await gone;
  }

  #workerName(zone: string): string {
    const name = this.#workerNames.get(zone);
    if (!name) throw new Error(`there is no zone ${zone}`);
    return name;
  }

  /** A zone that is still at work when the minute is over is not called twice at once. */
  #schedule(every: number): void {
    if (every === 0) return;
    const running = new Set<string>();
    const tick = async (zone: string) => {
      if (running.has(zone)) return;
      running.add(zone);
      await this.runScheduled(zone).catch((error) => {
        if (this.#timer) console.error(`scheduled() of zone ${zone} failed:`, error); // or the stop ended it
      });
      running.delete(zone);
    };
    const all = () => this.local.zones.forEach(({ name }) => void tick(name));
    this.#timer = setInterval(all, every);
    all();
  }
}

interface Plan {
  apiEndpoint: string;
  zones: Shared["zones"];
  placements: Omit<Placement, "script">[];
}

async function makePlan(options: RunnerOptions, state: State): Promise<Plan> {
  const workers = readWrangler(ROOT);
  const control = workers.find((worker) => worker.environment === "control");
  if (!control) throw new Error("wrangler.toml declares no control Worker");
  const zones = chooseZones(workers, state.zones, options.zones);
  const descriptions = [...zones.map((zone) => describeZone(workers, zone.name)), control];
  const ports = await choosePorts(portRequests(options, zones));
  state.saveZones(zones);
  return {
    apiEndpoint: `http://${HOST}:${ports.at(-1)}/v2`,
    zones: zones.map((zone, index) => ({
      ...zone,
      endpoint: `http://${HOST}:${ports[index]}`,
      workerName: descriptions[index]!.name,
    })),
    placements: descriptions.map((worker, index) => ({ worker, port: ports[index]! })),
  };
}

function portRequests({ port, apiPort, ports }: RunnerOptions, zones: { name: string }[]): PortRequest[] {
  const ofZones = zones.map(({ name }, index) => ({
    port: ports?.[index] ?? (port === 0 ? 0 : port + index),
    purpose: `zone ${name}`,
    flag: "--port",
  }));
  return [...ofZones, { port: ports?.at(-1) ?? apiPort, purpose: "control API", flag: "--api-port" }];
}

/** Miniflare, and the door to it. */
interface Running {
  miniflare: Miniflare;
  door: Door;
}

async function startMiniflare(options: RunnerOptions, state: State, plan: Plan): Promise<Running> {
  const [scripts, switchScript, { Log, LogLevel, Miniflare }] = await Promise.all([
    bundleAll(options, plan),
    bundle(join(import.meta.dirname, "switch.ts"), [ZONE_MODULE]),
    import("miniflare"),
  ]);
  const { ROOT_KEY, ADMIN_TOKEN } = state.secrets;
  const shared: Shared = { ...plan, secrets: { ROOT_KEY, ADMIN_TOKEN }, vars: options.vars ?? {} };
  /** Miniflare's own warnings would stand among the log lines. */
  class ErrorLog extends Log {
    override log(message: string): void {
      console.error(message);
    }
  }
  const output = options.output ?? new Output("json");
  output.expectZones(plan.zones.map(({ name }) => name));
  const workers = plan.placements.map((placement, index) => {
    const script = scripts.get(placement.worker.main)!;
    return workerOptions({ ...placement, script, switchScript: plan.zones[index] && switchScript }, shared);
  });
  const stacks = new Stacks(workers);
  const miniflare = new Miniflare({
    workers,
    host: HOST,
    resourcePersistencePath: state.data,
    unsafeRuntimeEnv: { [STATE_VARIABLE]: state.folder },
    cf: false, // or it would ask workers.cloudflare.com where we are
    enableDevRegistry: false,
    logRequests: false,
    log: new ErrorLog(LogLevel.WARN),
    handleStructuredLogs: ({ level, message }: Printed) => output.print({ level, message: stacks.resolve(message) }),
  });
  try {
    await miniflare.ready;
    return { miniflare, door: await openDoor(miniflare, plan, output) };
  } catch (error) {
    await miniflare.dispose();
    throw error;
  }
}

async function openDoor(miniflare: Miniflare, plan: Plan, output: Output): Promise<Door> {
  const workerNames = new Map(plan.zones.map(({ name, workerName }) => [name, workerName]));
  return await Door.open({
    zones: [...workerNames.keys()],
    onTurn(zone, to) {
      if (to !== "none") output.expectDrops();
      output.tellTurn(zone, to);
    },
    async switchOf(zone) {
      const bindings = await miniflare.getBindings<Record<string, ZoneSwitch>>(workerNames.get(zone));
      return bindings[SWITCH_BINDING]!;
    },
  });
}

async function bundleAll(options: RunnerOptions, plan: Plan): Promise<Map<string, string>> {
  const script = options.script ?? ((main: string) => bundle(join(ROOT, main)));
  const mains = [...new Set(plan.placements.map(({ worker }) => worker.main))];
  return new Map(await Promise.all(mains.map(async (main) => [main, await script(main)] as const)));
}

/** Each database once: the control database is bound by every Worker. */
async function applyMigrations(miniflare: Miniflare, plan: Plan): Promise<void> {
  const databases = new Map<string, { worker: WorkerDescription; binding: string; folder: string }>();
  for (const { worker } of plan.placements) {
    for (const { binding, database, migrations } of worker.databases) {
      if (migrations) databases.set(database, { worker, binding, folder: join(ROOT, migrations) });
    }
  }
  const migrated = [...databases.values()].map(async ({ worker, binding, folder }) =>
    migrate(await miniflare.getD1Database(binding, worker.name), folder),
  );
  await Promise.all(migrated);
}
