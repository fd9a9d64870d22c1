/**
 * What Cloudflare bills, and how one operation's units are told apart: those of its own answer, and those of its
 * replication.
 */
export interface Units {
  /** of a client, and each batch of the queue's consumer */
  workerRequests: number;
  /** over a service binding, from Worker to Worker: not billed by Cloudflare, but each is a request that is served */
  serviceCalls: number;
  objectRequests: number;
  /** three a message: it is written, read and deleted */
  queueOperations: number;
  classA: number;
  classB: number;
  rowsRead: number;
  rowsWritten: number;
  /** rows that the Sequencer writes to its own storage: its clock, reserved a second ahead, however many writes that takes */
  clockRows: number;
}

/** Whose units they are: of the requests at the zone's endpoint, or of the queue's consumer and of other zones' calls. */
export const PARTS = ["requests", "replication"] as const;
export type Part = (typeof PARTS)[number];

export function noUnits(): Units {
  return {
    workerRequests: 0,
    serviceCalls: 0,
    objectRequests: 0,
    queueOperations: 0,
    classA: 0,
    classB: 0,
    rowsRead: 0,
    rowsWritten: 0,
    clockRows: 0,
  };
}

const UNITS = Object.keys(noUnits()) as (keyof Units)[];

export function addUnits(...all: Units[]): Units {
  const sum = noUnits();
  for (const units of all) for (const unit of UNITS) sum[unit] += units[unit];
  return sum;
}

export function divideUnits(units: Units, by: number): Units {
  const share = noUnits();
  for (const unit of UNITS) share[unit] = units[unit] / by;
  return share;
}
