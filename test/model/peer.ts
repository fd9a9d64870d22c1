/** The door for other zones, spoilt: what a request and its answer can meet on the way. */
import type { Faults } from "./faults.ts";

type Serve = (request: Request) => Promise<Response>;

const real = Date.now;
/** Milliseconds, at most, that an answer takes longer. */
const SLOW_MS = 250;
const CUT_MS = 300;

export async function spoiltServe(
  ctx: ExecutionContext,
  faults: Faults,
  request: Request,
  target: string,
  serve: Serve,
): Promise<Response> {
  if (faults.strikes("zone-cut")) faults.cutUntil = real() + 30 + faults.amount("zone-cut") * CUT_MS;
  if (faults.cutUntil > real()) throw new Error("Network connection lost.");
  // A client's own request meets what its zone meets; the rest is between zones.
  if (!target.includes("?replicate")) return await serve(request);
  if (faults.strikes("peer-500")) return internalError();
  if (faults.strikes("peer-slow")) await scheduler.wait(faults.amount("peer-slow") * SLOW_MS);
  const bytes = await request.arrayBuffer();
  const again = () => new Request(request, { body: bytes });
  if (faults.strikes("peer-repeat")) ctx.waitUntil(repeat(faults, again(), serve));
  const answer = await serve(faults.strikes("peer-cut-request") ? cutRequest(request, bytes) : again());
  if (faults.strikes("peer-slow-after")) await scheduler.wait(faults.amount("peer-slow-after") * SLOW_MS);
  if (faults.strikes("peer-500-after")) return internalError();
  return faults.strikes("peer-cut-answer") ? await cutAnswer(answer) : answer;
}

function internalError(): Response {
  return new Response("<Error><Code>InternalError</Code></Error>", { status: 500 });
}

async function repeat(faults: Faults, request: Request, serve: Serve): Promise<void> {
  faults.repeating++;
  try {
    await scheduler.wait(faults.amount("peer-repeat") * 2 * SLOW_MS);
    await (await serve(request)).arrayBuffer();
  } catch {
    // It was answered the first time, or is sent again.
  } finally {
    faults.repeating--;
  }
}

function cutRequest(request: Request, bytes: ArrayBuffer): Request {
  return new Request(request, { body: half(new Uint8Array(bytes)) });
}

async function cutAnswer(answer: Response): Promise<Response> {
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return new Response(half(bytes), { status: answer.status, headers: answer.headers });
}

function half(bytes: Uint8Array): ReadableStream<Uint8Array> {
  let isSent = false;
  // A byte stream, as bodies are that come from a client.
  return new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (isSent) return controller.error(new Error("Network connection lost."));
      isSent = true;
      controller.enqueue(bytes.subarray(0, bytes.length >> 1));
    },
  });
}
