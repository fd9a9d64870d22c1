/** What upload and download share: Ctrl-C ends a transfer in order, and a pool runs a few pieces at once. */

/**
 * Runs `work` until it ends or the user presses Ctrl-C; then says so. An interrupted transfer ends with 0, as in `exo`.
 */
export async function interruptible(what: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once("SIGINT", stop);
  try {
    await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    process.stderr.write(`\r${what} interrupted by user\n`);
  } finally {
    process.off("SIGINT", stop);
  }
}

/**
 * Does `count` pieces, at most `limit` at once, and gives their results in order. The first failure stops those under
 * way and is thrown when all have ended.
 */
export async function inParallel<T>(
  count: number,
  limit: number,
  signal: AbortSignal,
  work: (index: number, signal: AbortSignal) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  const failure = new AbortController();
  const both = AbortSignal.any([signal, failure.signal]);
  let next = 0;
  const worker = async () => {
    while (next < count && !both.aborted) {
      const index = next++;
      results[index] = await work(index, both);
    }
  };
  const guarded = async () => {
    try {
      await worker();
    } catch (error) {
      // Only the first one: the others end because of it.
      if (!failure.signal.aborted) failure.abort(error);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, count) }, guarded));
  both.throwIfAborted();
  return results;
}
