/** What comes in beside the command line: standard input and JSON files. */
import { readFile } from "node:fs/promises";

/** All of standard input, as UTF-8. */
export async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** A JSON file's content; `-` is standard input. Throws naming the file. */
export async function readJson(path: string): Promise<unknown> {
  const text = path === "-" ? await readInput() : await readFile(path, "utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`, { cause: error });
  }
}
