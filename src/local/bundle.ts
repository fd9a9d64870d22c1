/**
 * Bundles a Worker's entry file into one ES module, as `wrangler deploy` would. Miniflare 5 finds no modules by itself.
 */
import { build } from "esbuild";

/**
 * The module's text, with an inline source map so that stacks name the files of `src`. `beside` names modules that the
 * Worker will find beside this one.
 */
export async function bundle(entry: string, beside: string[] = []): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "import"],
    external: ["cloudflare:*", "node:*", ...beside],
    sourcemap: "inline",
    sourcesContent: false,
    logLevel: "silent",
  });
  return outputFiles[0]!.text;
}
