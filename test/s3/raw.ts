/** Requests that no SDK sends: the target, headers and body go out as they are given here, signed over just that. */
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { AwsV4Signer } from "aws4fetch";
import { parseXml, type XmlElement } from "../../src/s3/xml.ts";
import type { OrganizationName, Zones } from "../harness.ts";

export interface RawRequest {
  zone?: string;
  organization?: OrganizationName;
  /** a key of its own, in the place of the organization's */
  key?: { key: string; secret: string };
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** false: anonymous */
  isSigned?: boolean;
  region?: string;
}

export interface RawAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
  text: string;
  /** of an error's document */
  code: string | undefined;
  /** the document's root */
  xml(rootName: string): XmlElement;
}

/** Sends a request whose target (path and query) arrives as it is written here. */
export async function send(zones: Zones, method: string, target: string, options: RawRequest = {}): Promise<RawAnswer> {
  const zone = options.zone ?? zones.zones[0]!.name;
  const endpoint = new URL(zones.endpoint(zone));
  const headers =
    options.isSigned === false ? (options.headers ?? {}) : await sign(zones, method, target, { ...options, zone });
  return await exchange(endpoint, method, target, headers, options.body);
}

async function sign(zones: Zones, method: string, target: string, options: RawRequest & { zone: string }) {
  const { key, secret } = options.key ?? zones.organizations[options.organization ?? "main"];
  const signer = new AwsV4Signer({
    method,
    url: zones.endpoint(options.zone),
    headers: Object.fromEntries(Object.entries(options.headers ?? {}).map(([name, value]) => [name, toBytes(value)])),
    accessKeyId: key,
    secretAccessKey: secret,
    service: "s3",
    region: options.region ?? options.zone,
  });
  signer.canonicalHeaders = Buffer.from(signer.canonicalHeaders, "latin1").toString();
  const [path = "", query = ""] = target.split(/\?(.*)/s);
  signer.encodedPath = path;
  const pairs = query.split("&").filter(Boolean);
  // By name, not by the whole pair: `select` comes before `select-type`.
  const sorted = pairs.map((pair) => pair.split(/=(.*)/s)).sort(([one = ""], [other = ""]) => (one < other ? -1 : 1));
  signer.encodedSearch = sorted.map(([name, value = ""]) => `${name}=${value}`).join("&");
  const signed = await signer.sign();
  return Object.fromEntries(signed.headers);
}

/** The bytes of UTF-8, one character each: node writes headers as latin-1. */
function toBytes(value: string): string {
  return Buffer.from(value).toString("latin1");
}

export async function exchange(
  endpoint: URL,
  method: string,
  target: string,
  headers: Record<string, string>,
  body: string | Uint8Array | undefined,
): Promise<RawAnswer> {
  // As bytes: node joins a string to the headers, and would encode those anew with it.
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const length = bytes === undefined ? {} : { "content-length": String(bytes.length) };
  const options = {
    host: endpoint.hostname,
    port: endpoint.port,
    method,
    path: target,
    headers: { ...headers, ...length },
  };
  return await new Promise((resolve, reject) => {
    const request = httpRequest(options, async (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve(toAnswer(response.statusCode!, response.headers, Buffer.concat(chunks))));
    });
    request.on("error", reject);
    request.end(bytes);
  });
}

function toAnswer(status: number, headers: IncomingHttpHeaders, body: Buffer): RawAnswer {
  const text = body.toString();
  const code = /<Error><Code>([^<]+)/.exec(text)?.[1];
  return { status, headers, body, text, code, xml: (rootName) => parseXml(body, rootName) };
}
