/**
 * Makes the checkout ready to run: the packages of package-lock.json, and the bundled CLI with its place in
 * node_modules/.bin, so that `npx zonal` finds it. Every npm script calls it first, so a fresh clone needs no
 * `npm install`. As `install.mjs prepare` (npm's own hook after an install) it does the second half alone.
 *
 * It runs on whatever Node is there (20 or newer) and imports no package: there may be none yet.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MODULES = join(ROOT, "node_modules");
/** the hash of the lockfile that node_modules was installed from */
const STAMP = join(MODULES, ".zonal-install");

function lockHash() {
  return createHash("sha256")
    .update(readFileSync(join(ROOT, "package-lock.json")))
    .digest("hex");
}

function isInstalled() {
  return existsSync(STAMP) && readFileSync(STAMP, "utf8") === lockHash();
}

/** npm's own output is shown only where it fails. */
function npm(...args) {
  const { status, error, stdout, stderr } = spawnSync("npm", [...args, "--no-audit", "--no-fund"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  return { ok: status === 0, text: error?.message ?? `${stdout}${stderr}`.trim() };
}

/**
 * `npm ci` refuses a lockfile that doesn't match package.json, as it stands after a merge; `npm install` mends it.
 * All that we need are development dependencies, which npm leaves out where NODE_ENV is production.
 */
function install() {
  console.error("installing packages...");
  const clean = npm("ci", "--include=dev");
  const { ok, text } = clean.ok ? clean : npm("install", "--include=dev");
  if (!ok) fail(`npm could not install the packages:\n\n${clean.text}\n\n${text}`);
  if (!existsSync(join(MODULES, ".bin/node"))) fail("npm ran no install scripts: unset its ignore-scripts setting");
  stamp();
}

function stamp() {
  writeFileSync(STAMP, lockHash());
}

function buildCli() {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "bin/build-cli.mjs")], {
    cwd: ROOT,
    encoding: "utf8",
  });
  if (status !== 0) fail(`the CLI could not be built:\n\n${stdout}${stderr}`);
  linkCli();
}

/** npm links the programs of dependencies, not a package's own. */
function linkCli() {
  const link = join(MODULES, ".bin/zonal");
  chmodSync(join(ROOT, "dist/zonal.js"), 0o755);
  mkdirSync(join(MODULES, ".bin"), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync("../../dist/zonal.js", link);
}

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

if (process.argv[2] === "prepare") stamp();
else if (!isInstalled()) install();
buildCli();
