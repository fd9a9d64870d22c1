/**
 * Names of a request's headers, read once: each look through a Headers object costs several microseconds outside of
 * JavaScript, and a PUT looks for grants, metadata, checksums and what isn't built. Received headers never change.
 */
const known = new WeakMap<Headers, string[]>();

/** Lower-case, each once. */
export function namesOf(headers: Headers): string[] {
  let names = known.get(headers);
  if (!names) {
    names = [...headers.keys()];
    known.set(headers, names);
  }
  return names;
}
