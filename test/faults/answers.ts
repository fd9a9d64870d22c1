/**
 * What a zone's door for replicas does when it is spoilt: at `PEER.serve`, by the text of the request: `probe /BUCKET`,
 * `batch /BUCKET` with the batch's body, or `piece /BUCKET` with the piece's header.
 */
import { note, strike } from "./armed.ts";
import { copyHalf } from "./bindings.ts";

type Serve = (request: Request) => Promise<Response>;

export async function answerSpoilt(request: Request, serve: Serve): Promise<Response> {
  const [name, text] = await describe(request);
  const fault = strike({ at: "PEER.serve", text, in: "worker" });
  if (fault?.how === "fails before") throw new Error("Network connection lost.");
  note(name);
  switch (fault?.how) {
    case "hangs":
      return await new Promise(() => setInterval(() => {}, 1000));
    case "stalls":
      return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
    case "cuts request":
      return await serve(await cutRequest(request));
    case "answers":
      return new Response(fault.body, { status: fault.status });
  }
  const answer = await serve(request);
  switch (fault?.how) {
    case "answers after":
      return new Response(fault.body, { status: fault.status });
    case "cuts answer":
      return await cutAnswer(answer);
    case "truncates answer":
      return new Response((await answer.text()).slice(0, -10), answer);
  }
  return answer;
}

/** What a request is, for the journal, and the text that faults are named by. */
async function describe(request: Request): Promise<[name: string, text: string]> {
  const { pathname } = new URL(request.url);
  const header = request.headers.get("x-amz-zonal-piece");
  const piece = header && Buffer.from(header, "base64url").toString();
  if (piece) return [`piece ${piece}`, `piece ${pathname} ${piece}`];
  const body = await request.clone().text();
  const name = body ? "batch" : "probe";
  return [name, `${name} ${pathname} ${body}`];
}

async function cutRequest(request: Request): Promise<Request> {
  const bytes = await request.bytes();
  const { readable, writable } = new IdentityTransformStream();
  void copyHalf(new Response(bytes).body!, writable, bytes.length);
  return new Request(request.url, { method: request.method, headers: request.headers, body: readable });
}

async function cutAnswer(answer: Response): Promise<Response> {
  const bytes = await answer.bytes();
  const { readable, writable } = new FixedLengthStream(bytes.length);
  void copyHalf(new Response(bytes).body!, writable, bytes.length);
  return new Response(readable, answer);
}
