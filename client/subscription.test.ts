import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { connect } from "./connection.ts";
import type { ChangeMessage, MarketChange } from "./messages.ts";
import type { Outcome, Subscription, SubscriptionHandlers, SubscriptionOptions } from "./subscription.ts";
import { marketChange } from "./testing/arbitrary.ts";
import { FakeClock, FakeServer } from "./testing/fake.ts";
import { PlainBook, stateOf } from "./testing/plain.ts";

describe("images and updates", () => {
  test("an image brings the books, an update changes them, each told once after it is applied whole", () => {
    const told: unknown[] = [];
    const { say, subscription } = setUp({
      image: (removed) => told.push(["image", removed.length]),
      change: (books) => told.push(books.map((book) => [book.id, book.totalMatched])),
      status: (state) => told.push(state.kind),
    });
    say({
      ct: "SUB_IMAGE",
      mc: [
        { id: "1.1", img: true, tv: 1 },
        { id: "1.2", img: true, tv: 2 },
      ],
    });
    say({
      mc: [
        { id: "1.2", tv: 3 },
        { id: "1.2", tv: 4 },
      ],
    });
    expect(told).toEqual([
      "live",
      ["image", 0],
      [
        ["1.1", 1],
        ["1.2", 2],
      ],
      [["1.2", 4]],
    ]);
    expect(subscription.counters).toMatchObject({ messages: 2, changes: 4, images: 1, resumes: 0 });
  });

  test("a later image replaces the whole cache: markets it leaves out are gone once it is complete", () => {
    const removed: string[] = [];
    const { say, subscription } = setUp({ image: (books) => removed.push(...books.map((book) => book.id)) });
    say({
      ct: "SUB_IMAGE",
      mc: [
        { id: "1.1", tv: 1 },
        { id: "1.2", tv: 2, rc: [{ id: 7, ltp: 2 }] },
      ],
    });
    say({ ct: "SUB_IMAGE", segmentType: "SEG_START", mc: [{ id: "1.2" }] });
    expect([...subscription.books.keys()]).toEqual(["1.1", "1.2"]);
    say({ segmentType: "SEG_END", mc: [{ id: "1.3" }] });
    expect([[...subscription.books.keys()], removed]).toEqual([["1.2", "1.3"], ["1.1"]]);
    expect(subscription.books.get("1.2")?.totalMatched).toBeNull();
    expect(subscription.books.get("1.2")?.runner(7)).toBeUndefined();
  });

  test("a suspension that overtakes a segmented image neither ends it nor moves the clk", () => {
    const { say, subscription } = setUp();
    say({ ct: "SUB_IMAGE", initialClk: "i", clk: "1", mc: [{ id: "1.1" }] });
    say({ segmentType: "SEG_START", clk: "2", mc: [{ id: "1.1", tv: 2 }] });
    say({ clk: "3", mc: [{ id: "1.1", marketDefinition: { status: "SUSPENDED" } }] });
    expect([subscription.clk, subscription.books.get("1.1")?.suspended]).toEqual(["1", true]);
    say({ segmentType: "SEG", mc: [{ id: "1.1", tv: 3 }] });
    say({ segmentType: "SEG_END", mc: [{ id: "1.1", tv: 4 }] });
    expect([subscription.initialClk, subscription.clk]).toEqual(["i", "2"]);
  });

  test("says what is in force as the server says it", () => {
    const { say, subscription } = setUp();
    expect([subscription.conflateMs, subscription.heartbeatMs]).toEqual([0, 5000]);
    say({ ct: "SUB_IMAGE", conflateMs: 180_000, heartbeatMs: 500 });
    expect([subscription.conflateMs, subscription.heartbeatMs]).toEqual([180_000, 500]);
  });
});

describe("altered while it runs", () => {
  const ONE = { filter: { marketIds: ["1.1", "1.2"] }, fields: ["EX_LTP"] as const, ladderLevels: 3, conflateMs: 100 };

  function running(options: SubscriptionOptions = ONE) {
    const made = setUp({}, options);
    const { say, server, subscription } = made;
    say({ ct: "SUB_IMAGE", initialClk: "i1", clk: "1", mc: [open("1.1"), open("1.2")] });
    const outcomes: Outcome[] = [];
    const told = (outcome: Outcome) => void outcomes.push(outcome);
    const answer = (op: string, rest: object = { statusCode: "SUCCESS" }) =>
      server.wire.say({ op: "status", id: server.wire.asked(op)?.id, connectionClosed: false, ...rest });
    const refuse = (op: string) => answer(op, { statusCode: "FAILURE", errorCode: "INVALID_REQUEST" });
    const ids = () => [...subscription.books.keys()];
    return { ...made, outcomes, told, answer, refuse, ids };
  }

  test("a change says what is new, levels and fields together, and a resume asks for the same", () => {
    const { server, subscription, told, answer, outcomes, say, reconnect } = running();
    subscription.change({ conflateMs: 500 }, told);
    expect(server.wire.asked("change")).toEqual({ op: "change", id: 3, subscription: 1, conflateMs: 500 });
    answer("change");
    say({ initialClk: "i1", clk: "2", conflateMs: 500 });
    expect([outcomes, subscription.conflateMs]).toEqual([[{ kind: "accepted" }], 500]);
    subscription.change({ ladderLevels: 5 }, told);
    const marketDataFilter = { fields: ["EX_LTP"], ladderLevels: 5 };
    expect(server.wire.asked("change")).toEqual({ op: "change", id: 4, subscription: 1, marketDataFilter });
    reconnect();
    expect(outcomes.at(-1)).toEqual({ kind: "kept" });
    expect(server.wire.asked("marketSubscription")).toMatchObject({ marketDataFilter, conflateMs: 500, clk: "2" });
  });

  test("what is refused is taken back, and only that", () => {
    const { server, subscription, told, refuse, answer, outcomes, reconnect } = running();
    subscription.change({ conflateMs: 500, fields: [] }, told);
    refuse("change");
    subscription.addMarkets(["1.2", "1.3"], told);
    const first = server.wire.asked("addMarkets");
    subscription.addMarkets(["1.4"], told);
    answer("addMarkets");
    server.wire.say({ op: "status", id: first?.id, statusCode: "FAILURE", connectionClosed: false });
    subscription.removeMarkets(["1.1"], told);
    refuse("removeMarkets");
    expect(outcomes.map(({ kind }) => kind)).toEqual(["refused", "accepted", "refused", "refused"]);
    reconnect();
    expect(server.wire.asked("marketSubscription")).toMatchObject({
      marketFilter: { marketIds: ["1.2", "1.4", "1.1"] },
      marketDataFilter: { fields: ["EX_LTP"] },
      conflateMs: 100,
    });
  });

  test("a removed market's book is gone once that is accepted, and an added one comes by its image", () => {
    const { subscription, told, answer, say, ids } = running();
    subscription.removeMarkets(["1.2"], told);
    expect(ids()).toEqual(["1.1", "1.2"]);
    answer("removeMarkets");
    expect(ids()).toEqual(["1.1"]);
    subscription.addMarkets(["1.5"], told);
    answer("addMarkets");
    say({ initialClk: "i2", clk: "3", mc: [open("1.5")] });
    expect([ids(), subscription.initialClk, subscription.state.kind]).toEqual([["1.1", "1.5"], "i2", "live"]);
  });

  test("a market that comes back before the contract without it was told of is asked for by an image", () => {
    const { subscription, told, answer, server, reconnect } = running();
    subscription.removeMarkets(["1.2"], told);
    answer("removeMarkets");
    server.wire.cut();
    subscription.addMarkets(["1.2"], told);
    reconnect();
    const request = server.wire.asked("marketSubscription");
    expect(request).toMatchObject({ marketFilter: { marketIds: ["1.1", "1.2"] } });
    expect(request?.clk).toBeUndefined();
  });

  test("one that is back in the wish when its going is accepted, too; not where the new contract is known", () => {
    for (const isKnown of [false, true]) {
      const { subscription, told, answer, server, reconnect, say } = running();
      subscription.removeMarkets(["1.2"], told);
      if (!isKnown) subscription.addMarkets(["1.2"], told);
      answer("removeMarkets");
      if (isKnown) {
        say({ initialClk: "i2", clk: "3" });
        subscription.addMarkets(["1.2"], told);
      }
      reconnect();
      expect(server.wire.asked("marketSubscription")?.clk).toBe(isKnown ? "3" : undefined);
    }
  });

  test("cannot be made to ask for every market, nor altered where a filter says which there are", () => {
    const { subscription, server } = running();
    expect(() => subscription.removeMarkets(["1.1", "1.2"])).toThrow("unsubscribe");
    for (const filter of [undefined, {}, { marketIds: [] }, { marketIds: ["1.1"], eventIds: ["1"] }]) {
      const other = running({ filter }).subscription;
      expect(() => other.addMarkets(["1.1"])).toThrow("by marketIds alone");
    }
    expect(server.wire.asked("removeMarkets")).toBeUndefined();
  });
});

describe("what may be old says so", () => {
  test("books are stale before the first image is whole, after a loss until resumed, and while the server says 503", () => {
    const { say, subscription, reconnect } = setUp();
    say({ ct: "SUB_IMAGE", segmentType: "SEG_START", initialClk: "i", mc: [open("1.1")] });
    const book = subscription.books.get("1.1")!;
    expect([subscription.state.kind, book.stale]).toEqual(["waiting", true]);
    say({ ct: "SUB_IMAGE", segmentType: "SEG_END", clk: "1" });
    expect([subscription.state.kind, book.bettable]).toEqual(["live", true]);
    say({ ct: "HEARTBEAT", clk: "1", status: 503 });
    expect([subscription.state, book.bettable]).toEqual([{ kind: "stale", reason: "upstream" }, false]);
    say({ ct: "HEARTBEAT", clk: "1" });
    expect(book.bettable).toBe(true);
    reconnect();
    expect([subscription.state, book.bettable]).toEqual([{ kind: "stale", reason: "connection" }, false]);
    say({ ct: "HEARTBEAT", clk: "1" });
    expect(book.stale).toBe(true);
    say({ ct: "RESUB_DELTA", clk: "1" });
    expect([subscription.state.kind, book.bettable, subscription.counters.resumes]).toEqual(["live", true, 1]);
  });
});

describe("a resume", () => {
  test("asks for exactly the same with the same id and the last whole clk", () => {
    const { say, server, reconnect } = setUp();
    const first = server.wire.asked("marketSubscription");
    say({ ct: "SUB_IMAGE", initialClk: "i", clk: "1", mc: [{ id: "1.1" }] });
    say({ clk: "2" });
    say({ segmentType: "SEG_START", clk: "3" });
    reconnect();
    expect(server.wire.asked("marketSubscription")).toEqual({ ...first, initialClk: "i", clk: "2" });
  });

  test("asks for an image after INVALID_CLOCK", () => {
    const { say, server, clock } = setUp();
    say({ ct: "SUB_IMAGE", initialClk: "i", clk: "1" });
    server.wire.cut(4003);
    clock.next();
    server.wire.accept();
    expect(server.wire.asked("marketSubscription")).not.toHaveProperty("initialClk");
  });

  test("after a cut anywhere, however the server answers it, ends in the same books", () => {
    const step = fc.record({
      changes: fc.array(marketChange, { maxLength: 4 }),
      segments: fc.integer({ min: 1, max: 3 }),
      cutAt: fc.option(fc.nat(2), { freq: 3 }),
      forgets: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const exchange = new PlainExchange();
        const { say, server, subscription, reconnect } = setUp();
        const answer = () => {
          const { initialClk, clk } = server.wire.asked("marketSubscription") as Record<string, string>;
          for (const message of exchange.answer(initialClk, clk)) say(message);
        };
        answer();
        for (const { changes, segments, cutAt, forgets } of steps) {
          const messages = exchange.publish(changes, segments);
          for (const message of messages.slice(0, cutAt ?? segments)) say(message);
          if (cutAt === null) continue;
          if (forgets) exchange.epoch++;
          reconnect();
          answer();
        }
        expect([...subscription.books.values()].map(stateOf).sort(byId)).toEqual(exchange.states());
        expect(subscription.state.kind).toBe("live");
      }),
      { numRuns: 200 },
    );
  });
});

/** A server that keeps everything it ever said, and answers a resume by saying it again from the clk on. */
class PlainExchange {
  epoch = 1;
  readonly #said: MarketChange[] = [];
  readonly #books = new Map<string, PlainBook>();

  publish(changes: readonly MarketChange[], segments: number): Partial<ChangeMessage>[] {
    for (const change of changes) {
      if (!this.#books.has(change.id)) this.#books.set(change.id, new PlainBook(change.id));
      this.#books.get(change.id)?.apply(change);
      this.#said.push(change);
    }
    return segmented({ clk: `${this.#said.length}` }, changes, segments);
  }

  answer(initialClk: string | undefined, clk: string | undefined): Partial<ChangeMessage>[] {
    const now = { clk: `${this.#said.length}` };
    if (initialClk === `${this.epoch}`)
      return segmented({ ...now, ct: "RESUB_DELTA" }, this.#said.slice(Number(clk)), 2);
    const images = Array.from(this.#books.values(), (book) => book.image());
    return segmented({ ...now, ct: "SUB_IMAGE", initialClk: `${this.epoch}` }, images, 2);
  }

  states(): unknown[] {
    return Array.from(this.#books.values(), (book) => book.state()).sort(byId);
  }
}

function segmented(
  head: Partial<ChangeMessage>,
  changes: readonly MarketChange[],
  n: number,
): Partial<ChangeMessage>[] {
  if (n === 1) return [{ ...head, mc: changes }];
  const size = Math.ceil(changes.length / n);
  return Array.from({ length: n }, (_, i) => ({
    ...head,
    segmentType: i === 0 ? "SEG_START" : i === n - 1 ? "SEG_END" : "SEG",
    mc: changes.slice(i * size, (i + 1) * size),
  }));
}

function setUp(on: SubscriptionHandlers = {}, options: SubscriptionOptions = {}) {
  const [server, clock] = [new FakeServer(), new FakeClock()];
  const connection = connect({ wire: server.open, session: "token", clock, random: { next: () => 0.5 } });
  const subscription: Subscription = connection.subscribe(options, on);
  server.wire.accept();
  const say = (message: Partial<ChangeMessage>) =>
    server.wire.say({ op: "mcm", id: subscription.id, pt: 1, ...message });
  const reconnect = () => {
    server.wire.cut();
    clock.next();
    server.wire.accept();
  };
  return { server, clock, connection, subscription, say, reconnect };
}

function open(id: string): MarketChange {
  return { id, img: true, marketDefinition: { status: "OPEN" } };
}

function byId(a: unknown, b: unknown): number {
  return (a as { id: string }).id < (b as { id: string }).id ? -1 : 1;
}
