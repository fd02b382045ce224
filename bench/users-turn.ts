import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../src/edge/sockets.ts";
import type { LoadResult } from "../src/load/result.ts";
import { type ServerUse, useOf } from "../src/load/server.ts";
import type { Workload } from "../src/load/workload.ts";
import { EVENT_DAYS } from "../src/sim/world-w1.ts";
import { Oddswire, Process } from "./process.ts";

const HOST = "127.0.0.1";
const APP_KEY = "demo-app-key";
const ACCOUNT = { appKey: APP_KEY, username: "demo", password: "demo-password" } as const;
const SESSION = "bench-session-token";
/** Beyond the users: newcomers whose books readers' are held against, and who is not gone yet when the same come back. */
const CONNECTIONS_MORE = 400;
/** Below the limit of open files, which is 20,000 in most places. */
const CONNECTIONS_MAX = 19_920;
/** From the last market of the image to when nothing of the start is in the figures any more. */
const SETTLE_MS = 1_500;
/** Until those who came first are out of all lists, and what they left is collected. */
const FIRST_GONE_MS = 15_000;
const READY_MS_MAX = 60_000;
const LOOK_MS = 1_000;

/** What users come to: a gateway with so many workers (0: one process does everything), or a plain `ws` server. */
export type Server =
  | { readonly kind: "oddswire"; readonly workers: number; readonly behindMsMax?: number }
  | { readonly kind: "ws" };

export interface TurnOptions {
  readonly server: Server;
  /** The exchange's, a name of `EVENT_DAYS`. */
  readonly feed: string;
  readonly workload: Workload;
  /** So many come and go first: what a process needs for its first users, compiled code above all, is not a user's. */
  readonly first?: number;
}

/** One turn: what the load tester says, and what was seen of the server beside it. Bytes. */
export interface Turn {
  readonly result: LoadResult;
  /** The server before anybody came, and once the first had gone. */
  readonly cold: ServerUse;
  readonly before: ServerUse;
  readonly rssMost: number;
  /** Cores, from before the first user to after the last. */
  readonly exchangeCpu: number;
}

/** What a server's users, and those who look at it, need to know. */
interface Standing {
  readonly url: string;
  readonly pids: readonly number[];
  readonly metrics: string | null;
}

/** Fresh processes for each turn: the exchange, what is measured, and its users. Nothing is left of the one before. */
export class Stage {
  readonly #folder = mkdtempSync(join(tmpdir(), "oddswire-bench-"));
  readonly #running: Process[] = [];
  readonly #progress: (text: string) => void;
  #turns = 0;

  constructor(progress: (text: string) => void) {
    this.#progress = progress;
  }

  /** Ends whatever runs; a turn that is under way rejects. */
  async stop(): Promise<void> {
    await this.#clear();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Throws where the load could not be measured at all, with what the processes said last. */
  async turn(options: TurnOptions): Promise<Turn> {
    const folder = join(this.#folder, String(++this.#turns));
    mkdirSync(folder);
    try {
      const caFile = join(folder, "ca.pem");
      const exchange = this.#start(new Oddswire(["simulate", "--workload", options.feed, "--cert-file", caFile]));
      const port = Number((await exchange.line(/^ESA \(TLS\)/)).split(":").at(-1));
      const loginUrl = (await exchange.line(/^Identity/)).split(/\s+/)[1] as string;
      const at = { folder, caFile, port, loginUrl };
      const standing =
        options.server.kind === "ws" ? await this.#fanout(at, options) : await this.#gateway(at, options);
      await Bun.sleep(SETTLE_MS);
      return await this.#measure(standing, exchange, options, folder);
    } catch (error) {
      const tails = this.#running.slice(0, 2).map(({ tail }) => tail);
      throw new Error([(error as Error).message, ...tails].join("\n\n"));
    } finally {
      await this.#clear();
    }
  }

  #start<P extends Process>(process: P): P {
    this.#running.push(process);
    return process;
  }

  /** Users first, the exchange last. */
  async #clear(): Promise<void> {
    for (const process of this.#running.splice(0).reverse()) await process.stop();
  }

  async #gateway({ folder, caFile, port, loginUrl }: At, { server, feed, workload }: TurnOptions): Promise<Standing> {
    const { workers, behindMsMax } = server as Server & { kind: "oddswire" };
    const connectionsMax = workload.users + CONNECTIONS_MORE;
    const metrics = workers === 0 ? freePort(HOST) : null;
    const config = {
      workers,
      exchange: { host: HOST, port, caFile, ...ACCOUNT, loginHost: loginUrl.replace("/api/login", "") },
      doors: {
        http: { port: 0 },
        websocket: { port: 0 },
        connectionsMax: Math.min(CONNECTIONS_MAX, workload.users * 2 + CONNECTIONS_MORE),
      },
      visitors: [{ token: SESSION, name: "bench", connectionsMax: connectionsMax * 2 }],
      ...(metrics !== null && { metrics: { port: metrics } }),
      ...(behindMsMax !== undefined && { delivery: { behindMsMax } }),
    };
    const file = join(folder, "gateway.json");
    writeFileSync(file, JSON.stringify(config));
    const gateway = this.#start(new Oddswire(["serve", "--config", file]));
    const started = JSON.parse(await gateway.line(/"msg":"started"/)) as { http: string; pids?: string };
    await untilReady(started.http, EVENT_DAYS[feed]?.markets ?? 0);
    const workerPids = Object.values(JSON.parse(started.pids ?? "{}") as Record<string, number>);
    return {
      url: started.http,
      pids: [gateway.pid, ...workerPids],
      metrics: metrics === null ? null : `http://${HOST}:${metrics}/metrics`,
    };
  }

  async #fanout(
    { caFile, port: exchangePort, loginUrl }: At,
    { workload: { fields } }: TurnOptions,
  ): Promise<Standing> {
    const port = freePort(HOST);
    const options = JSON.stringify({ port, exchangePort, caFile, loginUrl, fields });
    const server = this.#start(new Process("bench/fanout.js", [options], "node"));
    await server.line(/^serving$/);
    return { url: `ws://${HOST}:${port}/`, pids: [server.pid], metrics: null };
  }

  async #measure(
    { url, pids, metrics }: Standing,
    exchange: Oddswire,
    { workload, first }: TurnOptions,
    folder: string,
  ): Promise<Turn> {
    const load = (users: Workload) => {
      const file = join(folder, "workload.json");
      writeFileSync(file, JSON.stringify(users));
      const args = ["loadtest", url, "--workload", file, "--session", SESSION, "--app-key", APP_KEY, "--json"];
      for (const pid of pids) args.push("--pid", String(pid));
      if (metrics !== null) args.push("--metrics", metrics);
      return this.#start(new Oddswire(args, (line) => line.startsWith("{") || this.#progress(line)));
    };
    const cold = seen(pids);
    if (first !== undefined) {
      await load({ ...workload, users: first, warmUpSeconds: 1, seconds: 5 }).over();
      await Bun.sleep(FIRST_GONE_MS);
    }
    const before = seen(pids);
    const [cpuBefore, began] = [exchange.cpuSeconds(), performance.now()];
    const running = load(workload);
    let rssMost = before.rss;
    const look = () => {
      rssMost = Math.max(rssMost, useOf(pids, false)?.rss ?? 0);
    };
    const timer = setInterval(look, LOOK_MS);
    await running.over();
    clearInterval(timer);
    const json = running.lines.findLast((line) => line.startsWith('{"url"'));
    if (json === undefined) throw new Error(running.tail);
    const exchangeCpu = (exchange.cpuSeconds() - cpuBefore) / ((performance.now() - began) / 1_000);
    return { result: JSON.parse(json) as LoadResult, cold, before, rssMost, exchangeCpu };
  }
}

function seen(pids: readonly number[]): ServerUse {
  const use = useOf(pids, true);
  if (use === null) throw new Error("the server is gone before anybody came");
  return use;
}

/** Where a turn's exchange is. */
interface At {
  readonly folder: string;
  readonly caFile: string;
  readonly port: number;
  readonly loginUrl: string;
}

async function untilReady(http: string, markets: number): Promise<void> {
  const until = performance.now() + READY_MS_MAX;
  for (;;) {
    const { feed } = (await (await fetch(`${http}v1/info`)).json()) as { feed: { ready: boolean; markets: number } };
    if (feed.ready && feed.markets >= markets) return;
    if (performance.now() > until) throw new Error(`not ready after ${READY_MS_MAX / 1_000} s`);
    await Bun.sleep(50);
  }
}
