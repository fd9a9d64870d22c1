import { realpathSync, rmSync } from "node:fs";
import { expect, it } from "vitest";
import { end, workerdsOf } from "../../src/local/processes.ts";
import { startServer, startZones, temporaryFolder, until } from "../harness.ts";
import { inspect } from "./inspection.ts";
import { judge, killUnderLoad, twoWay, type Verdict } from "./killing.ts";
import { Load } from "./load.ts";

const FLAGS = ["--port", "0", "--api-port", "0"];

function expectNothingWrong({ acknowledged: _, interrupted: __, ...wrong }: Omit<Verdict, "kills">): void {
  const nothing: string[] = [];
  expect(wrong).toEqual({
    lost: nothing,
    halfWritten: nothing,
    pending: nothing,
    different: nothing,
    doubled: nothing,
    refused: nothing,
  });
}

it("workerd killed 5 times under writes, overwrites, deletes, multipart uploads and replication loses nothing acknowledged, shows nothing half-written, and all becomes COMPLETED at both ends", async () => {
  await using zones = await startZones();
  const { kills, ...verdict } = await killUnderLoad(zones, 5, 5);
  expectNothingWrong(verdict);
  expect(kills).toBe(5);
  expect(verdict.interrupted).toBeGreaterThan(0);
  expect(verdict.acknowledged).toBeGreaterThan(50);
}, 180_000);

it("Node and workerd killed at once lose nothing acknowledged, and all becomes COMPLETED by itself", async () => {
  const state = realpathSync(temporaryFolder());
  let server = await startServer(state, FLAGS);
  try {
    const places = await twoWay(server);
    const load = new Load(7);
    load.reach(places);
    load.start(6);
    await until(() => load.acknowledged > 150, { interval: 1, deadline: 30_000 });
    const workerds = workerdsOf(state);
    load.expectKill();
    const ended = server.end("SIGKILL");
    for (const pid of workerds) process.kill(pid, "SIGKILL");
    await ended;
    await load.stop();

    server = await startServer(state, FLAGS);
    const [left, right] = places.map((place) => ({ ...place, client: server.s3(place.zone) }));
    load.reach([left!, right!]);
    const verdict = await until(
      async () => {
        const found = judge(load, await load.check({ again: true }), await inspect(left!), await inspect(right!));
        expectNothingWrong(found);
        return found;
      },
      { deadline: 40_000, interval: 500 },
    );
    expect(verdict.acknowledged).toBeGreaterThan(150);
    expect(verdict.interrupted).toBeGreaterThan(0);
  } finally {
    await server.end("SIGTERM");
    await end(workerdsOf(state));
    rmSync(state, { recursive: true, force: true });
  }
}, 120_000);
