/**
 * The command `npm start`: zones and control API on this machine, until it is told to stop.
 *
 * It prints `ready` on a line of its own when everything answers; what the zones log follows it, if it is asked for.
 * SIGINT, SIGTERM and SIGHUP end it with 0.
 */
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type LogFormat, Output } from "./log.ts";
import { type Local, Runner, type RunnerOptions } from "./runner.ts";

/** Where the CLI looks by itself. */
const DEFAULT_STATE = resolve(".zonal");

const USAGE = `npm start -- [--zones NAME,NAME...] [--port PORT] [--api-port PORT] [--state DIR]
             [--log pretty|json] [--log-keys]

  --zones      zones to run (those of the state, else those of wrangler.toml)
  --port       port of the first zone; the others follow (9000; 0: any free ones)
  --api-port   port of the control API (9080; 0: any free one)
  --state      folder that keeps all data and keys (.zonal)
  --log        lines of S3 operations, replication and sweeps on standard output, after "ready": pretty or json (off)
  --log-keys   names of buckets and keys in those lines, too; without it they are told by numbers and request ids

Errors of the zones, and whatever else they print, go to standard error with or without --log.`;

type Flags = RunnerOptions & { output: Output };

function readFlags(): Flags | undefined {
  const { values } = parseArgs({
    options: {
      zones: { type: "string" },
      port: { type: "string", default: "9000" },
      "api-port": { type: "string", default: "9080" },
      state: { type: "string", default: ".zonal" },
      log: { type: "string", default: "off" },
      "log-keys": { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  return {
    zones: values.zones?.split(",").map((name) => name.trim()),
    port: readPort("--port", values.port),
    apiPort: readPort("--api-port", values["api-port"]),
    state: resolve(values.state),
    ...readLog(values.log, values["log-keys"]),
  };
}

function readLog(format: string, hasKeys: boolean): Pick<Flags, "vars" | "output"> {
  if (!["pretty", "json", "off"].includes(format)) throw new Error(`--log: "${format}" is not pretty, json or off`);
  if (format === "off") {
    if (hasKeys) throw new Error("--log-keys: nothing is logged without --log");
    return { output: new Output("pretty") };
  }
  const vars = { LOG: "on", ...(hasKeys && { LOG_KEYS: "1" }) };
  return { vars, output: new Output(format as LogFormat, { isHeld: true }) };
}

function readPort(flag: string, value: string): number {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port > 65_535) throw new Error(`${flag}: "${value}" is no port`);
  return port;
}

/** Endpoints, keys and four commands that work as they stand. */
function describe({ zones, api, organizations }: Local, state: string): string {
  const { name, endpoint } = zones[0]!;
  const { key, secret } = organizations[0]!;
  const shownState = relative("", state).startsWith("..") ? state : relative("", state) || ".";
  const zonal = state === DEFAULT_STATE ? "npx zonal" : `ZONAL_LOCAL=${join(state, "local.json")} npx zonal`;
  const width = Math.max("control API".length, ...zones.map((zone) => zone.name.length + 5));
  return [
    `Zonal: ${zones.length} zones, state in ${shownState}`,
    "",
    ...zones.map((zone) => `  ${`zone ${zone.name}`.padEnd(width)}  ${zone.endpoint}`),
    `  ${"control API".padEnd(width)}  ${api}`,
    "",
    ...organizations.map((each) => `  organization ${each.name.padEnd(4)}  key ${each.key}  secret ${each.secret}`),
    "",
    "To try it, in another terminal:",
    "",
    `  ${zonal} storage create --zone ${name} my-first-bucket`,
    `  ${zonal} storage upload README.md sos://my-first-bucket/`,
    `  ${zonal} storage list sos://my-first-bucket/`,
    `  AWS_ACCESS_KEY_ID=${key} AWS_SECRET_ACCESS_KEY=${secret} aws --endpoint-url ${endpoint} --region ${name} s3 ls`,
    "",
  ].join("\n");
}

/** Miniflare's own handlers, which exit with 130 or 143, make room. Ctrl-C comes twice: from the terminal and by npm. */
function stopOnSignal(runner: Runner): void {
  let isStopping = false;
  const stop = async () => {
    if (isStopping) return;
    isStopping = true;
    await runner.stop();
    process.exit(0);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.removeAllListeners(signal);
    process.on(signal, stop);
  }
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause ? `${error.message}: ${explain(error.cause)}` : error.message;
}

try {
  const options = readFlags();
  if (options) {
    const runner = await Runner.start(options);
    stopOnSignal(runner);
    console.log(`${describe(runner.local, options.state)}\nready`);
    options.output.release();
  } else {
    console.log(USAGE);
  }
} catch (error) {
  console.error(`error: ${explain(error)}`);
  process.exit(1);
}
