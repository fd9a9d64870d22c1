/**
 * The load generator: a number of clients, each with a connection kept alive, each sending its next call as soon as the
 * last one is answered to its last byte.
 *
 * Measured is from the sending of a call to the end of its answer. Calls come signed and with their bodies made, so the
 * client's own work isn't in it; but it runs on the same cores as the server, so figures are good as ratios only.
 * An answer with another status or of another length than was expected ends the bench: a refusal is fast and would count
 * as speed. node:http and not fetch(), which costs the client several times as much.
 */
import { Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";

/** A request, ready to be sent. */
export interface Call {
  method: "PUT" | "GET" | "HEAD" | "DELETE" | "POST";
  endpoint: URL;
  path: string;
  headers: Record<string, string>;
  body?: Buffer;
  /** of the answer; 200 by default */
  status?: number;
  /** bytes of the answer; undefined: any */
  answers?: number;
  /** the answer's text is wanted */
  isKept?: boolean;
}

export interface Load {
  clients: number;
  /** no call starts later; undefined: all calls are sent */
  seconds?: number;
  /** sends the calls again from the first one when they are used up, until the time is over */
  repeats?: boolean;
  /** each client's first call, on a cold connection, isn't counted */
  warmsUp?: boolean;
  /** the server's CPU time so far, in milliseconds */
  cpuTime?(): number | undefined;
}

/** What a load came to. */
export interface Measured {
  requests: number;
  seconds: number;
  /** milliseconds, ascending */
  latencies: number[];
  /** milliseconds of the server's CPU, all requests together */
  cpu: number | undefined;
}

/** Sends calls, in order, until they or the time are used up. Throws for an answer that isn't as expected. */
export async function run(calls: Call[], load: Load): Promise<Measured> {
  const { clients, seconds = Infinity, repeats, warmsUp } = load;
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const next = supply(calls, repeats ?? false);
  const all = <T>(client: () => Promise<T>) => Promise.all(Array.from({ length: clients }, client));
  try {
    if (warmsUp) await all(() => sendOne(agent, next()));
    const before = load.cpuTime?.();
    const start = performance.now();
    const latencies = (await all(() => sendMany(agent, next, start + seconds * 1000))).flat().sort((a, b) => a - b);
    const elapsed = (performance.now() - start) / 1000;
    const cpu = before === undefined ? undefined : load.cpuTime!()! - before;
    return { requests: latencies.length, seconds: elapsed, latencies, cpu };
  } finally {
    agent.destroy();
  }
}

function supply(calls: Call[], repeats: boolean): () => Call | undefined {
  let index = 0;
  return () => calls[repeats ? index++ % calls.length : index++];
}

async function sendMany(agent: Agent, next: () => Call | undefined, end: number): Promise<number[]> {
  const latencies: number[] = [];
  for (let sent = performance.now(); sent < end; ) {
    const call = next();
    if (!call) break;
    await sendOne(agent, call);
    const answered = performance.now();
    latencies.push(answered - sent);
    sent = answered;
  }
  return latencies;
}

async function sendOne(agent: Agent, call: Call | undefined): Promise<void> {
  if (call) await send(agent, call);
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  length: number;
  /** if it is kept, or is an error */
  text: string;
}

/** Sends one call. Throws for an answer that isn't as expected. */
export async function send(agent: Agent, call: Call): Promise<Answer> {
  const answer = await exchange(agent, call);
  const { status = 200, answers = answer.length, method, path } = call;
  if (answer.status === status && answer.length === answers) return answer;
  throw new Error(`${method} ${path} was answered ${answer.status} with ${answer.length} bytes: ${answer.text}`);
}

/** Sends one call. Throws only where there is no answer. */
export async function exchange(agent: Agent, call: Call): Promise<Answer> {
  const { endpoint, path, method, headers, body } = call;
  return await new Promise((resolve, reject) => {
    const options = { agent, host: endpoint.hostname, port: endpoint.port, method, path, headers };
    const request = httpRequest(options, (response) => {
      const status = response.statusCode!;
      let length = 0;
      let text = "";
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (call.isKept || status >= 300) text += chunk;
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status, headers: response.headers, length, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** The value below which a share `p` (0 to 1) of sorted values lies. */
export function percentile(sorted: number[], p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN;
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
