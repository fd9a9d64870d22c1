/**
 * Where the CLI finds its key and whom it talks to.
 *
 * 1. ZONAL_API_KEY, ZONAL_API_SECRET, ZONAL_API_ENDPOINT, ZONAL_SOS_ENDPOINT, ZONAL_ZONE
 * 2. the names that `exo` reads (EXOSCALE_API_KEY, ...)
 * 3. `.zonal/local.json`, written by the local runner, in this folder or the nearest one above, or the one at ZONAL_LOCAL
 * A key counts only with its secret. Once an API endpoint is named, local.json's endpoints and zones are left alone:
 * they belong to another installation. Nothing is ever sent to an address that none of these names.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

export interface ZoneEndpoint {
  name: string;
  /** origin of the zone's S3 endpoint */
  endpoint: string;
}

export interface Config {
  key: string;
  secret: string;
  /** base of the control API, with `/v2`, without a slash at its end */
  api: string | undefined;
  /** template of the S3 endpoints, `{zone}` stands for the zone's name; overrides what the zones say of themselves */
  sosEndpoint: string | undefined;
  /** the zones, where local.json tells them; else the control API is asked */
  zones: ZoneEndpoint[] | undefined;
  defaultZone: string;
}

interface Local {
  api: string;
  zones: ZoneEndpoint[];
  organizations: { name: string; key: string; secret: string }[];
  /** the runner's own door */
  runner?: string;
}

const KEYS = ["ZONAL_API_KEY", "EXOSCALE_API_KEY", "EXOSCALE_KEY", "CLOUDSTACK_KEY", "CLOUDSTACK_API_KEY"];
const SECRETS = [
  "ZONAL_API_SECRET",
  "EXOSCALE_API_SECRET",
  "EXOSCALE_SECRET",
  "EXOSCALE_SECRET_KEY",
  "CLOUDSTACK_SECRET",
  "CLOUDSTACK_SECRET_KEY",
];
const API_ENDPOINTS = ["ZONAL_API_ENDPOINT", "EXOSCALE_API_ENDPOINT"];
const SOS_ENDPOINTS = ["ZONAL_SOS_ENDPOINT", "EXOSCALE_STORAGE_API_ENDPOINT", "EXOSCALE_SOS_ENDPOINT"];

type Variables = Record<string, string | undefined>;

/** Throws, saying what to set, where there is no key or an organization is asked for that local.json doesn't have. */
export function readConfig(env: Variables, folder: string, organization: string | undefined): Config {
  const local = readLocal(env, folder);
  const credentials = (organization ? undefined : fromVariables(env)) ?? fromLocal(local, organization, env);
  const api = first(env, API_ENDPOINTS);
  const ours = api ? undefined : local;
  return {
    ...credentials,
    api: trimSlash(api ?? ours?.api),
    sosEndpoint: trimSlash(first(env, SOS_ENDPOINTS)),
    zones: ours?.zones,
    defaultZone: first(env, ["ZONAL_ZONE", "EXOSCALE_ZONE"]) ?? ours?.zones[0]?.name ?? "ch-dk-2",
  };
}

/** Address of the local runner's own door. Throws, saying what is missing, where local.json doesn't tell it. */
export function readRunner(env: Variables, folder: string): string {
  const local = readLocal(env, folder);
  if (!local) {
    throw new Error(
      "no local server: there is no .zonal/local.json here or in a folder above. Run this where `npm start` was run, or set ZONAL_LOCAL",
    );
  }
  if (typeof local.runner !== "string") throw new Error("local.json names no runner: start the local server again");
  return local.runner;
}

type Credentials = Pick<Config, "key" | "secret">;

/** The ZONAL pair, else `exo`'s; half a pair is none. */
function fromVariables(env: Variables): Credentials | undefined {
  const ours = { key: first(env, KEYS.slice(0, 1)), secret: first(env, SECRETS.slice(0, 1)) };
  const exos = { key: first(env, KEYS.slice(1)), secret: first(env, SECRETS.slice(1)) };
  for (const { key, secret } of [ours, exos]) if (key && secret) return { key, secret };
  return undefined;
}

function fromLocal(local: Local | undefined, name: string | undefined, env: Variables): Credentials {
  if (!local) {
    const wish = name ? `no .zonal/local.json to find organization ${JSON.stringify(name)} in` : "no API key";
    throw new Error(
      `${wish}: set ZONAL_API_KEY, ZONAL_API_SECRET and ZONAL_API_ENDPOINT, or run this where a local server was started`,
    );
  }
  const wanted = name ?? env.ZONAL_ORGANIZATION;
  const found = wanted ? local.organizations.find((one) => one.name === wanted) : local.organizations[0];
  if (!found) {
    throw new Error(
      `no organization ${JSON.stringify(wanted ?? "")}: there are ${local.organizations.map((one) => one.name).join(", ")}`,
    );
  }
  return { key: found.key, secret: found.secret };
}

function readLocal(env: Variables, folder: string): Local | undefined {
  const path = env.ZONAL_LOCAL || findLocal(folder);
  if (!path) return undefined;
  const local = parseLocal(path);
  if (typeof local.api !== "string" || !Array.isArray(local.zones) || !Array.isArray(local.organizations)) {
    throw new Error(`${path} isn't what the local runner writes: it needs api, zones and organizations`);
  }
  return local as Local;
}

function parseLocal(path: string): Partial<Local> {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} can't be read: ${(error as Error).message}`, { cause: error });
  }
}

function findLocal(folder: string): string | undefined {
  for (let at = resolve(folder); ; at = dirname(at)) {
    const path = join(at, ".zonal", "local.json");
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return path;
    if (dirname(at) === at) return undefined;
  }
}

/** An empty variable counts as none. */
function first(env: Variables, names: string[]): string | undefined {
  return names.map((name) => env[name]).find(Boolean);
}

function trimSlash(url: string | undefined): string | undefined {
  return url?.replace(/\/+$/, "");
}
