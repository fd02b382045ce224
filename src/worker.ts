import { join } from "node:path";
import { createInterface } from "node:readline";
import { collecting, exchangeSession, isReady, metricsDoor, openBooks, stderrLog, upstreamOf } from "./app.ts";
import { type Clock, systemClock } from "./base/clock.ts";
import type { Log } from "./base/log.ts";
import { systemRandom } from "./base/random.ts";
import { untilStopped } from "./cli/signals.ts";
import type { BusFollower } from "./cluster/follower.ts";
import type { Hub } from "./delivery/hub.ts";
import { Cache } from "./market/cache.ts";
import type { Follower } from "./market/types.ts";
import type { MetricsRole } from "./ops/metrics.ts";
import type { Sessions } from "./tenancy/sessions.ts";
import { countsPlace, edgeNames, INGEST, type WorkerOrder, type WorkerStarted } from "./workers.ts";

/** A worker as it runs: what it has opened, and how it ends. */
interface Running {
  readonly started: WorkerStarted;
  stop(): Promise<void>;
}

/** One process of several that are a gateway: waits for its order, serves, and ends by a signal, or with whoever started it. */
export async function runWorker(): Promise<number> {
  const order = await orderFromInput();
  const log = named(stderrLog(order.config.log.level), order.name);
  const running = await (order.name === INGEST ? startIngest(order, log) : startEdge(order, log));
  process.stdout.write(`${JSON.stringify(running.started)}\n`);
  log.info({ pid: process.pid }, "serves");
  await untilStopped();
  await running.stop();
  return 0;
}

/** The first line of standard input; when there is nobody any more to write a second, the process ends. */
function orderFromInput(): Promise<WorkerOrder> {
  return new Promise((resolve) => {
    const lines = createInterface({ input: process.stdin });
    lines.once("line", (line) => resolve(JSON.parse(line) as WorkerOrder));
    lines.once("close", () => process.exit(1));
  });
}

/** Holds the upstream and the books, and feeds the edges. */
async function startIngest(order: WorkerOrder, log: Log): Promise<Running> {
  const { config, folder } = order;
  const { BusPublisher } = await import("./cluster/publisher.ts");
  const { bunListen } = await import("./edge/sockets.ts");
  const clock = systemClock;
  const books = await openBooks(config, clock, log);
  const { cache } = books;
  const session = exchangeSession(config.exchange, clock, log);
  const source = await upstreamOf(config, session, clock, log, books.resumeFrom);
  const publisher = new BusPublisher({ cache, clock, log, listen: bunListen, at: busAt(folder), want: source.want });
  const ready = () => isReady(source, cache);
  const { orders, sports } = config;
  const hasSides = orders.enabled || sports.race || sports.cricket;
  const relay = hasSides
    ? (await import("./relay.ts")).openRelay(config, relayPath(folder), session, clock, log)
    : null;
  const sources = {
    role: "ingest",
    isReady: ready,
    feeds: { market: source, ...relay?.sides.clients },
    cache,
    users: null,
    bus: publisher,
    calls: session.calls,
    snapshot: books.snapshot,
  };
  const metrics = await metricsDoor(config, sources, clock, metricsRole(order));
  const kept = books.keep(source, publisher);
  if (!cache.isConfirmed) publisher.state("stale", "the books are those of before a restart");
  source.start(collecting(kept.sink, source, ready));
  return {
    started: { http: null },
    async stop() {
      const last = kept.stop();
      source.stop();
      publisher.stop();
      relay?.stop();
      metrics?.stop();
      await last;
    },
  };
}

/** Serves users with what the bus brings. */
async function startEdge(order: WorkerOrder, log: Log): Promise<Running> {
  const { name, config, folder } = order;
  const { BusFollower } = await import("./cluster/follower.ts");
  const { SharedCounts } = await import("./edge/connection-counts.ts");
  const { bunDial } = await import("./edge/sockets.ts");
  const { openDoors } = await import("./doors.ts");
  const { relayedSides } = await import("./sides.ts");
  const clock = systemClock;
  const cache = new Cache({ epoch: "", clock, ...config.cache });
  const source = new BusFollower(
    { name, at: busAt(folder), demand: config.exchange.demand.enabled },
    { dial: bunDial, clock, random: systemRandom, log },
  );
  // For names and lists of orders, which the front asks the exchange's API for.
  const session = exchangeSession(config.exchange, clock, log);
  const edge = edgeNames(config).indexOf(name);
  const counts = new SharedCounts(countsPlace(order), edge);
  const node = String(edge + 1).padStart(3, "0");
  const worker = {
    front: edge === 0,
    metrics: metricsRole(order),
    info: () => ({ configured: config.workers, serving: source.followers }),
    share(tokens: Sessions) {
      source.tokens = tokens;
      tokens.onEnded = (token) => source.tellEnded(token);
    },
    feed: (hub: Hub) => feed(hub, source, cache, clock),
    lobby: { counts, node },
    sides: relayedSides(config, relayPath(folder)),
  };
  const extras = { worker, snapshot: () => null };
  const { gateway } = await openDoors(config, cache, source, session, clock, log, extras);
  return { started: { http: gateway.httpUrl }, stop: () => gateway.stop() };
}

/** Has an edge's hub fed. Resolves when it has its books, so that users who are sent here find some, or after a while: then they wait here. */
function feed(hub: Hub, source: BusFollower, cache: Cache, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(UNFED_MS_MAX, resolve);
    const fed = () => {
      timer.cancel();
      resolve();
    };
    source.start(edgeHub(hub, cache, fed));
  });
}

/** The hub, which may be given the books of before a restart: until the exchange has answered, nothing is sure about who has seen more. */
function edgeHub(hub: Hub, cache: Cache, fed: () => void): Follower {
  return {
    batch: (batch) => hub.batch(batch),
    settled: () => hub.settled(),
    piece: (batch) => hub.piece(batch),
    syncing(position) {
      // Who came before could not be told whether it is ahead of these books; when it is back it can.
      if (position.unconfirmedFrom !== undefined)
        for (const session of [...hub.sessions]) hub.close(session, { code: "GOING_AWAY", message: "come back now" });
      hub.syncing(position);
    },
    synced() {
      hub.synced();
      fed();
    },
    cutOff: () => hub.cutOff(),
    current() {
      if (cache.isConfirmed) hub.current();
    },
    state(state) {
      hub.state(state);
      if (state === "live") cache.confirm();
    },
  };
}

function busAt(folder: string) {
  return { host: "", port: 0, path: join(folder, "bus.sock") };
}

function relayPath(folder: string): string {
  return join(folder, "relay.sock");
}

/** An edge without books opens its doors after so long: what it is waiting for may be the exchange, and users and operators are to be told. */
const UNFED_MS_MAX = 3_000;
/** The longest that one scrape waits for the other processes. */
const TELL_MS_MAX = 1_000;

/** Who holds the upstream tells scrapers of all. */
function metricsRole({ name, config, folder }: WorkerOrder): MetricsRole {
  const pathOf = (worker: string) => join(folder, `${worker}.metrics.sock`);
  if (name !== INGEST) return { kind: "told", path: pathOf(name) };
  const others = edgeNames(config).map((edge) => ({
    name: edge,
    async ask() {
      const signal = AbortSignal.timeout(TELL_MS_MAX);
      const answer = await fetch("http://edge/metrics", { unix: pathOf(edge), signal });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      return answer.text();
    },
  }));
  return { kind: "teller", name, others };
}

/** A log in which each line says whose it is. */
function named(log: Log, worker: string): Log {
  return {
    debug: (fields, message) => log.debug({ worker, ...fields }, message),
    info: (fields, message) => log.info({ worker, ...fields }, message),
    warn: (fields, message) => log.warn({ worker, ...fields }, message),
    error: (fields, message) => log.error({ worker, ...fields }, message),
  };
}
