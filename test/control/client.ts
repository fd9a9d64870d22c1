/**
 * A client of the control API for these tests, which shows what was signed: it can send the very same request again, as
 * `exo` does after a lost answer, and it can sign with whatever key.
 */
import { createHmac } from "node:crypto";
import { until } from "../harness.ts";

export interface Signer {
  key: string;
  secret: string;
}

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: an answer's shape is what the tests are about
  body: any;
}

export interface SignedRequest {
  url: string;
  init: { method: string; headers: Record<string, string>; body?: string };
}

/** `path` begins behind `/v2`; its query, if any, is signed too. `text` is the body as it is sent. */
export function sign(
  api: string,
  signer: Signer,
  method: string,
  path: string,
  body?: unknown,
  text = body === undefined ? "" : JSON.stringify(body),
): SignedRequest {
  const url = new URL(api + path);
  const expires = Math.floor(Date.now() / 1000) + 600;
  const names = [...url.searchParams.keys()].sort();
  const values = names.map((name) => url.searchParams.get(name)).join("");
  const message = `${method} ${url.pathname}\n${text}\n${values}\n\n${expires}`;
  const signature = createHmac("sha256", signer.secret).update(message).digest("base64");
  const signed = names.length ? `,signed-query-args=${names.join(";")}` : "";
  const authorization = `EXO2-HMAC-SHA256 credential=${signer.key}${signed},expires=${expires},signature=${signature}`;
  return { url: url.href, init: { method, headers: { authorization }, ...(text && { body: text }) } };
}

export async function send({ url, init }: SignedRequest): Promise<Answer> {
  const response = await fetch(url, init);
  return { status: response.status, body: await response.json() };
}

export const ALLOW_ALL = { "default-service-strategy": "allow", services: {} };

/** As the walkthrough of bucket replication prints it. */
export const REPLICATION = {
  "default-service-strategy": "deny",
  services: {
    sos: {
      type: "rules",
      rules: [
        { action: "allow", expression: "parameters.bucket == 'my-source' && operation == 'get-object'" },
        { action: "allow", expression: "parameters.bucket == 'my-destination' && operation.startsWith('put-object')" },
      ],
    },
  },
};

export const iamRules = (...rules: { action: string; expression: string }[]) => ({
  "default-service-strategy": "deny",
  services: { iam: { type: "rules", rules } },
});

let made = 0;
/** A name that nothing in this test file has yet. */
export const nextName = (kind: string) => `${kind}-${++made}`;

/** The control API as one key's holder calls it. */
export class Caller {
  readonly #api: string;
  readonly #signer: Signer;

  constructor(api: string, signer: Signer) {
    this.#api = api;
    this.#signer = signer;
  }

  sign(method: string, path: string, body?: unknown, text?: string): SignedRequest {
    return sign(this.#api, this.#signer, method, path, body, text);
  }

  call(method: string, path: string, body?: unknown): Promise<Answer> {
    return send(this.sign(method, path, body));
  }

  async makeRole(body: object = {}): Promise<{ id: string; name: string }> {
    const name = nextName("role");
    const { body: operation } = await this.call("POST", "/iam-role", { editable: true, name, ...body });
    return { id: operation.reference.id, name };
  }

  /** A key of the role, and who calls with it. */
  async makeKey(roleId: string): Promise<Signer & { name: string; caller: Caller }> {
    const { body } = await this.call("POST", "/api-key", { name: nextName("key"), "role-id": roleId });
    return { ...body, caller: new Caller(this.#api, body) };
  }

  /** The role as the list shows it. */
  async findRole(id: string): Promise<Answer["body"]> {
    const { body } = await this.call("GET", "/iam-role");
    return body["iam-roles"].find((role: { id: string }) => role.id === id);
  }
}

/** The answer of a request that is sent again when its client's second of patience is over. */
export function again(request: SignedRequest): Promise<Answer> {
  return until(async () => {
    const answer = await send(request);
    return answer.status === 200 && answer;
  });
}
