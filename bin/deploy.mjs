#!/usr/bin/env node
/**
 * Deploys every Worker of wrangler.toml: `npm run deploy`, or `npm run deploy -- --dry-run`.
 *
 * Zones bind one another, and Cloudflare refuses a binding to a Worker that isn't there yet ("target script not found").
 * So zones that were never deployed go up in two passes, the first one without bindings to others. Migrations go before
 * the code that needs them.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse, stringify } from "smol-toml";

const ROOT = resolve(import.meta.dirname, "..");
const FIRST_PASS = join(ROOT, "wrangler.first-pass.toml");
const isDryRun = process.argv.includes("--dry-run");

const config = parse(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
const environments = Object.keys(config.env);

function wrangler(...args) {
  console.log(`wrangler ${args.join(" ")}`);
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false" };
  const { status } = spawnSync(join(ROOT, "node_modules/.bin/wrangler"), args, { cwd: ROOT, stdio: "inherit", env });
  if (status !== 0) process.exit(status ?? 1);
}

function deploy(...args) {
  for (const environment of environments)
    wrangler("deploy", "--env", environment, ...args, ...(isDryRun ? ["--dry-run"] : []));
}

/** Each database once: control's is bound by every Worker. */
function migrate() {
  const seen = new Set();
  for (const [environment, { d1_databases: databases = [] }] of Object.entries(config.env)) {
    for (const { binding, database_name: name } of databases) {
      if (seen.has(name)) continue;
      seen.add(name);
      wrangler("d1", "migrations", "apply", binding, "--env", environment, "--remote");
    }
  }
}

if (!isDryRun) migrate();
for (const environment of Object.values(config.env)) delete environment.services;
writeFileSync(FIRST_PASS, stringify(config));
try {
  deploy("--config", FIRST_PASS);
} finally {
  rmSync(FIRST_PASS);
}
deploy();
