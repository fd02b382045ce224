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
/** What is told of a process that went wrong. */
const TAIL_LINES = 20;

/** A script as a process of its own, that can be asked what it used. */
export class Process {
  static readonly #running = new Set<Process>();
  readonly #child: ChildProcess;
  readonly lines: string[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #over: Promise<void>;
  #isOver = false;

  /** `command`: what runs the script, by default the Bun that runs us. `heard`: each line that it says. */
  constructor(
    script: string,
    args: readonly string[],
    command = process.execPath,
    heard: (line: string) => void = () => {},
  ) {
    // Should we be killed, a process of Oddswire ends with us.
    const env = { ...process.env, ODDSWIRE_LAUNCHER: String(process.pid) };
    this.#child = spawn(command, [script, ...args], { cwd: ROOT, env, stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream as NonNullable<typeof stream> }).on("line", (line) => {
        this.lines.push(line);
        heard(line);
        for (const look of this.#waiting) look();
      });
    }
    Process.#running.add(this);
    this.#over = once(this.#child, "close").then(() => {
      Process.#running.delete(this);
      this.#isOver = true;
      for (const look of this.#waiting) look();
    });
  }

  /** Ends all there are, the last first. */
  static async stopAll(): Promise<void> {
    for (const process of [...Process.#running].reverse()) await process.stop();
  }

  /** Resolves when it has ended and said everything. */
  over(): Promise<void> {
    return this.#over;
  }

  /** What it was, how it is, and the last that it said. */
  get tail(): string {
    const { spawnargs, signalCode, exitCode } = this.#child;
    const end = this.#isOver ? `ended (${signalCode ?? exitCode})` : "runs";
    return [`${spawnargs.slice(1).join(" ")} ${end}:`, ...this.lines.slice(-TAIL_LINES)].join("\n");
  }

  /** The first line that matches; rejects when none comes in time, or it ends before. */
  line(pattern: RegExp, from = 0): Promise<string> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.lines.slice(from).find((line) => pattern.test(line));
        if (found === undefined && !this.#isOver) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        if (found === undefined) reject(new Error(`no line ${pattern}: ${this.tail}`));
        else resolve(found);
      };
      const timer = setTimeout(
        () => reject(new Error(`no line ${pattern} in ${LINE_MS_MAX} ms: ${this.tail}`)),
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
    if (exitCode !== null || signalCode !== null) throw new Error(this.tail);
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  }
}

/** `oddswire …` as a process of its own. */
export class Oddswire extends Process {
  constructor(args: readonly string[], heard?: (line: string) => void) {
    super("src/main.ts", args, process.execPath, heard);
  }
}
