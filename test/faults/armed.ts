/**
 * Which faults are armed in a zone, and how often each has struck.
 *
 * The module is shared by the Worker and its Durable Objects: locally they run in one isolate, so one list serves both.
 */
export type How =
  /** the call throws, and nothing was done */
  | "fails before"
  /** the call throws, and all was done */
  | "fails after"
  /** the calls are done, and wait for one another until as many are as `times` says; then they return together */
  | "gathers"
  /** the call begins half a second late */
  | "waits"
  /** the Durable Object ends with the call: before anything was done, or after all was */
  | "ends before"
  | "ends after"
  /** the Durable Object ends with the call, and the batch lands only just before the next one */
  | "lands late"
  /** a body that is read breaks half way */
  | "breaks"
  /** messages never arrive, or twice, or two seconds late, or after those that are sent next */
  | "is lost"
  | "is doubled"
  | "is delayed"
  | "is reordered"
  /** every other call goes to a second instance of the Durable Object, and that one alone is a stroke */
  | "alternates"
  /** the zone never answers; it begins an answer that never ends */
  | "hangs"
  | "stalls"
  /** it answers with `status` and `body` and does nothing; or only after it has done what it was asked */
  | "answers"
  | "answers after"
  /** the request's body, or the answer's, breaks half way; the answer ends half way, as if it were whole */
  | "cuts request"
  | "cuts answer"
  | "truncates answer";

export interface Fault {
  /** `BINDING.method` as it is called: `INDEX.batch`, `BLOBS.get`, `REPLICATION.send`; `CONTROL.*`. And `QUEUE.consume`, `PEER.serve` */
  at: string;
  how: How;
  /** only calls whose SQL, R2 metadata or request has this text */
  naming?: string;
  /** only calls from here */
  in?: "worker" | "sequencer";
  /** of what lands late: batches that go before the one that it lands before */
  behind?: number;
  /** calls that pass before it strikes */
  spares?: number;
  /** calls that it strikes; all by default */
  times?: number;
  status?: number;
  body?: string;
}

export interface Call {
  at: string;
  text?: string;
  in: "worker" | "sequencer";
}

export interface Armed extends Fault {
  passed: number;
  struck: number;
  gathered: number;
}

let armed: Armed[] = [];
let journal: string[] = [];
let turns = 0;

/** In the place of all that were armed before; the journal begins anew. */
export function arm(faults: Fault[]): void {
  armed = faults.map((fault) => ({ ...fault, passed: 0, struck: 0, gathered: 0 }));
  journal = [];
}

/** How often each has struck, in the order they were armed; and what was noted since. */
export function report(): { strokes: number[]; journal: string[] } {
  return { strokes: armed.map(({ struck }) => struck), journal };
}

export function note(line: string): void {
  journal.push(line);
}

/** The first armed fault that means this call. It is counted as a stroke. */
export function strike(call: Call): Armed | undefined {
  for (const fault of armed) {
    if (!means(fault, call)) continue;
    if (fault.passed++ < (fault.spares ?? 0)) continue;
    if (fault.how === "alternates" && turns++ % 2 === 0) continue;
    if (fault.struck >= (fault.times ?? Number.POSITIVE_INFINITY)) continue;
    fault.struck++;
    return fault;
  }
  return undefined;
}

function means(fault: Fault, { at, text = "", in: place }: Call): boolean {
  const isAt = fault.at === at || (fault.at.endsWith(".*") && at.startsWith(fault.at.slice(0, -1)));
  return isAt && (fault.in ?? place) === place && text.includes(fault.naming ?? "");
}
