import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Server } from "bun";
import pino from "pino";
import packageJson from "../package.json" with { type: "json" };
import { type Clock, systemClock, type Timer } from "./base/clock.ts";
import { OddswireError } from "./base/errors.ts";
import type { Log } from "./base/log.ts";
import { systemRandom } from "./base/random.ts";
import { type Config, readText } from "./config.ts";
import { Hub } from "./delivery/hub.ts";
import { EsaDoor } from "./edge/esa.ts";
import { httpDoor } from "./edge/http.ts";
import { Lobby } from "./edge/lobby.ts";
import { bunDial, bunListen, freePort } from "./edge/sockets.ts";
import { WebSocketDoor } from "./edge/websocket.ts";
import { bunPost, EXCHANGE_DEFAULTS, ExchangeClient } from "./exchange/client.ts";
import type { Credentials } from "./exchange/identity.ts";
import { IdentitySession, SESSION_DEFAULTS, type Session, staticSession } from "./exchange/session.ts";
import { Cache } from "./market/cache.ts";
import { FIELD, type Sink } from "./market/types.ts";
import { Bookshop } from "./ops/bookshop.ts";
import { TokenList } from "./tenancy/tokens.ts";

/** What a started gateway is known by. */
export interface Gateway {
  readonly source: ExchangeClient;
  readonly cache: Cache;
  readonly httpUrl: string | null;
  readonly websocketUrl: string | null;
  readonly esaPort: number | null;
  readonly esaTlsPort: number | null;
  /** True once the exchange's first image is whole. */
  readonly isReady: boolean;
  /** Tells users to come back, closes everything; resolves when all is closed, `stopMsMax` later at the latest. */
  stop(): Promise<void>;
}

export interface GatewayExtras {
  readonly log?: Log;
  /** Shown to whoever asks `/v1/info`, so that a demo's page gets in by itself. */
  readonly demo?: { readonly session: string; readonly appKey?: string };
}

/** From `stop` to the last socket closed by force. */
export const STOP_MS_MAX = 3_000;
const SWEEP_MS = 1_000;
const WEB = fileURLToPath(new URL("../web/", import.meta.url));

/** Joins the rooms by role and opens the doors. Throws an OddswireError where a port is taken or a file is missing. */
export async function startGateway(config: Config, extras: GatewayExtras = {}): Promise<Gateway> {
  const log = extras.log ?? pinoLog(config.log.level);
  const clock = systemClock;
  const epoch = randomBytes(6).toString("base64url");
  const cache = new Cache({ epoch, clock, ...config.cache });
  const source = exchangeClient(config, clock, log);
  if (config.role === "ingest") return ingest(source, cache, clock);
  const edge = await openDoors(config, cache, source, clock, log, extras);
  source.start(edge.hub);
  return edge.gateway;
}

/** A logger for people and machines: JSON lines on standard error. */
export function pinoLog(level: Config["log"]["level"]): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2)) as Log;
}

/** Holds the stream and the books and serves nobody: what feeds edges elsewhere. */
function ingest(source: ExchangeClient, cache: Cache, clock: Clock): Gateway {
  let timer: Timer = clock.after(SWEEP_MS, sweep);
  function sweep(): void {
    cache.sweep();
    timer = clock.after(SWEEP_MS, sweep);
  }
  const sink: Sink = { batch: (batch) => void cache.apply(batch), settled() {}, state() {} };
  source.start(sink);
  return {
    source,
    cache,
    httpUrl: null,
    websocketUrl: null,
    esaPort: null,
    esaTlsPort: null,
    get isReady() {
      return isReady(source, cache);
    },
    async stop() {
      timer.cancel();
      source.stop();
    },
  };
}

interface Edge {
  readonly hub: Hub;
  readonly gateway: Gateway;
}

async function openDoors(
  config: Config,
  cache: Cache,
  source: ExchangeClient,
  clock: Clock,
  log: Log,
  extras: GatewayExtras,
): Promise<Edge> {
  const { doors } = config;
  const page = await pageFiles();
  const hub = new Hub({ cache, clock, ...config.delivery });
  const tokens = new TokenList(config.visitors, config.appKeys.length > 0 ? config.appKeys : undefined);
  const lobby = new Lobby({ hub, tokens, clock, connectionsMax: doors.connectionsMax });
  const opened: { stop(): void }[] = [];
  try {
    const shared = { listen: bunListen, lobby, log };
    const websocket = keep(opened, new WebSocketDoor({ ...shared, at: doors.websocket }));
    const esa = doors.esa && keep(opened, new EsaDoor({ ...shared, at: doors.esa }));
    const esaTls =
      doors.esaTls && keep(opened, new EsaDoor({ ...shared, at: { ...doors.esaTls, tls: certificate(doors.esaTls) } }));
    const info = {
      version: packageJson.version,
      websocket: { port: websocket.port, path: "/v1/ws" },
      esa: { port: esa?.port ?? null, tlsPort: esaTls?.port ?? null },
      ...(extras.demo && { demo: extras.demo }),
    };
    const ready = () => isReady(source, cache);
    const handle = httpDoor({ info, tokens, isReady: ready, books: new Bookshop(cache), page });
    const http = keep(opened, serve(doors.http, handle));
    const host = (name: string) => (name === "0.0.0.0" || name === "::" ? "localhost" : name);
    const gateway: Gateway = {
      source,
      cache,
      httpUrl: `http://${host(doors.http.host)}:${http.port}/`,
      websocketUrl: `ws://${host(doors.websocket.host)}:${websocket.port}/v1/ws`,
      esaPort: esa?.port ?? null,
      esaTlsPort: esaTls?.port ?? null,
      get isReady() {
        return ready();
      },
      async stop() {
        for (const door of opened) door.stop();
        lobby.closeAll({ code: "GOING_AWAY", message: "the server is stopping; come back in a moment" });
        source.stop();
        await gone(lobby, clock);
        hub.stop();
      },
    };
    return { hub, gateway };
  } catch (error) {
    for (const door of opened) door.stop();
    hub.stop();
    throw error;
  }
}

function keep<T extends { stop(): void }>(opened: { stop(): void }[], door: T): T {
  opened.push(door);
  return door;
}

/** Waits until every user's connection is closed, within bounds. */
async function gone(lobby: Lobby, clock: Clock): Promise<void> {
  const until = clock.monotonic() + STOP_MS_MAX;
  while (lobby.connections > 0 && clock.monotonic() < until)
    await new Promise<void>((resolve) => clock.after(10, resolve));
}

function isReady(source: ExchangeClient, cache: Cache): boolean {
  return source.images + source.resumes > 0 && !cache.midGroup;
}

function serve(
  at: { host: string; port: number },
  handle: (request: Request) => Response | Promise<Response>,
): { port: number; stop(): void } {
  const port = at.port === 0 ? freePort(at.host) : at.port;
  let server: Server<undefined>;
  try {
    server = Bun.serve({ hostname: at.host, port, fetch: handle, development: false });
  } catch (error) {
    if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
    throw new OddswireError(
      "PORT_IN_USE",
      `another program listens on ${at.host}:${port}; give another port, or 0 for any free one`,
    );
  }
  return { port: server.port as number, stop: () => void server.stop(true) };
}

/** The page, bundled once at the start: path → how to answer. */
async function pageFiles(): Promise<Map<string, () => Response>> {
  const built = await Bun.build({ entrypoints: [join(WEB, "page.ts")], minify: true, target: "browser" });
  if (!built.success) throw new AggregateError(built.logs, "the page could not be built");
  const script = await (built.outputs[0] as Blob).text();
  const html = await Bun.file(join(WEB, "page.html")).text();
  const style = await Bun.file(join(WEB, "page.css")).text();
  const file = (text: string, type: string) => () =>
    new Response(text, { headers: { "Content-Type": type, "Cache-Control": "no-cache" } });
  return new Map([
    ["/", file(html, "text/html; charset=utf-8")],
    ["/page.js", file(script, "text/javascript; charset=utf-8")],
    ["/page.css", file(style, "text/css; charset=utf-8")],
  ]);
}

function exchangeClient({ exchange }: Config, clock: Clock, log: Log): ExchangeClient {
  const ca = exchange.caFile === undefined ? undefined : readText(exchange.caFile);
  const session = exchangeSession(exchange, ca, clock, log);
  const { host, port, appKey, filter, ladderLevels, conflateMs, heartbeatMs } = exchange;
  const options = {
    ...EXCHANGE_DEFAULTS,
    name: "exchange",
    host,
    port,
    tls: exchange.tls ? { ca } : ("off" as const),
    appKey,
    filter,
    fields: exchange.fields.reduce((set, name) => set | FIELD[name], 0),
    ladderLevels,
    conflateMs,
    settings: { ...EXCHANGE_DEFAULTS.settings, heartbeatMs },
  };
  return new ExchangeClient(options, { dial: bunDial, session, clock, random: systemRandom, log });
}

function exchangeSession(exchange: Config["exchange"], ca: string | undefined, clock: Clock, log: Log): Session {
  const { session, username, password, certFile, keyFile, appKey, loginHost, certLoginHost, tokenLifetimeMs } =
    exchange;
  if (session !== undefined) return staticSession(session);
  const who = { username: username as string, password: password as string };
  const credentials: Credentials =
    certFile === undefined || keyFile === undefined
      ? { kind: "interactive", ...who }
      : { kind: "certificate", ...who, ...certificate({ certFile, keyFile }) };
  const hosts = { login: `${loginHost}/api`, certLogin: `${certLoginHost}/api` };
  const options = { ...SESSION_DEFAULTS, appKey, credentials, hosts, lifetimeMs: tokenLifetimeMs };
  return new IdentitySession(options, { post: bunPost(ca), clock, random: systemRandom, log });
}

function certificate({ certFile, keyFile }: { certFile: string; keyFile: string }): { cert: string; key: string } {
  return { cert: readText(certFile), key: readText(keyFile) };
}
