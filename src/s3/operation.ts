/**
 * An operation of S3 is one expression in one place:
 *
 *     export const UploadPart = operation("PUT /:bucket/:key+?partNumber&uploadId", "put-object", async (ctx) => ...);
 *
 * The pattern is written as the S3 reference writes it: method, path, parameters that the query must have (`name` or
 * `name=value`), and behind `|` headers that must be there. The permission is authorised between match and handle, so
 * no operation can forget it, and before anything is known of the object: what is forbidden and what is missing look
 * alike.
 */
import { isS3Error, S3Error } from "../errors.ts";
import { type Context, hasGrants } from "./context.ts";
import { forward } from "./forward.ts";
import { refuseUnbuiltHeaders } from "./headers.ts";

export type Handler = (ctx: Context) => Promise<Response> | Response;

export interface OperationOptions {
  /** answered by whichever zone is asked, wherever the bucket lives */
  isAnswered?: "anywhere";
  /** `each key`: the handler does it, because the request names its keys in its body; `nothing`: nobody may anyway */
  authorizes?: "in handler" | "nothing";
}

export class Operation {
  /** S3's: that of its export, which index.ts gathers it by */
  name = "";
  readonly method: string;
  /** `/`, `/:bucket`, `/:bucket/:key+`, or that of one thing */
  readonly path: string;
  readonly #query: [name: string, value: string | undefined][];
  readonly #headers: string[];
  readonly #permissions: readonly string[];
  readonly #handler: Handler;
  readonly #options: OperationOptions;

  constructor(pattern: string, permissions: readonly string[], handler: Handler, options: OperationOptions) {
    const [, method, path, query, headers] = /^(\w+) ([^?|]+)(?:\?([^|]*))?(?:\|(.*))?$/.exec(pattern)!;
    this.method = method!;
    this.path = path!;
    this.#query = split(query).map((condition) => condition.split("=") as [string, string | undefined]);
    this.#headers = split(headers);
    this.#permissions = permissions;
    this.#handler = handler;
    this.#options = options;
  }

  /** How much a request must have for this operation to be meant: the more, the earlier it is tried. */
  get conditions(): number {
    return this.#query.length + this.#headers.length;
  }

  /** True of a sub-resource or parameter that the pattern names. */
  names(parameter: string): boolean {
    return this.#query.some(([name]) => name === parameter);
  }

  /** Names of the query that the pattern asks for without a value. */
  get subresources(): string[] {
    return this.#query.filter(([, value]) => value === undefined).map(([name]) => name);
  }

  /** Answers a request that matches. */
  async handle(ctx: Context): Promise<Response> {
    ctx.operation = this.name;
    try {
      return await this.#run(ctx);
    } catch (error) {
      const isGone = ctx.located && isS3Error(error) && error.code === "NoSuchBucket";
      if (!isGone || !(await ctx.relocate())) throw error;
    }
    // The directory's cached row was of a bucket that is gone, and the name stands for another one by now.
    if (ctx.request.bodyUsed) throw new S3Error("ServiceUnavailable");
    return await this.#run(ctx);
  }

  /** Whether the request has the parameters and headers that the pattern asks for. */
  matches({ target, headers }: Context): boolean {
    return (
      this.#query.every(([name, value]) => {
        return target.query.has(name) && (value === undefined || target.query.get(name) === value);
      }) && this.#headers.every((name) => headers.has(name))
    );
  }

  async #run(ctx: Context): Promise<Response> {
    const elsewhere = this.#options.isAnswered === "anywhere" ? undefined : await forward(ctx);
    if (elsewhere) return elsewhere;
    this.#authorize(ctx);
    refuseUnbuiltHeaders(ctx.headers);
    return await this.#handler(ctx);
  }

  #authorize(ctx: Context): void {
    const { authorizes, isAnswered } = this.#options;
    if (authorizes === "nothing") return;
    if (!ctx.caller) refuseAnonymous(ctx, isAnswered === "anywhere");
    if (authorizes === undefined) {
      const [first, ...others] = this.#permissions as [string, ...string[]];
      const sufficient = others.find((permission) => ctx.isAllowed(permission)) ?? first;
      ctx.authorize(sufficient);
      for (const implied of impliedPermissions(ctx, sufficient)) ctx.authorize(implied);
    }
    if (isAnswered !== "anywhere") requireOwnBucket(ctx);
  }
}

/** `permission`: kebab-case as in policies; of several, any one suffices. */
export function operation(
  pattern: string,
  permission: string | readonly string[],
  handler: Handler,
  options: OperationOptions = {},
): Operation {
  return new Operation(pattern, typeof permission === "string" ? [permission] : permission, handler, options);
}

/** Without a signature nothing is allowed, but whether there is such a bucket is no secret. */
function refuseAnonymous(ctx: Context, isAboutAccount: boolean): never {
  if (!isAboutAccount && ctx.target.bucket !== undefined) ctx.requireBucket();
  throw new S3Error("AccessDenied");
}

/** What else a write must be allowed to do because of its headers. */
function impliedPermissions({ headers }: Context, permission: string): string[] {
  if (permission !== "put-object") return [];
  return [
    ...(headers.has("x-amz-acl") || hasGrants(headers) ? ["put-object-acl"] : []),
    ...(headers.has("x-amz-tagging") ? ["put-object-tagging"] : []),
  ];
}

/** Only the owning organization comes in: bucket policies and ACLs that open a bucket to others are not built. */
function requireOwnBucket(ctx: Context): void {
  if (ctx.target.bucket === undefined) return;
  const { organizationId } = ctx.entry;
  const expected = ctx.headers.get("x-amz-expected-bucket-owner");
  if (organizationId !== ctx.identity.organization.id) throw new S3Error("AccessDenied");
  if (expected !== null && expected !== organizationId) throw new S3Error("AccessDenied");
}

function split(conditions: string | undefined): string[] {
  return conditions ? conditions.split("&") : [];
}
