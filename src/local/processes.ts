/**
 * What the operating system knows of other processes: whether one is still the one that we knew, and which workerd
 * processes belong to a state folder.
 *
 * A process id alone says little, since ids are given again; with its start time it is one process. A SIGKILL of Node
 * leaves workerd running without a parent, on our ports and our databases, and its command line doesn't name the state;
 * so the runner hands each workerd the folder in its environment.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

/** Environment variable of workerd that names the state folder that it works on. */
export const STATE_VARIABLE = "ZONAL_WORKERD_OF";

const PATIENCE = 5_000;

/** When the process started, as the system writes it; undefined if there is no such process. */
export function startOf(pid: number): string | undefined {
  if (process.platform !== "linux") return ps("-p", String(pid), "-o", "lstart=").trim() || undefined;
  // The second field, the command's name in brackets, may itself hold spaces and brackets.
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (!fields) return undefined;
  const [state, threads, start] = [fields[0], Number(fields[17]), fields[19]];
  // Dead and not yet collected; while other threads of it are still ending, they hold its ports.
  return state === "Z" && threads <= 1 ? undefined : start;
}

/** Ids of the workerd processes that work on `folder`, an absolute path. */
export function workerdsOf(folder: string): number[] {
  const variable = `${STATE_VARIABLE}=${folder}`;
  if (process.platform !== "linux") {
    const lines = ps("-Aww", "-E", "-o", "pid=,command=").split("\n");
    return lines
      .filter((line) => line.includes("workerd") && line.includes(variable))
      .map((line) => parseInt(line, 10));
  }
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  const isOurs = (pid: string) =>
    read(`/proc/${pid}/cmdline`)?.includes("workerd") && read(`/proc/${pid}/environ`)?.split("\0").includes(variable);
  return pids.filter(isOurs).map(Number);
}

/** Ends those processes and waits until they are gone. Throws after 5 s. */
export async function end(pids: number[]): Promise<void> {
  for (const pid of pids) signal(pid);
  const deadline = Date.now() + PATIENCE;
  while (pids.some((pid) => startOf(pid) !== undefined)) {
    if (Date.now() > deadline) throw new Error(`process ${pids.join(", ")} doesn't end`);
    await setTimeout(20);
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it ended by itself meanwhile
  }
}

/** undefined where the process is gone, or is another user's. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** ps exits with 1 where it finds no process. */
function ps(...args: string[]): string {
  try {
    return execFileSync("ps", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  } catch {
    return "";
  }
}
