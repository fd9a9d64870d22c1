/**
 * The search of Wing and Gong for an order of operations, with the memory of Lowe: an order that is true to who was
 * answered before whom was sent, and in which each operation finds what it was answered.
 *
 * Written anew from the idea: what was reached is the set of operations done and the state, and that is not tried
 * again. Operations that are answered go in order of their answers, those that may come at any time last, which finds an
 * order at once where there is one.
 */
export interface Move<State> {
  name: string;
  start: number;
  /** infinite: it may come at any time */
  finish: number;
  /** it may not come at all */
  isOptional: boolean;
  /** the states that it may leave; none where it can't be done now */
  apply(state: State): State[];
}

export interface Problem<State> {
  moves: Move<State>[];
  initial: State;
  /** tells states apart */
  nameOf(state: State): string;
  /** whether this is how the key stood in the end */
  isEnd(state: State): boolean;
}

/** Where no order was found: the furthest that one came, and what could have been next there. */
export interface Stuck<State> {
  state: State;
  next: string[];
}

/** Reached sets and states, before a search is given up, which is told and counts as neither. */
const BUDGET = 400_000;

export function search<State>(problem: Problem<State>): "ok" | "given up" | Stuck<State> {
  const moves = problem.moves.toSorted((one, other) => one.finish - other.finish);
  const tried = new Set<string>();
  let deepest = { count: -1, done: 0n, state: problem.initial };

  const visit = (done: bigint, state: State, count: number): boolean => {
    const name = `${done}/${problem.nameOf(state)}`;
    if (tried.has(name) || tried.size >= BUDGET) return false;
    tried.add(name);
    if (count > deepest.count) deepest = { count, done, state };
    const open = openMoves(moves, done);
    if (open.every(({ move }) => move.isOptional) && problem.isEnd(state)) return true;
    const firstAnswer = Math.min(...open.map(({ move }) => move.finish));
    return open.some(({ move, bit }) => {
      if (move.start > firstAnswer) return false;
      return move.apply(state).some((next) => visit(done | bit, next, move.isOptional ? count : count + 1));
    });
  };

  if (visit(0n, problem.initial, 0)) return "ok";
  if (tried.size >= BUDGET) return "given up";
  const open = openMoves(moves, deepest.done).filter(({ move }) => !move.isOptional);
  const firstAnswer = Math.min(...open.map(({ move }) => move.finish));
  const next = open.filter(({ move }) => move.start <= firstAnswer).map(({ move }) => move.name);
  return { state: deepest.state, next };
}

function openMoves<State>(moves: Move<State>[], done: bigint): { move: Move<State>; bit: bigint }[] {
  return moves.flatMap((move, i) => ((done >> BigInt(i)) & 1n ? [] : [{ move, bit: 1n << BigInt(i) }]));
}
