/** A body whose checksum nobody told: calculated on the way, which costs a trip through JavaScript. */
import type { Body } from "../store/objects.ts";
import type { ChecksumAlgorithm } from "../store/versions.ts";
import { createChecksum } from "./checksum.ts";

export function withChecksum(body: Body, algorithm: ChecksumAlgorithm): Body {
  const calculated = createChecksum(algorithm);
  let value: string | undefined;
  const tap = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      calculated.update(chunk);
      controller.enqueue(chunk);
    },
    flush() {
      value = calculated.digest().toString("base64");
    },
  });
  const tapped = body.stream.pipeThrough(tap);
  return {
    ...body,
    // Its bytes would pass by the hash.
    whole: undefined,
    // Nobody reads a FixedLengthStream of no bytes, and the checksum would never be told.
    stream: body.size === 0 ? tapped : tapped.pipeThrough(new FixedLengthStream(body.size)),
    checksum: () => ({ algorithm, type: "FULL_OBJECT", value: value! }),
  };
}
