import type { Clock, Timer } from "../base/clock.ts";
import { Latencies, type LatenciesJson } from "../base/latencies.ts";
import { type Random, randomInt } from "../base/random.ts";
import { type Book, Books } from "./books.ts";
import { type Ask, type Dialect, type Door, LINES, webSocketDialect } from "./dialect.ts";
import { Peers, type Verdict } from "./peers.ts";
import type { Target } from "./sockets.ts";
import { sseDialect } from "./sse-dialect.ts";
import { type CrowdFace, type Tally, User, type UserKind } from "./user.ts";
import { LAGGARD_KINDS, type LaggardKind, type Workload } from "./workload.ts";

/** Somebody of the crowd. */
export interface Seat {
  readonly kind: Exclude<UserKind, "newcomer">;
  readonly marketIds: readonly string[];
  readonly isReader: boolean;
  /** Cut off by the storm. */
  readonly isShaken: boolean;
}

/** What one process of the crowd is to do; JSON. */
export interface CrowdPlan {
  readonly door: Door;
  readonly target: Target;
  /** Of the WebSocket and the SSE door. */
  readonly path: string;
  readonly host: string;
  /** Addresses of this machine to come from, in turn; empty: the usual one. */
  readonly sources: readonly string[];
  readonly appKey: string;
  /** In turn. */
  readonly sessions: readonly string[];
  readonly seats: readonly Seat[];
  /** Those that ordinary users ask for. */
  readonly marketIds: readonly string[];
  /** What laggards ask for. */
  readonly allMarketIds: readonly string[];
  /** The workload with this process's share of ramp, churn and storm. */
  readonly workload: Workload;
  readonly seed: number;
}

/** What the crowd tells each second, and at the end. */
export type CrowdWord =
  | CrowdTick
  | { readonly kind: "refused"; readonly why: string }
  | ({ readonly kind: "ended" } & CrowdEnd);

export interface CrowdTick extends Tally {
  readonly kind: "tick";
  readonly phase: "before" | "measuring" | "after";
  readonly live: number;
  readonly laggardsLive: number;
  /** User and system time so far, seconds. */
  readonly cpu: number;
  readonly rss: number;
  /** Of the last second. */
  readonly latencies: LatenciesJson;
  /** From dialling to the image or resume, of the last second. */
  readonly arrivals: LatenciesJson;
  /** The quickest message, and the quickest connect, so far; null: none yet. */
  readonly quickestMs: number | null;
  readonly connectMs: number | null;
  /** Of those cut off by the storm, so many are not back yet; null: there was none yet. */
  readonly shaken: number | null;
}

export interface CrowdEnd {
  readonly verdict: Verdict | null;
  readonly booksChecked: number;
  readonly booksWrong: number;
  readonly booksUnchecked: number;
  /** Markets of which a reader had a wrong book; some of them. */
  readonly wrong: readonly string[];
  /** Why connections ended that were meant to stay, and how many. */
  readonly closes: Readonly<Record<string, number>>;
  readonly laggards: Readonly<Record<LaggardKind, LaggardsEnd>>;
  readonly churned: number;
  /** From the storm to the last one back, milliseconds; null: no storm, or not all came back. */
  readonly stormMs: number | null;
  /** By then, of those who were not cut off. */
  readonly stormLatencies: LatenciesJson;
}

export interface LaggardsEnd {
  users: number;
  /** As far as they know themselves. */
  here: number;
  /** Have everything that they asked for, and are in step. */
  caughtUp: number;
  /** Messages in which those were told, merged, what they had missed; segments counted once. */
  merged: number;
  readonly closes: Record<string, number>;
}

export interface CrowdWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly newBook: (id: string) => Book;
  readonly hash: (bytes: Uint8Array) => number;
  readonly connect: (user: User, to: Target, from: string | null) => void;
  /** As a slow one; what comes back stops it from acknowledging. */
  readonly connectLaggard: (user: User, to: Target, from: string | null) => () => void;
  readonly cpuSeconds: () => number;
  readonly rss: () => number;
  readonly say: (word: CrowdWord) => void;
}

const TICK_MS = 1_000;
const RAMP_MS = 10;
const RETRY_MS_MAX = 2_000;
/** How long what is on its way may take at the end. */
const END_MS_MAX = 5_000;
/** How long a reader and a newcomer may take to have the same book, beyond the time that changes are merged for. */
const CHECK_MS_MAX = 10_000;
const CHECK_EVERY_MS = 20;
/** How long a storm may last, and the others are looked at by themselves. */
const STORM_MS = 10_000;
/** Who goes on after a stall is told in that time what it missed. */
const BACK_MS = 5_000;
/** Readers are checked so many at a time. */
const CHECKED_AT_ONCE = 8;
const WRONG_TOLD_MAX = 20;
const SLOW_BYTES_PER_SECOND = 1_024;
const CHURN_MS = 100;
const CLOSE_WORDS_MAX = 120;
/** Different reasons for closes that are told. */
const CLOSES_MAX = 50;
/** A share of the users takes turns in leaving. */
const CHURN_SHARE = 0.25;

/** What no user can do anything about: the run makes no sense. */
const FATAL =
  /^(NO_APP_KEY|INVALID_APP_KEY|NO_SESSION|INVALID_SESSION_INFORMATION|NOT_AUTHORIZED|MAX_CONNECTION_LIMIT_EXCEEDED|SUBSCRIPTION_LIMIT_EXCEEDED|INVALID_REQUEST|INVALID_INPUT)\b|^the (upgrade|stream) was answered/;

/** One process's users: comes by and by, stays, looks at what it is told, and says each second how it is. */
export class Crowd implements CrowdFace {
  readonly dialect: Dialect;
  readonly peers: Peers | null;
  readonly tally: Tally = {
    messages: 0,
    changes: 0,
    bytes: 0,
    heartbeats: 0,
    stale: 0,
    images: 0,
    resumes: 0,
    odd: 0,
  };
  latencies: Latencies | null = null;
  stormLatencies: Latencies | null = null;
  offsetMs = 0;
  wall = 0;
  now = 0;
  readonly #plan: CrowdPlan;
  readonly #world: CrowdWorld;
  readonly #users: User[];
  readonly #waiting: User[] = [];
  /** How to make those stop that are to stop. */
  readonly #stopAcknowledging = new Map<User, () => void>();
  readonly #arrivals = new Latencies();
  readonly #latencies = new Latencies();
  readonly #stormLatencies = new Latencies();
  readonly #timers = new Set<Timer>();
  readonly #closes: Record<string, number> = {};
  readonly #laggards = Object.fromEntries(
    LAGGARD_KINDS.map((kind) => [kind, { users: 0, here: 0, caughtUp: 0, merged: 0, closes: {} }]),
  ) as Record<LaggardKind, LaggardsEnd>;
  readonly #newcomers = new Set<User>();
  /** Those who read slowly, once they do. */
  readonly #lazy = new Set<User>();
  /** Laggards who lag, and those of them who are back in step. */
  readonly #lagging = new Set<User>();
  readonly #caughtUp = new Set<User>();
  #phase: CrowdTick["phase"] = "before";
  #everLive = 0;
  #handshakes = 0;
  #tokens = 0;
  #quickestMs = Number.POSITIVE_INFINITY;
  #connectMs = Number.POSITIVE_INFINITY;
  #dials = 0;
  #churned = 0;
  #shaken = 0;
  #stormAt: number | null = null;
  #stormMs: number | null = null;
  #isOver = false;

  constructor(plan: CrowdPlan, world: CrowdWorld) {
    this.#plan = plan;
    this.#world = world;
    const { workload, seats } = plan;
    this.dialect = dialectAt(plan);
    this.peers =
      workload.conflateMs > 0 ? null : new Peers(plan.marketIds, seats.length, workload.marketsEach, world.hash);
    this.#users = seats.map(({ kind, marketIds, isReader }, number) => {
      const books = isReader ? new Books(world.newBook, false) : null;
      if (kind === "ordinary") this.peers?.enter(number, marketIds);
      return new User(this, number, kind, marketIds, books);
    });
  }

  /** Begins to come. */
  start(): void {
    this.#waiting.push(...this.#users);
    this.#every(RAMP_MS, () => this.#ramp());
    this.#every(TICK_MS, () => this.#tick());
  }

  /** Everybody is here: from now on it counts. */
  measure(offsetMs: number): void {
    const { workload } = this.#plan;
    this.offsetMs = offsetMs;
    this.latencies = this.#latencies;
    this.#latencies.clear();
    this.peers?.begin(this.#steady().map(({ number }) => number));
    for (const user of this.#users) if (user.kind !== "ordinary" && user.state === "live") this.#lag(user);
    if (workload.churnPerSecond > 0) this.#churn();
    if (workload.storm !== null) this.#after(workload.storm.atSeconds * 1_000, () => this.#storm());
    this.#phase = "measuring";
    this.#tick();
  }

  /** What comes from now on does not count. */
  measured(): void {
    this.latencies = this.stormLatencies = null;
    this.peers?.end();
    this.#phase = "after";
    this.#tick();
  }

  /** What is on its way may come, then everything is looked at. */
  async end(): Promise<CrowdEnd> {
    const { clock } = this.#world;
    for (const until = clock.monotonic() + END_MS_MAX; !this.#isQuiet() && clock.monotonic() < until; )
      await this.#pause(CHECK_EVERY_MS);
    const verdict = this.peers?.verdict() ?? null;
    for (const user of this.#users) this.#dismiss(user);
    const books = await this.#checkBooks();
    this.stop();
    return {
      verdict,
      ...books,
      closes: this.#closes,
      laggards: this.#laggards,
      churned: this.#churned,
      stormMs: this.#stormMs,
      stormLatencies: this.#stormLatencies.toJSON(),
    };
  }

  stop(): void {
    this.#isOver = true;
    for (const timer of this.#timers) timer.cancel();
    for (const user of [...this.#users, ...this.#newcomers]) user.leave("terminate");
  }

  // ---- the users' side ----

  received(user: User, bytes: number): void {
    const { clock } = this.#world;
    this.now = clock.monotonic();
    this.wall = clock.wall();
    if (this.#lazy.has(user)) this.#pauseFor(user, (bytes / SLOW_BYTES_PER_SECOND) * 1_000);
  }

  authentication(user: User): string {
    const { appKey } = this.#plan;
    return JSON.stringify({ op: "authentication", id: 1, appKey, session: this.#sessionOf(user) });
  }

  ask(user: User): Ask {
    const { appKey } = this.#plan;
    const { lastEventId } = user;
    return { appKey, session: this.#sessionOf(user), subscription: this.subscription(user), lastEventId };
  }

  subscription(user: User): string {
    const { fields, ladderLevels, conflateMs, heartbeatMs } = this.#plan.workload;
    return JSON.stringify({
      op: "marketSubscription",
      id: 2,
      marketFilter: { marketIds: user.marketIds },
      marketDataFilter: { fields, ladderLevels },
      conflateMs: user.kind === "newcomer" ? 0 : conflateMs,
      heartbeatMs,
      segmentationEnabled: user.kind !== "ordinary",
      ...(user.initialClk !== "" && this.dialect.request === null && { initialClk: user.initialClk, clk: user.clk }),
    });
  }

  quickest(ms: number): void {
    if (ms < this.#quickestMs) this.#quickestMs = ms;
  }

  connected(user: User): void {
    if (user.kind !== "ordinary") return;
    this.#connectMs = Math.min(this.#connectMs, this.#world.clock.monotonic() - user.dialledAt);
  }

  greeted(user: User): void {
    if (this.#lagging.has(user)) this.#slacken(user);
  }

  live(user: User): void {
    if (user.kind === "newcomer") return;
    if (this.#lagging.has(user)) return this.caughtUp(user);
    const now = this.#world.clock.monotonic();
    this.#arrived(user);
    this.#arrivals.add(now - user.dialledAt);
    this.#everLive++;
    if (!user.isShaken) return;
    user.isShaken = false;
    if (--this.#shaken > 0 || this.#stormAt === null) return;
    this.#stormMs = now - this.#stormAt;
  }

  caughtUp(user: User): void {
    if (this.latencies !== null && this.#lagging.has(user)) this.#caughtUp.add(user);
  }

  gone(user: User, why: string): void {
    if (this.#isOver || user.kind === "newcomer") return;
    this.#arrived(user);
    this.#lazy.delete(user);
    if (user.kind !== "ordinary" && this.#everLive > 0) return count(this.#laggards[user.kind].closes, why);
    count(this.#closes, why);
    this.peers?.leave(user.number);
    // Where nobody has got in yet, nobody will.
    if (FATAL.test(why) || this.#everLive === 0) this.#world.say({ kind: "refused", why });
    else this.#after(this.#world.random.next() * RETRY_MS_MAX, () => void this.#waiting.push(user));
  }

  #sessionOf({ number }: User): string {
    const { sessions } = this.#plan;
    return sessions[Math.max(0, number) % sessions.length] as string;
  }

  // ---- coming and going ----

  /** Ordinary users who are here, and not of those who take turns in leaving. */
  #steady(): User[] {
    const leaving = new Set(this.#leaving());
    return this.#users.filter((user) => user.kind === "ordinary" && user.state === "live" && !leaving.has(user));
  }

  /** A part of those who keep no books; nobody where there is no churn. */
  #leaving(): User[] {
    if (this.#plan.workload.churnPerSecond === 0) return [];
    const plain = this.#users.filter(({ kind, books }) => kind === "ordinary" && books === null);
    return plain.slice(0, Math.ceil(plain.length * CHURN_SHARE));
  }

  /** In a storm nobody waits for a turn, but that only so many shake hands at a time. */
  #ramp(): void {
    const { perSecond, handshakesMax } = this.#plan.workload.ramp;
    this.#tokens = Math.min(this.#tokens + (perSecond * RAMP_MS) / 1_000, Math.max(1, perSecond / 10));
    while (this.#waiting.length > 0 && this.#handshakes < handshakesMax && (this.#tokens >= 1 || this.#shaken > 0)) {
      this.#tokens = Math.max(0, this.#tokens - 1);
      this.#dial(this.#waiting.shift() as User);
    }
  }

  #dial(user: User): void {
    this.#connect(user);
    if (user.kind === "newcomer") return;
    user.isArriving = true;
    this.#handshakes++;
  }

  #connect(user: User): void {
    const { sources, target } = this.#plan;
    const { clock, connect, connectLaggard } = this.#world;
    const from = sources.length === 0 ? null : (sources[this.#dials++ % sources.length] as string);
    user.dialled(clock.monotonic());
    if (user.kind === "ordinary" || user.kind === "newcomer") connect(user, target, from);
    else this.#stopAcknowledging.set(user, connectLaggard(user, target, from));
  }

  #arrived(user: User): void {
    if (user.isArriving) this.#handshakes--;
    user.isArriving = false;
  }

  #churn(): void {
    const leaving = this.#leaving();
    let owed = 0;
    this.#every(CHURN_MS, () => {
      for (owed += (this.#plan.workload.churnPerSecond * CHURN_MS) / 1_000; owed >= 1; owed--) {
        const user = leaving[randomInt(this.#world.random, leaving.length)] as User;
        if (user.state !== "live") continue;
        this.#churned++;
        user.leave("end");
        user.forget();
        this.#waiting.push(user);
      }
    });
  }

  #storm(): void {
    this.#stormAt = this.#world.clock.monotonic();
    this.stormLatencies = this.#stormLatencies;
    this.#after(STORM_MS, () => void (this.stormLatencies = null));
    for (const [n, seat] of this.#plan.seats.entries()) {
      const user = this.#users[n] as User;
      if (!seat.isShaken || user.state !== "live") continue;
      user.leave("terminate");
      this.peers?.leave(user.number);
      user.isShaken = user.wasShaken = true;
      this.#shaken++;
      this.#waiting.push(user);
    }
    if (this.#shaken === 0) this.#stormMs = 0;
  }

  /** Asks for everything there is, which is more than a kernel takes for somebody, and does not read it as it should. */
  #lag(user: User): void {
    this.#lagging.add(user);
    user.merged = 0;
    const { allMarketIds } = this.#plan;
    if (this.dialect.request === null) {
      user.askAnew(allMarketIds);
      return this.#slacken(user);
    }
    // Nothing can be asked on a stream: it comes again, and lags from the answer on.
    user.leave("end");
    user.marketIds = allMarketIds;
    user.forget();
    this.#connect(user);
  }

  #slacken(user: User): void {
    switch (user.kind) {
      case "neverReads":
        return user.line?.pause();
      case "readsSlowly":
        this.#lazy.add(user);
        return;
      case "stalls":
        return this.#pauseFor(user, this.#plan.workload.stallSeconds * 1_000);
      case "stopsAcknowledging":
        return this.#stopAcknowledging.get(user)?.();
    }
  }

  #pauseFor(user: User, ms: number): void {
    const { line } = user;
    line?.pause();
    this.#after(ms, () => user.line === line && line?.resume());
    // Once in step it wants no more than others, whose messages would wait for all of its.
    const own = (this.#plan.seats[user.number] as Seat).marketIds;
    const isBack = () => user.line === line && line !== null && this.#caughtUp.has(user);
    if (this.dialect.request === null) this.#after(ms + BACK_MS, () => isBack() && user.askAnew(own));
  }

  /** Readers stay; the others make room for newcomers, as an account has only so much. */
  #dismiss(user: User): void {
    const { kind, books } = user;
    if (kind !== "ordinary" && kind !== "newcomer") {
      const laggards = this.#laggards[kind];
      laggards.users++;
      laggards.here += Number(this.#isHere(user));
      laggards.caughtUp += Number(this.#caughtUp.has(user));
      if (this.#caughtUp.has(user)) laggards.merged += user.merged;
    }
    if (books !== null) return;
    user.leave("end");
    this.#waiting.length = 0;
  }

  // ---- looking at it ----

  #tick(): void {
    const { clock, cpuSeconds, rss, say } = this.#world;
    const live = (isLaggard: boolean) =>
      this.#users.reduce(
        (sum, user) => sum + Number(this.#isHere(user) && (user.kind !== "ordinary") === isLaggard),
        0,
      );
    this.peers?.settle(clock.monotonic());
    say({
      kind: "tick",
      phase: this.#phase,
      ...this.tally,
      live: live(false),
      laggardsLive: live(true),
      cpu: cpuSeconds(),
      rss: rss(),
      latencies: this.#latencies.toJSON(),
      arrivals: this.#arrivals.toJSON(),
      quickestMs: finite(this.#quickestMs),
      connectMs: finite(this.#connectMs),
      shaken: this.#stormAt === null ? null : this.#shaken,
    });
    this.#latencies.clear();
    this.#arrivals.clear();
  }

  /** Who lags is here as long as it is connected, whatever it has by now. */
  #isHere(user: User): boolean {
    return user.state === "live" || (this.#lagging.has(user) && user.state !== "away");
  }

  #isQuiet(): boolean {
    return (this.peers?.isComplete ?? true) && this.#shaken === 0;
  }

  async #checkBooks(): Promise<Pick<CrowdEnd, "booksChecked" | "booksWrong" | "booksUnchecked" | "wrong">> {
    const readers = this.#users.filter(({ books }) => books !== null);
    const wrong: string[] = [];
    let [booksChecked, booksUnchecked] = [0, 0];
    for (let i = 0; i < readers.length; i += CHECKED_AT_ONCE) {
      for (const found of await Promise.all(
        readers.slice(i, i + CHECKED_AT_ONCE).map((reader) => this.#check(reader)),
      )) {
        booksChecked += found.checked;
        booksUnchecked += found.unchecked;
        wrong.push(...found.wrong);
      }
    }
    return { booksChecked, booksUnchecked, booksWrong: wrong.length, wrong: wrong.slice(0, WRONG_TOLD_MAX) };
  }

  /** A reader's books against those of somebody who has just come: each must become one that the other had since. */
  async #check(reader: User): Promise<{ checked: number; unchecked: number; wrong: string[] }> {
    const { clock, newBook } = this.#world;
    const books = new Books(newBook, true);
    const newcomer = new User(this, -1, "newcomer", reader.marketIds, books);
    this.#newcomers.add(newcomer);
    const until = clock.monotonic() + this.#plan.workload.conflateMs + CHECK_MS_MAX;
    let differences = reader.marketIds.slice();
    while (differences.length > 0 && clock.monotonic() < until) {
      // Refused: the others are on their way out.
      if (newcomer.state === "away") this.#dial(newcomer);
      await this.#pause(CHECK_EVERY_MS);
      if (newcomer.state === "live") differences = (reader.books as Books).differences(books);
    }
    const isComparable = reader.state === "live" && newcomer.state === "live";
    newcomer.leave("end");
    if (!isComparable) return { checked: 0, unchecked: reader.marketIds.length, wrong: [] };
    return { checked: books.size, unchecked: 0, wrong: differences };
  }

  // ---- time ----

  #after(ms: number, fire: () => void): void {
    const timer = this.#world.clock.after(ms, () => {
      this.#timers.delete(timer);
      if (!this.#isOver) fire();
    });
    this.#timers.add(timer);
  }

  #every(ms: number, fire: () => void): void {
    this.#after(ms, () => {
      this.#every(ms, fire);
      fire();
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#world.clock.after(ms, resolve));
  }
}

function dialectAt({ door, host, path }: CrowdPlan): Dialect {
  switch (door) {
    case "esa":
      return LINES;
    case "sse":
      return sseDialect(host, path);
    case "websocket":
      return webSocketDialect(host, path);
  }
}

function count(closes: Record<string, number>, why: string): void {
  const words = why.slice(0, CLOSE_WORDS_MAX);
  const name = words in closes || Object.keys(closes).length < CLOSES_MAX ? words : "other reasons";
  closes[name] = (closes[name] ?? 0) + 1;
}

function finite(ms: number): number | null {
  return Number.isFinite(ms) ? ms : null;
}
