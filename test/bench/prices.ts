/**
 * List prices, in dollars of a million units.
 *
 * Cloudflare, 2026, paid plan beyond what it includes: R2 (Standard), D1, Workers, Durable Objects, Queues
 * (https://developers.cloudflare.com/workers/platform/pricing/, https://developers.cloudflare.com/r2/pricing/). A call over
 * a service binding bills no request (https://blog.cloudflare.com/service-bindings-ga). What is billed by time is left out,
 * because a simulator's isn't Cloudflare's: CPU of Workers (0.02 for a million milliseconds) and duration of Durable Objects
 * (12.50 for a million GB-s, of 128 MB as long as one is awake); and so is what is stored.
 *
 * AWS, S3 Standard in us-east-1, read in November 2026 (https://aws.amazon.com/s3/pricing/ loads its figures by script; they
 * stand in https://c3x.dev/blog/s3-request-fees-explained): PUT, COPY, POST and LIST 0.005 for a thousand, GET and HEAD
 * 0.0004, DELETE nothing. Replication to another region is a PUT there, and 0.02 for a GB that crosses over
 * (https://awsnegotiations.com/s3-replication-cost-strategy, June 2026); Replication Time Control costs more yet and isn't
 * counted.
 */
import type { Units } from "./units.ts";

const CLOUDFLARE: Units = {
  workerRequests: 0.3,
  serviceCalls: 0,
  objectRequests: 0.15,
  queueOperations: 0.4,
  classA: 4.5,
  classB: 0.36,
  rowsRead: 0.001,
  rowsWritten: 1,
  clockRows: 1,
};

export const AWS = { put: 5, get: 0.4, list: 5, delete: 0, crossingGigabyte: 0.02 };

/** Dollars of a million such operations. */
export function dollarsOf(units: Units): number {
  return Object.entries(CLOUDFLARE).reduce((sum, [unit, price]) => sum + price * units[unit as keyof Units], 0);
}

/** Of a million replicas of so many bytes. */
export function awsReplication(bytes: number): number {
  return AWS.put + (AWS.crossingGigabyte * bytes * 1e6) / 1e9;
}
