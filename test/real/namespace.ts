import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Own network, own mounts, own process ids. Its first process ends with our end of its pipe, and the kernel ends all others with that one. */
const UNSHARE = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
const START_MS_MAX = 10_000;

/** Why none can be made here, in a sentence; null where it can. */
export function whyNoNamespace(): string | null {
  if (process.platform !== "linux") return "network namespaces are Linux's: run this there, as root";
  const tried = spawnSync("unshare", [...UNSHARE, "sh", "-c", "ip link set lo up"], { timeout: START_MS_MAX });
  if (tried.status === 0) return null;
  return "run as root with unshare (util-linux) and ip (iproute2): apt-get install util-linux iproute2";
}

/**
 * A machine of its own as far as the network goes: nothing but a loopback, which has whatever addresses we like, with every port free.
 * Each program in it gets a hosts file of its own, so that one name can lead two programs to two places.
 */
export class Namespace {
  /** For whatever the programs inside read and write; gone with the namespace. */
  readonly folder: string;
  readonly #init: ChildProcess;
  readonly #initPid: string;
  readonly #programs: Program[] = [];

  private constructor(folder: string, init: ChildProcess, initPid: string) {
    this.folder = folder;
    this.#init = init;
    this.#initPid = initPid;
  }

  static async open(addresses: readonly string[]): Promise<Namespace> {
    const adding = addresses.map((address) => `ip addr add ${address}/32 dev lo`);
    const script = ["ip link set lo up", ...adding, "echo ready", "exec cat"].join(" && ");
    const init = spawn("unshare", [...UNSHARE, "sh", "-c", script], { stdio: ["pipe", "pipe", "inherit"] });
    const first = await firstLine(init);
    if (first !== "ready") throw new Error(`the namespace did not come up: ${first}`);
    const folder = mkdtempSync(join(tmpdir(), "oddswire-namespace-"));
    return new Namespace(folder, init, childOf(init));
  }

  /** Writes a hosts file for programs to be started with: lines as in /etc/hosts. */
  hosts(name: string, lines: readonly string[]): string {
    const path = join(this.folder, `${name}.hosts`);
    writeFileSync(path, `${["127.0.0.1 localhost", ...lines].join("\n")}\n`);
    return path;
  }

  /** Starts a program inside. What it says on standard error is ours to read. */
  start(command: readonly string[], hosts: string, env: Readonly<Record<string, string>> = {}): Program {
    const inside = ["-t", this.#initPid, "-n", "-m", "-p", "--", "unshare", "--mount"];
    const script = 'mount --bind "$0" /etc/hosts && exec "$@"';
    const child = spawn("nsenter", [...inside, "sh", "-c", script, hosts, ...command], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const program = new Program(child);
    this.#programs.push(program);
    return program;
  }

  /** Ends everything inside at once. */
  async close(): Promise<void> {
    const over = [this.#init, ...this.#programs.map((program) => program.process)]
      .filter((child) => child.exitCode === null && child.signalCode === null)
      .map((child) => once(child, "close"));
    this.#init.stdin?.end();
    await Promise.all(over);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const SAID_LENGTH_MAX = 20_000;

/** A program in a namespace; seen from outside it is a child of `nsenter`, which a signal would end in its place. */
export class Program {
  readonly process: ChildProcess;
  /** The end of what it said on standard error. */
  errors = "";

  constructor(process: ChildProcess) {
    this.process = process;
    process.stderr?.on("data", (bytes) => {
      this.errors = (this.errors + bytes).slice(-SAID_LENGTH_MAX);
    });
    // Who writes to a program that has ended hears of its end elsewhere.
    process.stdin?.on("error", () => {});
  }

  /** Signals the program itself, and resolves when it has ended. */
  async end(signal: "SIGTERM" | "SIGKILL"): Promise<number | null> {
    if (this.process.exitCode !== null) return this.process.exitCode;
    const over = once(this.process, "close");
    process.kill(Number(childOf(this.process)), signal);
    await over;
    return this.process.exitCode;
  }
}

/** A program that is asked things: a JSON object a line, answered in the same order. */
export class Companion {
  readonly program: Program;
  readonly #waiting: { resolve(answer: unknown): void; reject(error: Error): void }[] = [];

  constructor(program: Program) {
    this.program = program;
    const lines = createInterface({ input: program.process.stdout as NodeJS.ReadableStream });
    lines.on("line", (line) => this.#answered(line));
    program.process.once("close", () => this.#ended());
  }

  /** `{"do": what, …}`; its answer, or its error as ours. */
  ask<Answer = unknown>(what: string, details: object = {}): Promise<Answer> {
    if (this.program.process.exitCode !== null) return Promise.reject(this.#hasEnded());
    this.program.process.stdin?.write(`${JSON.stringify({ do: what, ...details })}\n`);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve: resolve as (answer: unknown) => void, reject });
    });
  }

  #answered(line: string): void {
    const { error, answer } = JSON.parse(line);
    const waiting = this.#waiting.shift();
    if (error !== undefined) waiting?.reject(new Error(error));
    else waiting?.resolve(answer);
  }

  #ended(): void {
    for (const { reject } of this.#waiting.splice(0)) reject(this.#hasEnded());
  }

  #hasEnded(): Error {
    return new Error(`the program has ended; it last said: ${this.program.errors.slice(-2_000)}`);
  }
}

/** The process id of its only child. */
function childOf({ pid }: ChildProcess): string {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
}

async function firstLine(child: ChildProcess): Promise<string> {
  const limit = setTimeout(() => child.kill("SIGKILL"), START_MS_MAX);
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  return new Promise((resolve) => {
    lines.once("line", resolve);
    child.once("exit", (code) => resolve(`exit code ${code}`));
  }).finally(() => clearTimeout(limit)) as Promise<string>;
}
