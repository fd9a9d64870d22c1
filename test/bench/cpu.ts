/**
 * What workerd's work costs in CPU time, which tells two states of the code apart where requests a second can't: other
 * programs on the machine take time away from us, but hardly make our work more. Linux only.
 */
import { readFileSync } from "node:fs";

/** Linux counts in hundredths of a second, whatever its own clock does. */
const TICK_MS = 10;

/** Milliseconds of CPU that a process has used so far, all threads; undefined where the system doesn't tell. */
export function cpuTime(pid: number | undefined): number | undefined {
  if (process.platform !== "linux" || pid === undefined) return undefined;
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The second field, the command's name in brackets, may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
