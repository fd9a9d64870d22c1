/**
 * Applies a folder of numbered .sql files to a local D1 database, each once and in order of name.
 *
 * It keeps the table that `wrangler d1 migrations apply` keeps, by the same name and columns, so that either finds what
 * the other did. A file is applied in one batch with its row, so a crash leaves it whole or not at all.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Miniflare } from "miniflare";

type Database = Awaited<ReturnType<Miniflare["getD1Database"]>>;

const TABLE = `CREATE TABLE IF NOT EXISTS d1_migrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE,
  applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)`;

/** Names of the migrations that were applied now. Throws with the file's name where a statement fails. */
export async function migrate(database: Database, folder: string): Promise<string[]> {
  const applied = await appliedMigrations(database);
  const missing = migrationFiles(folder).filter((name) => !applied.has(name));
  for (const name of missing) {
    const row = database.prepare("INSERT INTO d1_migrations (name) VALUES (?1)").bind(name);
    try {
      await database.batch([database.prepare(readFileSync(join(folder, name), "utf8")), row]);
    } catch (error) {
      throw new Error(`migration ${join(folder, name)} failed`, { cause: error });
    }
  }
  return missing;
}

async function appliedMigrations(database: Database): Promise<Set<string>> {
  const [, { results }] = (await database.batch<{ name: string }>([
    database.prepare(TABLE),
    database.prepare("SELECT name FROM d1_migrations"),
  ])) as [unknown, { results: { name: string }[] }];
  return new Set(results.map((row) => row.name));
}

function migrationFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort();
}
