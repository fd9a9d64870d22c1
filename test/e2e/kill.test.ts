import { realpathSync, rmSync } from "node:fs";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { end, workerdsOf } from "../../src/local/processes.ts";
import { type ServerProcess, startServer, temporaryFolder, until } from "../harness.ts";
import { allVersions, link, statusOf, versionedBucket } from "../links.ts";

const FLAGS = ["--port", "0", "--api-port", "0"];
let state: string;
let server: ServerProcess | undefined;

beforeAll(async () => {
  state = realpathSync(temporaryFolder());
  server = await startServer(state, FLAGS);
});
afterAll(async () => {
  await server?.end("SIGTERM");
  await end(workerdsOf(state));
  rmSync(state, { recursive: true, force: true });
});

/** Node and workerd at once, in the middle of whatever they do. */
async function killAll(): Promise<void> {
  const workerds = workerdsOf(state);
  const ended = server!.end("SIGKILL");
  for (const pid of workerds) process.kill(pid, "SIGKILL");
  await ended;
}

it("SIGKILL during 500 writes and their replication loses nothing acknowledged, and all becomes COMPLETED by itself", async () => {
  const leader = await versionedBucket(server!, "ch-dk-2", "leader-bucket");
  const follower = await versionedBucket(server!, "at-vie-1", "follower-bucket");
  await link(server!, leader, follower);
  const acknowledged = new Map<string, string>();
  let isKilled = false;
  const write = async (worker: number) => {
    for (let i = 0; i < 50 && !isKilled; i++) {
      const key = `k-${worker}-${i}`;
      const body = i % 10 === 0 ? key.repeat(3000) : key;
      const put = new PutObjectCommand({ Bucket: leader.bucket, Key: key, Body: body });
      const answer = await leader.client.send(put).catch(() => undefined);
      if (answer) acknowledged.set(key, body);
    }
  };
  const writing = Promise.all(Array.from({ length: 10 }, (_, worker) => write(worker)));
  await until(() => acknowledged.size > 200, { interval: 1 });
  await killAll();
  isKilled = true;
  await writing;
  expect(acknowledged.size).toBeLessThan(500);

  server = await startServer(state, FLAGS);
  const source = { ...leader, client: server.s3("ch-dk-2") };
  const destination = { ...follower, client: server.s3("at-vie-1") };
  for (const [key, body] of acknowledged) {
    const answer = await source.client.send(new GetObjectCommand({ Bucket: source.bucket, Key: key }));
    expect(await answer.Body!.transformToString()).toBe(body);
  }
  const written = await allVersions(source);
  await until(async () => (await allVersions(destination)).length === written.length, { deadline: 30_000 });
  expect(await allVersions(destination)).toEqual(written);
  for (const line of written) {
    await until(async () => (await statusOf(source, line.split(" ")[0]!)) === "COMPLETED");
  }
}, 90_000);
