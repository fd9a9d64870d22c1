/**
 * Bundles the CLI into dist/zonal.js: one executable file that needs nothing but Node 20 or newer.
 *
 * Surprising: commander is CommonJS and asks for node's modules by `require`, which an ES module doesn't have: the
 * banner makes one.
 */
import { chmodSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
const outfile = `${root}dist/zonal.js`;

await build({
  absWorkingDir: root,
  entryPoints: ["src/cli/main.ts"],
  outfile,
  bundle: true,
  platform: "node",
  target: "node20",
  format: "esm",
  define: { "process.env.ZONAL_VERSION": JSON.stringify(version) },
  legalComments: "eof",
  logLevel: "warning",
  banner: {
    js: [
      "#!/usr/bin/env node",
      'import { createRequire } from "node:module";',
      "const require = createRequire(import.meta.url);",
    ].join("\n"),
  },
});
chmodSync(outfile, 0o755);
