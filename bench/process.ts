import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const LINE_MS_MAX = 60_000;
/** After this, what was asked to end is ended. */
const STOP_MS_MAX = 10_000;
const TICKS_PER_SECOND = 100;

/** A script as a process of its own, that can be asked what it used. */
export class Process {
  readonly #child: ChildProcess;
  readonly lines: string[] = [];
  readonly #waiting = new Set<() => void>();

  /** `command`: what runs the script, by default the Bun that runs us. */
  constructor(script: string, args: readonly string[], command = process.execPath) {
    this.#child = spawn(command, [script, ...args], { cwd: ROOT, stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream as NonNullable<typeof stream> }).on("line", (line) => {
        this.lines.push(line);
        for (const look of this.#waiting) look();
      });
    }
  }

  /** The first line that matches; rejects when none comes in time. */
  line(pattern: RegExp, from = 0): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.lines.slice(from).find((line) => pattern.test(line));
        if (found === undefined) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(found);
      };
      const timer = setTimeout(
        () => reject(new Error(`no line ${pattern} in ${LINE_MS_MAX} ms:\n${this.lines.join("\n")}`)),
        LINE_MS_MAX,
      );
      this.#waiting.add(look);
      look();
    });
  }

  /** Writes it a line. */
  say(word: string): void {
    this.#child.stdin?.write(`${word}\n`);
  }

  /** Writes it a line, and gives the next one it says. */
  ask(word: string): Promise<string> {
    const from = this.lines.length;
    this.say(word);
    return this.line(/./, from);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** User and system time so far, seconds. */
  cpuSeconds(): number {
    const fields = this.#read("stat").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Resident memory now and at its highest, bytes. */
  memory(): { rss: number; peak: number } {
    const status = this.#read("status");
    const bytes = (name: string) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))?.[1]) * 1024;
    return { rss: bytes("VmRSS"), peak: bytes("VmHWM") };
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGTERM");
    const late = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
    await once(this.#child, "exit");
    clearTimeout(late);
  }

  #read(name: string): string {
    const { pid, exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null)
      throw new Error(
        `${this.#child.spawnargs.join(" ")} ended (${signalCode ?? exitCode}):\n${this.lines.join("\n")}`,
      );
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  }
}

/** `oddswire …` as a process of its own. */
export class Oddswire extends Process {
  constructor(args: readonly string[]) {
    super("src/main.ts", args);
  }
}
