import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { silentLog } from "../base/log.ts";
import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { type ExchangeLimits, SimExchange } from "./exchange.ts";
import { Visitor } from "./exchange-visitor.ts";
import { firstDifference, type MarketChange, NaiveBook } from "./naive.ts";
import { VirtualNetwork } from "./network.ts";

const AT = { host: "exchange", port: 443 };

/** An exchange that lets everybody in, and the truth beside it: naive books of what was published. */
class Scene {
  readonly clock = new VirtualClock();
  readonly network: VirtualNetwork;
  readonly truth = new Map<string, NaiveBook>();
  exchange: SimExchange;
  readonly #limits: Partial<ExchangeLimits>;
  readonly #random: Random;

  constructor(seed = 1, limits: Partial<ExchangeLimits> = {}) {
    this.#random = seededRandom(seed);
    this.network = new VirtualNetwork(this.clock, this.#random, { inFlightBytesMax: 2_000 });
    this.#limits = limits;
    this.exchange = this.#open();
  }

  /** Another life of the exchange: nothing is remembered but what is published anew. */
  restart(): void {
    this.exchange.stop();
    this.exchange = this.#open();
    this.clock.advance(10);
    this.publish(...[...this.truth.values()].map((book) => book.image()));
  }

  publish(...changes: MarketChange[]): void {
    this.exchange.publish(this.clock.wall(), changes);
    for (const change of changes) {
      let book = this.truth.get(change.id);
      if (book === undefined) this.truth.set(change.id, (book = new NaiveBook(change.id)));
      book.apply(change);
    }
    this.clock.advance(5);
  }

  enter(name: string, fields: Record<string, unknown> = {}, before?: Visitor): Visitor {
    const visitor = new Visitor(this.network.dialAs(name), AT, before);
    this.clock.advance(5);
    visitor.authenticate("key", "token");
    this.clock.advance(5);
    visitor.subscribe(fields);
    this.clock.advance(5);
    return visitor;
  }

  cut(name: string): void {
    this.network.cut(name);
    this.clock.advance(5);
  }

  /** Stops or lets go on the reading of somebody. */
  readAt(name: string, bytesPerMs: number): void {
    for (const link of this.network.links(name)) link.near.readAt(bytesPerMs);
  }

  /** The first place where a visitor's books are not what was published, or null. */
  difference(visitor: Visitor): string | null {
    for (const [id, book] of this.truth) {
      const found = visitor.books.get(id);
      if (found === undefined) return `${id} is missing`;
      const difference = firstDifference(found.state(), book.state());
      if (difference !== null) return `${id} ${difference}`;
    }
    return null;
  }

  #open(): SimExchange {
    const { clock } = this;
    const sessions = { accountOf: () => "ada" };
    const limits = { connectionsMax: 100, marketsMax: Number.POSITIVE_INFINITY, ...this.#limits };
    const exchange = new SimExchange({
      clock,
      random: this.#random,
      log: silentLog,
      sessions,
      appKeys: ["key"],
      limits,
    });
    exchange.listen(this.network.listen, AT);
    return exchange;
  }
}

const DEFINITION = { eventTypeId: "1", status: "OPEN", version: 1, runners: [{ id: 1 }, { id: 2 }] };
const born = (id: string): MarketChange => ({ id, img: true, marketDefinition: DEFINITION });
const back = (id: string, price: number, size: number): MarketChange => ({ id, rc: [{ id: 1, atb: [[price, size]] }] });

describe("a resume", () => {
  test("says what changed since, merged, and nothing of what did not", () => {
    const scene = new Scene();
    scene.publish(born("1.1"), born("1.2"), born("1.3"));
    const visitor = scene.enter("v");
    scene.cut("v");
    scene.publish(back("1.1", 2, 5), back("1.2", 2, 5));
    scene.publish({
      id: "1.1",
      tv: 3,
      rc: [
        {
          id: 1,
          ltp: 2,
          atb: [
            [2, 0],
            [1.9, 4],
          ],
        },
        { id: 2, hc: 1, tv: 3 },
      ],
    });
    const again = scene.enter("v", {}, visitor);
    expect(again.last).toMatchObject({ ct: "RESUB_DELTA", conflateMs: 0, heartbeatMs: 5000 });
    expect(again.last.mc).toEqual([
      {
        id: "1.1",
        tv: 3,
        rc: [
          {
            id: 1,
            ltp: 2,
            atb: [
              [2, 0],
              [1.9, 4],
            ],
          },
          { id: 2, hc: 1, tv: 3 },
        ],
        con: true,
      },
      back("1.2", 2, 5),
    ]);
    expect(scene.exchange.counters).toMatchObject({ images: 1, resumes: 1 });
    expect(scene.difference(again)).toBeNull();
  });

  test("brings a market that came since as an image", () => {
    const scene = new Scene();
    const visitor = scene.enter("v");
    scene.cut("v");
    scene.publish({ id: "1.1", marketDefinition: DEFINITION });
    scene.publish(back("1.1", 2, 5));
    expect(scene.enter("v", {}, visitor).last).toMatchObject({ ct: "RESUB_DELTA", mc: [{ id: "1.1", img: true }] });
  });

  test("with the clk of a heartbeat misses nothing and repeats nothing", () => {
    const scene = new Scene();
    scene.publish(born("1.1"));
    const visitor = scene.enter("v", { marketDataFilter: { fields: ["EX_LTP"] }, heartbeatMs: 500 });
    scene.publish(back("1.1", 2, 5));
    scene.clock.advance(600);
    scene.cut("v");
    const again = scene.enter("v", { marketDataFilter: { fields: ["EX_LTP"] } }, visitor);
    expect(again.last.ct).toBe("RESUB_DELTA");
    expect(again.last).not.toHaveProperty("mc");
  });

  const outOfReach: readonly [string, (scene: Scene, visitor: Visitor) => void, Record<string, unknown>?][] = [
    ["a clk older than the log", (scene) => many(scene)],
    ["other criteria", () => {}, { marketFilter: { eventTypeIds: ["1"] } }],
    ["other fields", () => {}, { marketDataFilter: { ladderLevels: 3 } }],
    ["an exchange that started anew", (scene) => scene.restart()],
    ["a clk of the future", (_scene, visitor) => Object.assign(visitor, { clk: "AAzzzz" })],
    ["a clk that is none", (_scene, visitor) => Object.assign(visitor, { clk: "nonsense" })],
    ["no initialClk", (_scene, visitor) => Object.assign(visitor, { initialClk: null })],
  ];
  for (const [what, act, fields] of outOfReach)
    test(`with ${what} is answered by a full image`, () => {
      const scene = new Scene(1, { logMessagesMax: 50 });
      scene.publish(born("1.1"));
      const visitor = scene.enter("v");
      scene.cut("v");
      act(scene, visitor);
      const again = scene.enter("v", fields, visitor);
      expect(again.last).toMatchObject({
        ct: "SUB_IMAGE",
        mc: [{ id: "1.1", img: true, marketDefinition: DEFINITION }],
      });
      expect(scene.difference(again)).toBeNull();
    });

  function many(scene: Scene): void {
    for (let i = 0; i <= 50; i++) scene.publish(back("1.1", 2, i));
  }
});

describe("conflation", () => {
  test("merges what came within conflateMs, says so market by market, and is at once after a silence", () => {
    const scene = new Scene();
    scene.publish(born("1.1"), born("1.2"));
    const visitor = scene.enter("v", { conflateMs: 1000 });
    const heard = visitor.messages.length;
    scene.publish(back("1.1", 2, 5));
    expect(visitor.messages[heard]?.mc).toEqual([back("1.1", 2, 5)]);
    scene.publish(back("1.1", 3, 5));
    scene.publish(back("1.1", 3, 0), back("1.2", 4, 1));
    scene.publish(back("1.1", 2.5, 1));
    scene.clock.advance(900);
    expect(visitor.messages).toHaveLength(heard + 1);
    scene.clock.advance(100);
    expect(visitor.last.mc).toEqual([
      {
        id: "1.1",
        rc: [
          {
            id: 1,
            atb: [
              [3, 0],
              [2.5, 1],
            ],
          },
        ],
        con: true,
      },
      back("1.2", 4, 1),
    ]);
    expect(scene.difference(visitor)).toBeNull();
  });

  test("hears heartbeats whose clk stops before what it has not been told", () => {
    const scene = new Scene();
    scene.publish(born("1.1"));
    const visitor = scene.enter("v", { conflateMs: 10_000, heartbeatMs: 500 });
    scene.publish(back("1.1", 2, 5));
    const clk = visitor.clk;
    scene.publish(back("1.1", 3, 5));
    scene.clock.advance(700);
    expect(visitor.last).toMatchObject({ ct: "HEARTBEAT", clk: clk as string });
    scene.cut("v");
    expect(scene.difference(scene.enter("v", { conflateMs: 10_000 }, visitor))).toBeNull();
  });
});

describe("a slow reader", () => {
  test("is skipped while its socket is full and gets the rest merged, while others hear everything", async () => {
    const scene = new Scene();
    scene.publish(born("1.1"));
    const [slow, quick] = [scene.enter("slow"), scene.enter("quick")];
    scene.readAt("slow", 0);
    for (let i = 1; i <= 200; i++) scene.publish(back("1.1", 2, i));
    const settled = scene.exchange.settled().then(() => "settled");
    expect(await Promise.race([settled, Promise.resolve("not yet")])).toBe("not yet");
    scene.readAt("slow", Number.POSITIVE_INFINITY);
    scene.clock.advance(50);
    expect(await settled).toBe("settled");
    expect(slow.last).toMatchObject({ mc: [{ id: "1.1", con: true, rc: [{ atb: [[2, 200]] }] }] });
    expect(slow.messages.length).toBeLessThan(60);
    expect(quick.messages).toHaveLength(204);
    expect(scene.difference(slow)).toBeNull();
  });

  test("that takes nothing for two minutes is cut off", () => {
    const scene = new Scene();
    scene.publish(born("1.1"));
    const slow = scene.enter("slow");
    scene.readAt("slow", 0);
    for (let i = 1; i <= 100; i++) scene.publish(back("1.1", 2, i));
    scene.clock.advance(121_000);
    expect(slow.closed).toBeInstanceOf(Error);
    expect(scene.exchange.counters.connections).toBe(0);
  });

  test("of a large image gets it piece by piece as it reads", () => {
    const scene = new Scene(1, { segmentBytes: 500 });
    scene.publish(...Array.from({ length: 300 }, (_, i) => born(`1.${i}`)));
    const visitor = scene.enter("v", { segmentationEnabled: true });
    expect(visitor.books.size).toBe(0);
    scene.publish(back("1.7", 2, 5), back("1.299", 2, 5), born("1.300"));
    scene.clock.advance(500);
    expect(scene.difference(visitor)).toBeNull();
    expect(visitor.last.mc?.map(({ id }) => id)).toEqual(["1.7", "1.299", "1.300"]);
  });
});

test("whatever is published, cut, conflated, read slowly or resumed: everybody ends at the published books", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 31 }), (seed) => {
      const random = seededRandom(seed);
      const scene = new Scene(seed, { segmentBytes: 600, logMessagesMax: 40, logChangesMax: 100 });
      const terms: Record<string, Record<string, unknown>> = {
        plain: {},
        segmented: { segmentationEnabled: true },
        conflated: { conflateMs: 60 },
        both: { conflateMs: 20, segmentationEnabled: true },
      };
      const visitors = new Map(Object.keys(terms).map((name) => [name, scene.enter(name, terms[name])]));
      for (let step = 0; step < 60; step++) {
        scene.publish(...anyMessage(random));
        const name = pick(random, [...visitors.keys()]);
        const chance = randomInt(random, 10);
        if (chance === 0) {
          scene.cut(name);
          for (let missed = randomInt(random, 60); missed > 0; missed--) scene.publish(...anyMessage(random));
          visitors.set(name, scene.enter(name, terms[name], visitors.get(name)));
        } else if (chance < 3) scene.readAt(name, pick(random, [0, 1, 100, Number.POSITIVE_INFINITY]));
      }
      for (const name of visitors.keys()) scene.readAt(name, Number.POSITIVE_INFINITY);
      scene.clock.advance(2_000);
      for (const [name, visitor] of visitors) {
        const difference = scene.difference(visitor);
        if (difference !== null) throw new Error(`${name}: ${difference}`);
      }
      for (const [id, book] of scene.truth) {
        const image = new NaiveBook(id);
        image.apply(scene.exchange.image(id) as MarketChange);
        expect(firstDifference(image.state(), book.state())).toBeNull();
      }
    }),
    { numRuns: 60 },
  );
});

/** A message with every oddity that a message may have. */
function anyMessage(random: Random): MarketChange[] {
  return Array.from({ length: 1 + randomInt(random, 4) }, () => anyChange(random));
}

function anyChange(random: Random): MarketChange {
  const chance = (n: number) => randomInt(random, n) === 0;
  return {
    id: `1.${randomInt(random, 5)}`,
    ...(chance(20) && { img: true }),
    ...(chance(4) && { tv: randomInt(random, 100) }),
    ...(chance(10) && {
      marketDefinition: { ...DEFINITION, version: randomInt(random, 1000), eventId: pick(random, ["a", "b"]) },
    }),
    rc: Array.from({ length: randomInt(random, 3) }, () => anyRunner(random)),
  };
}

function anyRunner(random: Random) {
  const chance = (n: number) => randomInt(random, n) === 0;
  const size = () => (chance(3) ? 0 : randomInt(random, 900) / 100);
  const ladder = () => Array.from({ length: randomInt(random, 3) }, () => [pick(random, [1.5, 2, 3]), size()] as const);
  return {
    id: 1 + randomInt(random, 2),
    ...(chance(3) && { hc: pick(random, [0, -0.5, 1.25]) }),
    ...(chance(3) && { ltp: 2, tv: randomInt(random, 50) }),
    ...(chance(4) && { spn: pick(random, [2.5, "NaN"]), spf: "Infinity" }),
    ...(chance(2) && { atb: ladder(), atl: ladder() }),
    ...(chance(3) && { trd: ladder() }),
    ...(chance(3) && { batb: [[randomInt(random, 3), 2, size()] as const] }),
  };
}
