/**
 * What the operating system says of workerd: CPU time, which tells two states of the code apart where requests a second
 * can't (other programs take time away from us, but hardly make our work more), and memory. Linux only.
 */
import { readFileSync, writeFileSync } from "node:fs";

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

interface Memory {
  /** bytes in memory now */
  resident: number;
  /** and at most, since the last `forgetPeak` */
  peak: number;
}

/** undefined where the system doesn't tell. */
export function memoryOf(pid: number | undefined): Memory | undefined {
  if (process.platform !== "linux" || pid === undefined) return undefined;
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const read = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
  return { resident: read("VmRSS"), peak: read("VmHWM") };
}

/** From here on the peak is of what comes. */
export function forgetPeak(pid: number | undefined): void {
  if (process.platform === "linux" && pid !== undefined) writeFileSync(`/proc/${pid}/clear_refs`, "5");
}
