import { spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import type { CrowdPlan, CrowdWord } from "./crowd.ts";

/** What a process of the crowd is told, a JSON line each. */
export type CrowdOrder =
  | { readonly kind: "plan"; readonly plan: CrowdPlan }
  /** From here on it counts; to here. Each is answered at once by a tick that says so. */
  | { readonly kind: "measure"; readonly offsetMs: number }
  | { readonly kind: "measured" }
  | { readonly kind: "end" };

/** A process of the crowd, as who started it sees it. */
export interface CrowdProcess {
  order(order: CrowdOrder): void;
  kill(): void;
}

export interface CrowdListener {
  word(word: CrowdWord): void;
  /** It is over, whatever the reason. */
  over(reason: string): void;
}

/** Starts one: `script` with the same Bun. What it writes on standard error comes out here. */
export function startCrowd(script: string, listener: CrowdListener): CrowdProcess {
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
  createInterface({ input: child.stdout }).on("line", (line) => listener.word(JSON.parse(line) as CrowdWord));
  child.on("error", (error) => listener.over(error.message));
  child.on("exit", (code, signal) => listener.over(signal ?? `exit code ${code}`));
  child.stdin.on("error", () => {}); // it has gone, as `exit` will say
  return {
    order: (order) => void child.stdin.write(`${JSON.stringify(order)}\n`),
    kill: () => void child.kill("SIGKILL"),
  };
}
