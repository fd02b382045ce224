import { pick, type Random, randomInt } from "../base/random.ts";
import type { VirtualClock } from "./clock.ts";
import type { User } from "./crowd.ts";
import { EXCHANGE_AT, type House, UPSTREAM_HEARTBEAT_MS } from "./house.ts";
import type { Link, VirtualNetwork } from "./network.ts";

const EXCHANGE = `${EXCHANGE_AT.host}:${EXCHANGE_AT.port}`;
/** How much later than promised a silence may be noticed: the client's own pardon for timers that come late, and the way to users. */
const NOTICE_MARGIN_MS = 600;
/** How long what piled up before a slow reader, or a goodbye behind it, may take to arrive. */
const DIGEST_MS = 1_500;
const RESTARTS_MAX = 2;
const HOUR_MS = 3_600_000;
/** More messages than a ladder's ages can count (16 bits). */
const BUSY_HOUR_MESSAGES = 70_000;
const PACES = [0, 0.5, 2, 10, 50] as const;
const REFUSALS = ["TOO_MANY_REQUESTS", "INVALID_SESSION_INFORMATION", "UNEXPECTED_ERROR", "NO_SESSION"] as const;

/** How often, per tick, each kind of thing happens. */
export interface TroublePlan {
  readonly upstream: number;
  readonly users: number;
  readonly restarts: number;
  /** Of users who ask for something else in what runs. */
  readonly alterations: number;
  /** Of what happens within the gateway: a wall clock that jumps, an hour of messages for markets that nobody here watches. */
  readonly oddities: number;
}

/**
 * Faults by chance and to order. It also knows until when whoever was struck may be excused for not knowing it: a link that died without a word
 * looks alive for a while.
 */
export class Trouble {
  /** Until when the house may not know that its books are old. */
  upstreamExcusedUntil = 0;
  /** Since when the exchange has said of itself that its data are late; null while it does not. */
  unreliableSince: number | null = null;
  readonly counts = new Map<string, number>();
  readonly #house: House;
  readonly #users: readonly User[];
  readonly #network: VirtualNetwork;
  readonly #clock: VirtualClock;
  readonly #random: Random;
  readonly #plan: TroublePlan;
  readonly #note: (words: string) => void;
  readonly #userExcusedUntil = new Map<User, number>();
  readonly #slowLinks = new Map<User, Link[]>();
  #restarts = 0;
  #over = false;

  constructor(
    world: { house: House; users: readonly User[]; network: VirtualNetwork; clock: VirtualClock; random: Random },
    plan: TroublePlan,
    note: (words: string) => void,
  ) {
    this.#house = world.house;
    this.#users = world.users;
    this.#network = world.network;
    this.#clock = world.clock;
    this.#random = world.random;
    this.#plan = plan;
    this.#note = note;
  }

  /** The user may not know yet that what it shows is old. */
  isExcused(user: User): boolean {
    return this.#clock.monotonic() < (this.#userExcusedUntil.get(user) ?? 0);
  }

  tick(): void {
    const random = this.#random;
    if (random.next() < this.#plan.upstream) this.#strikeUpstream();
    if (this.#house.gateway.edges.length > 1 && random.next() < this.#plan.upstream) this.#strikeBus();
    if (random.next() < this.#plan.users) this.#strikeUser(pick(random, this.#users));
    if (random.next() < this.#plan.alterations) this.#alter(pick(random, this.#users));
    if (random.next() < this.#plan.oddities) this.#strikeGateway();
    if (this.#restarts < RESTARTS_MAX && random.next() < this.#plan.restarts) this.#restart();
  }

  /** Faults stop: whoever is away comes back, and nothing stands in anybody's way. Links that died in silence stay dead. */
  end(): void {
    this.#over = true;
    this.#calm();
    for (const user of this.#users) {
      this.#hurry(user);
      if (!user.isHere) user.come();
    }
  }

  #strikeUpstream(): void {
    const random = this.#random;
    switch (randomInt(random, 10)) {
      case 0:
      case 1:
        return this.#did("upstream cut", () => this.#network.cut(EXCHANGE));
      case 2:
        this.#excuseUpstream(0);
        return this.#did("upstream half-open", () => this.#network.halfOpen(EXCHANGE));
      case 3:
        return this.#did("exchange without heartbeats", () => {
          this.#house.exchange.knobs.heartbeatsPaused = true;
          this.#later(3_000, () => this.#calm());
        });
      case 4:
        return this.#did("a line of garbage", () => {
          for (const connection of this.#house.exchange.connections) connection.write(pick(random, GARBAGE));
        });
      case 5:
        return this.#did("exchange out of reach", () => {
          this.#network.setReachability(EXCHANGE, pick(random, ["refused", "silent"]));
          if (random.next() < 0.7) this.#network.cut(EXCHANGE);
          this.#later(random.next() * 4_000, () => this.#network.setReachability(EXCHANGE, "open"));
        });
      case 6:
        return this.#did("logins refused", () => {
          this.#house.exchange.refuseAuthentications(pick(random, REFUSALS), 1 + randomInt(random, 3));
          this.#network.cut(EXCHANGE);
        });
      case 7:
        return this.#did("token expired", () => {
          this.#house.identity.expire();
          if (random.next() < 0.7) this.#network.cut(EXCHANGE);
        });
      case 8:
        return this.#did("exchange says 503", () => {
          this.#house.exchange.knobs.status = 503;
          this.unreliableSince ??= this.#clock.monotonic();
          this.#later(500 + random.next() * 2_500, () => this.#calm());
        });
      default:
        return this.#did("clk refused", () => {
          this.#house.exchange.knobs.staleClk = pick(random, ["INVALID_CLOCK", "image"]);
          this.#network.cut(EXCHANGE);
        });
    }
  }

  /** Between who holds the upstream and one who follows: on one machine, where a connection is there or is not. */
  #strikeBus(): void {
    const links = this.#network.links("edge");
    if (links.length > 0) this.#did("bus cut", () => pick(this.#random, links).cut());
  }

  #strikeGateway(): void {
    const { gateway, timers } = this.#house;
    if (this.#random.next() < 0.5)
      return this.#did("wall clock jumps", () => {
        timers.wallOffset = pick(this.#random, [-HOUR_MS, 0, HOUR_MS]);
      });
    if (gateway.cache.midGroup) return;
    this.#did("a busy hour elsewhere", () => {
      gateway.cache.sequence += BUSY_HOUR_MESSAGES;
    });
  }

  #strikeUser(user: User): void {
    const random = this.#random;
    if (!user.isHere) return this.#did(`${user.name} comes back`, () => user.come());
    switch (randomInt(random, 8)) {
      case 0:
      case 1:
      case 2:
        return this.#did(`${user.name} cut`, () => this.#network.cut(user.name));
      case 3:
        this.#excuse(user, user.noticeMs + NOTICE_MARGIN_MS);
        return this.#did(`${user.name} half-open`, () => this.#network.halfOpen(user.name));
      case 4:
      case 5:
        return this.#slow(user);
      case 6:
        return this.#did(`${user.name} leaves`, () => user.leave());
      default:
        return this.#did(`${user.name} asks again`, () => user.askAgain());
    }
  }

  /** No fault of anybody's, but it comes in between. */
  #alter(user: User): void {
    const words = user.alter(this.#random);
    if (words !== null) this.#note(`${user.name} ${words}`);
  }

  #slow(user: User): void {
    const random = this.#random;
    const links = this.#network.links(user.name);
    const pace = pick(random, PACES);
    const ms = 300 + random.next() * 4_000;
    this.#did(`${user.name} reads ${pace} bytes a ms for ${ms.toFixed(0)} ms`, () => {
      for (const link of links) link.near.readAt(pace);
    });
    this.#slowLinks.set(user, [...(this.#slowLinks.get(user) ?? []), ...links]);
    this.#excuse(user, ms + DIGEST_MS);
    this.#later(ms, () => this.#hurry(user));
  }

  #hurry(user: User): void {
    for (const link of this.#slowLinks.get(user) ?? []) link.near.readAt(Number.POSITIVE_INFINITY);
    this.#slowLinks.delete(user);
  }

  #restart(): void {
    this.#restarts++;
    const gracefully = this.#random.next() < 0.5;
    for (const user of this.#users) this.#excuse(user, DIGEST_MS);
    this.#did(gracefully ? "gateway restarts" : "gateway dies", () => this.#house.restart(gracefully));
  }

  #calm(): void {
    const { knobs } = this.#house.exchange;
    knobs.heartbeatsPaused = false;
    knobs.status = null;
    this.unreliableSince = null;
    if (!this.#over) return;
    knobs.staleClk = "image";
    this.#house.exchange.refuseAuthentications("TIMEOUT", 0);
    this.#network.setReachability(EXCHANGE, "open");
  }

  /** From a fault's start until it must have been noticed. */
  #excuseUpstream(ms: number): void {
    const until = this.#clock.monotonic() + ms + 2 * UPSTREAM_HEARTBEAT_MS + NOTICE_MARGIN_MS;
    this.upstreamExcusedUntil = Math.max(this.upstreamExcusedUntil, until);
  }

  #excuse(user: User, ms: number): void {
    const until = this.#clock.monotonic() + ms;
    this.#userExcusedUntil.set(user, Math.max(until, this.#userExcusedUntil.get(user) ?? 0));
  }

  #later(ms: number, then: () => void): void {
    this.#clock.after(ms, () => !this.#over && then());
  }

  #did(what: string, strike: () => void): void {
    const kind = what.replace(/user-\d+/, "user").replace(/reads .*/, "slow");
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    this.#note(what);
    strike();
  }
}

const GARBAGE = [
  "{",
  "hello",
  '{"op":"mcm","id":2,"pt":1,"mc":[{"id":7}]}',
  '{"op":"mcm","id":2,"mc":[{}]}',
  "\u0000",
  '{"op":"status"',
];
