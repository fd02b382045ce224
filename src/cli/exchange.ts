import { systemClock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { bunServe } from "../edge/server.ts";
import { bunListen } from "../edge/sockets.ts";
import { BestOffers } from "../sim/best-offers.ts";
import { SimBetting } from "../sim/betting.ts";
import { type MarketNames, marketMethods } from "../sim/betting-markets.ts";
import { type Certificate, loopbackCertificate } from "../sim/certificate.ts";
import { SimExchange } from "../sim/exchange.ts";
import { SimIdentity } from "../sim/identity.ts";
import { orderMethods } from "../sim/order-methods.ts";
import { Punters, STRATEGY_REFS } from "../sim/punters.ts";
import { Replay, type ReplayProgress } from "../sim/replay.ts";
import { World } from "../sim/world.ts";
import type { WorldMarket } from "../sim/world-market.ts";
import { EVENT_DAYS, EventDay, type EventDayOptions } from "../sim/world-w1.ts";
import { type Call, type OptionSpec, UsageError } from "./command.ts";
import { existingFiles } from "./files.ts";

/** What the simulated exchange plays, and how: options that `demo` and `simulate` share. */
export const EXCHANGE_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  recording: {
    value: "FILE…",
    many: true,
    help: "Play recordings (plain, .gz, .bz2, .zip, .tar) instead of a generated world; several in the order of their times.",
  },
  speed: { value: "N", help: "So many times as fast as recorded; 0: as fast as it can be read.", default: "1" },
  gap: {
    value: "SECONDS",
    help: "Longer silences of the recordings are cut down to this, before --speed.",
    default: "30",
  },
  loop: { help: "Begin anew when the recordings end." },
  markets: { value: "N", help: "Markets of the generated world, 10 to 20,000.", default: "40" },
  rate: { value: "N", help: "Market changes a second in the generated world; by default what suits its size." },
  punters: {
    value: "N",
    help: "People who bet on the account, for several strategies, so that its order stream has something to say.",
    default: "0",
  },
  seed: { value: "N", help: "The generated world's seed: the same one gives the same world.", default: "1" },
  workload: {
    value: "NAME",
    help: "Play the feed of a workload of docs/LOADTEST.md: W1, event day (20,000 markets with full ladders, 2,000 changes a second with bursts); W2, spread (500 markets, 100 changes a second); … W8b.",
  },
};

export const DEMO_ACCOUNT = { username: "demo", password: "demo-password", appKey: "demo-app-key" } as const;

/** A simulated exchange that is up, with what is needed to log in to it. */
export interface RunningExchange {
  readonly exchange: SimExchange;
  readonly identity: SimIdentity;
  readonly betting: SimBetting;
  readonly certificate: Certificate;
  readonly tlsPort: number;
  readonly plainPort: number | null;
  /** Identity service and betting API. */
  readonly identityUrl: string;
  readonly markets: number;
  /** Begins to play. For recordings: resolves at the end of the last round; a world has no end. */
  play(progress?: (progress: ReplayProgress) => void): Promise<void>;
  stop(): void;
}

export interface ExchangePorts {
  readonly host: string;
  readonly tls: number;
  /** Absent: no plain door. */
  readonly plain?: number;
  readonly identity: number;
  /** Connections that the account may have open at once; by default as many as at the exchange. */
  readonly connectionsMax?: number;
}

const CONNECTIONS_MAX = 10;
const ACTS_PER_SECOND = 0.5;

/** Starts the exchange that the options describe; it is silent until `play`. */
export async function startExchange(call: Call, ports: ExchangePorts, log: Log): Promise<RunningExchange> {
  const seed = call.number("seed", 0, 2 ** 32 - 1) as number;
  const clock = systemClock;
  const certificate = await loopbackCertificate();
  const accounts = [{ username: DEMO_ACCOUNT.username, password: DEMO_ACCOUNT.password }];
  const identity = new SimIdentity({ clock, random: seededRandom(seed + 1), accounts, appKeys: [DEMO_ACCOUNT.appKey] });
  const limits = { marketsMax: Number.POSITIVE_INFINITY, connectionsMax: ports.connectionsMax ?? CONNECTIONS_MAX };
  const options = {
    clock,
    random: seededRandom(seed + 2),
    log,
    sessions: identity,
    appKeys: [DEMO_ACCOUNT.appKey],
    sportsAppKeys: [DEMO_ACCOUNT.appKey],
    limits,
  };
  const exchange = new SimExchange(options);
  const methods = orderMethods(exchange.orders);
  const punters = new Punters(
    {
      punters: call.number("punters", 0, 1_000) as number,
      actsPerSecond: ACTS_PER_SECOND,
      account: DEMO_ACCOUNT.username,
      strategyRefs: STRATEGY_REFS,
    },
    { clock, random: seededRandom(seed + 3), books: exchange.orders, methods, markets: () => exchange.marketIds() },
  );
  const feed = makeFeed(call, exchange, seed);
  const shelf = { ids: () => exchange.marketIds(), image: (id: string) => exchange.image(id), namesOf: feed.namesOf };
  const betting = new SimBetting({
    clock,
    sessions: identity,
    appKeys: options.appKeys,
    methods: [marketMethods(shelf), methods],
  });
  const tls = exchange.listen(bunListen, { host: ports.host, port: ports.tls, tls: certificate });
  const plain = ports.plain === undefined ? null : exchange.listen(bunListen, { host: ports.host, port: ports.plain });
  const service = bunServe({ host: ports.host, port: ports.identity }, (request) =>
    betting.matches(request) ? betting.handle(request) : identity.handle(request),
  );
  return {
    exchange,
    identity,
    betting,
    certificate,
    tlsPort: tls.port,
    plainPort: plain?.port ?? null,
    identityUrl: `http://${ports.host}:${service.port}`,
    markets: feed.markets,
    play(progress) {
      punters.start();
      return feed.play(progress);
    },
    stop() {
      punters.stop();
      feed.stop();
      exchange.stop();
      service.stop();
    },
  };
}

interface Feed {
  readonly markets: number;
  /** What the catalogue calls a market; null: what its definition says. */
  readonly namesOf: (marketId: string) => MarketNames | null;
  play(progress?: (progress: ReplayProgress) => void): Promise<void>;
  stop(): void;
}

const NEVER = new Promise<void>(() => {});

/** Options that say nothing about what is played. */
const ONLY_RECORDINGS = ["speed", "gap", "loop"];
const ONLY_WORLD = ["markets", "rate", "workload"];

function makeFeed(call: Call, exchange: SimExchange, seed: number): Feed {
  const recorded = call.list("recording").length > 0;
  const useless = call.said.find((name) => (recorded ? ONLY_WORLD : ONLY_RECORDINGS).includes(name));
  if (useless !== undefined)
    throw new UsageError(
      `--${useless} says nothing ${recorded ? "with" : "without"} --recording FILE: ${recorded ? "leave it out" : "add that"}`,
    );
  const clock = systemClock;
  const publish = exchange.publish.bind(exchange);
  if (recorded) {
    const files = existingFiles([...call.list("recording"), ...call.operands]);
    const speed = call.number("speed", 0, 1e6, "any") || Number.POSITIVE_INFINITY;
    const gapMsMax = (call.number("gap", 0.1, 1e6, "any") as number) * 1_000;
    let replay: Replay | null = null;
    return {
      markets: 0,
      namesOf: () => null,
      async play(progress) {
        const options = { files, order: "merged", speed, gapMsMax, loop: call.flag("loop"), rewritePt: true } as const;
        replay = new Replay(options, {
          clock,
          publish,
          publishSport: exchange.publishSport.bind(exchange),
          settled: () => exchange.settled(),
          ...(progress && { onProgress: progress }),
        });
        const { changes } = await replay.run();
        if (changes === 0)
          throw new OddswireError(
            "INVALID_RECORDING",
            `no changes in ${files.join(", ")}: name recordings of a market, race or cricket stream`,
          );
      },
      stop: () => replay?.stop(),
    };
  }
  if (call.operands.length > 0)
    throw new UsageError(`"${call.operands[0]}" is not an option; to play recordings say --recording FILE`);
  const best = new BestOffers();
  const stage = { clock, random: seededRandom(seed), publish };
  const markets = call.number("markets", 10, 20_000) as number;
  const changesPerSecond = call.number("rate", 1, 20_000);
  const workload = call.word("workload", Object.keys(EVENT_DAYS));
  const world =
    workload !== undefined
      ? new EventDay(EVENT_DAYS[workload] as EventDayOptions, stage)
      : new World(
          // as on the live stream: names are the catalogue's
          { markets, names: false, ...(changesPerSecond && { changesPerSecond }) },
          {
            ...stage,
            publish: (pt, changes) =>
              publish(
                pt,
                changes.map((change) => best.add(change)),
              ),
          },
        );
  return {
    markets: world.markets.length,
    namesOf: namesIn(world),
    play() {
      world.start();
      return NEVER;
    },
    stop: () => world.stop(),
  };
}

/** Looked up in a table that is made anew when it does not know a market: worlds have new ones now and then. */
function namesIn(world: { readonly markets: readonly WorldMarket[] }): Feed["namesOf"] {
  let markets = new Map<string, WorldMarket>();
  return (id) => {
    if (!markets.has(id)) markets = new Map(world.markets.map((market) => [market.id, market]));
    return markets.get(id)?.names ?? null;
  };
}
