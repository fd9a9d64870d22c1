/** D1 with the limits that it has in production and the simulator doesn't enforce, and answers that can be lost. */
const MAX_BYTES = 2_000_000;
const MAX_BINDS = 100;
const MAX_SQL_BYTES = 100_000;
const MAX_ARGUMENTS = 32;

/** Of any function that is called in a statement. A call has its bracket right behind its name. */
function mostArguments(sql: string): number {
  let most = 0;
  const open: number[] = [];
  for (const [token, name] of sql.matchAll(/(\w?)\(|[),]|'[^']*'/g)) {
    if (token.endsWith("(")) open.push(name ? 1 : Number.NEGATIVE_INFINITY);
    else if (token === ",") open.push((open.pop() ?? 0) + 1);
    else if (token === ")") most = Math.max(most, open.pop() ?? 0);
  }
  return most;
}

export const lost = { answers: 0, isWritten: false };

export function limited(index: D1Database): D1Database {
  const prepare = (sql: string) => {
    if (Buffer.byteLength(sql) > MAX_SQL_BYTES) throw new Error("D1_ERROR: statement too long");
    if (mostArguments(sql) > MAX_ARGUMENTS) throw new Error("D1_ERROR: too many arguments on function");
    const statement = index.prepare(sql);
    const bind = (...binds: unknown[]) => {
      if (binds.length > MAX_BINDS) throw new Error("D1_ERROR: too many SQL variables");
      for (const value of binds) {
        if (typeof value === "string" && Buffer.byteLength(value) > MAX_BYTES) {
          throw new Error("D1_ERROR: string or blob too big: SQLITE_TOOBIG");
        }
      }
      return statement.bind(...binds);
    };
    return new Proxy(statement, {
      get: (target, name) => (name === "bind" ? bind : Reflect.get(target, name).bind(target)),
    });
  };
  const batch = async (statements: D1PreparedStatement[]) => {
    const isLost = lost.answers > 0;
    if (isLost) lost.answers--;
    if (isLost && !lost.isWritten) throw new Error("D1_ERROR: Network connection lost.");
    const results = await index.batch(statements);
    if (isLost) throw new Error("D1_ERROR: Network connection lost.");
    return results;
  };
  return { prepare, batch } as unknown as D1Database;
}
