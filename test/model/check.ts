/** All checks of a history, and what is wrong with it in words. */
import { checkAnswers } from "./answers.ts";
import { checkEqual, checkListings, checkSettled, checkStatuses, checkUploads } from "./ends.ts";
import { Facts, nameOf } from "./facts.ts";
import { type End, type History, isVersioned, type Operation, type Violation } from "./history.ts";
import { checkNulls } from "./nulls.ts";
import { checkRegister } from "./register.ts";
import { checkStack } from "./stack.ts";
import { checkAcknowledged, checkOnce, checkOrder, checkReads, checkRemoved, checkTags } from "./versions.ts";

const CHECKS = [
  checkAnswers,
  checkAcknowledged,
  checkReads,
  checkOnce,
  checkRemoved,
  checkOrder,
  checkTags,
  checkSettled,
  checkStatuses,
  checkEqual,
  checkListings,
  checkUploads,
  checkNulls,
];

export interface Checked {
  violations: Violation[];
  /** searches of registers, and how many of them were given up */
  searches: number;
  givenUp: number;
}

export function check(history: History): Checked {
  const facts = new Facts(history);
  const violations = CHECKS.flatMap((each) => each(facts));
  const keys = new Set(history.operations.map(({ key }) => key).filter((key) => key !== ""));
  const verdicts = Array.from(keys).flatMap((key) =>
    ([0, 1] as End[]).flatMap((end) => {
      if (isVersioned(history, end)) return [checkRegister(facts, key, end)];
      // Where replicas arrive among null versions, whose ids are hidden, their order isn't known.
      return history.shape === "alone" ? [checkStack(facts, key, end)] : [];
    }),
  );
  const found = verdicts.filter((verdict): verdict is Violation => typeof verdict === "object");
  const givenUp = verdicts.filter((verdict) => verdict === "given up").length;
  return { violations: [...violations, ...found], searches: verdicts.length, givenUp };
}

/** What was found, then the operations of the keys that it is about, in time order, and both ends' versions. */
export function explain(history: History, violations: Violation[]): string {
  const keys = new Set(violations.map(({ key }) => key).filter((key) => key !== ""));
  const isAbout = (key: string) => keys.size === 0 || key === "" || keys.has(key);
  const operations = history.operations.filter(({ key }) => isAbout(key)).sort((one, other) => one.start - other.start);
  const origin = operations[0]?.start ?? 0;
  return [
    `history ${history.seed} (${history.shape})`,
    ...violations.map(({ check: name, key, message }) => `  ${name}: ${key} ${message}`),
    "operations, in milliseconds from sent to answered:",
    ...operations.map((operation) => `  ${line(operation, origin)}`),
    ...([0, 1] as End[]).flatMap((end) => [
      `end ${end} after quiet:`,
      ...history.finals[end].versions
        .filter(({ key }) => isAbout(key))
        .map(({ isMarker, isLatest, seen, ...version }) =>
          [
            `  ${nameOf(version)}`,
            isMarker && "delete marker",
            seen?.writer,
            seen?.status,
            seen?.tag,
            isLatest && "latest",
          ]
            .filter(Boolean)
            .join(" "),
        ),
    ]),
  ].join("\n");
}

function line(operation: Operation, origin: number): string {
  const { start, finish, end, kind, id, key, condition, result, code, versionId, tag, seen, listed } = operation;
  const moments = `${(start - origin).toFixed(0)}-${(finish - origin).toFixed(0)}`;
  const facts = [
    moments.padEnd(12),
    `end ${end}`,
    kind,
    id,
    key,
    condition && JSON.stringify(condition),
    versionId,
    tag && `tag ${tag}`,
    seen && `found ${seen.versionId ?? "nothing"}${seen.isMarker ? " (delete marker)" : ""}`,
    listed && `listed ${listed.map((each) => `${each.key} ${each.versionId ?? each.etag}`).join(", ") || "nothing"}`,
    result,
    code,
  ];
  return facts.filter(Boolean).join(" ");
}
