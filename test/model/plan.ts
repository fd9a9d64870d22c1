/**
 * The plan of a history, all from its seed: who sends what in which order with what pauses, and which faults strike how
 * often. What a step needs that only the run can know (an ETag, a version id) it takes from what was seen until then,
 * by a number from the plan.
 */
import { FAULTS, type Rates } from "./faults.ts";
import type { End, Shape } from "./history.ts";
import { Random } from "./random.ts";

export interface Step {
  kind:
    | "put"
    | "delete"
    | "remove"
    | "multipart"
    | "copy"
    | "tag"
    | "versioning"
    | "get"
    /** several GETs at once, which a zone puts together */
    | "burst"
    | "head"
    | "getVersion"
    | "list"
    | "listVersions";
  key: string;
  /** milliseconds before it is sent */
  pause: number;
  /** bytes of the body */
  size: number;
  condition: "none" | "if-none-match" | "if-match" | "if-match-stale" | "if-match-any";
  /** 0 to 1: which of the versions known by then, newest first */
  choice: number;
  /** 0 to 1, for whatever else the step has to decide */
  variant: number;
}

export interface ClientPlan {
  /** whose bucket it uses */
  end: End;
  /** the zone whose endpoint it speaks to */
  via: End;
  steps: Step[];
}

export interface Plan {
  seed: string;
  shape: Shape;
  keys: string[];
  clients: ClientPlan[];
  /** of each end's zone against its bucket */
  rates: [Rates, Rates];
}

const OPERATIONS = 42;
const KINDS: Record<Step["kind"], number> = {
  put: 26,
  delete: 9,
  remove: 10,
  multipart: 5,
  copy: 5,
  tag: 14,
  versioning: 0,
  get: 11,
  burst: 3,
  head: 4,
  getVersion: 6,
  list: 4,
  listVersions: 6,
};

export function makePlan(seed: string): Plan {
  const random = new Random(seed);
  const shape = random.weighted<Shape>({ "two-way": 84, "one-way": 9, alone: 7 });
  const keys = ["a", "b/1", "b/2"].slice(0, random.between(1, 3));
  const count = random.between(3, 8);
  const clients = Array.from({ length: count }, (_, i): ClientPlan => {
    const end: End = i % 2 === 0 ? 0 : 1;
    const via: End = random.chance(0.15) ? (end === 0 ? 1 : 0) : end;
    const steps = Array.from({ length: Math.round(OPERATIONS / count) }, () => makeStep(random, keys, shape));
    return { end, via, steps };
  });
  return { seed, shape, keys, clients, rates: [makeRates(random), makeRates(random)] };
}

const PAUSES = [0, 0, 0, 2, 5, 15, 40, 120];

function makeStep(random: Random, keys: string[], shape: Shape): Step {
  return {
    kind: random.weighted({ ...KINDS, versioning: shape === "two-way" ? 0 : 8 }),
    key: random.pick(keys),
    pause: random.pick(PAUSES),
    size: random.chance(0.25) ? random.between(9_000, 20_000) : random.between(24, 200),
    condition: random.weighted({
      none: 50,
      "if-none-match": 17,
      "if-match": 20,
      "if-match-stale": 7,
      "if-match-any": 6,
    }),
    choice: random.next() ** 2,
    variant: random.next(),
  };
}

/** Rates of a history in which they strike; most histories meet some kinds often and the others never. */
const RATES: Record<(typeof FAULTS)[number], number> = {
  "end-before": 0.06,
  "end-after": 0.06,
  "d1-before": 0.06,
  "d1-after": 0.06,
  late: 0.08,
  "index-before": 0.03,
  "index-after": 0.03,
  "r2-before": 0.15,
  "r2-after": 0.1,
  "r2-get": 0.1,
  "r2-delete": 0.3,
  "peer-500": 0.1,
  "peer-500-after": 0.12,
  "peer-slow": 0.4,
  "peer-slow-after": 0.4,
  "peer-cut-request": 0.08,
  "peer-cut-answer": 0.08,
  "peer-repeat": 0.4,
  "zone-cut": 0.04,
  "queue-lost": 0.2,
  "queue-doubled": 0.3,
  "queue-delayed": 0.15,
  "queue-reordered": 0.2,
  "clock-back": 0.05,
  "clock-ahead": 0.03,
  twin: 0.4,
};

/**
 * What must come together for one write to be made twice: a batch that lands after its repeat, which another instance
 * wrote by a clock that was behind. By chance they would in one of some hundred histories.
 */
const OVERTAKEN: Rates = { late: 0.15, twin: 0.5, "clock-back": 0.15, "clock-ahead": 0.15 };

function makeRates(random: Random): Rates {
  if (random.chance(0.08)) return {};
  if (random.chance(0.1)) return OVERTAKEN;
  const isStruck = random.pick([0.15, 0.3, 0.5]);
  const entries = FAULTS.map((fault): [string, number] => [fault, random.chance(isStruck) ? RATES[fault] : 0]);
  return Object.fromEntries(entries);
}
