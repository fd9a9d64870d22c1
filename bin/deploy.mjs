#!/usr/bin/env node
/**
 * Deploys every Worker of wrangler.toml: `npm run deploy`, or `npm run deploy -- --dry-run`.
 *
 * Zones bind one another, and Cloudflare refuses a binding to a Worker that isn't there yet ("target script not found").
 * So Workers that were never deployed go up first without bindings to others. Those that are there keep theirs all the
 * time: a zone without them would send clients and replicas the long way. Migrations go before the code that needs them.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse, stringify } from "smol-toml";

const ROOT = resolve(import.meta.dirname, "..");
const FIRST_PASS = join(ROOT, "wrangler.first-pass.toml");
const isDryRun = process.argv.includes("--dry-run");

function run(args, stdio) {
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false" };
  return spawnSync(join(ROOT, "node_modules/.bin/wrangler"), args, { cwd: ROOT, stdio, env }).status === 0;
}

function wrangler(...args) {
  console.log(`wrangler ${args.join(" ")}`);
  if (!run(args, "inherit")) throw new Error(`wrangler ${args[0]} failed`);
}

/** Asking needs an account, so a dry run takes all for new. */
function isNew(environment) {
  return isDryRun || !run(["deployments", "list", "--env", environment], "ignore");
}

function deploy(environment, ...args) {
  wrangler("deploy", "--env", environment, ...args, ...(isDryRun ? ["--dry-run"] : []));
}

/** Each database once: control's is bound by every Worker. */
function migrate(config) {
  const seen = new Set();
  for (const [environment, { d1_databases: databases = [] }] of Object.entries(config.env)) {
    for (const { binding, database_name: name } of databases) {
      if (seen.has(name)) continue;
      seen.add(name);
      wrangler("d1", "migrations", "apply", binding, "--env", environment, "--remote");
    }
  }
}

function deployNew(config, environments) {
  for (const environment of Object.values(config.env)) delete environment.services;
  writeFileSync(FIRST_PASS, stringify(config));
  try {
    for (const environment of environments) deploy(environment, "--config", FIRST_PASS);
  } finally {
    rmSync(FIRST_PASS);
  }
}

try {
  const config = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
  const environments = Object.keys(config.env);
  if (!isDryRun) migrate(config);
  deployNew(structuredClone(config), environments.filter(isNew));
  for (const environment of environments) deploy(environment);
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
