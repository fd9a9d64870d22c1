/**
 * Once for a whole run: a folder where test files share bundled Workers, and the CLI as it stands in src.
 *
 * A CLI that doesn't build fails the tests that run it, not those that don't: its old bundle is taken away.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "..");

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "zonal-bundles-"));
  process.env.ZONAL_TEST_BUNDLES = folder;
  const { status, stderr } = spawnSync(process.execPath, ["bin/build-cli.mjs"], { cwd: ROOT, encoding: "utf8" });
  if (status !== 0) {
    console.error(`the CLI can't be built:\n${stderr}`);
    rmSync(join(ROOT, "dist/zonal.js"), { force: true });
  }
  return () => rmSync(folder, { recursive: true, force: true });
}
