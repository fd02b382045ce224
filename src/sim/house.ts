import type { Clock, Timer } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { type Random, seededRandom } from "../base/random.ts";
import type { Dial } from "../base/socket.ts";
import { Hub } from "../delivery/hub.ts";
import { EsaDoor } from "../edge/esa.ts";
import { Lobby } from "../edge/lobby.ts";
import { WebSocketDoor } from "../edge/websocket.ts";
import { ExchangeClient } from "../exchange/client.ts";
import { IDENTITY_HOSTS, type Post } from "../exchange/identity.ts";
import { IdentitySession, SESSION_DEFAULTS } from "../exchange/session.ts";
import { Cache } from "../market/cache.ts";
import { ALL_FIELDS, LADDER_LEVELS_MAX } from "../market/types.ts";
import { TokenList } from "../tenancy/tokens.ts";
import type { VirtualClock } from "./clock.ts";
import { SimExchange } from "./exchange.ts";
import { SimIdentity } from "./identity.ts";
import type { VirtualNetwork, Weather } from "./network.ts";

export const EXCHANGE_AT = { host: "exchange", port: 443 } as const;
export const ESA_AT = { host: "house", port: 4430 } as const;
export const WEBSOCKET_AT = { host: "house", port: 8080 } as const;

const APP_KEY = "app-key";
const ACCOUNT = { username: "ada", password: "lovelace" } as const;
/** Of what the exchange may be silent before the house must have noticed: twice this. */
export const UPSTREAM_HEARTBEAT_MS = 500;
const USERS_MAX = 20;
/** A dozen markets. The default of 2 GB costs 30 ms to set aside. */
const ARENA_BYTES_MAX = 16 * 1024 * 1024;
const DELETIONS_MAX = 64;

/** What differs from one house to another. */
export interface HousePlan {
  readonly upstream: Partial<Weather>;
  /** Of the exchange: how large its segments are, and how many messages it can resume from. */
  readonly exchangeSegmentBytes: number;
  readonly exchangeLogMessages: number;
  readonly exchangeForgetMs: number;
  /** Of its identity service. */
  readonly tokenLifetimeMs: number;
  readonly retentionMs: number;
  readonly forgetMs: number;
  readonly segmentBytesMax: number;
  readonly flushBytesMax: number;
  readonly behindMsMax: number;
  /** Deleted prices remembered; by default so few that the ring comes round within a trial, and who was away for long must be sent images. */
  readonly deletionsMax?: number;
}

/** The exchange with its identity service, and the gateway between it and the users' doors: production classes on a virtual network. */
export class House {
  readonly exchange: SimExchange;
  readonly identity: SimIdentity;
  /** The gateway of now; `restart` puts another in its place. */
  gateway: Gateway;
  readonly plan: HousePlan;
  /** What all gateways together have waiting on the clock. */
  readonly timers: CountedClock;
  /** When bytes of the exchange last reached the house. */
  heardAt = 0;
  readonly #network: VirtualNetwork;
  readonly #random: Random;
  readonly #gateways: Gateway[] = [];
  #posts = 0;

  constructor(clock: VirtualClock, network: VirtualNetwork, seed: number, plan: HousePlan) {
    this.#network = network;
    this.#random = seededRandom(seed);
    this.plan = plan;
    this.timers = new CountedClock(clock);
    const random = this.#random;
    const { tokenLifetimeMs } = plan;
    this.identity = new SimIdentity({ clock, random, accounts: [ACCOUNT], appKeys: [APP_KEY], tokenLifetimeMs });
    const limits = {
      marketsMax: 1_000,
      segmentBytes: plan.exchangeSegmentBytes,
      logMessagesMax: plan.exchangeLogMessages,
      forgetClosedMs: plan.exchangeForgetMs,
    };
    const world = { clock, random, log: silentLog, sessions: this.identity, appKeys: [APP_KEY], limits };
    this.exchange = new SimExchange(world);
    this.exchange.listen(network.listen, EXCHANGE_AT);
    this.gateway = this.#open();
  }

  /** A gateway that dies without a word, or says goodbye first; and another, which knows nothing of it. */
  restart(gracefully: boolean): void {
    this.gateway.stop(gracefully);
    if (!gracefully) for (const { host, port } of [ESA_AT, WEBSOCKET_AT]) this.#network.cut(`${host}:${port}`);
    this.gateway = this.#open();
  }

  /** One of the hubs' counters, over all lives. */
  count(counter: "images" | "resumes" | "catchUps" | "messagesOut"): number {
    return this.#gateways.reduce((sum, { hub }) => sum + hub[counter], 0);
  }

  /** Lets what is not on the clock come through: answers of the identity service. */
  async settle(): Promise<void> {
    do await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#posts > 0);
  }

  stop(): void {
    this.gateway.stop(true);
    this.exchange.stop();
  }

  #open(): Gateway {
    const dial: Dial = (to, handler) =>
      this.#network.dialAs("gateway", this.plan.upstream)(to, {
        ...handler,
        data: (socket, bytes) => {
          this.heardAt = this.timers.monotonic();
          handler.data(socket, bytes);
        },
      });
    const { listen } = this.#network;
    const epoch = `e${this.#gateways.length + 1}`;
    const world = { epoch, dial, listen, post: this.#post, clock: this.timers, random: this.#random };
    const gateway = new Gateway(world, this.plan);
    this.#gateways.push(gateway);
    return gateway;
  }

  readonly #post: Post = async ({ url, headers, body }) => {
    this.#posts++;
    try {
      const answer = await this.identity.handle(new Request(url, { method: "POST", headers, body }));
      return { status: answer.status, body: await answer.text() };
    } finally {
      this.#posts--;
    }
  };
}

interface GatewayWorld {
  readonly epoch: string;
  readonly dial: Dial;
  readonly listen: VirtualNetwork["listen"];
  readonly post: Post;
  readonly clock: Clock;
  readonly random: Random;
}

/** One life of the gateway: the rooms joined as `app` joins them. */
export class Gateway {
  readonly cache: Cache;
  readonly hub: Hub;
  readonly client: ExchangeClient;
  readonly lobby: Lobby;
  readonly #doors: readonly { stop(): void }[];

  constructor({ epoch, dial, listen, post, clock, random }: GatewayWorld, plan: HousePlan) {
    const { retentionMs, forgetMs, segmentBytesMax, flushBytesMax, behindMsMax } = plan;
    this.cache = new Cache({
      epoch,
      clock,
      retentionMs,
      forgetMs,
      arenaBytesMax: ARENA_BYTES_MAX,
      deletionsMax: plan.deletionsMax ?? DELETIONS_MAX,
    });
    this.hub = new Hub({ cache: this.cache, clock, segmentBytesMax, flushBytesMax, behindMsMax });
    const world = { clock, random, log: silentLog };
    const credentials = { kind: "interactive", ...ACCOUNT } as const;
    const login = { ...SESSION_DEFAULTS, lifetimeMs: plan.tokenLifetimeMs, loginsPerMinuteMax: 50 };
    const session = new IdentitySession(
      { ...login, appKey: APP_KEY, credentials, hosts: IDENTITY_HOSTS },
      { ...world, post },
    );
    this.client = new ExchangeClient(UPSTREAM, { ...world, dial, session });
    const accounts = Array.from({ length: USERS_MAX }, (_, i) => ({ token: userToken(i), name: userName(i) }));
    this.lobby = new Lobby({ hub: this.hub, clock, connectionsMax: 1_000, tokens: new TokenList(accounts) });
    const door = { listen, lobby: this.lobby, log: silentLog };
    this.#doors = [new EsaDoor({ ...door, at: ESA_AT }), new WebSocketDoor({ ...door, at: WEBSOCKET_AT })];
    this.client.start(this.hub);
  }

  stop(gracefully: boolean): void {
    for (const door of this.#doors) door.stop();
    this.client.stop();
    if (gracefully) this.lobby.closeAll({ code: "GOING_AWAY", message: "the server is restarting" });
    this.hub.stop();
  }
}

export function userName(i: number): string {
  return `user-${i}`;
}

export function userToken(i: number): string {
  return `token-${i}`;
}

/** Everything the exchange has; quick to notice and quick to come back, so that a run sees many faults. */
const UPSTREAM = {
  name: "exchange",
  ...EXCHANGE_AT,
  tls: "off",
  appKey: APP_KEY,
  filter: {},
  fields: ALL_FIELDS,
  ladderLevels: LADDER_LEVELS_MAX,
  conflateMs: 0,
  lineBytesMax: 4 * 1024 * 1024,
  settings: {
    heartbeatMs: UPSTREAM_HEARTBEAT_MS,
    silenceFactor: 2,
    requestMs: 3_000,
    steadyMs: 1_000,
    refusedTokensMax: 3,
    waits: {
      retry: { firstMs: 100, maxMs: 1_000 },
      later: { firstMs: 300, maxMs: 1_000 },
      slow: { firstMs: 1_000, maxMs: 2_000 },
    },
  },
} as const;

/** A clock that knows how many of the timers set by it still wait: in the end there must be none. Its idea of the time of day may jump. */
export class CountedClock implements Clock {
  waiting = 0;
  wallOffset = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  wall(): number {
    return this.#clock.wall() + this.wallOffset;
  }

  monotonic(): number {
    return this.#clock.monotonic();
  }

  after(ms: number, fire: () => void): Timer {
    this.waiting++;
    let waits = true;
    const over = () => {
      if (waits) this.waiting--;
      waits = false;
    };
    const timer = this.#clock.after(ms, () => {
      over();
      fire();
    });
    return {
      cancel() {
        over();
        timer.cancel();
      },
    };
  }
}
