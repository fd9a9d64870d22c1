/**
 * Linearizability of one key at an end whose versioning stays enabled: is there an order of the operations in which each
 * finds what it was answered?
 *
 * The key's state is the set of its versions there. A local write adds the greatest of them; a replica arrives at some
 * moment after it was sent at the other end, or never; a removal takes one away, and it doesn't come back. What has no
 * answer may be done at any moment after it was sent. Reads, listings, edits of tags and refusals of conditions tell what
 * the state was.
 */

import { holds, isRefusedCondition, refusalFits } from "./conditions.ts";
import type { Facts, KnownVersion } from "./facts.ts";
import { type End, type Operation, say, type Violation } from "./history.ts";
import { type Move, type Stuck, search } from "./search.ts";

/** The key's versions there and removed, by their place in order of id. */
interface State {
  present: bigint;
  removed: bigint;
}

export type Verdict = "ok" | "given up" | Violation;

export function checkRegister(facts: Facts, key: string, end: End): Verdict {
  const register = new Register(facts, key, end);
  return register.check();
}

class Register {
  readonly #facts: Facts;
  readonly #key: string;
  readonly #end: End;
  /** in order of id */
  readonly #versions: KnownVersion[];
  readonly #places: Map<string, number>;
  readonly #moves: Move<State>[];
  readonly #final: bigint;

  constructor(facts: Facts, key: string, end: End) {
    this.#facts = facts;
    this.#key = key;
    this.#end = end;
    this.#versions = Array.from(facts.versions.values())
      .filter((version) => version.key === key)
      .sort((one, other) => (one.versionId < other.versionId ? -1 : 1));
    this.#places = new Map(this.#versions.map(({ versionId }, place) => [versionId, place]));
    this.#final = this.#setOf(facts.history.finals[end].versions.filter((version) => version.key === key));
    this.#moves = [...this.#changes(), ...this.#looks()];
  }

  check(): Verdict {
    const found = search<State>({
      moves: this.#moves,
      initial: { present: 0n, removed: 0n },
      nameOf: ({ present, removed }) => `${present}/${removed}`,
      isEnd: ({ present }) => present === this.#final,
    });
    if (found === "ok" || found === "given up") return found;
    return { check: "linearizable", key: this.#key, end: this.#end, message: this.#explain(found) };
  }

  /** What changes the key's versions here. */
  #changes(): Move<State>[] {
    return [
      ...this.#versions.flatMap((version, place) => this.#arrival(version, place)),
      ...this.#facts.history.operations.flatMap((operation) => this.#removal(operation)),
    ];
  }

  #arrival(version: KnownVersion, place: number): Move<State>[] {
    const bit = 1n << BigInt(place);
    const { writer, versionId } = version;
    if (version.bornAt !== this.#end) {
      const isOptional = !this.#isSeenHere(version);
      const apply = ({ present, removed }: State) => (removed & bit ? [] : [{ present: present | bit, removed }]);
      const start = writer?.start ?? 0;
      return [{ name: `replica ${versionId} arrives`, start, finish: Number.POSITIVE_INFINITY, isOptional, apply }];
    }
    const start = writer?.start ?? this.#firstUnknownDelete();
    const finish = writer?.finish ?? Number.POSITIVE_INFINITY;
    const condition = writer?.operations[0]?.condition;
    const apply = (state: State): State[] => {
      const isGreatest = state.present < bit;
      if (!isGreatest || !holds(condition, this.#currentEtag(state))) return [];
      return [{ present: state.present | bit, removed: state.removed }];
    };
    return [
      {
        name: `${writer ? say(writer.operations[0]!) : "a DELETE without an answer"} makes ${versionId}`,
        start,
        finish,
        isOptional: false,
        apply,
      },
    ];
  }

  #isSeenHere({ key, versionId }: KnownVersion): boolean {
    return this.#facts.sightings.some(
      (each) => each.end === this.#end && each.key === key && each.versionId === versionId,
    );
  }

  #firstUnknownDelete(): number {
    const unknown = Array.from(this.#facts.writes.values()).filter(
      ({ key, end, isDelete, result }) => isDelete && key === this.#key && end === this.#end && result === "unknown",
    );
    return Math.min(...unknown.map(({ start }) => start));
  }

  #removal(operation: Operation): Move<State>[] {
    const { kind, key, end, versionId, result, start, finish } = operation;
    if (kind !== "remove" || key !== this.#key || end !== this.#end || result === "refused") return [];
    const place = this.#places.get(versionId!);
    if (place === undefined) return [];
    const bit = 1n << BigInt(place);
    const apply = ({ present, removed }: State): State[] => [
      present & bit ? { present: present & ~bit, removed: removed | bit } : { present, removed },
    ];
    const isUnknown = result === "unknown";
    const answered = isUnknown ? Number.POSITIVE_INFINITY : finish;
    return [{ name: say(operation), start, finish: answered, isOptional: isUnknown, apply }];
  }

  /** What tells the state, and changes nothing. */
  #looks(): Move<State>[] {
    const own = this.#facts.history.operations.filter(
      ({ end, key }) => end === this.#end && (key === this.#key || key === ""),
    );
    return own.flatMap((operation) => {
      const fits = this.#lookOf(operation);
      if (!fits) return [];
      const apply = (state: State) => (fits(state) ? [state] : []);
      const { start, finish } = operation;
      return [{ name: say(operation), start, finish, isOptional: false, apply }];
    });
  }

  #lookOf(operation: Operation): ((state: State) => boolean) | undefined {
    const { kind, result, seen, listed, versionId } = operation;
    if (kind === "tag" && result !== "unknown") return this.#presence(versionId!, result === "ok");
    if (result === "refused") {
      return isRefusedCondition(operation) ? (state) => refusalFits(operation, this.#currentEtag(state)) : undefined;
    }
    if (result !== "ok") return undefined;
    if (kind === "get" || kind === "head") {
      const wanted = seen!.versionId;
      // HEAD of a delete marker has its id too; where there is nothing at all, neither.
      return (state) => this.#greatest(state)?.versionId === wanted;
    }
    if (kind === "getVersion") return this.#presence(versionId!, seen!.versionId !== undefined);
    if (kind === "listVersions") {
      const listedHere = this.#setOf(listed!.filter(({ key }) => key === this.#key));
      return ({ present }) => present === listedHere;
    }
    if (kind === "list") {
      const etag = listed!.find(({ key }) => key === this.#key)?.etag;
      return (state) => this.#currentEtag(state) === etag;
    }
    return undefined;
  }

  /** A version is there, or isn't; undefined of one that nobody met. */
  #presence(versionId: string, isThere: boolean): ((state: State) => boolean) | undefined {
    const place = this.#places.get(versionId);
    return place === undefined ? undefined : ({ present }) => Boolean((present >> BigInt(place)) & 1n) === isThere;
  }

  #greatest({ present }: State): KnownVersion | undefined {
    return present === 0n ? undefined : this.#versions[present.toString(2).length - 1];
  }

  #currentEtag(state: State): string | undefined {
    const version = this.#greatest(state);
    return version?.isMarker ? undefined : version?.etag;
  }

  #setOf(versions: { versionId?: string }[]): bigint {
    return versions.reduce((set, { versionId }) => set | (1n << BigInt(this.#places.get(versionId!)!)), 0n);
  }

  #explain({ state, next }: Stuck<State>): string {
    const current = this.#greatest(state);
    const there = this.#versions.filter((_, place) => (state.present >> BigInt(place)) & 1n);
    return [
      "no order of its operations explains what they were answered.",
      `The longest one that does leaves ${there.length} versions`,
      `(greatest ${current?.versionId ?? "none"}${current?.isMarker ? ", a delete marker" : ""}),`,
      `and then none of these can be next: ${next.join("; ") || "the end, where other versions stand"}`,
    ].join(" ");
  }
}
