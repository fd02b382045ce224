import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gateway, startGateway, stderrLog } from "../app.ts";
import { OddswireError } from "../base/errors.ts";
import { type ConfigInput, parseConfig } from "../config.ts";
import { type Call, type Command, LOG_OPTION, logLevel, type OptionSpec } from "./command.ts";
import { DEMO_ACCOUNT, EXCHANGE_OPTIONS, type RunningExchange, startExchange } from "./exchange.ts";
import { replayProgress } from "./progress.ts";
import { untilStopped } from "./signals.ts";

const HOST = "127.0.0.1";
const SESSION = "demo-session-token";
/** Whoever sees the orders of two of the strategies that are bet for, and no others. */
const ALPHA = { token: "alpha-session-token", name: "alpha", orders: { refPrefix: "alpha-" } };
/** How long the first image may take before we say that something is wrong. */
const READY_MS_MAX = 60_000;

export const demo: Command = {
  name: "demo",
  summary: "a simulated exchange, a gateway and a page, all here: live prices without an account",
  operands: "[FILE…]",
  options: {
    ...EXCHANGE_OPTIONS,
    punters: { ...(EXCHANGE_OPTIONS.punters as OptionSpec), default: "2" },
    "http-port": { value: "PORT", help: "Page, REST and health (8080, or a free port where that is taken)." },
    "ws-port": { value: "PORT", help: "WebSocket door (8081, or a free port)." },
    "sse-port": { value: "PORT", help: "Server-sent events (8083, or a free port)." },
    "esa-port": { value: "PORT", help: "The exchange's own protocol on plain TCP (8082, or a free port)." },
    "esa-tls-port": { value: "PORT", help: "The exchange's own protocol on TLS (8443, or a free port)." },
    "metrics-port": { value: "PORT", help: "Metrics for Prometheus (8084, or a free port)." },
    "https-port": { value: "PORT", help: "Page, REST and login on TLS (8444, or a free port)." },
    log: LOG_OPTION,
  },
  examples: [
    "oddswire demo",
    "oddswire demo --markets 2000 --rate 1000",
    "oddswire demo --recording 1.200806927.bz2 --speed 20 --loop",
  ],
  async run(call) {
    const log = stderrLog(logLevel(call));
    const upstream = await startExchange(call, { host: HOST, tls: 0, identity: 0 }, log);
    const gateway = await startDemoGateway(call, upstream, log);
    try {
      await play(call, upstream, gateway);
    } finally {
      await gateway.stop();
      upstream.stop();
    }
    return 0;
  },
};

async function play(call: Call, upstream: RunningExchange, gateway: Gateway): Promise<void> {
  const playing = upstream.play(replayProgress());
  // a recording that cannot be played is to be said instead of a welcome
  await Promise.race([playing, ready(gateway)]);
  console.log(welcome(call, upstream, gateway));
  const stopped = untilStopped();
  await Promise.race([
    stopped,
    playing.then(() => console.log("The recording has ended; the last books stand.")).then(() => stopped),
  ]);
}

async function startDemoGateway(
  call: Call,
  upstream: RunningExchange,
  log: ReturnType<typeof stderrLog>,
): Promise<Gateway> {
  const folder = mkdtempSync(join(tmpdir(), "oddswire-demo-"));
  const certFile = join(folder, "certificate.pem");
  const keyFile = join(folder, "key.pem");
  writeFileSync(certFile, upstream.certificate.cert);
  writeFileSync(keyFile, upstream.certificate.key, { mode: 0o600 });
  const { username, password, appKey } = DEMO_ACCOUNT;
  const api = upstream.identityUrl;
  const identity = { loginHost: api, certLoginHost: api, apiHost: api };
  const exchange = { host: HOST, port: upstream.tlsPort, caFile: certFile, appKey, username, password, ...identity };
  // The name and password of the simulated exchange: the same client runs against either.
  const rights = { orders: "account" as const, sports: ["race" as const, "cricket" as const] };
  const demo = { token: SESSION, name: "demo", username, password, connectionsMax: 10_000, ...rights };
  const visitors = [demo, ALPHA];
  const orders = { enabled: true };
  const sports = { race: true, cricket: true };
  const attempt = (ports: Ports) => {
    const doors: ConfigInput["doors"] = {
      http: { host: HOST, port: ports.http },
      websocket: { host: HOST, port: ports.ws },
      sse: { host: HOST, port: ports.sse },
      esa: { host: HOST, port: ports.esa },
      esaTls: { host: HOST, port: ports.esaTls, certFile, keyFile },
      https: { host: HOST, port: ports.https, certFile, keyFile },
    };
    const metrics = { host: HOST, port: ports.metrics };
    return startGateway(parseConfig({ exchange, doors, visitors, orders, sports, metrics }), {
      log,
      demo: { session: SESSION, appKey },
    });
  };
  // Read when the gateway starts, and of no use afterwards.
  return onUsualPorts(call, attempt).finally(() => rmSync(folder, { recursive: true, force: true }));
}

interface Ports {
  readonly http: number;
  readonly ws: number;
  readonly sse: number;
  readonly esa: number;
  readonly esaTls: number;
  readonly https: number;
  readonly metrics: number;
}

/** The ports asked for, else the usual ones, else (where another program has one of those) free ones. */
async function onUsualPorts(call: Call, attempt: (ports: Ports) => Promise<Gateway>): Promise<Gateway> {
  const given = (name: string) => call.number(name, 0, 65_535);
  const ports = (usual: Ports): Ports => ({
    http: given("http-port") ?? usual.http,
    ws: given("ws-port") ?? usual.ws,
    sse: given("sse-port") ?? usual.sse,
    esa: given("esa-port") ?? usual.esa,
    esaTls: given("esa-tls-port") ?? usual.esaTls,
    https: given("https-port") ?? usual.https,
    metrics: given("metrics-port") ?? usual.metrics,
  });
  try {
    return await attempt(
      ports({ http: 8080, ws: 8081, sse: 8083, esa: 8082, esaTls: 8443, https: 8444, metrics: 8084 }),
    );
  } catch (error) {
    if (!(error instanceof OddswireError && error.code === "PORT_IN_USE")) throw error;
    return attempt(ports({ http: 0, ws: 0, sse: 0, esa: 0, esaTls: 0, https: 0, metrics: 0 }));
  }
}

/** Resolves once there is a market to show. */
async function ready(gateway: Gateway): Promise<void> {
  const until = performance.now() + READY_MS_MAX;
  while (!gateway.isReady || gateway.cache.size === 0) {
    if (performance.now() > until)
      throw new OddswireError("NOT_READY", "the simulated exchange gave no image; run with --log debug to see why");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function welcome(call: Call, upstream: RunningExchange, gateway: Gateway): string {
  const files = call.list("recording").length + call.operands.length;
  const what =
    files > 0
      ? `${files} recording${files === 1 ? "" : "s"}`
      : `${upstream.markets.toLocaleString("en")} markets (seed ${call.text("seed")})`;
  const page = gateway.httpUrl as string;
  const [market] = [...gateway.cache.books()].map((book) => book.id);
  return [
    "",
    `Oddswire demo: a simulated exchange plays ${what}, one connection carries it here.`,
    "",
    `  Page         ${page}`,
    `  WebSocket    ${gateway.websocketUrl}`,
    `  SSE          ${gateway.sseUrl}`,
    `  ESA (TCP)    ${HOST}:${gateway.esaPort}`,
    `  ESA (TLS)    ${HOST}:${gateway.esaTlsPort}`,
    `  REST         ${page}v1/markets`,
    `  Metrics      ${gateway.metricsUrl}`,
    `  Credentials  appKey ${DEMO_ACCOUNT.appKey}, session ${SESSION}`,
    ...(call.number("punters", 0, 1_000)
      ? [`  Orders       all by that session, those of alpha-1 and alpha-2 by ${ALPHA.token}`]
      : []),
    `  Login        ${gateway.httpsUrl}api/login, username ${DEMO_ACCOUNT.username}, password ${DEMO_ACCOUNT.password}`,
    "",
    `A ladder in this terminal: npx oddswire watch ${page} ${market ?? "MARKET"}`,
    "Ctrl-C ends it.",
    "",
  ].join("\n");
}
