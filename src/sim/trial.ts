import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import { Outbox } from "../delivery/outbox.ts";
import { VirtualClock } from "./clock.ts";
import { LibraryUser, PlainUser, randomViews, randomWish, type Terms, type User, type Watched } from "./crowd.ts";
import {
  type Edge,
  ESA_AT,
  House,
  type HousePlan,
  UPSTREAM_HEARTBEAT_MS,
  userName,
  userToken,
  WEBSOCKET_AT,
} from "./house.ts";
import { lineWire } from "./line-wire.ts";
import type { MarketChange } from "./naive.ts";
import { VirtualNetwork, type Weather } from "./network.ts";
import { OddMarkets } from "./odd-markets.ts";
import { Oracle, type Violation, type Wish } from "./oracle.ts";
import { Trouble } from "./trouble.ts";
import { websocketWire } from "./websocket-wire.ts";

/** In one world of so many, two hubs follow who holds the upstream, and users who come back may meet the other. */
const EDGES_EVERY = 4;
const EDGES = 2;
const TICK_MS = 50;
const CHECK_TICKS = 2;
/** From the exchange's publishing to a user's screen, cadence apart, over links no slower than `randomWeather` makes them. */
const JOURNEY_MS_MAX = 700;
/** How long a silence of the exchange, or its own word that it is late, may stay unseen. */
const NOTICE_MS_MAX = 2 * UPSTREAM_HEARTBEAT_MS + 600;
/** After the faults, everybody is in step again within this: the library's longest wait, and a request that is not answered. */
const RECOVERY_MS_MAX = 60_000;
/** The largest book these markets can have, as one `mc` entry. */
const ENTRY_BYTES_MAX = 32 * 1024;
/** A closing socket of the network waits for its peer that long. */
const FAREWELL_MS = 70_000;

/** What a run came to. No violations: all guarantees held. */
export interface Verdict {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** What was done to whom, and when. */
  readonly events: readonly string[];
  readonly figures: Figures;
}

export interface Figures {
  readonly published: number;
  readonly messages: number;
  readonly faults: number;
  readonly images: number;
  readonly resumes: number;
  readonly catchUps: number;
  readonly holds: number;
}

/** Runs one whole world of a seed: the same seed gives the same run, to the byte. `trace` is told of each message as well. */
export function trial(seed: number, trace?: (line: string) => void): Promise<Verdict> {
  return new Trial(seed, trace).run();
}

class Trial {
  readonly #seed: number;
  readonly #random: Random;
  readonly #clock = new VirtualClock();
  readonly #network: VirtualNetwork;
  readonly #oracle: Oracle;
  readonly #house: House;
  readonly #markets: OddMarkets;
  readonly #users: User[];
  readonly #trouble: Trouble;
  readonly #events: string[] = [];
  readonly #trace: ((line: string) => void) | undefined;
  readonly #figures = { published: 0, messages: 0, images: 0, resumes: 0, catchUps: 0, holds: 0 };

  constructor(seed: number, trace?: (line: string) => void) {
    this.#seed = seed;
    this.#trace = trace;
    const random = seededRandom(seed);
    this.#random = random;
    const fork = () => seededRandom(randomInt(random, 2 ** 32));
    this.#network = new VirtualNetwork(this.#clock, fork());
    const housing = { ...housePlan(random), edges: seed % EDGES_EVERY === 0 ? EDGES : 0 };
    this.#oracle = new Oracle(() => this.#clock.monotonic(), Math.min(housing.forgetMs, housing.exchangeForgetMs));
    this.#oracle.told = (who, text) => {
      this.#figures.messages++;
      trace?.(`${this.#time()}    ${who} < ${text}`);
    };
    const markets = 3 + randomInt(random, 6);
    const churning = pick(random, [0, 1]);
    this.#markets = new OddMarkets(fork(), { markets, marketsMax: 12, churning });
    this.#house = new House(this.#clock, this.#network, randomInt(random, 2 ** 32), housing);
    this.#users = this.#crowd(fork(), 3 + randomInt(random, 8));
    const plan = {
      upstream: pick(random, [0.01, 0.03]),
      users: pick(random, [0.05, 0.15]),
      restarts: 0.002,
      alterations: pick(random, [0, 0.1, 0.3]),
      oddities: 0.002,
    };
    const world = { house: this.#house, users: this.#users, network: this.#network, clock: this.#clock };
    this.#trouble = new Trouble({ ...world, random: fork() }, plan, (words) => this.#note(words));
  }

  async run(): Promise<Verdict> {
    try {
      await this.#live();
      if (this.#isFine) await this.#recover();
      if (this.#isFine) await this.#end();
    } catch (error) {
      this.#oracle.accuse("G1 same book", `something threw: ${(error as Error).stack}`);
    }
    const { violations } = this.#oracle;
    const faults = [...this.#trouble.counts.values()].reduce((sum, count) => sum + count, 0);
    return { seed: this.#seed, violations, events: this.#events, figures: { ...this.#figures, faults } };
  }

  get #isFine(): boolean {
    return this.#oracle.violations.length === 0;
  }

  async #live(): Promise<void> {
    this.#publish(this.#markets.first());
    await this.#pass(200);
    const ticks = 300 + randomInt(this.#random, 100);
    for (let tick = 0; tick < ticks && this.#isFine; tick++) {
      for (const user of this.#users) if (tick < 20 && !user.isHere && this.#random.next() < 0.2) user.come();
      if (this.#random.next() < 0.7) this.#publish(this.#markets.next());
      while (this.#random.next() < 0.3) this.#publish(this.#markets.next());
      if (tick >= 20) this.#trouble.tick();
      await this.#pass(this.#random.next() * 2 * TICK_MS);
      if (tick % CHECK_TICKS === 0) this.#check();
    }
  }

  /** The faults are over: everybody must come to be in step, and must stay so for one more round of changes. */
  async #recover(): Promise<void> {
    this.#note("faults end");
    this.#trouble.end();
    // A link that has died without a word looks alive until its silence is noticed.
    await this.#pass(Math.max(...this.#users.map(({ noticeMs }) => noticeMs)) + NOTICE_MS_MAX);
    const until = this.#clock.monotonic() + RECOVERY_MS_MAX;
    while (this.#clock.monotonic() < until && !this.#everybodyIsLive()) await this.#pass(250);
    for (const [user, watched] of this.#watched()) {
      if (!watched.looksLive)
        this.#oracle.accuse(
          "G3 no silent gap",
          `${watched.witness.name}, a ${user.kind}, is not live again in ${RECOVERY_MS_MAX} ms`,
        );
    }
    if (!this.#isFine) return;
    this.#publish(this.#markets.roll());
    for (let i = 0; i < 3; i++) this.#publish(this.#markets.next());
    const cadence = Math.max(...this.#watched().map(([, { witness }]) => witness.conflateMs));
    await this.#pass(cadence + JOURNEY_MS_MAX + Math.max(...this.#users.map(({ cappedMs }) => cappedMs)));
    this.#check();
    for (const [, { witness }] of this.#watched()) witness.compare();
    for (const user of this.#users) user.compare();
  }

  /** G4: when all have gone, nothing of them is left. */
  async #end(): Promise<void> {
    const { gateway, timers } = this.#house;
    this.#checkCounters();
    for (const user of this.#users) user.leave();
    await this.#pass(1_000);
    this.#network.cut();
    await this.#pass(2_000);
    const sum = (of: (edge: Edge) => number) => gateway.edges.reduce((all, edge) => all + of(edge), 0);
    const left = { sessions: sum(({ hub }) => hub.sessions.size), connections: sum(({ lobby }) => lobby.connections) };
    this.#house.stop();
    await this.#pass(FAREWELL_MS);
    for (const [what, count] of Object.entries({ ...left, timers: timers.waiting }))
      if (count !== 0) this.#oracle.accuse("G4 bounded", `${count} ${what} are left when everybody has gone`);
  }

  #publish(changes: readonly MarketChange[]): void {
    this.#figures.published++;
    this.#trace?.(`${this.#time()}  exchange > ${JSON.stringify(changes)}`);
    this.#oracle.published(changes);
    this.#house.exchange.publish(Math.trunc(this.#clock.wall()), changes);
  }

  async #pass(ms: number): Promise<void> {
    this.#clock.advance(ms);
    await this.#house.settle();
  }

  #check(): void {
    const now = this.#clock.monotonic();
    const { trouble, house } = { trouble: this.#trouble, house: this.#house };
    const silentMs = now - house.heardAt;
    const unreliableMs = trouble.unreliableSince === null ? 0 : now - trouble.unreliableSince;
    const slack = JOURNEY_MS_MAX + (now < trouble.upstreamExcusedUntil ? NOTICE_MS_MAX : 0);
    for (const [user, { looksLive, witness }] of this.#watched()) {
      if (!looksLive || trouble.isExcused(user)) continue;
      witness.keepsUp(now - slack - witness.conflateMs, now - slack, user.cappedMs);
      if (silentMs > NOTICE_MS_MAX)
        this.#oracle.accuse(
          "G3 no silent gap",
          `${witness.name} looks live, and the exchange is silent for ${silentMs} ms`,
        );
      if (unreliableMs > NOTICE_MS_MAX)
        this.#oracle.accuse(
          "G3 no silent gap",
          `${witness.name} looks live, and the exchange says 503 for ${unreliableMs} ms`,
        );
    }
    this.#checkBounds();
  }

  #checkBounds(): void {
    const { flushBytesMax, segmentBytesMax } = this.#house.plan;
    const bytesMax = Math.max(flushBytesMax, segmentBytesMax) + ENTRY_BYTES_MAX + Outbox.controlBytesMax;
    for (const { outbox, visitor } of this.#house.gateway.edges.flatMap(({ hub }) => [...hub.sessions])) {
      if (outbox.bytesWaiting > bytesMax)
        this.#oracle.accuse(
          "G4 bounded",
          `${outbox.bytesWaiting} bytes wait for ${visitor.name}, of at most ${bytesMax}`,
        );
    }
  }

  #everybodyIsLive(): boolean {
    return this.#watched().every(([, { looksLive }]) => looksLive);
  }

  #watched(): (readonly [User, Watched])[] {
    return this.#users.flatMap((user) => user.watched.map((watched) => [user, watched] as const));
  }

  #checkCounters(): void {
    for (const counter of ["images", "resumes", "catchUps", "holds"] as const)
      this.#figures[counter] = this.#house.count(counter);
    const [sent, got] = [this.#house.count("messagesOut"), this.#figures.messages];
    if (sent < got) this.#oracle.accuse("G4 bounded", `the hub counts ${sent} messages, and users got ${got}`);
  }

  #crowd(random: Random, count: number): User[] {
    const views = randomViews(random, 4);
    for (const view of views) this.#oracle.lens({ filter: {}, ...view });
    const { bytesPerSecondMax } = this.#house.plan;
    return Array.from({ length: count }, (_, i) => {
      const name = userName(i);
      const dial = this.#network.dialAs(name, randomWeather(random, 60));
      const own = seededRandom(randomInt(random, 2 ** 32));
      const world = {
        name,
        oracle: this.#oracle,
        clock: this.#clock,
        random: own,
        session: userToken(i),
        views,
        bytesPerSecondMax,
      };
      const wishes: (Wish & Terms)[] = [randomWish(random, views)];
      const kind = randomInt(random, 4);
      if (kind === 0) return new PlainUser(world, dial, ESA_AT, wishes[0] as Wish & Terms);
      if (kind === 1) return new LibraryUser(world, "esa", lineWire(dial, ESA_AT), wishes);
      if (random.next() < 0.3) wishes.push(randomWish(random, views));
      return new LibraryUser(world, "websocket", websocketWire(dial, WEBSOCKET_AT, "/v1/ws", own), wishes);
    });
  }

  #note(words: string): void {
    this.#events.push(`${this.#time()} ${words}`);
    this.#trace?.(`${this.#time()} ${words}`);
  }

  #time(): string {
    return `${(this.#clock.monotonic() / 1000).toFixed(3).padStart(7)} s`;
  }
}

function housePlan(random: Random): HousePlan {
  const retentionMs = pick(random, [2_000, 60_000]);
  const behindMsMax = pick(random, [3_000, 30_000]);
  return {
    upstream: randomWeather(random, 30),
    exchangeSegmentBytes: pick(random, [500, 5_000, 100_000]),
    exchangeLogMessages: pick(random, [20, 20_000, 20_000]),
    exchangeForgetMs: pick(random, [3_000, 600_000]),
    tokenLifetimeMs: pick(random, [8_000, 12 * 3_600_000]),
    retentionMs,
    forgetMs: Math.max(retentionMs, behindMsMax) + 1_000,
    segmentBytesMax: pick(random, [300, 4_000, 64 * 1024]),
    flushBytesMax: pick(random, [1_000, 16 * 1024, 1024 * 1024]),
    behindMsMax,
    bytesPerSecondMax: pick(random, [undefined, undefined, undefined, undefined, 4_000, 20_000]),
  };
}

function randomWeather(random: Random, latencyMsMax: number): Weather {
  return {
    latencyMs: 1 + randomInt(random, latencyMsMax),
    jitterMs: pick(random, [0, 0, 5, 30]),
    chunkBytesMax: pick(random, [200, 2_000, 65_536, 65_536]),
    inFlightBytesMax: pick(random, [8_192, 32_768, 262_144]),
  };
}
