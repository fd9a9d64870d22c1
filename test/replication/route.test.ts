import { expect, it } from "vitest";
import { Causes } from "../../src/replication/route.ts";

const answer = (bucket: number, role: number) => ({
  bucket: { versioning: "Enabled", revision: bucket },
  role: { revision: role },
  receipts: [],
});

it("a refusal of the destination rests on the role as the destination knows it, which may be older than the source's", () => {
  const causes = new Causes({ id: "r", revision: 2 });
  expect(causes.of("DstPutObjectNotPermitted")).toBe("role r 2");
  causes.learn(answer(7, 1));
  expect(causes.of("DstPutObjectNotPermitted")).toBe("role r 1");
  expect(causes.of("SrcGetObjectNotPermitted")).toBe("role r 2");
  expect(causes.of("DstBucketUnversioned")).toBe("destination 7");
  expect(causes.of("DstBucketNotFound")).toBe("destination absent");
  expect(causes.of("SrcVersionNotFound")).toBe("source");
  expect(new Causes({ id: "r", revision: undefined }).of("AssumeRoleNotPermitted")).toBe("role r absent");
});
