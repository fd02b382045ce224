import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { type BookState, type MarketChange, type MarketDefinition, NaiveBook, type RunnerState } from "./naive.ts";
import { World, type WorldOptions } from "./world.ts";
import { PRICES } from "./world-prices.ts";
import { EVENT_DAYS, EventDay, type EventDayOptions, W1 } from "./world-w1.ts";

const TEN_MINUTES_MS = 600_000;
const INCREMENTS: ReadonlySet<number> = new Set(PRICES);

interface Message {
  readonly at: number;
  readonly pt: number;
  readonly changes: readonly MarketChange[];
}

/** What a world published within so many milliseconds. */
function published(seed: number, ms: number, options: Partial<WorldOptions> = {}): Message[] {
  const clock = new VirtualClock();
  const messages: Message[] = [];
  const publish = (pt: number, changes: readonly MarketChange[]) =>
    // Kept as text would be: nothing that was published may change afterwards.
    void messages.push({ at: clock.monotonic(), pt, changes: structuredClone(changes) });
  const world = new World({ markets: 40, ...options }, { clock, random: seededRandom(seed), publish });
  world.start();
  clock.advance(ms);
  world.stop();
  return messages;
}

const MESSAGES = published(1, TEN_MINUTES_MS, { changesPerSecond: 25 });
const CHANGES = MESSAGES.flatMap(({ changes }) => changes);
const DEFINITIONS = CHANGES.flatMap(({ id, marketDefinition }) => (marketDefinition ? [{ id, marketDefinition }] : []));

/** A book after a change of it. */
interface Step {
  readonly change: MarketChange;
  readonly state: BookState;
  readonly definition: MarketDefinition;
  /** Null at its first change. */
  readonly before: BookState | null;
}

/** What holds of every book after every change. */
const LAWS: Record<string, (step: Step) => boolean> = {
  "back and lay never cross": ({ state }) =>
    state.runners.every(({ atb, atl }) => (atb[0]?.[0] ?? 0) < (atl[0]?.[0] ?? Number.POSITIVE_INFINITY)),
  "prices are the exchange's increments, and sizes are pence": ({ state }) =>
    state.runners.every(({ atb, atl, trd }) =>
      [...atb, ...atl, ...trd].every(([price, size]) => INCREMENTS.has(price) && size > 0 && isPence(size)),
    ),
  "a runner's tv is the sum of what was traded, and a market's of its runners'": ({ state }) =>
    isNear(state.totalMatched, sum(state.runners.map(({ tv }) => tv ?? 0))) &&
    state.runners.every(({ tv, trd }) => isNear(tv, sum(trd.map(([, size]) => size)))),
  "what was traded only grows, unless the runner is withdrawn": ({ state, before }) =>
    state.runners.every(({ status, tv }, i) => status === "REMOVED" || Number(tv) >= (before?.runners[i]?.tv ?? 0)),
  "a withdrawn runner has nothing offered and nothing traded": ({ state }) =>
    state.runners.every(
      ({ status, tv, atb, atl, trd }) =>
        status !== "REMOVED" || Number(tv) + atb.length + atl.length + trd.length === 0,
    ),
  "a trade is at a price that was offered": ({ state, before }) =>
    state.runners.every((runner, i) => {
      const was = before?.runners[i];
      const traded = was !== undefined && Number(runner.tv) > Number(was.tv);
      return !traded || [...was.atb, ...was.atl].some(([price]) => price === runner.ltp);
    }),
  "nobody trades in a market that was not open": ({ state, before }) =>
    before === null || before.status === "OPEN" || Number(state.totalMatched) <= Number(before.totalMatched),
  "backing all costs a little over 100 %, laying all brings a little under": ({ state, definition }) => {
    const active = state.runners.filter(({ status }) => status === "ACTIVE");
    if (state.status !== "OPEN" || !active.every(isMiddling)) return true;
    const cost = (side: "atb" | "atl") =>
      sum(active.map((runner) => 1 / Number(runner[side][0]?.[0]))) / Number(definition.numberOfWinners);
    return cost("atb") > 0.99 && cost("atb") < 1.2 && cost("atl") > 0.8 && cost("atl") < 1.01;
  },
  "where a reason is given the market is suspended and nothing is offered": ({ state, definition }) =>
    definition.suspendReason === undefined || (state.status === "SUSPENDED" && isEmpty(state)),
  "a market that opens after a suspension has prices": ({ state, before }) =>
    before?.status !== "SUSPENDED" || state.status !== "OPEN" || !isEmpty(state),
  "a closed market has as many winners as it should, a time, and nothing offered": ({ state, definition }) =>
    state.status !== "CLOSED" ||
    (state.runners.filter(({ status }) => status === "WINNER").length === definition.numberOfWinners &&
      state.runners.every(({ status }) => ["WINNER", "LOSER", "REMOVED"].includes(String(status))) &&
      String(definition.settledTime).startsWith("2026-01-01T00:") &&
      definition.numberOfActiveRunners === 0 &&
      isEmpty(state)),
  "a market in play has a bet delay, others have none": ({ definition }) =>
    (definition.inPlay === true) === Number(definition.betDelay) > 0,
  "a race in play is reconciled, with starting prices": ({ definition: d }) =>
    d.bspMarket !== true ||
    d.inPlay !== true ||
    (d.bspReconciled === true &&
      d.runners?.every(({ status, bsp }) => status === "REMOVED" || Number(bsp) > 1) === true),
};

/** The first step that broke each law. */
function broken(changes: readonly MarketChange[]): Map<string, Step> {
  const found = new Map<string, Step>();
  const books = new Map<string, NaiveBook>();
  const states = new Map<string, BookState>();
  for (const change of changes) {
    const book = books.get(change.id) ?? new NaiveBook(change.id);
    books.set(change.id, book);
    book.apply(change);
    const before = states.get(change.id) ?? null;
    const step = { change, state: book.state(), definition: book.definition as MarketDefinition, before };
    states.set(change.id, step.state);
    for (const [law, holds] of Object.entries(LAWS)) if (!found.has(law) && !holds(step)) found.set(law, step);
  }
  return found;
}

describe("in a generated world", () => {
  test("the same seed gives the same world, another seed another", () => {
    const [one, again, other] = [5, 5, 6].map((seed) => JSON.stringify(published(seed, 20_000)));
    expect(one === again).toBe(true);
    expect(one === other).toBe(false);
  });

  test("each market begins with an image and a definition", () => {
    const seen = new Set<string>();
    for (const { id, img, marketDefinition } of CHANGES) {
      if (!seen.has(id)) expect([img, marketDefinition != null]).toEqual([true, true]);
      seen.add(id);
    }
    expect(seen.size).toBeGreaterThan(45);
  });

  test("there are as many markets as asked for, and new ones as old ones end", () => {
    const live = new Set<string>();
    let [least, most] = [Number.POSITIVE_INFINITY, 0];
    for (const { changes } of MESSAGES) {
      for (const { id, img, marketDefinition } of changes) {
        if (img === true) live.add(id);
        if (marketDefinition?.status === "CLOSED") live.delete(id);
      }
      least = Math.min(least, live.size);
      most = Math.max(most, live.size);
    }
    expect(most).toBe(40);
    expect(least).toBeGreaterThan(40 - 10);
  });

  test("pt never goes back and a cycle is one message", () => {
    const pts = MESSAGES.map(({ pt }) => pt);
    expect(pts).toEqual([...pts].sort((a, b) => a - b));
    const times = MESSAGES.slice(1).map(({ at }) => at);
    expect(new Set(times).size).toBe(times.length);
  });

  describe("after every change", () => {
    const found = broken(CHANGES);
    for (const law of Object.keys(LAWS)) test(law, () => expect(found.get(law)).toBeUndefined());
  });

  test("version grows with each definition, and only there", () => {
    const versions = new Map<string, number>();
    for (const { id, marketDefinition } of DEFINITIONS) {
      expect(marketDefinition.version as number).toBeGreaterThan(versions.get(id) ?? 0);
      versions.set(id, marketDefinition.version as number);
    }
  });

  test("prices of a market's runners move together", () => {
    const together = CHANGES.filter(({ rc, marketDefinition }) => (rc?.length ?? 0) > 2 && !marketDefinition);
    expect(together.length / CHANGES.length).toBeGreaterThan(0.05);
  });

  test("something is suspended at least every 20 s", () => {
    const at = MESSAGES.filter(({ changes }) =>
      changes.some(({ marketDefinition: d }) => d?.status === "SUSPENDED"),
    ).map(({ at }) => at);
    const gaps = [0, ...at].map((from, i) => (at[i] ?? TEN_MINUTES_MS) - from);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(20_000);
  });

  test("an event goes from open to suspended to in play with a bet delay, and ends settled", () => {
    const lives = new Map<string, string[]>();
    for (const { id, marketDefinition: d } of DEFINITIONS) {
      const life = lives.get(id) ?? [];
      lives.set(id, [...life, `${d.status}${d.inPlay ? ` in play ${Number(d.betDelay) > 0}` : ""}`]);
    }
    const whole = [...lives.values()].filter((life) => life[0] === "OPEN" && life.at(-1)?.startsWith("CLOSED in play"));
    expect(whole.length).toBeGreaterThan(10);
    for (const life of whole) expect(life.slice(life.indexOf("OPEN in play true") - 1)[0]).toBe("SUSPENDED");
  });

  test("much happens: goals, wickets, non-runners, trades, settlements, and starting prices that are no numbers", () => {
    const reasons = DEFINITIONS.map(({ marketDefinition }) => marketDefinition.suspendReason);
    expect(reasons).toContain("Goal");
    expect(reasons).toContain("Wicket");
    const runners = DEFINITIONS.flatMap(({ marketDefinition }) => marketDefinition.runners ?? []);
    expect(new Set(runners.map(({ status }) => status))).toEqual(new Set(["ACTIVE", "REMOVED", "WINNER", "LOSER"]));
    const changed = CHANGES.flatMap(({ rc }) => rc ?? []);
    expect(changed.filter(({ ltp }) => ltp !== undefined).length).toBeGreaterThan(1_000);
    expect(changed.map(({ spn }) => spn)).toContain("NaN");
    expect(changed.map(({ spf }) => spf)).toContain("Infinity");
  });

  test("all four sports are there, with their market types and names", () => {
    const of = (eventTypeId: string) =>
      new Set(DEFINITIONS.flatMap(({ marketDefinition: d }) => (d.eventTypeId === eventTypeId ? [d.marketType] : [])));
    expect([...of("1")].sort() as string[]).toEqual([
      "ASIAN_HANDICAP",
      "BOTH_TEAMS_TO_SCORE",
      "CORRECT_SCORE",
      "MATCH_ODDS",
      "OVER_UNDER_05",
      "OVER_UNDER_15",
      "OVER_UNDER_25",
      "OVER_UNDER_35",
    ]);
    expect([...of("2")].sort() as string[]).toEqual(["MATCH_ODDS", "NUMBER_OF_SETS", "SET_BETTING", "SET_WINNER"]);
    expect([...of("7")].sort() as string[]).toEqual(["PLACE", "WIN"]);
    expect([...of("4")].sort() as string[]).toEqual(["COMPLETED_MATCH", "MATCH_ODDS", "TIED_MATCH", "TO_WIN_THE_TOSS"]);
    for (const { marketDefinition: d } of DEFINITIONS) {
      expect([typeof d.name, typeof d.eventName]).toEqual(["string", "string"]);
      expect(d.runners?.every(({ name }) => typeof name === "string")).toBe(true);
    }
  });

  test("names are left out when told to, and definitions hold what betfairlightweight's full mode needs and no more in runners", () => {
    const needed = ["betDelay", "bettingType", "bspMarket", "bspReconciled", "complete", "crossMatching"].concat(
      ["discountAllowed", "eventId", "eventTypeId", "inPlay", "marketBaseRate", "marketTime", "numberOfActiveRunners"],
      ["numberOfWinners", "persistenceEnabled", "regulators", "runnersVoidable", "status", "timezone"],
      ["turnInPlayEnabled", "version", "runners"],
    );
    const known = new Set(["id", "hc", "sortPriority", "status", "adjustmentFactor", "bsp", "removalDate"]);
    const definitions = published(2, 60_000, { names: false }).flatMap(({ changes }) =>
      changes.flatMap(({ marketDefinition }) => marketDefinition ?? []),
    );
    for (const definition of definitions as MarketDefinition[]) {
      expect(needed.filter((key) => definition[key] == null)).toEqual([]);
      expect(definition).not.toHaveProperty("name");
      expect(definition).not.toHaveProperty("eventName");
      for (const runner of definition.runners ?? [])
        expect(Object.keys(runner).filter((key) => !known.has(key))).toEqual([]);
    }
  });

  test("the rate is the one asked for, within a tenth", () => {
    const messages = published(3, 10_000, { markets: 500, changesPerSecond: 1_000 });
    const changes = messages.filter(({ at }) => at > 0).flatMap((message) => message.changes);
    expect(changes.filter(({ marketDefinition }) => !marketDefinition).length).toBeWithin(9_000, 11_000);
  });
});

describe("W1", () => {
  const clock = new VirtualClock();
  const counts: { at: number; changes: number }[] = [];
  const byMarket = new Map<string, number>();
  const books = new Map<string, NaiveBook>();
  const day = new EventDay(
    { ...W1, markets: 1_000 },
    {
      clock,
      random: seededRandom(1),
      publish(_pt, changes) {
        counts.push({ at: clock.monotonic(), changes: changes.length });
        for (const change of changes) {
          if (clock.monotonic() > 0) byMarket.set(change.id, (byMarket.get(change.id) ?? 0) + 1);
          let book = books.get(change.id);
          if (book === undefined) books.set(change.id, (book = new NaiveBook(change.id)));
          book.apply(change);
        }
      },
    },
  );
  day.start();
  const shapes = () => [...books.values()].flatMap((book) => book.state().runners.map(shapeOf));
  const first = shapes();
  clock.advance(60_000);

  test("begins with 8 runners of 10 and 10 prices and 15 traded ones, and stays near that", () => {
    expect(new Set(first)).toEqual(new Set(["10+10+15"]));
    expect(first).toHaveLength(8_000);
    for (const shape of shapes()) expect(shape.split("+").every((n, i) => Number(n) >= [8, 8, 15][i]!)).toBe(true);
  });

  test("has 2,000 changes a second and five times that in a burst of 10 s", () => {
    const within = (from: number, to: number) =>
      sum(counts.filter(({ at }) => at > from && at <= to).map(({ changes }) => changes));
    expect(within(0, 50_000) / 50).toBeWithin(1_950, 2_050);
    expect(within(50_000, 60_000) / 10).toBeWithin(9_000, 10_100);
  });

  test("prefers some markets by Zipf's law, and suspends", () => {
    const times = [...byMarket.values()].sort((a, b) => b - a);
    expect(times[0]! / times[499]!).toBeGreaterThan(5);
    expect([...books.values()].some((book) => book.definition?.status === "SUSPENDED")).toBe(true);
    expect([...books.values()].filter((book) => book.definition?.status === "OPEN").length).toBeGreaterThan(980);
  });
});

test("the other workloads' feeds have the rate and the shape that they are named for", () => {
  const seconds = 60;
  const feed = (name: string) => {
    const clock = new VirtualClock();
    const sizes: number[] = [];
    const publish = (_: number, changes: readonly unknown[]) =>
      void (clock.monotonic() > 0 && sizes.push(changes.length));
    const day = new EventDay(EVENT_DAYS[name] as EventDayOptions, { clock, random: seededRandom(1), publish });
    day.start();
    clock.advance(seconds * 1_000);
    day.stop();
    return {
      markets: day.markets.length,
      messages: Math.round(sizes.length / seconds),
      changes: Math.round(sum(sizes) / seconds),
    };
  };
  expect(feed("W3")).toEqual({ markets: 1, messages: 2, changes: 2 });
  expect(feed("W7")).toEqual({ markets: 500, messages: 0, changes: 0 });
  expect(feed("W8a")).toEqual({ markets: 1, messages: 5, changes: 5 });
  expect(feed("W8b")).toEqual({ markets: 10, messages: 2, changes: 20 });
  expect(feed("W4").changes).toBeWithin(199, 203);
});

test("the exchange's price increments are these", () => {
  expect(PRICES).toHaveLength(350);
  expect(PRICES.slice(0, 3)).toEqual([1.01, 1.02, 1.03]);
  for (const price of [2, 2.02, 3, 3.05, 4, 4.1, 6, 6.2, 10, 10.5, 20, 21, 30, 32, 50, 55, 100, 110, 990, 1000])
    expect(PRICES).toContain(price);
  for (const price of [2.01, 3.02, 4.05, 6.1, 10.2, 20.5, 31, 52, 105]) expect(PRICES).not.toContain(price);
});

/** Both sides offered, and not so short or so long that a tick is a large part of the chance. */
function isMiddling({ atb, atl }: RunnerState): boolean {
  return (atb[0]?.[0] ?? 0) > 1.2 && (atl[0]?.[0] ?? Number.POSITIVE_INFINITY) < 100;
}

function shapeOf({ atb, atl, trd }: RunnerState): string {
  return `${atb.length}+${atl.length}+${trd.length}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function isPence(size: number): boolean {
  return Math.abs(size * 100 - Math.round(size * 100)) < 1e-6;
}

function isNear(a: number | null, b: number): boolean {
  return a !== null && Math.abs(a - b) < 0.001;
}

function isEmpty({ runners }: BookState): boolean {
  return runners.every(({ atb, atl }) => atb.length + atl.length === 0);
}
