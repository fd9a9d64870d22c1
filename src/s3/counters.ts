/**
 * What this isolate has answered, by organization and operation. Cloudflare runs as many isolates of a zone as it likes
 * and ends them when it likes, so each counts for itself, from 0, under an id of its own.
 *
 * Kept small: of too many organizations the one that was met first is forgotten, and begins anew.
 */
export interface Answered {
  /** undefined: none was recognised */
  operation: string | undefined;
  /** S3's, of an error */
  code: string | undefined;
  /** bytes of bodies */
  received: number;
  sent: number;
  ms: number;
  trips: number;
}

export interface OperationCounters {
  /** requests by code */
  codes: Map<string, number>;
  received: number;
  sent: number;
  trips: number;
  /** milliseconds, all requests together */
  ms: number;
  /** requests that took at most as many milliseconds as DURATIONS says, and longer than the bound before; last: all longer ones */
  durations: number[];
}

/** Upper bounds in milliseconds: 1 to 16,384. */
export const DURATIONS = Array.from({ length: 15 }, (_, i) => 2 ** i);
/** The code of what is no error, and the operation of what isn't one. */
export const OK = "OK";
const UNKNOWN = "Unknown";
const MAX_ORGANIZATIONS = 1000;

type Counters = Map<string, OperationCounters>;

const organizations = new Map<string, Counters>();

let id: string | undefined;

/** Made at first use: a Worker has no random numbers before its first request. */
export function isolateId(): string {
  id ??= crypto.randomUUID().slice(0, 8);
  return id;
}

export function count(organization: string, answered: Answered): void {
  const { code = OK, received, sent, ms, trips } = answered;
  const counters = countersFor(organization, answered.operation ?? UNKNOWN);
  counters.codes.set(code, (counters.codes.get(code) ?? 0) + 1);
  counters.received += received;
  counters.sent += sent;
  counters.trips += trips;
  counters.ms += ms;
  const bucket = DURATIONS.findIndex((bound) => ms <= bound);
  counters.durations[bucket < 0 ? DURATIONS.length : bucket]!++;
}

/** By operation, in the order of their first requests. */
export function countersOf(organization: string): ReadonlyMap<string, Readonly<OperationCounters>> {
  return organizations.get(organization) ?? new Map();
}

function countersFor(organization: string, operation: string): OperationCounters {
  let ofOrganization = organizations.get(organization);
  if (!ofOrganization) {
    ofOrganization = new Map();
    organizations.set(organization, ofOrganization);
    if (organizations.size > MAX_ORGANIZATIONS) organizations.delete(organizations.keys().next().value!);
  }
  let counters = ofOrganization.get(operation);
  if (!counters) {
    const durations = new Array(DURATIONS.length + 1).fill(0);
    counters = { codes: new Map(), received: 0, sent: 0, trips: 0, ms: 0, durations };
    ofOrganization.set(operation, counters);
  }
  return counters;
}
