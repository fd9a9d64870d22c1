/**
 * `npm run kills -- [--kills N] [--seed S]`: kills workerd N times (100) under load of writes, overwrites, deletes,
 * multipart uploads and replication, and reads back all that was acknowledged. Ends with one line; exit code 1 if
 * anything was lost, half written, left PENDING, different at the two ends, doubled, or refused, or if no kill met a
 * request.
 *
 * The seed gives each client its operations again, in their order, and the killer its moments: after how many writes, and
 * how much later. Which request a kill meets, and which version a removal is of, is the machine's.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFlags, wholeNumber } from "../flags.ts";
import { startZones } from "../harness.ts";
import { killUnderLoad } from "./killing.ts";

const HELP = `npm run kills -- [flags]

  --kills N   how often workerd is killed (100)
  --seed S    gives operations and moments again; one is chosen and told if absent
`;

const values = readFlags(HELP, {
  kills: { type: "string", default: "100" },
  seed: { type: "string", default: String(Date.now() % 1_000_000) },
});
const kills = wholeNumber("kills", values.kills, 1);
const seed = wholeNumber("seed", values.seed, 0);

// Where the harness keeps the bundled Workers, so that a restart needn't bundle them.
process.env.ZONAL_TEST_BUNDLES = mkdtempSync(join(tmpdir(), "zonal-bundles-"));
console.log(`seed ${seed}`);
const zones = await startZones();
try {
  const verdict = await killUnderLoad(zones, kills, seed, (line) => console.log(line));
  const { acknowledged, interrupted, lost, halfWritten, pending, different, doubled, refused } = verdict;
  const wrong = [...lost, ...halfWritten, ...pending, ...different, ...doubled, ...refused];
  for (const line of wrong) console.log(line);
  console.log(
    `${kills} kills, ${acknowledged} acknowledged writes, interrupted ${interrupted}, lost ${lost.length}, half-written ${halfWritten.length}, pending ${pending.length}, different ${different.length}, doubled ${doubled.length}, refused ${refused.length} (seed ${seed})`,
  );
  if (wrong.length > 0 || interrupted === 0) process.exitCode = 1;
} finally {
  await zones.stop();
  rmSync(process.env.ZONAL_TEST_BUNDLES, { recursive: true, force: true });
}
