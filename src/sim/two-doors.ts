import type { Clock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { type Random, seededRandom } from "../base/random.ts";
import type { Address, Dial } from "../base/socket.ts";
import { Hub } from "../delivery/hub.ts";
import { EsaDoor } from "../edge/esa.ts";
import { Lobby } from "../edge/lobby.ts";
import { WebSocketDoor } from "../edge/websocket.ts";
import { EXCHANGE_DEFAULTS, ExchangeClient } from "../exchange/client.ts";
import { OrderClient } from "../exchange/orders.ts";
import { staticSession } from "../exchange/session.ts";
import { Cache } from "../market/cache.ts";
import { ALL_FIELDS } from "../market/types.ts";
import { OrderDesk } from "../orders/desk.ts";
import { TokenList } from "../tenancy/tokens.ts";
import { VirtualClock } from "./clock.ts";
import { SimExchange } from "./exchange.ts";
import { CountedClock } from "./house.ts";
import type { MarketChange } from "./naive.ts";
import { VirtualNetwork, type Weather } from "./network.ts";

/** Which of the two a client goes to. */
export type DoorName = "exchange" | "oddswire";
export const DOORS = ["exchange", "oddswire"] as const satisfies readonly DoorName[];

const AT = {
  exchange: { host: "exchange", port: 443 },
  oddswire: { host: "house", port: 443 },
} as const satisfies Record<DoorName, Address>;
export const WEBSOCKET_AT = { host: "house", port: 8080 } as const;

/** What a client shows at either door. */
export const APP_KEY = "app-key";
export const SESSION = "session-token";
const UPSTREAM_SESSION = "upstream-token";

/** A dozen markets; the default costs 30 ms to set aside. */
const ARENA_BYTES_MAX = 16 * 1024 * 1024;
/** How long the gateway takes to have its first image, at the longest. */
const OPENING_MS = 100;

export interface TwoDoorsOptions {
  readonly seed?: number;
  /** Markets a subscription may match, at both doors; Oddswire's own subscription counts those there are when it opens. */
  readonly marketsMax?: number;
  /** Connections an account may have, at both doors. */
  readonly connectionsMax?: number;
  readonly weather?: Partial<Weather>;
  readonly retentionMs?: number;
  readonly segmentBytesMax?: number;
  /** The clients' account is Oddswire's own, and its orders are served at both doors. */
  readonly orders?: boolean;
}

/**
 * The exchange's door, and beside it ours: an Oddswire that is fed by that same exchange, on virtual time and a virtual network. What a client asks at both must
 * be answered alike: the simulated exchange and our door are two readings of one protocol, by different code.
 */
export class TwoDoors {
  readonly clock = new VirtualClock();
  readonly network: VirtualNetwork;
  readonly exchange: SimExchange;
  /** What the gateway has waiting on the clock. */
  readonly timers = new CountedClock(this.clock);
  gateway: Gateway;
  readonly #random: Random;
  readonly #options: TwoDoorsOptions;
  #lives = 0;

  /** With `first` published before the gateway opens. */
  static async open(options: TwoDoorsOptions = {}, first: readonly MarketChange[] = []): Promise<TwoDoors> {
    const doors = new TwoDoors(options);
    doors.publish(first);
    await doors.settle(OPENING_MS);
    return doors;
  }

  private constructor(options: TwoDoorsOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed ?? 1);
    this.network = new VirtualNetwork(this.clock, this.#random, options.weather);
    const { orders = false } = options;
    const accounts: Readonly<Record<string, string>> = {
      [SESSION]: orders ? "oddswire" : "client",
      [UPSTREAM_SESSION]: "oddswire",
    };
    this.exchange = new SimExchange({
      clock: this.clock,
      random: this.#random,
      log: silentLog,
      sessions: { accountOf: (token) => accounts[token] ?? null },
      appKeys: [APP_KEY],
      orderAppKeys: orders ? [APP_KEY] : [],
      limits: {
        marketsMax: options.marketsMax ?? Number.POSITIVE_INFINITY,
        connectionsMax: options.connectionsMax ?? 10,
      },
    });
    this.exchange.listen(this.network.listen, AT.exchange);
    this.gateway = this.#openGateway();
  }

  /** Goes in by a door, with a link of that name. */
  dial(door: DoorName, name: string): { readonly dial: Dial; readonly at: Address } {
    return { dial: this.network.dialAs(name), at: AT[door] };
  }

  publish(changes: readonly MarketChange[]): void {
    this.exchange.publish(Math.trunc(this.clock.wall()), changes);
  }

  pass(ms: number): void {
    this.clock.advance(ms);
  }

  /** Lets time pass where a connection to the exchange is being made: its session token is a promise. */
  async settle(ms: number): Promise<void> {
    for (const until = this.clock.monotonic() + ms; this.clock.monotonic() < until; ) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      this.pass(Math.max(1, ms / 20));
    }
  }

  /** The gateway dies without a word, and another that knows nothing of it takes its place. */
  async restart(): Promise<void> {
    this.gateway.stop();
    this.network.cut(`${AT.oddswire.host}:${AT.oddswire.port}`);
    this.gateway = this.#openGateway();
    await this.settle(OPENING_MS);
  }

  stop(): void {
    this.gateway.stop();
    this.exchange.stop();
  }

  #openGateway(): Gateway {
    const world = { clock: this.timers, random: this.#random, network: this.network };
    return new Gateway(world, `e${++this.#lives}`, this.#options);
  }
}

interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly network: VirtualNetwork;
}

/** The rooms joined as `app` and `doors` join them, for clients of the exchange. */
class Gateway {
  readonly hub: Hub;
  readonly lobby: Lobby;
  readonly desk: OrderDesk | null;
  readonly #parts: readonly { stop(): void }[];

  constructor({ clock, random, network }: World, epoch: string, options: TwoDoorsOptions) {
    const { marketsMax, connectionsMax = 10, retentionMs = 600_000, segmentBytesMax, orders } = options;
    const cache = new Cache({ epoch, clock, retentionMs, forgetMs: retentionMs, arenaBytesMax: ARENA_BYTES_MAX });
    this.hub = new Hub({ cache, clock, segmentBytesMax });
    const upstream = { ...EXCHANGE_DEFAULTS, name: "exchange", ...AT.exchange, tls: "off", appKey: APP_KEY } as const;
    const session = staticSession(UPSTREAM_SESSION);
    const world = { clock, random, log: silentLog, dial: network.dialAs("gateway"), session };
    const client = new ExchangeClient({ ...upstream, filter: {}, fields: ALL_FIELDS }, world);
    this.desk = orders ? new OrderDesk({ epoch, clock, retentionMs, forgetMs: retentionMs, segmentBytesMax }) : null;
    const { desk } = this;
    const orderClient = desk && new OrderClient(upstream, world);
    const rights = orders ? ({ orders: "account" } as const) : {};
    const tokens = new TokenList(
      [{ token: SESSION, name: "client", connectionsMax, marketsMax, ...rights }],
      [APP_KEY],
    );
    const sides = desk ? { orderSubscription: desk } : {};
    this.lobby = new Lobby({ hub: this.hub, clock, connectionsMax: 1_000, tokens, sides });
    const door = { listen: network.listen, lobby: this.lobby, log: silentLog };
    const doors = [new EsaDoor({ ...door, at: AT.oddswire }), new WebSocketDoor({ ...door, at: WEBSOCKET_AT })];
    this.#parts = [...doors, client, ...(desk && orderClient ? [orderClient, desk] : [])];
    client.start(this.hub);
    if (desk !== null) orderClient?.start(desk);
  }

  stop(): void {
    this.lobby.closeAll({ code: "GOING_AWAY", message: "the server is restarting" });
    for (const part of this.#parts) part.stop();
    this.hub.stop();
  }
}
