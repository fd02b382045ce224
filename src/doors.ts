import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  carriedFields,
  certificate,
  type Gateway,
  type GatewayExtras,
  gatewayInfo,
  httpUrl,
  isReady,
  metricsDoor,
  metricsUrl,
  reachable,
  trusted,
} from "./app.ts";
import type { Clock } from "./base/clock.ts";
import { readText } from "./base/file.ts";
import type { Log } from "./base/log.ts";
import { systemRandom } from "./base/random.ts";
import type { Listen } from "./base/socket.ts";
import type { Config } from "./config.ts";
import { Hub } from "./delivery/hub.ts";
import { accountRoute } from "./edge/account.ts";
import { BettingDoor } from "./edge/betting.ts";
import { certificateServe } from "./edge/certificate-server.ts";
import { EsaDoor } from "./edge/esa.ts";
import { type HttpHandler, httpDoor } from "./edge/http.ts";
import { identityRoute } from "./edge/identity.ts";
import { Lobby } from "./edge/lobby.ts";
import { bunServe, type HttpServer } from "./edge/server.ts";
import { bunListen } from "./edge/sockets.ts";
import { SseDoor } from "./edge/sse.ts";
import { STREAM_PATH } from "./edge/sse-request.ts";
import { Tide } from "./edge/tide.ts";
import { WebSocketDoor } from "./edge/websocket.ts";
import { CATALOGUE_BYTES_MAX, CATALOGUE_DEFAULTS, Catalogue } from "./exchange/catalogue.ts";
import { bunPost, type Upstream } from "./exchange/client.ts";
import { ORDER_LISTS_BYTES_MAX, ORDER_LISTS_DEFAULTS, OrderLists } from "./exchange/order-lists.ts";
import type { Session } from "./exchange/session.ts";
import type { Cache } from "./market/cache.ts";
import { BettingDesk } from "./ops/betting.ts";
import { Bookshop } from "./ops/bookshop.ts";
import { exchangeSides, Sides } from "./sides.ts";
import type { Books } from "./snapshot.ts";
import { Sessions } from "./tenancy/sessions.ts";

/** From `stop` to the last socket closed by force. */
export const STOP_MS_MAX = 3_000;
const WEB = fileURLToPath(new URL("../web/", import.meta.url));

interface Edge {
  readonly hub: Hub;
  readonly gateway: Gateway;
}

/** Opens the doors that the configuration names, with the hub behind them. Throws an OddswireError where a port is taken or a file is missing. */
export async function openDoors(
  config: Config,
  cache: Cache,
  source: Upstream,
  session: Session,
  clock: Clock,
  log: Log,
  extras: GatewayExtras & Pick<Books, "snapshot">,
): Promise<Edge> {
  const { doors } = config;
  const isFront = extras.worker?.front ?? true;
  const hub = new Hub({ cache, clock, ...config.delivery, ...(source.want && { want: source.want }) });
  const tokens = sessionsOf(config, clock);
  const sides = new Sides(config, extras.worker?.sides ?? exchangeSides(config, session), clock, log);
  const { orders, sports } = sides;
  const { connectionsMax } = doors;
  const lobby = new Lobby({ hub, tokens, clock, sides: sides.streams, connectionsMax, ...extras.worker?.lobby });
  const opened: { stop(): void }[] = [];
  try {
    extras.worker?.share(tokens);
    await extras.worker?.feed(hub);
    const listen: Listen = (at, accept) => bunListen({ ...at, reusePort: extras.worker !== undefined }, accept);
    const shared = { listen, lobby, log };
    const websocket = keep(opened, new WebSocketDoor({ ...shared, at: doors.websocket }));
    const sse =
      doors.sse && keep(opened, new SseDoor({ ...shared, ...doors.sse, at: doors.sse, random: systemRandom }));
    const esa = doors.esa && keep(opened, new EsaDoor({ ...shared, at: doors.esa }));
    const esaTls =
      doors.esaTls && keep(opened, new EsaDoor({ ...shared, at: { ...doors.esaTls, tls: certificate(doors.esaTls) } }));
    keep(opened, tideOf(lobby, clock));
    const ready = () => isReady(source, cache);
    const streams = () => ({
      ...gatewayInfo("all", source, cache),
      websocket: { port: websocket.port, path: "/v1/ws" },
      sse: { port: sse?.port ?? null, path: STREAM_PATH },
      esa: { port: esa?.port ?? null, tlsPort: esaTls?.port ?? null },
      ...(orders && { orders: { state: orders.client.sourceState, connects: orders.client.connects } }),
      ...Object.fromEntries(
        sports.map(({ sport, client: { sourceState: state, connects } }) => [sport, { state, connects }]),
      ),
      ...(extras.worker && { workers: extras.worker.info() }),
      ...(extras.demo && { demo: extras.demo }),
    });
    const front = isFront
      ? await openFront({ config, cache, source, session, tokens, clock, log, streams }, opened)
      : null;
    const metrics = await metricsDoor(
      config,
      {
        role: extras.worker === undefined ? "all" : "edge",
        isReady: ready,
        cache,
        calls: session.calls,
        snapshot: extras.snapshot,
        feeds: {
          market: source,
          ...sides.clients,
        },
        users: {
          hub,
          lobby,
          tokens,
          catalogue: front?.catalogue ?? null,
          doors: {
            websocket: websocket.traffic,
            ...(sse && { sse: sse.traffic }),
            ...(esa && { esa: esa.traffic }),
            ...(esaTls && { esa_tls: esaTls.traffic }),
          },
          desks: sides.desks,
        },
      },
      clock,
      extras.worker?.metrics,
    );
    if (metrics !== null) opened.push(metrics);
    const gateway: Gateway = {
      source,
      orders: orders?.client ?? null,
      cache,
      httpUrl: front && httpUrl(doors.http.host, front.http.port),
      httpsUrl: front?.https && doors.https ? httpUrl(doors.https.host, front.https.port, "https") : null,
      websocketUrl: `ws://${reachable(doors.websocket.host)}:${websocket.port}/v1/ws`,
      sseUrl: sse && doors.sse ? `http://${reachable(doors.sse.host)}:${sse.port}${STREAM_PATH}` : null,
      esaPort: esa?.port ?? null,
      esaTlsPort: esaTls?.port ?? null,
      metricsUrl: metricsUrl(config, metrics),
      get isReady() {
        return ready();
      },
      async stop() {
        for (const door of opened) door.stop();
        lobby.closeAll({ code: "GOING_AWAY", message: "the server is stopping; come back in a moment" });
        sides.stop();
        source.stop();
        await gone(lobby, clock);
        sides.close();
        hub.stop();
      },
    };
    sides.start();
    return { hub, gateway };
  } catch (error) {
    for (const door of opened) door.stop();
    sides.close();
    hub.stop();
    throw error;
  }
}

interface FrontWorld {
  readonly config: Config;
  readonly cache: Cache;
  readonly source: Upstream;
  readonly session: Session;
  readonly tokens: Sessions;
  readonly clock: Clock;
  readonly log: Log;
  /** What `/v1/info` says of the doors that are streams. */
  readonly streams: () => object;
}

/** The doors that are not streams: page, REST, login, betting API. */
async function openFront(
  world: FrontWorld,
  opened: { stop(): void }[],
): Promise<{ catalogue: Catalogue; http: HttpServer; https?: HttpServer }> {
  const { config, cache, source, session, tokens, clock, log, streams } = world;
  const { doors } = config;
  const page = await pageFiles();
  const catalogue = keep(opened, catalogueOf(config, cache, session, clock, log));
  const info = () => ({
    ...streams(),
    https: { port: https?.port ?? null, certLoginPort: certLogin?.port ?? null },
    names: { markets: catalogue.named, calls: catalogue.calls, failures: catalogue.failures },
  });
  const ready = () => isReady(source, cache);
  const routes = [
    identityRoute(tokens, log),
    bettingRoute(config, cache, catalogue, source, tokens, session, clock),
    accountRoute({ tokens }),
  ];
  const handle = httpDoor({ info, tokens, isReady: ready, books: new Bookshop(cache, catalogue), page, routes, log });
  const certLogin = doors.certLogin && keep(opened, await certLoginDoor(doors.certLogin, handle));
  const https = doors.https && keep(opened, bunServe({ ...doors.https, tls: certificate(doors.https) }, handle));
  // Last, as `/v1/info` there says where the others are.
  const http = keep(opened, bunServe(doors.http, handle));
  return https === undefined ? { catalogue, http } : { catalogue, http, https };
}

const BETFAIR = {
  stream: /(^|\.)betfair\.com$/,
  api: "https://api.betfair.com",
} as const;

/** Where the exchange's API is; null where nobody said. The exchange's own address is no default for a simulated one: app keys and tokens go there. */
function apiHostOf(exchange: Config["exchange"]): string | null {
  return exchange.apiHost ?? (BETFAIR.stream.test(exchange.host) ? BETFAIR.api : null);
}

/** Names from the exchange's API, by the stream's session. One that is not started knows none: where that is wished, or nobody said where the API is. */
function catalogueOf(
  { exchange, catalogue }: Config,
  cache: Cache,
  session: Session,
  clock: Clock,
  log: Log,
): Catalogue {
  const apiHost = apiHostOf(exchange);
  const options = { ...CATALOGUE_DEFAULTS, ...catalogue, apiHost: apiHost ?? "", appKey: exchange.appKey };
  const post = bunPost(trusted(exchange), CATALOGUE_BYTES_MAX);
  const names = new Catalogue(options, {
    post,
    session,
    markets: () => cache.books(),
    clock,
    random: systemRandom,
    log,
  });
  if (catalogue.enabled && apiHost !== null) names.start();
  return names;
}

function bettingRoute(
  { exchange, doors, orders }: Config,
  cache: Cache,
  catalogue: Catalogue,
  source: Upstream,
  tokens: Sessions,
  session: Session,
  clock: Clock,
): BettingDoor {
  const apiHost = apiHostOf(exchange);
  const post = bunPost(trusted(exchange), ORDER_LISTS_BYTES_MAX);
  const lists =
    orders.enabled && apiHost !== null
      ? new OrderLists({ ...ORDER_LISTS_DEFAULTS, apiHost, appKey: exchange.appKey }, { post, session, clock })
      : null;
  const isDelayed = () => source.sourceState !== "live";
  const reader = new BettingDesk({ cache, catalogue, fields: carriedFields(exchange), isDelayed });
  const ready = () => isReady(source, cache);
  return new BettingDoor({
    tokens,
    reader,
    orders: lists,
    isReady: ready,
    clock,
    callsPerSecondMax: doors.bettingCallsPerSecondMax,
  });
}

function sessionsOf({ visitors, appKeys, sessions, doors }: Config, clock: Clock): Sessions {
  const certificates = doors.certLogin !== undefined;
  const options = { ...sessions, certificates, ...(appKeys.length > 0 && { appKeys }) };
  return new Sessions(visitors, options, { clock, secrets: crypto });
}

function certLoginDoor(at: NonNullable<Config["doors"]["certLogin"]>, handle: HttpHandler): Promise<HttpServer> {
  return certificateServe({ ...at, tls: { ...certificate(at), clientCa: readText(at.clientCaFile) } }, handle);
}

function tideOf(lobby: Lobby, clock: Clock): Tide {
  const gone = () => lobby.ends.values().reduce((sum, count) => sum + count, 0);
  return new Tide({ clock, here: () => lobby.connections, gone, collect: () => Bun.gc(true) });
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
