/**
 * One client's operations on one bucket, each noted with what was asked, when, and what came of it.
 *
 * A write carries the id of its operation in its metadata, so that a version tells who wrote it, even where the answer
 * was lost. Delete markers carry nothing: of them only the id that was answered is known.
 */
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import type { Answer, Client } from "./client.ts";
import type { Condition, End, Final, Kind, Listed, Operation, Seen } from "./history.ts";

/** More than any bucket here has. */
const MAX_PAGES = 200;

export class Actor {
  readonly end: End;
  readonly bucket: string;
  readonly #client: Client;
  readonly #operations: Operation[];

  constructor(client: Client, bucket: string, end: End, operations: Operation[]) {
    this.#client = client;
    this.bucket = bucket;
    this.end = end;
    this.#operations = operations;
  }

  async put(key: string, body: Buffer, condition?: Condition, tag?: string): Promise<Operation> {
    const content = md5(body);
    const operation = this.#begin("put", key, { condition, content, expectedEtag: content, tag });
    const headers = { ...writerHeader(operation), ...conditionHeaders(condition), ...tagHeader(tag) };
    const answer = await this.#request("PUT", key, { headers, body });
    return finishWrite(operation, answer, text(answer.headers.etag));
  }

  async delete(key: string, condition?: Condition): Promise<Operation> {
    const operation = this.#begin("delete", key, { condition });
    const answer = await this.#request("DELETE", key, { headers: conditionHeaders(condition) });
    return finishWrite(operation, answer, undefined);
  }

  /** DeleteObjects: one operation for each key, all sent and answered at once. */
  async deleteAll(keys: string[]): Promise<Operation[]> {
    const operations = keys.map((key) => this.#begin("delete", key, {}));
    const objects = keys.map((key) => `<Object><Key>${key}</Key></Object>`);
    const body = Buffer.from(`<Delete>${objects.join("")}</Delete>`);
    const answer = await this.#client.send("POST", `/${this.bucket}`, { query: "delete=", body });
    const results = Array.from(answer.body.toString().matchAll(/<(Deleted|Error)>(.*?)<\/\1>/gs));
    const byKey = new Map(results.map(([, , result]) => [element(result!, "Key"), result!]));
    return operations.map((operation) => finishOne(finish(operation, answer), byKey.get(operation.key)));
  }

  async remove(key: string, versionId: string): Promise<Operation> {
    const operation = this.#begin("remove", key, { versionId });
    return finish(operation, await this.#request("DELETE", key, { query: `versionId=${versionId}` }));
  }

  /** Gives the upload id, undefined where it couldn't be made. */
  async createUpload(key: string, writer: string, tag?: string): Promise<string | undefined> {
    const headers = { "x-amz-meta-writer": writer, ...tagHeader(tag) };
    const answer = await this.#request("POST", key, { query: "uploads=", headers });
    return element(answer.body.toString(), "UploadId");
  }

  /** Gives the part's ETag. */
  async uploadPart(key: string, uploadId: string, partNumber: number, body: Buffer): Promise<string | undefined> {
    const query = `partNumber=${partNumber}&uploadId=${encodeURIComponent(uploadId)}`;
    return text((await this.#request("PUT", key, { query, body })).headers.etag);
  }

  /** The writer's id is given, since a repeated Complete is the same write. */
  async complete(
    key: string,
    upload: { uploadId: string; writer: string; etags: string[]; content: string; tag?: string },
    condition?: Condition,
  ): Promise<Operation> {
    const { uploadId, writer, etags, content, tag } = upload;
    const expectedEtag = multipartEtag(etags);
    const operation = this.#begin("complete", key, { condition, content, expectedEtag, uploadId, tag });
    operation.id = writer;
    const parts = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>"${etag}"</ETag></Part>`);
    const body = Buffer.from(`<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`);
    const query = `uploadId=${encodeURIComponent(uploadId)}`;
    const answer = await this.#request("POST", key, { query, body, headers: conditionHeaders(condition) });
    return finishWrite(operation, answer, element(answer.body.toString(), "ETag"));
  }

  async abort(key: string, uploadId: string): Promise<Operation> {
    const operation = this.#begin("abort", key, { uploadId });
    const answer = await this.#request("DELETE", key, { query: `uploadId=${encodeURIComponent(uploadId)}` });
    return finish(operation, answer);
  }

  /** Copies a version of a bucket, the current one if none is named. */
  async copy(
    key: string,
    source: { end: End; bucket: string; key: string; versionId?: string; content?: string },
    condition?: Condition,
  ): Promise<Operation> {
    const operation = this.#begin("copy", key, { condition, content: source.content, source: namedBy(source) });
    const version = source.versionId ? `?versionId=${source.versionId}` : "";
    const headers = {
      "x-amz-copy-source": `/${source.bucket}/${source.key}${version}`,
      "x-amz-metadata-directive": "REPLACE",
      "x-amz-tagging-directive": "REPLACE",
      ...writerHeader(operation),
      ...conditionHeaders(condition),
    };
    const answer = await this.#request("PUT", key, { headers });
    return finishWrite(operation, answer, element(answer.body.toString(), "ETag"));
  }

  /** `tag` undefined: all tags are taken away. */
  async tag(key: string, versionId: string, tag: string | undefined): Promise<Operation> {
    const operation = this.#begin("tag", key, { versionId, tag });
    const query = `tagging=&versionId=${versionId}`;
    if (tag === undefined) return finish(operation, await this.#request("DELETE", key, { query }));
    const body = Buffer.from(`<Tagging><TagSet><Tag><Key>t</Key><Value>${tag}</Value></Tag></TagSet></Tagging>`);
    return finish(operation, await this.#request("PUT", key, { query, body }));
  }

  async setVersioning(status: "Enabled" | "Suspended"): Promise<Operation> {
    const operation = this.#begin("versioning", "", {});
    const body = Buffer.from(`<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`);
    return finish(operation, await this.#client.send("PUT", `/${this.bucket}`, { query: "versioning=", body }));
  }

  async get(key: string): Promise<Operation> {
    const operation = this.#begin("get", key, {});
    return finishRead(operation, await this.#request("GET", key));
  }

  async head(key: string): Promise<Operation> {
    const operation = this.#begin("head", key, {});
    const answer = await this.#request("HEAD", key);
    finishRead(operation, answer);
    if (operation.seen) delete operation.seen.content;
    return operation;
  }

  async getVersion(key: string, versionId: string): Promise<Operation> {
    const operation = this.#begin("getVersion", key, { versionId });
    return finishRead(operation, await this.#request("GET", key, { query: `versionId=${versionId}` }));
  }

  /** The value of the one tag that versions have here; undefined: it has none. */
  async getTag(key: string, versionId: string): Promise<string | undefined> {
    const answer = await this.#request("GET", key, { query: `tagging=&versionId=${versionId}` });
    if (answer.status !== 200) throw new Error(`the tags of ${key} ${versionId}: ${answer.status}`);
    return element(answer.body.toString(), "Value");
  }

  async list(): Promise<Operation> {
    const operation = this.#begin("list", "", {});
    const answer = await this.#client.send("GET", `/${this.bucket}`, { query: "list-type=2" });
    finish(operation, answer);
    if (operation.result === "ok") operation.listed = readObjects(answer.body.toString());
    return operation;
  }

  async listVersions(): Promise<Operation> {
    const operation = this.#begin("listVersions", "", {});
    const answer = await this.#client.send("GET", `/${this.bucket}`, { query: "versions=" });
    finish(operation, answer);
    if (operation.result === "ok") operation.listed = readVersions(answer.body.toString());
    return operation;
  }

  /** Both listings, two entries a page. */
  async walk(): Promise<Final["walked"]> {
    const versions = await this.#pages("versions=", (page) => [
      ["key-marker", element(page, "NextKeyMarker")],
      ["version-id-marker", element(page, "NextVersionIdMarker")],
    ]);
    const objects = await this.#pages("list-type=2", (page) => [
      ["continuation-token", element(page, "NextContinuationToken")],
    ]);
    return { versions: versions.flatMap(readVersions), objects: objects.flatMap(readObjects) };
  }

  /** `nextOf` gives the parameters that the next page is asked by, undefined after the last one. */
  async #pages(
    query: string,
    nextOf: (page: string) => [name: string, value: string | undefined][],
  ): Promise<string[]> {
    const pages: string[] = [];
    for (let next: string[] = []; ; ) {
      const parameters = [query, "max-keys=2", ...next].sort().join("&");
      const answer = await this.#client.send("GET", `/${this.bucket}`, { query: parameters });
      if (answer.status !== 200) throw new Error(`${this.bucket}?${parameters}: ${answer.status} ${answer.body}`);
      const page = answer.body.toString();
      pages.push(page);
      next = nextOf(page).flatMap(([name, value]) => (value ? [`${name}=${encodeURIComponent(value)}`] : []));
      if (next.length === 0) return pages;
      if (pages.length > MAX_PAGES) throw new Error(`${this.bucket}?${query}: it has no last page`);
    }
  }

  async listUploads(): Promise<string[]> {
    const answer = await this.#client.send("GET", `/${this.bucket}`, { query: "uploads=" });
    if (answer.status !== 200) throw new Error(`the uploads of ${this.bucket}: ${answer.status}`);
    return Array.from(answer.body.toString().matchAll(/<UploadId>([^<]*)</g), ([, id]) => id!);
  }

  async #request(
    method: string,
    key: string,
    request: { query?: string; headers?: Record<string, string>; body?: Buffer } = {},
  ): Promise<Answer> {
    return await this.#client.send(method, `/${this.bucket}/${key}`, request);
  }

  #begin(kind: Kind, key: string, facts: Partial<Operation>): Operation {
    const operation: Operation = {
      ...facts,
      id: `${this.end}-${this.#operations.length}`,
      kind,
      end: this.end,
      key,
      start: performance.now(),
      finish: Number.POSITIVE_INFINITY,
      result: "unknown",
    };
    this.#operations.push(operation);
    return operation;
  }
}

export function md5(bytes: Buffer): string {
  return createHash("md5").update(bytes).digest("hex");
}

/** S3's formula. */
function multipartEtag(etags: string[]): string {
  return `${md5(Buffer.from(etags.join(""), "hex"))}-${etags.length}`;
}

function namedBy({ end, key, versionId }: NonNullable<Operation["source"]>): Operation["source"] {
  return { end, key, versionId };
}

function writerHeader({ id }: Operation): Record<string, string> {
  return { "x-amz-meta-writer": id };
}

function conditionHeaders(condition: Condition | undefined): Record<string, string> {
  if (!condition) return {};
  if ("ifNoneMatch" in condition) return { "if-none-match": condition.ifNoneMatch };
  return { "if-match": condition.ifMatch === "*" ? "*" : `"${condition.ifMatch}"` };
}

function tagHeader(tag: string | undefined): Record<string, string> {
  return tag === undefined ? {} : { "x-amz-tagging": `t=${tag}` };
}

/** Codes that don't say that nothing was done, though they are 4xx. */
const UNCERTAIN = ["OperationAborted", "RequestTimeout"];

function finish(operation: Operation, answer: Answer): Operation {
  operation.finish = performance.now();
  operation.status = answer.status;
  const document = answer.status >= 300 ? answer.body.toString() : "";
  operation.code = element(document, "Code");
  const isRefused = answer.status >= 300 && answer.status < 500 && !UNCERTAIN.includes(operation.code ?? "");
  operation.result = answer.status >= 200 && answer.status < 300 ? "ok" : isRefused ? "refused" : "unknown";
  return operation;
}

/** A key's own result in the answer of DeleteObjects. */
function finishOne(operation: Operation, result: string | undefined): Operation {
  if (operation.result !== "ok") return operation;
  operation.versionId = element(result ?? "", "DeleteMarkerVersionId");
  operation.code = result === undefined ? "no result" : element(result, "Code");
  // A key's own error says no more than that of a request: what was done isn't known.
  if (operation.code !== undefined) operation.result = "unknown";
  return operation;
}

function finishWrite(operation: Operation, answer: Answer, etag: string | undefined): Operation {
  finish(operation, answer);
  if (operation.result !== "ok") return operation;
  operation.versionId = text(answer.headers["x-amz-version-id"]);
  operation.etag = etag?.replaceAll(/"|&quot;/g, "");
  return operation;
}

/** A read that finds nothing has found that out. */
function finishRead(operation: Operation, answer: Answer): Operation {
  finish(operation, answer);
  const { status, headers } = answer;
  const isMissing = status === 404 || status === 405;
  if (status !== 200 && !isMissing) return operation;
  operation.result = "ok";
  operation.seen = status === 200 ? seenOf(headers, answer.body) : missing(headers);
  return operation;
}

function missing(headers: IncomingHttpHeaders): Seen {
  const isMarker = headers["x-amz-delete-marker"] === "true";
  return { versionId: text(headers["x-amz-version-id"]), isMarker };
}

function seenOf(headers: IncomingHttpHeaders, body: Buffer): Seen {
  return {
    versionId: text(headers["x-amz-version-id"]),
    isMarker: false,
    etag: text(headers.etag),
    writer: text(headers["x-amz-meta-writer"]),
    content: md5(body),
    status: text(headers["x-amz-replication-status"]),
  };
}

function text(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header.replaceAll('"', "") : undefined;
}

function element(document: string, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(document)?.[1];
}

function readObjects(document: string): Listed[] {
  return Array.from(document.matchAll(/<Contents>(.*?)<\/Contents>/gs), ([, contents]) => {
    return { key: element(contents!, "Key")!, isMarker: false, isLatest: true, etag: etagOf(contents!) };
  });
}

function readVersions(document: string): Listed[] {
  return Array.from(document.matchAll(/<(Version|DeleteMarker)>(.*?)<\/\1>/gs), ([, kind, contents]) => {
    return {
      key: element(contents!, "Key")!,
      versionId: element(contents!, "VersionId")!,
      isMarker: kind === "DeleteMarker",
      isLatest: element(contents!, "IsLatest") === "true",
      etag: etagOf(contents!),
    };
  });
}

function etagOf(contents: string): string | undefined {
  return element(contents, "ETag")?.replaceAll(/"|&quot;/g, "");
}
