import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { httpUrl } from "./app.ts";
import { Backoff } from "./base/backoff.ts";
import { systemClock, type Timer } from "./base/clock.ts";
import type { Log } from "./base/log.ts";
import { systemRandom } from "./base/random.ts";
import type { Config } from "./config.ts";
import { type CountsPlace, clearCounts, createCounts, keyOf } from "./edge/connection-counts.ts";
import { freePort } from "./edge/sockets.ts";

/** What a worker is started with: a line of JSON on its standard input, which stays open for as long as whoever started it lives. */
export interface WorkerOrder {
  /** "ingest", or "edge-1", "edge-2" …; the first edge is the front: it has the doors that are not streams, too. */
  readonly name: string;
  readonly config: Config;
  /** Where the processes meet in the file system; nobody else can open it. */
  readonly folder: string;
}

export const INGEST = "ingest";

export function edgeNames({ workers }: Config): string[] {
  return Array.from({ length: workers }, (_, n) => `edge-${n + 1}`);
}

/** Where the edges count connections together. */
export function countsPlace({ config, folder }: Pick<WorkerOrder, "config" | "folder">): CountsPlace {
  const keys = [...new Set(config.visitors.map(keyOf))];
  return { path: join(folder, "connections"), keys, processes: config.workers };
}

/** What a worker says on its standard output once it serves. */
export interface WorkerStarted {
  readonly http: string | null;
}

/** A worker that dies as soon as it lives is started ever more slowly. */
const RESTART = { firstMs: 100, maxMs: 5_000 };
/** Alive for so long, and the next death is followed by the shortest wait again. */
const STEADY_MS = 10_000;
/** From SIGTERM to SIGKILL: the doors say goodbye meanwhile. */
const STOP_MS_MAX = 8_000;

/**
 * Several processes that are one gateway: one that holds the upstream, and `workers` that serve users on the same ports, fed over a bus of this machine.
 * Who dies is started again alone; its users come back to the others meanwhile.
 */
export class Workers {
  readonly #log: Log;
  readonly #folder = mkdtempSync(join(tmpdir(), "oddswire-bus-"));
  readonly #workers: readonly Worker[];
  /** Where scrapers come; null where the configuration names no port for them. */
  readonly metricsUrl: string | null;

  constructor(config: Config, log: Log) {
    this.#log = log;
    const shared = withPorts(withSecret(config));
    const { metrics } = shared;
    this.metricsUrl = metrics ? `${httpUrl(metrics.host, metrics.port)}metrics` : null;
    const folder = this.#folder;
    createCounts(countsPlace({ config: shared, folder }));
    this.#workers = [INGEST, ...edgeNames(config)].map((name) => new Worker({ name, config: shared, folder }, log));
  }

  /** Resolves when all serve, with what the front said. */
  async start(): Promise<WorkerStarted> {
    const started = await Promise.all(this.#workers.map((worker) => worker.start()));
    return started[1] as WorkerStarted;
  }

  /** The processes that are alive, by name. */
  get pids(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#workers.flatMap(({ name, pid }) => (pid === null ? [] : [[name, pid]])));
  }

  /** Users are told to come back; the one that holds the upstream goes last. */
  async stop(): Promise<void> {
    const [ingest, ...edges] = this.#workers;
    await Promise.all(edges.map((edge) => edge.stop()));
    await ingest?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
    this.#log.info({}, "all workers are gone");
  }
}

/** One of them, over all its lives. */
class Worker {
  readonly name: string;
  readonly #order: WorkerOrder;
  readonly #log: Log;
  readonly #backoff = new Backoff(RESTART, systemRandom);
  #child: Subprocess<"pipe", "pipe", "inherit"> | null = null;
  #timer: Timer | null = null;
  #isStopping = false;

  constructor(order: WorkerOrder, log: Log) {
    this.name = order.name;
    this.#order = order;
    this.#log = log;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Resolves when it serves for the first time; rejects where its first life ends before. */
  start(): Promise<WorkerStarted> {
    return new Promise((resolve, reject) => this.#spawn(resolve, reject));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#timer?.cancel();
    const child = this.#child;
    if (child === null) return;
    child.kill("SIGTERM");
    const timer = systemClock.after(STOP_MS_MAX, () => child.kill("SIGKILL"));
    await child.exited;
    timer.cancel();
  }

  #spawn(started: (what: WorkerStarted) => void, failed: (error: Error) => void): void {
    const bornAt = systemClock.monotonic();
    const command = [process.execPath, process.argv[1] as string, "serve", "--worker", this.name];
    const child = Bun.spawn(command, {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
      // Its end comes with ours by its standard input; a launcher's rule is for those that the launcher started.
      env: { ...process.env, ODDSWIRE_LAUNCHER: undefined },
    });
    this.#child = child;
    child.stdin.write(`${JSON.stringify(this.#order)}\n`);
    void child.stdin.flush();
    void onFirstLine(child.stdout, (line) => started(JSON.parse(line) as WorkerStarted));
    void child.exited.then((code) => {
      this.#child = null;
      this.#forget();
      failed(new Error(`${this.name} ended with ${code} before it served`));
      this.#died(code, systemClock.monotonic() - bornAt, started, failed);
    });
  }

  /** Its users are gone with it, and may have their connections elsewhere. */
  #forget(): void {
    const edge = edgeNames(this.#order.config).indexOf(this.name);
    if (edge !== -1) clearCounts(countsPlace(this.#order), edge);
  }

  #died(code: number, livedMs: number, started: (what: WorkerStarted) => void, failed: (error: Error) => void): void {
    if (this.#isStopping) return;
    if (livedMs >= STEADY_MS) this.#backoff.reset();
    const ms = this.#backoff.next();
    this.#log.error({ worker: this.name, code, ms: Math.round(ms) }, "a worker died; another takes its place");
    this.#timer = systemClock.after(ms, () => this.#spawn(started, failed));
  }
}

/** Reads all there is: a worker whose output nobody takes would wait for ever. */
async function onFirstLine(stream: ReadableStream<Uint8Array>, take: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  let text: string | null = "";
  for await (const piece of stream) {
    if (text === null) continue;
    text += decoder.decode(piece, { stream: true });
    const end = text.indexOf("\n");
    if (end === -1) continue;
    take(text.slice(0, end));
    text = null;
  }
}

/** Tokens of logins must be good at every worker. */
function withSecret(config: Config): Config {
  if (config.sessions.secret !== undefined) return config;
  const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
  return { ...config, sessions: { ...config.sessions, secret } };
}

/** Doors at "any free port" must all mean the same one. */
function withPorts(config: Config): Config {
  const { websocket, esa, esaTls, sse } = config.doors;
  const fixed = <Door extends { readonly host: string; readonly port: number }>(door: Door): Door =>
    door.port === 0 ? { ...door, port: freePort(door.host) } : door;
  const doors = {
    ...config.doors,
    websocket: fixed(websocket),
    ...(esa && { esa: fixed(esa) }),
    ...(esaTls && { esaTls: fixed(esaTls) }),
    ...(sse && { sse: fixed(sse) }),
  };
  return { ...config, doors, ...(config.metrics && { metrics: fixed(config.metrics) }) };
}
