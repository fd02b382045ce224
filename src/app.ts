import packageJson from "../package.json" with { type: "json" };
import { type Clock, systemClock, type Timer } from "./base/clock.ts";
import type { Goodbye } from "./base/errors.ts";
import { readText } from "./base/file.ts";
import { jsonLog, type Log, type LogLevel } from "./base/log.ts";
import { systemRandom } from "./base/random.ts";
import type { Config } from "./config.ts";
import type { Hub } from "./delivery/hub.ts";
import { httpDoor } from "./edge/http.ts";
import type { LobbyOptions } from "./edge/lobby.ts";
import { bunServe, type HttpServer } from "./edge/server.ts";
import { bunDial } from "./edge/sockets.ts";
import { bunPost, EXCHANGE_DEFAULTS, ExchangeClient, type Upstream } from "./exchange/client.ts";
import type { Marks } from "./exchange/connection.ts";
import type { Credentials } from "./exchange/identity.ts";
import type { OrderClient } from "./exchange/orders.ts";
import { IdentitySession, SESSION_DEFAULTS, type Session, shared, staticSession } from "./exchange/session.ts";
import type { StreamOptions } from "./exchange/stream.ts";
import { Cache } from "./market/cache.ts";
import type { MarketFilter } from "./market/filter.ts";
import { FIELD, type FieldSet, type Sink } from "./market/types.ts";
import { Bookshop } from "./ops/bookshop.ts";
import type { MetricsRole } from "./ops/metrics.ts";
import type { MetricsSources } from "./ops/metrics-list.ts";
import type { SideUpstream } from "./sides.ts";
import type { Books, Kept } from "./snapshot.ts";
import type { Sessions } from "./tenancy/sessions.ts";

/** What a started gateway is known by. */
export interface Gateway {
  readonly source: Upstream;
  /** The account's order stream; null where orders are not enabled. */
  readonly orders: OrderClient | null;
  readonly cache: Cache;
  readonly httpUrl: string | null;
  readonly httpsUrl: string | null;
  readonly websocketUrl: string | null;
  readonly sseUrl: string | null;
  readonly esaPort: number | null;
  readonly esaTlsPort: number | null;
  readonly metricsUrl: string | null;
  /** True once the exchange's first image is whole. */
  readonly isReady: boolean;
  /** Tells users to come back, closes everything; resolves when all is closed, `stopMsMax` later at the latest. */
  stop(): Promise<void>;
}

export interface GatewayExtras {
  readonly log?: Log;
  /** Shown to whoever asks `/v1/info`, so that a demo's page gets in by itself. */
  readonly demo?: { readonly session: string; readonly appKey?: string };
  /** One of several processes at the same ports; the front has the doors that are not streams, too. */
  readonly worker?: {
    readonly front: boolean;
    readonly metrics: MetricsRole;
    /** Has tokens that are ended at one of them ended at all. */
    readonly share: (tokens: Sessions) => void;
    /** What `/v1/info` says of all of them. */
    readonly info: () => object;
    /** Has the hub fed; the doors open when it resolves. */
    readonly feed: (hub: Hub) => Promise<void>;
    readonly lobby: Pick<LobbyOptions, "counts" | "node">;
    /** Where orders and sports come from. */
    readonly sides: SideUpstream;
  };
}

const SWEEP_MS = 1_000;
/**
 * What has been read and decoded is collected after so many bytes of it, 8 ms each time. Each read is a buffer of its own for the collector, an image of
 * 20,000 markets 100 MB of them; left to its own judgement it lets 40 MB stand (`npm run bench -- W1`).
 */
const COLLECT_BYTES = { loading: 1024 * 1024, live: 2 * 1024 * 1024 } as const;

/** Whom an ingest serves prices. */
const NOBODY = { bySession: (): Goodbye => ({ code: "NOT_AUTHORIZED", message: "this process serves no users" }) };

/** Joins the rooms by role and opens the doors. Throws an OddswireError where a port is taken or a file is missing. */
export async function startGateway(config: Config, extras: GatewayExtras = {}): Promise<Gateway> {
  const log = extras.log ?? stderrLog(config.log.level);
  const clock = systemClock;
  const books = await openBooks(config, clock, log);
  const { cache } = books;
  const session = exchangeSession(config.exchange, clock, log);
  const source = await upstreamOf(config, session, clock, log, books.resumeFrom);
  if (config.role === "ingest") return ingest(config, source, session, books, clock);
  // A process that serves nobody loads no doors: they are memory that the books can have.
  const { openDoors } = await import("./doors.ts");
  const { snapshot } = books;
  const { hub, gateway } = await openDoors(config, cache, source, session, clock, log, { ...extras, snapshot });
  const kept = books.keep(source, hub);
  source.start(kept.sink);
  return keptAtStop(gateway, kept);
}

/** Books under an epoch of their own, or those of before, where a snapshot is kept. */
export async function openBooks(config: Config, clock: Clock, log: Log): Promise<Books> {
  const newCache = () => new Cache({ epoch: newEpoch(), clock, ...config.cache });
  if (config.snapshot === undefined)
    return {
      cache: newCache(),
      keep: (_, sink) => ({ sink, stop: () => Promise.resolve() }),
      snapshot: () => null,
    };
  const { snapshotBooks } = await import("./snapshot.ts");
  return snapshotBooks(config, newCache, clock, log);
}

/** A name for whoever begins to number. */
export function newEpoch(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(6))).toString("base64url");
}

function keptAtStop(gateway: Gateway, kept: Kept): Gateway {
  const { stop } = gateway;
  gateway.stop = async () => {
    const last = kept.stop();
    await stop();
    await last;
  };
  return gateway;
}

/** JSON lines on standard error. */
export function stderrLog(level: LogLevel): Log {
  return jsonLog(level, systemClock, (line) => void process.stderr.write(line));
}

/** Holds the stream and the books and serves nobody: what feeds edges elsewhere. */
async function ingest(
  config: Config,
  source: Upstream,
  { calls }: Session,
  books: Books,
  clock: Clock,
): Promise<Gateway> {
  const { doors } = config;
  const { cache, snapshot } = books;
  let timer: Timer = clock.after(SWEEP_MS, sweep);
  function sweep(): void {
    cache.sweep();
    timer = clock.after(SWEEP_MS, sweep);
  }
  const ready = () => isReady(source, cache);
  const sink: Sink = { batch: (batch) => void cache.apply(batch), settled() {}, state() {} };
  const info = () => gatewayInfo("ingest", source, cache);
  const http = bunServe(
    doors.http,
    httpDoor({ info, tokens: NOBODY, isReady: ready, books: new Bookshop(cache), page: new Map() }),
  );
  const sources = { role: "ingest", isReady: ready, feeds: { market: source }, cache, users: null, calls, snapshot };
  const metrics = await metricsDoor(config, sources, clock);
  const kept = books.keep(source, sink);
  source.start(collecting(kept.sink, source, ready));
  const gateway: Gateway = {
    source,
    orders: null,
    cache,
    httpUrl: httpUrl(doors.http.host, http.port),
    httpsUrl: null,
    websocketUrl: null,
    sseUrl: null,
    esaPort: null,
    esaTlsPort: null,
    metricsUrl: metricsUrl(config, metrics),
    get isReady() {
      return ready();
    },
    async stop() {
      http.stop();
      metrics?.stop();
      timer.cancel();
      source.stop();
    },
  };
  return keptAtStop(gateway, kept);
}

/** A sink after which what was read and decoded is collected. */
export function collecting(sink: Sink, source: Upstream, isLive: () => boolean): Sink {
  let collectedAt = 0;
  return {
    batch: (batch) => sink.batch(batch),
    settled() {
      sink.settled();
      if (source.bytes - collectedAt < COLLECT_BYTES[isLive() ? "live" : "loading"]) return;
      collectedAt = source.bytes;
      Bun.gc(true);
    },
    state: (state, reason) => sink.state(state, reason),
  };
}

/** Where scrapers come, loaded only where the configuration names it. */
export async function metricsDoor(
  { metrics }: Config,
  sources: Omit<MetricsSources, "version">,
  clock: Clock,
  role?: MetricsRole,
): Promise<HttpServer | null> {
  if (metrics === undefined) return null;
  const { openMetrics } = await import("./ops/metrics.ts");
  return openMetrics(metrics, { version: packageJson.version, ...sources }, clock, role);
}

export function metricsUrl({ metrics }: Config, server: HttpServer | null): string | null {
  return server && server.port > 0 && metrics ? `${httpUrl(metrics.host, server.port)}metrics` : null;
}

/** What `/v1/info` says of every gateway. */
export function gatewayInfo(role: Config["role"], source: Upstream, cache: Cache): object {
  const { sourceState, messages, connects } = source;
  const feed = {
    state: sourceState,
    ready: isReady(source, cache),
    markets: cache.size,
    changes: cache.changes,
    messages,
    connects,
  };
  return { version: packageJson.version, role, feed };
}

export function httpUrl(host: string, port: number, scheme: "http" | "https" = "http"): string {
  return `${scheme}://${reachable(host)}:${port}/`;
}

/** An address to listen on, as one to go to. */
export function reachable(host: string): string {
  return host === "0.0.0.0" || host === "::" ? "localhost" : host;
}

/** True once the exchange's first image is whole; with the books of before a restart at once, and while an image makes them new. */
export function isReady(source: Upstream, cache: Cache): boolean {
  return source.isComplete && (!cache.midGroup || !cache.isConfirmed);
}

/** The fields that the stream carries. */
export function carriedFields({ fields }: Config["exchange"]): FieldSet {
  return fields.reduce((set, name) => set | FIELD[name], 0);
}

/** The certificates to trust at the exchange; undefined: the system's. Throws FILE_NOT_FOUND. */
export function trusted({ caFile }: Config["exchange"]): string | undefined {
  return caFile === undefined ? undefined : readText(caFile);
}

/** One connection, unless more are asked for. */
export async function upstreamOf(
  config: Config,
  session: Session,
  clock: Clock,
  log: Log,
  resumeFrom: readonly Marks[] = [],
): Promise<Upstream> {
  const { filter, shards, demand } = config.exchange;
  if (shards.length === 0 && !demand.enabled)
    return exchangeClient(config, "exchange", filter, session, clock, log, resumeFrom[0]);
  const { poolOf } = await import("./exchange/pool-of.ts");
  const client = (name: string, of: MarketFilter, n: number) =>
    exchangeClient(config, name, of, shared(session), clock, log, resumeFrom[n]);
  return poolOf({ base: filter, shards, demand, client, stopped: () => session.stop() }, { clock, log });
}

function exchangeClient(
  { exchange }: Config,
  name: string,
  filter: MarketFilter,
  session: Session,
  clock: Clock,
  log: Log,
  resumeFrom?: Marks,
): ExchangeClient {
  const { ladderLevels, conflateMs } = exchange;
  const options = {
    ...streamOptions(exchange, name),
    ...(resumeFrom && { resumeFrom }),
    filter,
    fields: carriedFields(exchange),
    ladderLevels,
    conflateMs,
  };
  return new ExchangeClient(options, { dial: bunDial, session, clock, random: systemRandom, log });
}

/** Where the exchange is and how it is spoken to, for one connection of that name. */
export function streamOptions(exchange: Config["exchange"], name: string): StreamOptions {
  const { host, port, appKey, heartbeatMs, retryFirstMs, retryMaxMs } = exchange;
  const { settings, lineBytesMax } = EXCHANGE_DEFAULTS;
  const waits = { ...settings.waits, retry: { firstMs: retryFirstMs, maxMs: retryMaxMs } };
  return {
    name,
    host,
    port,
    tls: exchange.tls ? { ca: trusted(exchange) } : ("off" as const),
    appKey,
    lineBytesMax,
    settings: { ...settings, heartbeatMs, waits },
  };
}

export function exchangeSession(exchange: Config["exchange"], clock: Clock, log: Log): Session {
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
  return new IdentitySession(options, { post: bunPost(trusted(exchange)), clock, random: systemRandom, log });
}

/** Reads a PEM certificate and key. Throws FILE_NOT_FOUND. */
export function certificate({ certFile, keyFile }: { certFile: string; keyFile: string }): {
  cert: string;
  key: string;
} {
  return { cert: readText(certFile), key: readText(keyFile) };
}
