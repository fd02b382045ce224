import type { Clock, Timer } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { pick, type Random, seededRandom } from "../base/random.ts";
import type { Dial, Listen } from "../base/socket.ts";
import { BusFollower } from "../cluster/follower.ts";
import { BusPublisher } from "../cluster/publisher.ts";
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
export const BUS_AT = { host: "bus", port: 4440 } as const;
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
  /** How many bytes of prices a second each user may have. */
  readonly bytesPerSecondMax?: number | undefined;
  /** So many hubs with doors of their own follow the one that holds the upstream; 0: it serves users itself. */
  readonly edges?: number;
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
    if (!gracefully) for (const { host, port } of [ESA_AT, WEBSOCKET_AT, BUS_AT]) this.#network.cut(`${host}:${port}`);
    this.gateway = this.#open();
  }

  /** One of the hubs' counters, over all lives. */
  count(counter: "images" | "resumes" | "catchUps" | "holds" | "messagesOut"): number {
    return this.#gateways.reduce((sum, { edges }) => edges.reduce((all, { hub }) => all + hub[counter], sum), 0);
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
    const busDial = this.#network.dialAs("edge");
    const world = { epoch, dial, busDial, listen, post: this.#post, clock: this.timers, random: this.#random };
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

/** How the bus is: quick to notice, as the upstream. */
const BUS_HEARTBEAT_MS = 250;

interface GatewayWorld {
  readonly epoch: string;
  readonly dial: Dial;
  /** From an edge to the bus. */
  readonly busDial: Dial;
  readonly listen: VirtualNetwork["listen"];
  readonly post: Post;
  readonly clock: Clock;
  readonly random: Random;
}

/** What users meet: the hub, and who is in. */
export interface Edge {
  readonly cache: Cache;
  readonly hub: Hub;
  readonly lobby: Lobby;
  readonly doors: readonly { stop(): void }[];
  readonly follower: BusFollower | null;
}

/** One life of the gateway: the rooms joined as `app` joins them. */
export class Gateway {
  /** The books of whoever holds the upstream. */
  readonly cache: Cache;
  readonly client: ExchangeClient;
  readonly edges: readonly Edge[];
  readonly #publisher: BusPublisher | null;

  constructor(world: GatewayWorld, plan: HousePlan) {
    const { dial, post, clock, random } = world;
    const rest = { clock, random, log: silentLog };
    const credentials = { kind: "interactive", ...ACCOUNT } as const;
    const login = { ...SESSION_DEFAULTS, lifetimeMs: plan.tokenLifetimeMs, loginsPerMinuteMax: 50 };
    const session = new IdentitySession(
      { ...login, appKey: APP_KEY, credentials, hosts: IDENTITY_HOSTS },
      { ...rest, post },
    );
    this.client = new ExchangeClient(UPSTREAM, { ...rest, dial, session });
    const count = plan.edges ?? 0;
    if (count === 0) {
      this.edges = [openEdge(world, plan, null)];
      this.cache = this.hub.cache;
      this.#publisher = null;
      this.client.start(this.hub);
      return;
    }
    this.cache = cacheOf(world, plan);
    const { listen } = world;
    this.#publisher = new BusPublisher({
      ...rest,
      cache: this.cache,
      listen,
      at: BUS_AT,
      heartbeatMs: BUS_HEARTBEAT_MS,
    });
    const shared = sharedPorts(listen, random);
    this.edges = Array.from({ length: count }, (_, n) =>
      openEdge({ ...world, listen: shared, epoch: "" }, plan, `edge-${n}`),
    );
    this.client.start(this.#publisher);
  }

  /** The first hub; the only one where no others follow. */
  get hub(): Hub {
    return (this.edges[0] as Edge).hub;
  }

  get lobby(): Lobby {
    return (this.edges[0] as Edge).lobby;
  }

  stop(gracefully: boolean): void {
    for (const { doors } of this.edges) for (const door of doors) door.stop();
    this.client.stop();
    for (const { lobby, follower } of this.edges) {
      follower?.stop();
      if (gracefully) lobby.closeAll({ code: "GOING_AWAY", message: "the server is restarting" });
    }
    this.#publisher?.stop();
    for (const { hub } of this.edges) hub.stop();
  }
}

function cacheOf(
  { epoch, clock }: GatewayWorld,
  { retentionMs, forgetMs, deletionsMax = DELETIONS_MAX }: HousePlan,
): Cache {
  return new Cache({ epoch, clock, retentionMs, forgetMs, arenaBytesMax: ARENA_BYTES_MAX, deletionsMax });
}

/** With a name, it follows the bus. */
function openEdge(world: GatewayWorld, plan: HousePlan, name: string | null): Edge {
  const { clock, listen, random, busDial } = world;
  const { segmentBytesMax, flushBytesMax, behindMsMax } = plan;
  const cache = cacheOf(world, plan);
  const hub = new Hub({ cache, clock, segmentBytesMax, flushBytesMax, behindMsMax });
  const { bytesPerSecondMax } = plan;
  const accounts = Array.from({ length: USERS_MAX }, (_, i) => ({
    token: userToken(i),
    name: userName(i),
    bytesPerSecondMax,
  }));
  const lobby = new Lobby({ hub, clock, connectionsMax: 1_000, tokens: new TokenList(accounts) });
  const door = { listen, lobby, log: silentLog };
  const doors = [new EsaDoor({ ...door, at: ESA_AT }), new WebSocketDoor({ ...door, at: WEBSOCKET_AT })];
  if (name === null) return { cache, hub, lobby, doors, follower: null };
  const follower = new BusFollower(
    { name, at: BUS_AT, silenceMs: 3 * BUS_HEARTBEAT_MS },
    { clock, random, log: silentLog, dial: busDial },
  );
  follower.start(hub);
  return { cache, hub, lobby, doors, follower };
}

/** Several listeners at one address, as an operating system shares a port: each connection goes to one of them, by chance. */
function sharedPorts(listen: VirtualNetwork["listen"], random: Random): VirtualNetwork["listen"] {
  const accepts = new Map<string, Parameters<Listen>[1][]>();
  return (at, accept) => {
    const key = `${at.host}:${at.port}`;
    const list = accepts.get(key);
    list?.push(accept);
    if (list !== undefined) return { port: at.port, stop() {} };
    const shared = [accept];
    accepts.set(key, shared);
    return listen(at, (socket) => pick(random, shared)(socket));
  };
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
