import { realpathSync, rmSync } from "node:fs";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterEach, beforeEach, describe, expect, type MockInstance, test, vi } from "vitest";
import { type LogFormat, Output } from "../../src/local/log.ts";
import { type ServerProcess, startServer, startZones, temporaryFolder, until } from "../harness.ts";

const put = {
  time: "2026-11-25T15:50:12.345Z",
  zone: "ch-dk-2",
  id: "TX1",
  operation: "PutObject",
  bucket: 7,
  status: 200,
  bytes: 1024,
  ms: 3,
  trips: 4,
};
const refused = { ...put, id: "TX2", operation: "GetObject", status: 404, code: "NoSuchKey", bytes: 0, trips: 1 };

let stdout: MockInstance;
let stderr: MockInstance;
beforeEach(() => {
  stdout = vi.spyOn(console, "log").mockImplementation(() => {});
  stderr = vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});
const out = () => stdout.mock.calls.flat();
const err = () => stderr.mock.calls.flat();

function print(format: LogFormat, ...messages: (object | string)[]): Output {
  const output = new Output(format);
  output.expectZones(["ch-dk-2", "at-vie-1"]);
  for (const message of messages) output.print({ level: "log", message: text(message) });
  return output;
}

const text = (message: object | string) => (typeof message === "string" ? message : JSON.stringify(message));

describe("The log for people", () => {
  test("has a line an operation, in columns", () => {
    print("pretty", put, refused, {
      ...put,
      zone: "at-vie-1",
      operation: undefined,
      bucket: undefined,
      bytes: undefined,
    });
    expect(out()).toEqual([
      "15:50:12.345  ch-dk-2   PutObject                200                           1024 B       3 ms   4 trips  bucket 7    TX1",
      "15:50:12.345  ch-dk-2   GetObject                404 NoSuchKey                    0 B       3 ms   1 trip   bucket 7    TX2",
      "15:50:12.345  at-vie-1  -                        200                              - B       3 ms   4 trips  bucket -    TX1",
    ]);
  });

  test("shows by what way a request came, and names where they are told, with nothing in them that a terminal obeys", () => {
    print(
      "pretty",
      { ...put, forwardedTo: "at-vie-1" },
      { ...put, isForwarded: true, name: "b", key: "a\u001b[2J\u009b" },
    );
    expect(out().map((line) => line.split("TX1")[1])).toEqual([
      "  to at-vie-1",
      '  forwarded  "b"  "a\\u001b[2J\\u009b"',
    ]);
  });

  test("shows what isn't an operation by its fields", () => {
    print("pretty", { time: put.time, zone: put.zone, event: "sweep", ms: 12, links: 2 });
    expect(out()).toEqual(["15:50:12.345  ch-dk-2   sweep                    ms 12  links 2"]);
  });

  test("gives an error to standard error, its stack on lines of its own", () => {
    const error = {
      time: put.time,
      zone: put.zone,
      level: "error",
      id: "TX1",
      message: "it broke",
      error: "Error: x\n  at y",
    };
    print("pretty").print({ level: "error", message: text(error) });
    expect(err()).toEqual(['15:50:12.345  ch-dk-2   it broke  id "TX1"\nError: x\n  at y']);
    expect(out()).toEqual([]);
  });

  test("is coloured by the status where colours are wanted", () => {
    vi.stubEnv("FORCE_COLOR", "1");
    print("pretty", put, refused, { ...put, status: 503, code: "ServiceUnavailable" });
    expect(out().map((line) => /\[(\d+)m[45]?[0-9]+ /.exec(line)?.[1])).toEqual(["32", "33", "31"]);
  });
});

describe("The log for machines", () => {
  test("is the lines as they come", () => {
    print("json", put, refused);
    expect(out()).toEqual([text(put), text(refused)]);
  });

  test("waits until the server has said that it is ready", () => {
    const output = new Output("json", { isHeld: true });
    output.print({ level: "log", message: text(put) });
    expect(out()).toEqual([]);
    output.release();
    output.print({ level: "log", message: text(refused) });
    expect(out()).toEqual([text(put), text(refused)]);
  });

  test("is kept free of anything else that is printed", () => {
    print("json", "{}", "{", '{"time":1,"zone":2}', "words", '["a"]');
    expect(out()).toEqual([]);
    expect(err()).toEqual(["{}", "{", '{"time":1,"zone":2}', "words", '["a"]']);
  });
});

test("What a Worker prints reaches standard output if it is a log line, standard error else; LOG is off by default", async () => {
  await using zones = await startZones({ entry: "test/local/printing.ts" });
  expect(await (await fetch(`${zones.endpoint("at-vie-1")}/-/print`)).text()).toBe("off");
  await until(() => err().length === 3);
  expect(out().map((line) => JSON.parse(line))).toMatchObject([{ zone: "at-vie-1", id: "printed" }]);
  const stack = expect.stringMatching(/^Error: an error\n +at .*\(test\/local\/printing\.ts:\d+:\d+\)/);
  expect(err()).toEqual(["a plain\nmessage", "{ an: 'object' }", stack]);
});

describe("npm start", () => {
  let state: string;
  let server: ServerProcess | undefined;
  beforeEach(() => {
    state = realpathSync(temporaryFolder());
  });
  afterEach(async () => {
    await server?.end("SIGTERM");
    rmSync(state, { recursive: true, force: true });
  });

  async function start(...flags: string[]): Promise<ServerProcess> {
    server = await startServer(state, ["--port", "0", "--api-port", "0", ...flags]);
    const s3 = server.s3("ch-dk-2");
    await s3.send(new CreateBucketCommand({ Bucket: "some-bucket" }));
    await s3.send(new PutObjectCommand({ Bucket: "some-bucket", Key: "some-key", Body: "x".repeat(1024) }));
    await s3.send(new GetObjectCommand({ Bucket: "some-bucket", Key: "another-key" })).catch(() => {});
    return server;
  }
  /** what it said after `ready` */
  const logged = () => server!.output.slice(server!.output.indexOf("ready") + 1);

  test("--log pretty shows operations after ready, neither buckets nor keys by name", async () => {
    await start("--log", "pretty");
    await until(() => logged().length >= 3);
    expect(logged()[1]).toMatch(
      /^[\d:.]{12} {2}ch-dk-2 {3}PutObject +200 +1024 B +\d+ ms +\d+ trips? +bucket 1 +[0-9A-F]+$/,
    );
    expect(logged()[2]).toMatch(/GetObject +404 NoSuchKey/);
    expect(logged().join()).not.toMatch(/some-|another-/);
  });

  test("--log json --log-keys gives JSON lines, with the names of buckets and keys", async () => {
    await start("--log", "json", "--log-keys");
    await until(() => logged().length >= 3);
    expect(logged().map((line) => JSON.parse(line))).toMatchObject([
      { operation: "CreateBucket", name: "some-bucket" },
      { operation: "PutObject", name: "some-bucket", key: "some-key", bytes: 1024 },
      { operation: "GetObject", key: "another-key", code: "NoSuchKey" },
    ]);
  });

  test("is silent after ready without --log", async () => {
    await start();
    await server!.end("SIGTERM");
    expect(logged()).toEqual([]);
  });

  test.each([
    [["--log", "loud"], '--log: "loud" is not pretty, json or off'],
    [["--log-keys"], "--log-keys: nothing is logged without --log"],
  ])("refuses %j", async (flags, message) => {
    await expect(startServer(state, flags)).rejects.toThrow(message);
  });
});
