/**
 * One request on its way through the S3 door: what was asked, by whom, of which bucket.
 *
 * Reading `entry` or `identity` where there is none throws what S3 answers then (NoSuchBucket, AccessDenied), so an
 * operation can't go on without them.
 */
import { type DirectoryEntry, findBucket } from "../directory.ts";
import { isS3Error, S3Error } from "../errors.ts";
import { type AccessRequest, authorize, type Identity, isAllowed } from "../iam/identity.ts";
import type { Payload } from "../iam/signature.ts";
import { requestEnv } from "../trips.ts";
import { zones } from "../zones.ts";
import { parseCopySource } from "./copysource.ts";
import { namesOf } from "./names.ts";
import { parseTarget, type Target } from "./target.ts";

/** How a request came in. */
export interface Arrival {
  /** request target as the client sent it */
  target: string;
  sourceIp: string;
  /** another zone passed it on: it is answered here, or not at all */
  isForwarded: boolean;
}

/** Who asks, once the signature is verified. */
export interface Caller {
  identity: Identity;
  /** region of the signature's scope */
  region: string;
  payload: Payload;
  /** the request's headers and, of a presigned URL, the `x-amz-*` parameters of its query */
  headers: Headers;
}

/** What a zone tells of itself stands where a bucket of that name would: there is none. */
export const METRICS = "metrics";
/** Parameters that a presigned URL has, whatever it is for. */
const SIGNATURE = /^x-amz-/i;

export class Context {
  request: Request;
  /** counts the calls over its bindings */
  readonly env: Env;
  readonly execution: ExecutionContext;
  readonly arrival: Arrival;
  readonly requestId = newRequestId();
  /** milliseconds */
  readonly startedAt = Date.now();
  /** name of the operation that the request turned out to mean */
  operation: string | undefined;
  /** code of the error that is answered */
  errorCode: string | undefined;
  /** name of the zone that answered in our place */
  forwardedTo: string | undefined;
  /** the bucket's row in the directory, wherever it lives; undefined: there is no such bucket */
  located: DirectoryEntry | undefined;
  /** undefined: the request carries no signature */
  caller: Caller | undefined;
  readonly #target: Target | S3Error;

  constructor(request: Request, env: Env, execution: ExecutionContext, arrival: Arrival) {
    this.request = request;
    this.env = requestEnv(env, this.requestId);
    this.execution = execution;
    this.arrival = arrival;
    this.#target = address(request, env, arrival);
  }

  /** Throws InvalidURI, KeyTooLongError. */
  get target(): Target {
    if (this.#target instanceof S3Error) throw this.#target;
    return this.#target;
  }

  get method(): string {
    return this.request.method;
  }

  /** The path as operations write it. Throws what `target` throws. */
  get path(): string {
    const { bucket, key, query } = this.target;
    if (bucket === undefined) return "/";
    if (key !== undefined) return "/:bucket/:key+";
    const isMetrics =
      this.method === "GET" && bucket === METRICS && query.names().every((name) => SIGNATURE.test(name));
    return isMetrics ? `/${METRICS}` : "/:bucket";
  }

  /** Bucket and key, as far as the address could be read. */
  get names(): { name: string | undefined; key: string | undefined } {
    const { bucket: name, key } =
      this.#target instanceof S3Error ? { bucket: undefined, key: undefined } : this.#target;
    return { name, key };
  }

  get headers(): Headers {
    return this.caller?.headers ?? this.request.headers;
  }

  get identity(): Identity {
    if (!this.caller) throw new S3Error("AccessDenied");
    return this.caller.identity;
  }

  /** How the body is protected. */
  get payload(): Payload {
    if (!this.caller) throw new S3Error("AccessDenied");
    return this.caller.payload;
  }

  get bucket(): string {
    return this.target.bucket!;
  }

  get key(): string {
    return this.target.key!;
  }

  /** The bucket. A name that is only claimed so far names none. */
  get entry(): DirectoryEntry {
    this.requireBucket();
    return this.located!;
  }

  /** Throws NoSuchBucket. */
  requireBucket(): void {
    if (this.located && this.located.state !== "creating") return;
    throw new S3Error("NoSuchBucket", undefined, { BucketName: this.bucket });
  }

  /** A parameter of the query, undefined if it is absent. */
  parameter(name: string): string | undefined {
    return this.target.query.get(name);
  }

  /** Looks the bucket up in the directory's database: true if the name stands for another bucket than it seemed. */
  async relocate(): Promise<boolean> {
    const before = this.located?.bucketId;
    this.located = await findBucket(this.env, this.bucket, { fresh: true });
    return this.located !== undefined && this.located.bucketId !== before;
  }

  /** Throws AccessDenied unless the caller may. `parameters` stand in the place of those of the request. */
  authorize(operation: string, parameters = this.parameters): void {
    authorize(this.identity, this.#accessRequest(operation, parameters));
  }

  isAllowed(operation: string, parameters = this.parameters): boolean {
    return isAllowed(this.identity, this.#accessRequest(operation, parameters));
  }

  /** What policies see of the request: each only where the request has it. */
  get parameters(): Record<string, unknown> {
    const { bucket, key, query } = this.target;
    const acl = hasGrants(this.headers) ? "custom" : this.headers.get("x-amz-acl");
    const copySource = this.headers.get("x-amz-copy-source");
    const [source] = copySource === null ? [] : parseCopySource(copySource);
    return {
      ...(bucket !== undefined && { bucket }),
      ...(key !== undefined && { key }),
      ...(query.has("versionId") && { version_id: query.get("versionId") }),
      ...(query.has("prefix") && { prefix: query.get("prefix") }),
      ...(acl !== null && { acl }),
      ...(source && { source_bucket: source.bucket, source_key: source.key }),
    };
  }

  #accessRequest(operation: string, parameters: Record<string, unknown>): AccessRequest {
    return {
      service: "sos",
      operation,
      parameters,
      zone: this.env.ZONE,
      sourceIp: this.arrival.sourceIp,
    };
  }
}

/** 16 hexadecimal digits, as S3's; of a random UUID the part that is random throughout. */
function newRequestId(): string {
  const uuid = crypto.randomUUID();
  return (uuid.slice(0, 8) + uuid.slice(-8)).toUpperCase();
}

export function hasGrants(headers: Headers): boolean {
  return namesOf(headers).some((name) => name.startsWith("x-amz-grant-"));
}

/** Whatever is wrong with the address is thrown later, where it can be answered. */
function address(request: Request, env: Env, arrival: Arrival): Target | S3Error {
  try {
    return parseTarget(arrival.target, request.headers.get("host") ?? "", domains(env));
  } catch (error) {
    if (isS3Error(error)) return error;
    throw error;
  }
}

/** Host names under which a first label names a bucket: those of all zones' endpoints, unless they are addresses. */
function domains(env: Env): string[] {
  if (known?.zones !== env.ZONES) {
    const hosts = zones(env).map((zone) => new URL(zone.endpoint).hostname);
    known = { zones: env.ZONES, domains: hosts.filter((host) => !/^[\d.]+$|^\[/.test(host)) };
  }
  return known!.domains;
}

/** The same for every request of an isolate. */
let known: { zones: unknown; domains: string[] } | undefined;
