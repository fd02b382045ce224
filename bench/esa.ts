import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CrowdEnd, CrowdMark, CrowdOptions } from "./esa-crowd.ts";
import { Oddswire, Process } from "./process.ts";
import type { Report, Row } from "./table.ts";

/** Issue 3: so many plain ESA clients over TLS, beside as many at the exchange itself. */
const CLIENTS = Number(process.env.ODDSWIRE_BENCH_CLIENTS ?? 2_000);
const SECONDS = Number(process.env.ODDSWIRE_BENCH_SECONDS ?? 20);
const ROUNDS = 2;
const WARM_UP_SECONDS = 3;
const READERS = 8;
const MARKETS = 500;
const CHANGES_PER_SECOND = 100;
const MARKETS_EACH = 5;
const RATE_SHARE_MIN = 0.98;
/** A crowd that takes more of its core than this measures itself. */
const CROWD_CPU_MAX = 0.9;
const FIELDS = ["EX_ALL_OFFERS", "EX_LTP", "EX_MARKET_DEF"];
const SESSION = "bench-session-token";

interface Server {
  readonly name: string;
  readonly process: Oddswire;
  readonly port: number;
  readonly session: string;
}

interface Load {
  readonly name: string;
  readonly marketIds: CrowdOptions["marketIds"];
  /** Market changes a second that one client is due. */
  readonly changesEach: number;
}

interface Measured {
  readonly cpu: number;
  readonly memory: number;
  readonly rate: number;
  readonly end: CrowdEnd;
  readonly crowdCpu: number;
  readonly p50: number;
  readonly p99: number;
}

/** The gateway's clients cost it so much; the simulated exchange's cost it so much. In turn, the same load, the same run. */
export async function esa(_files: readonly string[], progress: (text: string) => void): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-esa-"));
  const caFile = join(folder, "ca.pem");
  const rows: Row[] = [];
  for (const load of loads()) {
    const measured = new Map<string, Measured[]>();
    for (let round = 1; round <= ROUNDS; round++) {
      for (const which of ["gateway", "simulated exchange"] as const) {
        progress(`${load.name}, round ${round} of ${ROUNDS}: ${which}`);
        const list = measured.get(which) ?? [];
        measured.set(which, [...list, await oneRound(which, load, folder, caFile)]);
      }
    }
    for (const [which, list] of measured) rows.push(row(`${load.name}: ${which}`, load, list));
  }
  return { bench: "esa", rows };
}

function loads(): Load[] {
  const id = (n: number) => `1.${260_000_000 + n}`;
  const groups = Array.from({ length: MARKETS / MARKETS_EACH }, (_, g) =>
    Array.from({ length: MARKETS_EACH }, (_, i) => id(g * MARKETS_EACH + i)),
  );
  return [
    { name: "5 markets each", marketIds: groups, changesEach: (CHANGES_PER_SECOND * MARKETS_EACH) / MARKETS },
    { name: "all 500 markets each", marketIds: null, changesEach: CHANGES_PER_SECOND },
  ];
}

/** A fresh exchange, and a fresh gateway where that is what is measured: nothing is left of the round before. */
async function oneRound(
  which: "gateway" | "simulated exchange",
  load: Load,
  folder: string,
  caFile: string,
): Promise<Measured> {
  const exchange = new Oddswire([
    "simulate",
    "--workload",
    "W2",
    "--cert-file",
    caFile,
    "--connections",
    String(CLIENTS + 100),
  ]);
  const started: { stop(): Promise<void> }[] = [exchange];
  try {
    const port = Number((await exchange.line(/^ESA \(TLS\)/)).split(":").at(-1));
    const loginUrl = (await exchange.line(/^Identity/)).split(/\s+/)[1] as string;
    const gateway = which === "gateway" ? await startGateway(folder, caFile, port, loginUrl) : null;
    if (gateway !== null) started.push(gateway.process);
    const server = gateway ?? { name: which, process: exchange, port, session: await login(loginUrl) };
    return await measure(server, load, caFile, started);
  } finally {
    for (const process of started.reverse()) await process.stop();
  }
}

async function startGateway(folder: string, caFile: string, port: number, loginUrl: string): Promise<Server> {
  const keyFile = join(folder, "key.pem");
  const certFile = join(folder, "cert.pem");
  const { loopbackCertificate } = await import("../src/sim/certificate.ts");
  const { cert, key } = await loopbackCertificate();
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key, { mode: 0o600 });
  const loginHost = loginUrl.replace("/api/login", "");
  const config = {
    exchange: {
      host: "127.0.0.1",
      port,
      caFile,
      appKey: "demo-app-key",
      username: "demo",
      password: "demo-password",
      loginHost,
    },
    doors: { http: { port: 0 }, websocket: { port: 0 }, esaTls: { port: 0, certFile, keyFile } },
    visitors: [{ token: SESSION, name: "bench", connectionsMax: CLIENTS + 100 }],
    log: { level: "info" },
  };
  const file = join(folder, "gateway.json");
  writeFileSync(file, JSON.stringify(config));
  const process = new Oddswire(["serve", "--config", file]);
  const { http } = JSON.parse(await process.line(/"msg":"started"/)) as { http: string };
  const info = async () =>
    (await (await fetch(`${http}v1/info`)).json()) as { feed: { ready: boolean }; esa: { tlsPort: number } };
  while (!(await info()).feed.ready) await Bun.sleep(50);
  return { name: "gateway", process, port: (await info()).esa.tlsPort, session: SESSION };
}

async function login(url: string): Promise<string> {
  const body = new URLSearchParams({ username: "demo", password: "demo-password" });
  const answer = await fetch(url, { method: "POST", headers: { "X-Application": "demo-app-key" }, body });
  return ((await answer.json()) as { token: string }).token;
}

async function measure(
  server: Server,
  load: Load,
  caFile: string,
  started: { stop(): Promise<void> }[],
): Promise<Measured> {
  const ca = readFileSync(server.name === "gateway" ? join(caFile, "../cert.pem") : caFile, "utf8");
  await Bun.sleep(1_000);
  const before = server.process.memory().rss;
  const { marketIds } = load;
  const options: CrowdOptions = {
    port: server.port,
    ca,
    clients: CLIENTS,
    appKey: "demo-app-key",
    session: server.session,
    marketIds,
    fields: FIELDS,
    readers: READERS,
  };
  const crowd = new Process("bench/esa-crowd.ts", [JSON.stringify(options)]);
  started.push(crowd);
  await crowd.line(/^ready$/);
  await Bun.sleep(WARM_UP_SECONDS * 1_000);
  const ask = async <T>(word: string) => JSON.parse(await crowd.ask(word)) as T;
  const [first, cpuBefore, at] = [await ask<CrowdMark>("mark"), server.process.cpuSeconds(), performance.now()];
  await Bun.sleep(SECONDS * 1_000);
  const [last, cpuAfter, until] = [await ask<CrowdMark>("mark"), server.process.cpuSeconds(), performance.now()];
  const memory = server.process.memory().rss - before;
  const end = await ask<CrowdEnd>("end");
  const seconds = (until - at) / 1_000;
  return {
    cpu: (cpuAfter - cpuBefore) / seconds,
    memory,
    rate: (last.changes - first.changes) / seconds,
    end,
    crowdCpu: (last.cpu - first.cpu) / seconds,
    p50: percentile(last.latency, 0.5),
    p99: percentile(last.latency, 0.99),
  };
}

function row(name: string, load: Load, list: readonly Measured[]): Row {
  const mean = (value: (measured: Measured) => number) =>
    list.reduce((sum, each) => sum + value(each), 0) / list.length;
  const offered = load.changesEach * CLIENTS;
  const total = (value: (end: CrowdEnd) => number) => list.reduce((sum, each) => sum + value(each.end), 0);
  const rate = mean((each) => each.rate);
  const wrong = total((end) => end.wrongBooks + end.strays + end.lost);
  const booksChecked = total((end) => end.booksChecked);
  // The exchange is there to be compared with; what must hold is ours.
  const passed =
    wrong === 0 &&
    booksChecked > 0 &&
    (!name.endsWith("gateway") || (rate >= offered * RATE_SHARE_MIN && mean((each) => each.crowdCpu) < CROWD_CPU_MAX));
  return {
    name,
    values: {
      "CPU, cores": mean((each) => each.cpu),
      "CPU a client, µs/s": (mean((each) => each.cpu) / CLIENTS) * 1e6,
      "memory a client, KB": mean((each) => each.memory) / CLIENTS / 1e3,
      "changes/s": rate,
      offered,
      "p50, ms": mean((each) => each.p50),
      "p99, ms": mean((each) => each.p99),
      "crowd's CPU": mean((each) => each.crowdCpu),
      "books checked": booksChecked,
      wrong,
    },
    passed,
  };
}

function percentile(counts: readonly number[], share: number): number {
  const all = counts.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  return counts.findIndex((count) => (seen += count) >= all * share);
}
