import { describe, expect, test } from "bun:test";
import { silentLog } from "../src/base/log.ts";
import { pick, type Random, randomInt, seededRandom } from "../src/base/random.ts";
import { EXCHANGE_DEFAULTS, ExchangeClient } from "../src/exchange/client.ts";
import type { TokenOutcome } from "../src/exchange/identity.ts";
import type { Session } from "../src/exchange/session.ts";
import { ChangeBatch } from "../src/market/batch.ts";
import { Cache } from "../src/market/cache.ts";
import { changesSince } from "../src/market/changes.ts";
import { ALL_FIELDS } from "../src/market/types.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { type ExchangeLimits, SimExchange } from "../src/sim/exchange.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { VirtualNetwork, type Weather } from "../src/sim/network.ts";
import { writeChanges } from "../src/wire/changes.ts";
import { TextWriter } from "../src/wire/text.ts";

const AT = { host: "exchange", port: 443 };
const ADDRESS = "exchange:443";
const MARKETS = 40;
const HOUR = 3_600_000;

/** The production client and cache against the simulated exchange, on virtual time and a virtual network; the truth beside it. */
class Scene {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly network: VirtualNetwork;
  readonly truth = new Map<string, NaiveBook>();
  readonly cache: Cache;
  readonly client: ExchangeClient;
  readonly said: string[] = [];
  exchange: SimExchange;
  /** Tokens that the exchange takes; the session at hand is the last one. */
  readonly tokens = new Set(["token-0"]);
  readonly #limits: Partial<ExchangeLimits>;
  #token = "token-0";
  #shown = new Map<string, number>();
  #n = 0;

  constructor(seed: number, options: { limits?: Partial<ExchangeLimits>; weather?: Partial<Weather> } = {}) {
    this.random = seededRandom(seed);
    this.network = new VirtualNetwork(this.clock, this.random, options.weather);
    this.#limits = { marketsMax: 1_000, segmentBytes: 2_000, ...options.limits };
    this.exchange = this.#open();
    this.cache = new Cache({ epoch: "e", clock: this.clock, retentionMs: HOUR, forgetMs: HOUR });
    const session: Session = {
      current: () => this.#token,
      token: (): Promise<TokenOutcome> => Promise.resolve({ kind: "token", token: this.#token }),
      refused: () => this.newToken(),
      stop() {},
    };
    const options_ = { ...EXCHANGE_DEFAULTS, name: "exchange", ...AT, tls: "off" as const, appKey: "key" };
    this.client = new ExchangeClient(
      { ...options_, filter: {}, fields: ALL_FIELDS },
      { dial: this.network.dial, session, clock: this.clock, random: this.random, log: silentLog },
    );
    for (let market = 0; market < MARKETS; market++) this.publish(true);
    this.client.start({
      batch: (batch) => this.#batch(batch),
      settled() {},
      state: (state, reason) => this.said.push(`${state}: ${reason}`),
    });
  }

  newToken(): void {
    this.#token = `token-${this.tokens.size}`;
    this.tokens.add(this.#token);
  }

  /** One change of some market, which may be a new one. `ltp` counts, so that a book that goes back in time gives itself away. */
  publish(fresh = false): void {
    const { random } = this;
    const id = `1.${fresh ? this.truth.size + 1 : 1 + randomInt(random, this.truth.size)}`;
    const sizes = () => [1.01 + randomInt(random, 30) / 100, pick(random, [0, 2, 20.19, 339.6])] as const;
    const runner = { id: 1, ltp: ++this.#n, atb: [sizes(), sizes()], atl: [sizes()], trd: [sizes()], tv: this.#n / 2 };
    const definition = { status: "OPEN", version: 1, runners: [{ id: 1, status: "ACTIVE", sortPriority: 1 }] };
    const change: MarketChange = { id, ...(fresh && { img: true, marketDefinition: definition }), rc: [runner] };
    this.exchange.publish(this.clock.wall(), [change]);
    const book = this.truth.get(id) ?? new NaiveBook(id);
    book.apply(change);
    this.truth.set(id, book);
  }

  /** Lets the world go on, and the exchange say things, for a while. */
  live(ms: number): void {
    for (const end = this.clock.monotonic() + ms; this.clock.monotonic() < end; ) {
      this.publish(this.random.next() < 0.01);
      this.clock.advance(this.random.next() * 40);
    }
  }

  /** Another life of the exchange, that remembers no clk. */
  restart(): void {
    this.exchange.stop();
    this.exchange = this.#open();
    this.exchange.publish(
      this.clock.wall(),
      [...this.truth.values()].map((book) => book.image()),
    );
  }

  /** Waits until the client is live again, and what is under way has arrived. */
  quiet(msMax = 10 * 60_000): void {
    for (const end = this.clock.monotonic() + msMax; this.client.sourceState !== "live"; this.clock.advance(100))
      if (this.clock.monotonic() > end)
        throw new Error(`not live in ${msMax} ms: ${JSON.stringify(this.client.state)}`);
    this.clock.advance(3_000);
  }

  /** The first difference between the books and the truth, in words; null when there is none. */
  difference(): string | null {
    if (this.cache.size !== this.truth.size) return `${this.cache.size} markets instead of ${this.truth.size}`;
    for (const [id, book] of this.truth) {
      const difference = firstDifference(this.#held(id).state(), book.state());
      if (difference !== null) return `${id}: ${JSON.stringify(difference)}`;
    }
    return null;
  }

  #held(id: string): NaiveBook {
    const held = new NaiveBook(id);
    const batch = new ChangeBatch();
    const book = this.cache.get(id);
    if (book === undefined || !changesSince(book, 0, { fields: ALL_FIELDS, ladderLevels: 10 }, batch)) return held;
    const out = new TextWriter();
    writeChanges(batch, out);
    held.apply(JSON.parse(out.bytes.toString("latin1", 0, out.length)) as MarketChange);
    return held;
  }

  #batch(batch: ChangeBatch): void {
    for (const { id } of this.cache.apply(batch)) {
      const now = this.#held(id).state().runners[0]?.ltp ?? 0;
      const before = this.#shown.get(id) ?? 0;
      if (now < before) throw new Error(`${id} went back in time, from ${before} to ${now}`);
      this.#shown.set(id, now);
    }
  }

  #open(): SimExchange {
    const { clock, random, tokens } = this;
    const sessions = { accountOf: (token: string) => (tokens.has(token) ? "ada" : null) };
    const limits = this.#limits;
    const exchange = new SimExchange({ clock, random, log: silentLog, sessions, appKeys: ["key"], limits });
    exchange.listen(this.network.listen, AT);
    return exchange;
  }
}

describe("the upstream, on virtual time", () => {
  for (const seed of [1, 2, 3, 4, 5, 6])
    test(`50 cuts, half-open ones too: the same books, never back in time, one image (seed ${seed})`, () => {
      const scene = new Scene(seed, { weather: { latencyMs: 5, jitterMs: 5, chunkBytesMax: 300 } });
      scene.quiet();
      for (let cut = 0; cut < 50; cut++) {
        scene.live(scene.random.next() * 3_000);
        if (scene.random.next() < 0.3) scene.network.halfOpen(ADDRESS);
        else scene.network.cut(ADDRESS);
        scene.live(scene.random.next() * 500);
        if (scene.random.next() < 0.5) scene.quiet();
      }
      scene.quiet();
      expect(scene.difference()).toBeNull();
      expect(scene.exchange.counters.images).toBe(1);
      expect(scene.client.images).toBe(1);
      expect(scene.client.resumes).toBeGreaterThan(10);
    });

  test("cut again and again within the first image: none of it is called whole, and the next one is", () => {
    const scene = new Scene(20, { weather: { chunkBytesMax: 200, latencyMs: 2, jitterMs: 2 } });
    for (let cut = 1; cut <= 10; cut++) {
      while (scene.client.images < cut) scene.clock.step();
      scene.network.cut(ADDRESS);
      expect([scene.client.state.kind, scene.client.sourceState]).toEqual(["subscribing", "down"]);
      scene.live(100);
    }
    scene.quiet();
    expect(scene.difference()).toBeNull();
    expect(scene.client.resumes).toBe(0);
  });

  for (const staleClk of ["image", "INVALID_CLOCK"] as const)
    test(`an exchange that forgot its clks, and says so by ${staleClk}: an image, and no loop`, () => {
      const scene = new Scene(7);
      scene.quiet();
      scene.live(2_000);
      scene.restart();
      scene.exchange.knobs.staleClk = staleClk;
      scene.live(2_000);
      scene.quiet();
      expect(scene.difference()).toBeNull();
      expect([scene.client.images, scene.exchange.counters.images]).toEqual([2, 1]);
      expect(scene.exchange.counters.connectionsEver).toBe(staleClk === "image" ? 1 : 2);
    });

  test("every byte in a chunk of its own", () => {
    const scene = new Scene(8, { weather: { chunkBytesMax: 1 } });
    scene.quiet();
    scene.live(3_000);
    scene.quiet();
    expect(scene.difference()).toBeNull();
    expect(scene.client.invalidLines).toBe(0);
  });

  test("heartbeats that stop are noticed within 2 × heartbeatMs, and 503 is told on", () => {
    const scene = new Scene(9);
    scene.quiet();
    scene.exchange.knobs.status = 503;
    scene.clock.advance(5_100);
    expect(scene.client.sourceState).toBe("stale");
    scene.exchange.knobs.status = null;
    scene.clock.advance(5_100);
    expect(scene.client.sourceState).toBe("live");
    scene.exchange.knobs.heartbeatsPaused = true;
    for (let ms = 0; ms < 10_000; ms += 100) scene.client.sourceState === "live" && scene.clock.advance(100);
    expect(scene.said.at(-1)).toBe("stale: no message for 2 × 5000 ms");
  });

  test("a token that ends while streaming: nothing happens, and the next connection has another", () => {
    const scene = new Scene(10);
    scene.quiet();
    scene.tokens.clear();
    scene.tokens.add("someone else's");
    scene.live(3_000);
    expect(scene.client.sourceState).toBe("live");
    scene.network.cut(ADDRESS);
    scene.quiet();
    expect(scene.difference()).toBeNull();
    expect(scene.exchange.counters.authenticationsRefused).toBe(1);
    expect(scene.client.images).toBe(1);
  });

  test("an exchange with too many connections, too many markets, or out of reach gets no storm of attempts", () => {
    const full = new Scene(11, { limits: { connectionsMax: 0 } });
    const large = new Scene(12, { limits: { marketsMax: 10 } });
    const gone = new Scene(13);
    gone.network.setReachability(ADDRESS, "refused");
    for (const scene of [full, large, gone]) scene.clock.advance(HOUR);
    expect(full.exchange.counters.connectionsEver).toBeLessThan(70);
    expect([large.client.state.kind, large.client.sourceState]).toEqual(["failed", "down"]);
    expect(large.exchange.counters.connectionsEver).toBeLessThan(13);
    gone.network.setReachability(ADDRESS, "open");
    gone.quiet();
    expect(gone.difference()).toBeNull();
  });

  test("and the proof can fail: one lost change is a difference", () => {
    const scene = new Scene(14);
    scene.quiet();
    const { exchange } = scene;
    scene.exchange = { publish() {} } as unknown as SimExchange;
    scene.publish();
    scene.exchange = exchange;
    scene.live(100);
    scene.quiet();
    expect(scene.difference()).not.toBeNull();
  });
});
