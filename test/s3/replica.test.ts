import { afterAll, beforeAll, expect, it } from "vitest";
import { encodePieceHeader } from "../../src/peers/frames.ts";
import { startZones, type Zones } from "../harness.ts";
import { allVersions, type Place, versionedBucket } from "../links.ts";
import { send } from "./raw.ts";

let zones: Zones;
let place: Place;
beforeAll(async () => {
  zones = await startZones();
  place = await versionedBucket(zones, "ch-dk-2");
});
afterAll(() => zones?.stop());

const piece = {
  key: "k",
  versionId: "1882841308131221761",
  partNumber: 1,
  partOffset: 0,
  size: 1,
  md5: "",
  checksum: null,
};

it.each([
  ["a batch", {}],
  ["a piece", { "x-amz-zonal-piece": encodePieceHeader(piece) }],
])(
  "%s of replicas is AccessDenied for everybody but a replication session, the bucket's owner too",
  async (_, headers) => {
    for (const zone of ["ch-dk-2", "at-vie-1"]) {
      const answer = await send(zones, "POST", `/${place.bucket}?replicate`, { headers, body: "x", zone });
      expect(answer).toMatchObject({ status: 403, code: "AccessDenied" });
    }
    expect(await allVersions(place)).toEqual([]);
  },
);
