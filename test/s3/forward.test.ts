import { describe, expect, test, vi } from "vitest";
import type { Context } from "../../src/s3/context.ts";
import { forward } from "../../src/s3/forward.ts";

const ZONES = [
  { name: "here-1", number: 1, endpoint: "https://here-1.example" },
  { name: "there-1", number: 2, endpoint: "https://there-1.example" },
];

type Serve = (request: Request, target: string, sourceIp: string) => Promise<Response>;

/** As much of a request as forwarding looks at: its bucket lives in the first of `places`, and in the next when it is looked up again. */
function contextOf(
  places: string[],
  options: { isForwarded?: boolean; serve?: Serve; request?: Request } = {},
): Context {
  const located = places.map((zone, bucketId) => ({ zone, bucketId }));
  const ctx = {
    env: { ZONE: "here-1", ZONES, ...(options.serve && { PEER_THERE_1: { serve: options.serve } }) },
    request: options.request ?? new Request("http://h/b/c"),
    arrival: { target: "/b/a/../c", sourceIp: "192.0.2.1", isForwarded: options.isForwarded ?? false },
    bucket: "b",
    located: located.shift(),
    relocate: async () => {
      const before = ctx.located;
      ctx.located = located.shift() ?? before;
      return ctx.located !== before;
    },
  };
  return ctx as unknown as Context;
}

const answerOf = (zone: string) => new Response(zone, { headers: { "x-amz-bucket-region": zone } });

describe("Forwarding", () => {
  test("leaves a bucket of this zone to this zone", async () => {
    expect(await forward(contextOf(["here-1"]))).toBeUndefined();
    expect(await forward(contextOf([]))).toBeUndefined();
  });

  test("passes the request on with its raw target and the client's address", async () => {
    const serve = vi.fn<Serve>(async () => answerOf("there-1"));
    const answer = await forward(contextOf(["there-1"], { serve }));
    expect(await answer!.text()).toBe("there-1");
    expect(serve.mock.calls[0]!.slice(1)).toEqual(["/b/a/../c", "192.0.2.1"]);
  });

  test("is PermanentRedirect to a zone that no binding leads to", async () => {
    const redirect = { code: "PermanentRedirect", status: 301, details: { Bucket: "b", Endpoint: "there-1.example" } };
    await expect(forward(contextOf(["there-1"]))).rejects.toMatchObject(redirect);
  });

  test("is ServiceUnavailable to a zone that doesn't answer", async () => {
    const serve = async () => {
      throw new Error("lost");
    };
    await expect(forward(contextOf(["there-1"], { serve }))).rejects.toMatchObject({ code: "ServiceUnavailable" });
  });

  test("looks again where the bucket isn't there any more", async () => {
    const serve = vi.fn<Serve>(async () => new Response(null, { status: 404 }));
    expect(await forward(contextOf(["there-1", "here-1"], { serve }))).toBeUndefined();
    expect(serve).toHaveBeenCalledOnce();
  });

  test("hands on the answer where the body is gone already", async () => {
    const request = new Request("http://h/b/c", { method: "PUT", body: "b" });
    const serve: Serve = async (sent) => {
      await sent.text();
      return new Response(null, { status: 404 });
    };
    const answer = await forward(contextOf(["there-1", "here-1"], { serve, request }));
    expect(answer!.status).toBe(404);
  });

  test("goes one hop: what another zone passed on is answered here or not at all", async () => {
    const serve = vi.fn<Serve>(async () => answerOf("there-1"));
    expect(await forward(contextOf(["there-1", "here-1"], { serve, isForwarded: true }))).toBeUndefined();
    await expect(forward(contextOf(["there-1"], { serve, isForwarded: true }))).rejects.toMatchObject({
      code: "ServiceUnavailable",
    });
    expect(serve).not.toHaveBeenCalled();
  });

  test("restores the accept-encoding that the client signed and the edge replaced", async () => {
    const request = new Request("http://h/b/c", { headers: { "accept-encoding": "gzip, br" } });
    Object.assign(request, { cf: { clientAcceptEncoding: "identity" } });
    const serve = vi.fn<Serve>(async () => answerOf("there-1"));
    await forward(contextOf(["there-1"], { serve, request }));
    expect(serve.mock.calls[0]![0].headers.get("accept-encoding")).toBe("identity");
  });
});
