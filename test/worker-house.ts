import { afterEach } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import type { ConfigInput } from "../src/config.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import type { Visitor } from "../src/sim/exchange-visitor.ts";
import { NaiveBook } from "../src/sim/naive.ts";
import { World } from "../src/sim/world.ts";
import { until } from "./stage.ts";

const LAUNCHER = fileURLToPath(new URL("../bin/oddswire.js", import.meta.url));
export const HOST = "127.0.0.1";
const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };
export const WORKERS = 3;
export const LOGIN = { username: "ann", password: "ann's password" };

/** A line that a gateway says, on either of its outputs. */
export interface LogLine {
  readonly msg: string;
  readonly worker?: string;
  readonly http?: string;
  readonly metrics?: string | null;
  readonly pids?: string;
}

/** Gives a test file its houses, each closed after its test. */
export function houses(): () => WorkerHouse {
  const open: WorkerHouse[] = [];
  afterEach(() => {
    for (const house of open.splice(0)) house.close();
  });
  return () => {
    const house = new WorkerHouse();
    open.push(house);
    return house;
  };
}

/** A simulated exchange with a world, and gateways of several workers, each a process as in earnest; everything is closed by `close`. */
export class WorkerHouse {
  readonly exchange: SimExchange;
  readonly world: World;
  readonly #folder = mkdtempSync(join(tmpdir(), "oddswire-workers-"));
  readonly #port: number;
  readonly #closing: (() => unknown)[] = [];

  constructor() {
    this.exchange = new SimExchange({
      clock: systemClock,
      random: seededRandom(1),
      log: silentLog,
      sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
      appKeys: [UPSTREAM.appKey],
      sportsAppKeys: [UPSTREAM.appKey],
      limits: { marketsMax: Number.POSITIVE_INFINITY },
    });
    const { exchange } = this;
    this.#port = exchange.listen(bunListen, { host: HOST, port: 0 }).port;
    const stage = { clock: systemClock, random: seededRandom(1), publish: exchange.publish.bind(exchange) };
    this.world = new World({ markets: 60, changesPerSecond: 300 }, stage);
    this.world.start();
  }

  /** The markets whose books a visitor holds otherwise than the exchange. */
  wrong({ books }: Visitor): string[] {
    return this.world.markets.flatMap(({ id }) => {
      const image = this.exchange.image(id);
      if (image === null) return [];
      const book = new NaiveBook(id);
      book.apply(image);
      return JSON.stringify(books.get(id)?.state()) === JSON.stringify(book.state()) ? [] : [id];
    });
  }

  /** A path of the house's own, for what a gateway keeps. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  async open(options: Omit<ConfigInput, "exchange"> & { exchange?: Partial<ConfigInput["exchange"]> } = {}) {
    const file = this.path("gateway.json");
    const exchange = { host: HOST, port: this.#port, tls: false, ...UPSTREAM, heartbeatMs: 500, retryFirstMs: 20 };
    const config = {
      workers: WORKERS,
      doors: { http: { port: 0 }, websocket: { port: 0 }, esa: { port: 0 } },
      visitors: [{ name: "ann", ...LOGIN }],
      catalogue: { enabled: false },
      ...options,
      exchange: { ...exchange, retryMaxMs: 100, ...options.exchange },
    };
    writeFileSync(file, JSON.stringify(config));
    const child = spawn("node", [LAUNCHER, "serve", "--config", file], { stdio: ["ignore", "pipe", "pipe"] });
    this.#closing.push(() => child.kill("SIGKILL"));
    const lines: LogLine[] = [];
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on("line", (line) => lines.push(JSON.parse(line) as LogLine));
    const started = () => lines.find(({ msg }) => msg === "started");
    await until(() => started() !== undefined, "all workers serve");
    return new WorkerGateway(child, lines, started() as LogLine);
  }

  close(): void {
    for (const close of this.#closing.splice(0)) close();
    this.world.stop();
    this.exchange.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One that runs. */
export class WorkerGateway {
  readonly child: ChildProcess;
  readonly lines: readonly LogLine[];
  readonly http: string;
  readonly metrics: string | null;
  /** Of each worker's first life. */
  readonly pids: Readonly<Record<string, number>>;

  constructor(child: ChildProcess, lines: readonly LogLine[], started: LogLine) {
    this.child = child;
    this.lines = lines;
    this.http = started.http as string;
    this.metrics = started.metrics ?? null;
    this.pids = JSON.parse(started.pids as string);
  }

  async ready(): Promise<void> {
    let isReady = false;
    await until(() => {
      void fetch(`${this.http}readyz`).then(({ ok }) => (isReady ||= ok));
      return isReady;
    }, "there are prices");
  }

  async info<T>(): Promise<T> {
    return (await (await fetch(`${this.http}v1/info`)).json()) as T;
  }

  /** By SIGTERM; resolves to the exit code. */
  stop(): Promise<number | null> {
    const exit = new Promise<number | null>((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGTERM");
    return exit;
  }
}
