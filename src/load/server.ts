import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** How the kernel counts time. */
const TICKS_PER_SECOND = 100;
const LISTENING = "0A";

/** What the server's processes have used so far, all together. */
export interface ServerUse {
  /** User and system time, seconds. */
  readonly cpu: number;
  readonly rss: number;
  /** Memory, with what processes share counted once; null where nobody asked, or this machine does not say. Bytes. */
  readonly pss: number | null;
}

/** Processes of this machine that listen on one of these ports, as far as they are ours to see. Linux; elsewhere none are found. */
export function listenersOn(ports: readonly number[]): number[] {
  const inodes = new Set(["tcp", "tcp6"].flatMap((table) => listeningInodes(read(`/proc/net/${table}`), ports)));
  if (inodes.size === 0) return [];
  const pids = entries("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => entries(`/proc/${pid}/fd`).some((fd) => inodes.has(inodeOf(pid, fd))));
}

/** Null when one of them has gone. `withPss`: holds a large process up for some milliseconds. */
export function useOf(pids: readonly number[], withPss: boolean): ServerUse | null {
  let [cpu, rss] = [0, 0];
  let pss: number | null = withPss ? 0 : null;
  for (const pid of pids) {
    const stat = read(`/proc/${pid}/stat`).split(") ")[1]?.split(" ");
    const own = Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1]);
    if (stat === undefined || Number.isNaN(own)) return null;
    cpu += (Number(stat[11]) + Number(stat[12])) / TICKS_PER_SECOND;
    rss += own * 1024;
    if (pss === null) continue;
    const shared = /^Pss:\s+(\d+)/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1];
    pss = shared === undefined ? null : pss + Number(shared) * 1024;
  }
  return { cpu, rss, pss };
}

function listeningInodes(table: string, ports: readonly number[]): string[] {
  return table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, local = "", , state]) =>
        state === LISTENING && ports.includes(Number.parseInt(local.split(":").at(-1) as string, 16)),
    )
    .map((fields) => fields[9] as string);
}

function inodeOf(pid: number, fd: string): string {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? "";
  } catch {
    return "";
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
