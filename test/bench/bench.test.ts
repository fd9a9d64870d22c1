import { expect, it } from "vitest";
import { bench, type Result } from "./bench.ts";
import { formatTable } from "./table.ts";

it("measures PUT, GET and replication beside the bare platform", async () => {
  const results = await bench({
    rounds: 1,
    seconds: 0.1,
    only: /PUT 1 KiB, 1 |GET 64 KiB, 1 |Replication/,
    backlog: 20,
    progress: () => {},
  });
  expect(results.map(({ line, subject }) => `${line}: ${subject}`)).toEqual([
    "PUT 1 KiB, 1 client: signed hash",
    "PUT 1 KiB, 1 client: aws-chunked, CRC32",
    "PUT 1 KiB, 1 client: unsigned payload",
    "PUT 1 KiB, 1 client: bare BLOBS.put",
    "PUT 1 KiB, 1 client: bare D1 insert",
    "GET 64 KiB, 1 client: GetObject",
    "GET 64 KiB, 1 client: bare BLOBS.get",
    "Replication, lag: PUT's answer to readable",
    "Replication, backlog: drain of 20 objects",
  ]);
  for (const { requestsPerSecond } of results) expect(requestsPerSecond).toBeGreaterThan(0);
  const ratios = (subject: string) => results.find((result) => result.subject === subject)!.ratios;
  expect(ratios("unsigned payload")).toEqual({ blobs: expect.any(Number), d1: expect.any(Number) });
  expect(ratios("GetObject")).toEqual({ blobs: expect.any(Number) });
});

it("writes a table that says how far from the bare platform a line is", () => {
  const common = { line: "PUT 1 MiB, 1 client", size: 1024 ** 2, p50: 12.345, p99: 1234.5, cpu: 3 };
  const results: Result[] = [
    {
      ...common,
      subject: "ours",
      isBare: false,
      requestsPerSecond: 50,
      bytesPerSecond: 50 * 1024 ** 2,
      ratios: { blobs: 0.5 },
    },
    { ...common, subject: "bare", isBare: true, requestsPerSecond: 100, bytesPerSecond: 100 * 1024 ** 2, ratios: {} },
  ];
  expect(formatTable(results).split("\n")).toEqual([
    "                           rate  p50 ms  p99 ms  CPU ms  to BLOBS  to D1",
    "PUT 1 MiB, 1 client",
    "  ours               50.0 MiB/s    12.3   1,235    3.00     0.50x",
    "  bare                100 MiB/s    12.3   1,235    3.00",
  ]);
});
