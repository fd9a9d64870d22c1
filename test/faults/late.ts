/**
 * A zone whose commits can land late: after `POST /-/late` the next batch of INDEX is cut off with its Durable Object, as
 * if its instance had been replaced, and lands only just before the next instance's. Nothing in src knows of it.
 */
import zone, { Peer, Sequencer as Plain } from "../../src/zone.ts";

export { Peer };

interface Statement {
  sql: string;
  binds: unknown[];
}

const armed = { isArmed: false, landed: 0, late: undefined as Statement[] | undefined };
const sources = new WeakMap<D1PreparedStatement, Statement>();

export class Sequencer extends Plain {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, { ...env, INDEX: lateIndex(env.INDEX, ctx) });
  }
}

function lateIndex(index: D1Database, ctx: DurableObjectState): D1Database {
  const prepare = (sql: string) => {
    const statement = index.prepare(sql);
    const bind = (...binds: unknown[]) => {
      const bound = statement.bind(...binds);
      sources.set(bound, { sql, binds });
      return bound;
    };
    return new Proxy(statement, {
      get: (target, name) => (name === "bind" ? bind : Reflect.get(target, name).bind(target)),
    });
  };
  const batch = async (statements: D1PreparedStatement[]) => {
    if (armed.isArmed) {
      armed.isArmed = false;
      armed.late = statements.map((statement) => sources.get(statement)!);
      ctx.abort("replaced");
    }
    if (armed.late) {
      const first = armed.late.map(({ sql, binds }) => index.prepare(sql).bind(...binds));
      armed.late = undefined;
      armed.landed++;
      await index.batch(first);
    }
    return await index.batch(statements);
  };
  return { prepare, batch } as unknown as D1Database;
}

export default {
  ...zone,
  async fetch(request, env, execution) {
    const url = new URL(request.url);
    if (url.pathname !== "/-/late") return await zone.fetch!(request, env, execution);
    if (request.method === "GET") return Response.json(armed.landed);
    armed.isArmed = true;
    armed.landed = 0;
    return new Response();
  },
} satisfies ExportedHandler<Env, never>;
