import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { randomInt, seededRandom } from "../src/base/random.ts";
import { useOf } from "../src/load/server.ts";
import { betfairlightweight } from "../test/parts.ts";
import type { CrowdEnd, CrowdMark, CrowdOptions } from "./before-after-crowd.ts";
import { Oddswire, Process } from "./process.ts";
import { median, type Report, type Row } from "./table.ts";

const ROUNDS = Number(process.env.ODDSWIRE_BENCH_ROUNDS ?? 3);
const SECONDS = Number(process.env.ODDSWIRE_BENCH_SECONDS ?? 20);
const WARM_UP_SECONDS = 10;
const USERS_EACH = 50;
const MARKETS = 500;
const MARKETS_EACH = 5;
const CHANGES_PER_SECOND = 100;
/** Pythons that start at a time. */
const STARTS_MAX = 4;
const APP_KEY = "demo-app-key";
const SESSION = "bench-session-token";
const FIELDS = ["EX_ALL_OFFERS", "EX_TRADED", "EX_TRADED_VOL", "EX_LTP", "EX_MARKET_DEF"];

/** To reach, of the old way at its whole fleet. */
const TIMES_LESS_CPU = 15;
const TIMES_LESS_MEMORY = 40;
const MEAN_MS_MAX = 200;
const JITTER_LESS = 0.9;
/** At the second load the old way, exchange and users included, leaves at least this of the machine. */
const BUSY_MAX = 0.8;
const RATE_SHARE_MIN = 0.98;
/** Users that take more of their core than this measure themselves. */
const CROWD_CPU_MAX = 0.9;

type Side = "fleet" | "oddswire";

interface Load {
  readonly processes: number;
  /** Where the old way must be as it was in the story, or must not be at its end. */
  readonly kind: "whole fleet" | "under 80 %";
}

interface Measured {
  readonly cpu: number;
  readonly pss: number;
  readonly rss: number;
  readonly upstream: number;
  readonly exchangeCpu: number;
  readonly crowdCpu: number;
  readonly mark: CrowdMark;
  readonly end: CrowdEnd;
}

/** The one simulated exchange, for all rounds. */
interface Exchange {
  readonly process: Oddswire;
  readonly tlsPort: number;
  readonly plainPort: number;
  readonly loginUrl: string;
  readonly session: string;
}

/** What is to be measured: processes, and where their users go. */
interface Started {
  readonly processes: readonly Process[];
  readonly ports: readonly number[];
  readonly path: string;
  readonly session: string;
}

/** A fleet of Python processes and one Oddswire, the same users at the same exchange, in turn: the cores of one machine are too few for both at once. */
export async function beforeAfter(_files: readonly string[], progress: (text: string) => void): Promise<Report> {
  const python = betfairlightweight();
  if (python.kind === "missing") throw new Error(`betfairlightweight is needed for the old way: ${python.install}`);
  const folder = mkdtempSync(join(tmpdir(), "oddswire-before-after-"));
  const running: Process[] = [];
  const start = <P extends Process>(process: P): P => {
    running.push(process);
    return process;
  };
  try {
    const bench = new BeforeAfter(await startExchange(folder, start), { folder, python: python.path, start });
    const rows: Row[] = [];
    for (const load of loads()) {
      const all: Record<Side, Measured[]> = { fleet: [], oddswire: [] };
      for (let round = 1; round <= ROUNDS; round++) {
        for (const side of ["fleet", "oddswire"] as const) {
          progress(`${load.processes * USERS_EACH} users, round ${round} of ${ROUNDS}: ${side}`);
          all[side].push(await bench.round(side, load));
          for (const process of running.splice(1).reverse()) await process.stop();
        }
      }
      rows.push(...rowsOf(load, all));
    }
    return { bench: "before-after", rows };
  } finally {
    for (const process of running.reverse()) await process.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function loads(): Load[] {
  const of = (name: string, usual: number) => Number(process.env[`ODDSWIRE_BENCH_${name}`] ?? usual);
  return [
    { processes: of("FLEET", 40), kind: "whole fleet" },
    { processes: of("FEWER", 20), kind: "under 80 %" },
  ];
}

async function startExchange(folder: string, start: <P extends Process>(process: P) => P): Promise<Exchange> {
  const args = ["simulate", "--workload", "W2", "--cert-file", join(folder, "ca.pem"), "--connections", "100"];
  const process = start(new Oddswire(args));
  const port = async (name: RegExp) => Number((await process.line(name)).split(":").at(-1));
  const [tlsPort, plainPort] = [await port(/^ESA \(TLS\)/), await port(/^ESA \(TCP\)/)];
  const loginUrl = (await process.line(/^Identity/)).split(/\s+/)[1] as string;
  const body = new URLSearchParams({ username: "demo", password: "demo-password" });
  const answer = await fetch(loginUrl, { method: "POST", headers: { "X-Application": APP_KEY }, body });
  const { token } = (await answer.json()) as { token: string };
  return { process, tlsPort, plainPort, loginUrl, session: token };
}

class BeforeAfter {
  readonly #exchange: Exchange;
  readonly #tools: { folder: string; python: string; start: <P extends Process>(process: P) => P };

  constructor(
    exchange: Exchange,
    tools: { folder: string; python: string; start: <P extends Process>(process: P) => P },
  ) {
    this.#exchange = exchange;
    this.#tools = tools;
  }

  /** Fresh processes: nothing is left of the round before. */
  async round(side: Side, load: Load): Promise<Measured> {
    const started = side === "fleet" ? await this.#fleet(load.processes) : await this.#gateway(load);
    const crowd = this.#crowd(side, started, load);
    await crowd.line(/^ready$/);
    await Bun.sleep(WARM_UP_SECONDS * 1_000);
    const ask = async <T>(word: string) => JSON.parse(await crowd.ask(word)) as T;
    const pids = started.processes.map(({ pid }) => pid);
    const cpu = () => ({ side: useOf(pids, false)?.cpu as number, exchange: this.#exchange.process.cpuSeconds() });
    await ask("start");
    const before = cpu();
    await Bun.sleep(SECONDS * 1_000);
    const mark = await ask<CrowdMark>("stop");
    const after = cpu();
    const use = useOf(pids, true);
    if (use === null || use.pss === null)
      throw new Error("a process of the side is gone, or this machine tells no PSS");
    const upstream = connectionsTo(this.#exchange.tlsPort);
    const end = await ask<CrowdEnd>("end");
    return {
      cpu: (after.side - before.side) / mark.seconds,
      pss: use.pss,
      rss: use.rss,
      upstream,
      exchangeCpu: (after.exchange - before.exchange) / mark.seconds,
      crowdCpu: mark.cpu / mark.seconds,
      mark,
      end,
    };
  }

  async #fleet(processes: number): Promise<Started> {
    const { tlsPort, session } = this.#exchange;
    const { python, start } = this.#tools;
    const args = ["--port", String(tlsPort), "--app-key", APP_KEY, "--session", session, "--fields", FIELDS.join()];
    const fleet: Process[] = [];
    const ports: number[] = [];
    while (fleet.length < processes) {
      const batch = Array.from({ length: Math.min(STARTS_MAX, processes - fleet.length) }, () =>
        start(new Process("bench/fleet/process.py", [...args, "--markets", String(MARKETS)], python)),
      );
      fleet.push(...batch);
      const lines = await Promise.all(batch.map((process) => process.line(/^users /)));
      ports.push(...lines.map((line) => Number(line.split(" ")[1])));
    }
    return { processes: fleet, ports, path: "/", session: "" };
  }

  async #gateway({ processes }: Load): Promise<Started> {
    const { tlsPort: port, loginUrl } = this.#exchange;
    const { folder, start } = this.#tools;
    const login = { appKey: APP_KEY, username: "demo", password: "demo-password" };
    const loginHost = loginUrl.replace("/api/login", "");
    const config = {
      exchange: { host: "127.0.0.1", port, caFile: join(folder, "ca.pem"), ...login, loginHost },
      doors: { http: { port: 0 }, websocket: { port: 0 } },
      visitors: [{ token: SESSION, name: "bench", connectionsMax: processes * USERS_EACH + 100 }],
      log: { level: "info" },
    };
    const file = join(folder, "gateway.json");
    writeFileSync(file, JSON.stringify(config));
    const gateway = start(new Oddswire(["serve", "--config", file]));
    const { http } = JSON.parse(await gateway.line(/"msg":"started"/)) as { http: string };
    const info = async () =>
      (await (await fetch(`${http}v1/info`)).json()) as {
        feed: { ready: boolean };
        websocket: { port: number; path: string };
      };
    while (!(await info()).feed.ready) await Bun.sleep(50);
    const { websocket } = await info();
    return { processes: [gateway], ports: [websocket.port], path: websocket.path, session: SESSION };
  }

  #crowd(side: Side, { ports, path, session }: Started, { processes }: Load): Process {
    const { plainPort, session: own } = this.#exchange;
    const options: CrowdOptions = {
      side,
      ports,
      path,
      session,
      marketIds: wishes(processes * USERS_EACH),
      fields: FIELDS,
      readerEvery: USERS_EACH,
      exchange: { port: plainPort, session: own, appKey: APP_KEY },
    };
    const file = join(this.#tools.folder, "crowd.json");
    writeFileSync(file, JSON.stringify(options));
    return this.#tools.start(new Process("bench/before-after-crowd.ts", [file]));
  }
}

/** What each user wants: the same on both sides and in each round. */
function wishes(users: number): string[][] {
  const random = seededRandom(1);
  return Array.from({ length: users }, () => {
    const chosen = new Set<string>();
    while (chosen.size < MARKETS_EACH) chosen.add(`1.${260_000_000 + randomInt(random, MARKETS)}`);
    return [...chosen];
  });
}

/** Connections of this machine that are open to a port of it. */
function connectionsTo(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const rows = readFileSync("/proc/net/tcp", "utf8").trim().split("\n").slice(1);
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , to, state]) => to?.endsWith(`:${hex}`) && state === "01").length;
}

const AVERAGES = {
  cpu: ({ cpu }: Measured) => cpu,
  pss: ({ pss }: Measured) => pss / 1e6,
  mean: ({ mark }: Measured) => mark.mean,
  deviation: ({ mark }: Measured) => mark.deviation,
  tail: ({ mark }: Measured) => mark.p99 - mark.p50,
  step: ({ mark }: Measured) => mark.step,
  rate: ({ mark }: Measured) => mark.deliveries / mark.seconds,
} as const;

function rowsOf(load: Load, all: Readonly<Record<Side, readonly Measured[]>>): Row[] {
  const users = load.processes * USERS_EACH;
  const offered = (CHANGES_PER_SECOND * MARKETS_EACH * users) / MARKETS;
  const fleet = `${users} users, the old way: ${load.processes} Python processes`;
  return [
    row(fleet, all.fleet, offered, (busy) => load.kind === "whole fleet" || busy < BUSY_MAX),
    row(`${users} users, Oddswire`, all.oddswire, offered, (_, rate) => rate >= offered * RATE_SHARE_MIN),
    comparison(`${users} users, so much less`, load, all),
  ];
}

function row(
  name: string,
  list: readonly Measured[],
  offered: number,
  isFine: (busy: number, rate: number) => boolean,
): Row {
  const value = (of: (measured: Measured) => number) => median(list.map(of));
  const spread = (of: (measured: Measured) => number) => spreadOf(list.map(of));
  const total = (of: (end: CrowdEnd) => number) => list.reduce((sum, { end }) => sum + of(end), 0);
  const busy = value(({ cpu, exchangeCpu, crowdCpu }) => cpu + exchangeCpu + crowdCpu) / availableParallelism();
  const wrong = total(({ wrongBooks, lost, odd }) => wrongBooks + lost + odd);
  const booksChecked = total((end) => end.booksChecked);
  for (const { end } of list) for (const sample of end.samples) console.error(`${name}: ${sample}`);
  const isSound = wrong === 0 && booksChecked > 0 && value(({ crowdCpu }) => crowdCpu) < CROWD_CPU_MAX;
  return {
    name,
    values: {
      "CPU, cores": spread(AVERAGES.cpu),
      "memory (PSS), MB": spread(AVERAGES.pss),
      "RSS, MB": value(({ rss }) => rss / 1e6),
      "upstream connections": value(({ upstream }) => upstream),
      "mean, ms": spread(AVERAGES.mean),
      "p50, ms": value(({ mark }) => mark.p50),
      "p99, ms": value(({ mark }) => mark.p99),
      "max, ms": value(({ mark }) => mark.max),
      "jitter: deviation, ms": spread(AVERAGES.deviation),
      "p99 − p50, ms": value(AVERAGES.tail),
      "message to message, ms": value(AVERAGES.step),
      "deliveries/s": value(AVERAGES.rate),
      offered,
      "to users, MB/s": value(({ mark }) => mark.bytes / mark.seconds / 1e6),
      "machine, %": busy * 100,
      "exchange's CPU": value(({ exchangeCpu }) => exchangeCpu),
      "users' CPU": value(({ crowdCpu }) => crowdCpu),
      "books checked": booksChecked,
      wrong,
    },
    passed: isSound && isFine(busy, value(AVERAGES.rate)),
  };
}

/** By the medians; what is to be reached at the whole fleet is told, and not asked, at the smaller one. */
function comparison(name: string, load: Load, all: Readonly<Record<Side, readonly Measured[]>>): Row {
  const of = (side: Side, value: (measured: Measured) => number) => median(all[side].map(value));
  const ratio = (value: (measured: Measured) => number) => of("fleet", value) / of("oddswire", value);
  const less = (value: (measured: Measured) => number) => 1 - 1 / ratio(value);
  const isAsked = load.kind === "whole fleet";
  const limit = (text: string) => (isAsked ? ` (${text})` : "");
  const [cpu, memory, mean] = [ratio(AVERAGES.cpu), ratio(AVERAGES.pss), of("oddswire", AVERAGES.mean)];
  const jitters = [less(AVERAGES.deviation), less(AVERAGES.tail), less(AVERAGES.step)] as const;
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  const reached =
    cpu >= TIMES_LESS_CPU &&
    memory >= TIMES_LESS_MEMORY &&
    mean < MEAN_MS_MAX &&
    jitters.every((share) => share >= JITTER_LESS);
  return {
    name,
    values: {
      "CPU, cores": `${cpu.toFixed(1)} ×${limit(`≥ ${TIMES_LESS_CPU}`)}`,
      "memory (PSS), MB": `${memory.toFixed(1)} ×${limit(`≥ ${TIMES_LESS_MEMORY}`)}`,
      "RSS, MB": `${ratio(({ rss }) => rss).toFixed(1)} ×`,
      "upstream connections": `${ratio(({ upstream }) => upstream)} ×`,
      "mean, ms": `${percent(less(AVERAGES.mean))}${limit(`below ${MEAN_MS_MAX} ms`)}`,
      "jitter: deviation, ms": `${percent(jitters[0])}${limit("≥ 90 %")}`,
      "p99 − p50, ms": `${percent(jitters[1])}${limit("≥ 90 %")}`,
      "message to message, ms": `${percent(jitters[2])}${limit("≥ 90 %")}`,
    },
    passed: !isAsked || reached,
  };
}

/** The median, and between what. */
function spreadOf(values: readonly number[]): string {
  const shown = (value: number) => String(Number(value.toPrecision(3)));
  return `${shown(median(values))} (${shown(Math.min(...values))} to ${shown(Math.max(...values))})`;
}
