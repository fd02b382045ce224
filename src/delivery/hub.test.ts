import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { agree, change, definition, image, Rig, type User, VISITOR } from "../../test/hub-rig.ts";
import { pick, type Random, randomInt, seededRandom } from "../base/random.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { MarketChange } from "../sim/naive.ts";
import type { SubscribeRequest } from "../wire/requests.ts";

function randomChange(random: Random, version: number): MarketChange {
  const id = `1.${randomInt(random, 6)}`;
  if (random.next() < 0.06) return image(id, { version, status: pick(random, ["OPEN", "SUSPENDED"]) });
  const rest: Record<string, unknown> = {};
  if (random.next() < 0.15) {
    rest.marketDefinition = definition({
      version,
      status: pick(random, ["OPEN", "SUSPENDED"]),
      eventTypeId: pick(random, ["1", "1", "1", "2"]),
    });
  }
  const levels = Array.from({ length: randomInt(random, 4) }, () => [
    pick(random, [2, 2.02, 3, 4, 5]),
    pick(random, [0, 1, 2.5, 99]),
  ]);
  rest.rc = [{ id: 1 + randomInt(random, 2), atb: levels, ltp: version }];
  return change(id, rest);
}

describe("a user holds the exchange's book", () => {
  test("whatever its socket takes, whatever the cadence, over cuts and resumes", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = seededRandom(seed);
        const rig = new Rig({
          segmentBytesMax: pick(random, [100, 1000]),
          flushBytesMax: pick(random, [200, 100_000]),
        });
        const options = {
          conflateMs: pick(random, [0, 50, 1000]),
          segmentationEnabled: random.next() < 0.7,
          filter: pick<MarketFilter>(random, [{}, { eventTypeIds: ["1"] }, { marketIds: ["1.1", "1.3"] }]),
        };
        let user = rig.join();
        let versions = new Map<string, number>();
        let subscribed = false;
        for (let i = 1; i < 120; i++) {
          const segment = pick(random, ["", "", "", "SEG_START"]);
          rig.send(
            Array.from({ length: 1 + randomInt(random, 3) }, () => randomChange(random, i)),
            segment ? { segmentType: segment } : {},
            random.next() < 0.8 || segment !== "",
          );
          if (segment) rig.send([randomChange(random, i)], { segmentType: "SEG_END" });
          rig.hub.settled();
          if (random.next() < 0.2) rig.clock.run(rig.clock.monotonic() + pick(random, [10, 60, 1100]));
          if (random.next() < 0.1) user.room = randomInt(random, 300);
          if (random.next() < 0.2 && user.room < 1e9) user.drain(pick(random, [50, 500, Number.POSITIVE_INFINITY]));
          if (!subscribed || random.next() < 0.05) {
            const { initialClk, clk, books } = user;
            if (subscribed) user.session.leave();
            user = rig.join();
            for (const [id, book] of books) user.books.set(id, book);
            expect(user.session.subscribe({ ...user.request(3, options), initialClk, clk })).toBeNull();
            subscribed = true;
          }
          for (const [id, book] of user.books) {
            const { version } = book.state();
            if (version === null) continue;
            if (version < (versions.get(id) ?? 0))
              throw new Error(`${id} went back from ${versions.get(id)} to ${version}`);
            versions.set(id, version);
          }
          if (user.books.size === 0) versions = new Map();
        }
        user.drain(Number.POSITIVE_INFINITY);
        rig.clock.run(rig.clock.monotonic() + 3000);
        const ids = options.filter.marketIds;
        const truth = new Map([...rig.truth].filter(([id]) => ids === undefined || ids.includes(id)));
        agree(user.books, truth, options.filter);
        rig.hub.closeAll({ code: "GOING_AWAY", message: "" });
        rig.hub.stop();
      }),
      { numRuns: 300, includeErrorInReport: true, examples: [[693495905]] },
    );
  });

  test("clk 0, of the first part of an image in several messages, is answered by an image: a market may have left meanwhile", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const user = rig.join();
    const request = user.request(1, { filter: { eventTypeIds: ["1"] } });
    user.session.subscribe(request);
    const { initialClk } = user;
    user.session.leave();
    rig.send([change("1.1", { marketDefinition: definition({ eventTypeId: "2" }) })]);
    const again = rig.join();
    again.session.subscribe({ ...request, initialClk, clk: "0" });
    expect(again.messages.map(({ ct }) => ct)).toEqual(["SUB_IMAGE"]);
    rig.hub.stop();
  });
});

describe("cadence", () => {
  test("0: one message per upstream message, in order, even when several came in one read", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(7));
    for (let i = 1; i <= 5; i++) rig.send([change("1.1", { rc: [{ id: 5, ltp: i }] })], {}, false);
    expect(user.messages.length).toBe(1);
    rig.hub.settled();
    expect(user.messages.slice(1).map((message) => message.mc?.[0]?.rc?.[0]?.ltp)).toEqual([1, 2, 3, 4, 5]);
    expect(user.messages.every((message) => message.id === 7 && message.clk !== undefined)).toBe(true);
    expect(user.writes).toBe(2);
    rig.hub.stop();
  });

  test("above 0: changes are merged and say so, once per interval", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(1, { conflateMs: 80 }));
    expect((user.messages[0] as unknown as { conflateMs: number }).conflateMs).toBe(100);
    for (let i = 1; i <= 5; i++) rig.send([change("1.1", { rc: [{ id: 5, ltp: i }] })]);
    rig.clock.run(100);
    expect(user.messages.length).toBe(2);
    expect(user.messages[1]?.mc).toEqual([change("1.1", { con: true, rc: [{ id: 5, ltp: 5 }] })]);
    rig.hub.stop();
  });

  test("a market that was still for ever so long is told by what changed, whatever books have forgotten of when", () => {
    const rig = new Rig();
    const atb = Array.from({ length: 10 }, (_, i) => [2 + i, 5]);
    rig.send([change("1.1", { img: true, marketDefinition: definition(), rc: [{ id: 5, atb }] }), image("1.2")]);
    const users = [0, 50].map((conflateMs) => {
      const user = rig.join();
      user.session.subscribe(user.request(1, { conflateMs, filter: { marketIds: ["1.1"] } }));
      return user;
    });
    for (let i = 0; i < 66_000; i++) rig.send([change("1.2", { tv: i })]);
    const rc = [{ id: 5, atb: [[4, 7]] }];
    rig.send([change("1.1", { rc })]);
    rig.clock.advance(100);
    for (const { messages } of users) expect(messages.at(-1)?.mc).toEqual([change("1.1", { rc })]);
    rig.hub.stop();
  });

  test("a suspension does not wait for it, comes whole, and claims nothing by a clk", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const user = rig.join();
    user.session.subscribe(user.request(1, { conflateMs: 60_000 }));
    rig.send([change("1.2", { rc: [{ id: 5, ltp: 3 }] })]);
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 4 }] })]);
    rig.send([change("1.1", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    expect(user.messages.length).toBe(2);
    expect(user.messages[1]?.clk).toBeUndefined();
    expect(user.messages[1]?.mc?.[0]?.id).toBe("1.1");
    expect(user.books.get("1.1")?.state().status).toBe("SUSPENDED");
    expect(user.books.get("1.1")?.state().runners[0]?.ltp).toBe(4);
    rig.hub.stop();
  });
});

describe("clk and resume", () => {
  test("a resume gets only what changed; another contract, epoch or future clk an image", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    const { initialClk, clk } = user;
    user.session.leave();
    rig.send([change("1.2", { rc: [{ id: 5, ltp: 3 }] })]);
    const answer = (request: Partial<SubscribeRequest>) => {
      const back = rig.join();
      back.session.subscribe(back.request(1, { initialClk, clk, ...request }));
      return back.messages[0];
    };
    const resumed = answer({});
    expect(resumed?.ct).toBe("RESUB_DELTA");
    expect(resumed?.mc).toEqual([change("1.2", { rc: [{ id: 5, ltp: 3 }] })]);
    expect(answer({ conflateMs: 500 })?.ct).toBe("RESUB_DELTA");
    expect(answer({ filter: { marketIds: ["1.2"] } })?.ct).toBe("SUB_IMAGE");
    expect(answer({ ladderLevels: 3 })?.ct).toBe("SUB_IMAGE");
    expect(answer({ clk: "zzz" })?.ct).toBe("SUB_IMAGE");
    expect(answer({ clk: "not a clk" })?.ct).toBe("SUB_IMAGE");
    expect(answer({ initialClk: `e0${initialClk?.slice(2)}` })?.ct).toBe("SUB_IMAGE");
    expect(answer({ clk: null })?.ct).toBe("SUB_IMAGE");
    rig.clock.run(120_000);
    rig.send([change("1.2", { rc: [{ id: 5, ltp: 5 }] })]);
    rig.clock.run(240_000);
    rig.send([change("1.2", { rc: [{ id: 5, ltp: 6 }] })]);
    expect(answer({})?.ct).toBe("SUB_IMAGE");
    rig.hub.stop();
  });

  test("segments: clk and initialClk stand at the end, each piece below the bound", () => {
    const rig = new Rig({ segmentBytesMax: 400 });
    rig.send(Array.from({ length: 20 }, (_, i) => image(`1.${i}`)));
    const user = rig.join();
    user.session.subscribe(user.request(1));
    const types = user.messages.map((message) => message.segmentType);
    expect(types[0]).toBe("SEG_START");
    expect(types.at(-1)).toBe("SEG_END");
    expect(types.slice(1, -1).every((type) => type === "SEG")).toBe(true);
    expect(
      user.messages.slice(0, -1).some((message) => message.clk !== undefined || message.initialClk !== undefined),
    ).toBe(false);
    expect(user.messages.at(-1)?.clk).toBeDefined();
    expect(user.books.size).toBe(20);
    rig.hub.stop();
  });
});

describe("an image in the middle of the stream", () => {
  for (const segmentationEnabled of [true, false]) {
    test(`cut after any byte, ${segmentationEnabled ? "in segments" : "in messages of its own"}, resumes to the same book`, () => {
      for (let room = 0; room < 2500; room += 25) {
        const rig = new Rig({ segmentBytesMax: 200, flushBytesMax: 200 });
        rig.send(Array.from({ length: 6 }, (_, i) => image(`1.${i}`)));
        const options = { filter: { eventTypeIds: ["1"] }, segmentationEnabled };
        const user = rig.join();
        user.session.subscribe(user.request(1, options));
        user.room = room;
        rig.send([change("1.0", { marketDefinition: definition({ eventTypeId: "2" }) })]);
        user.session.leave();
        rig.send([change("1.0", { marketDefinition: definition() })]);
        const back = rig.join();
        for (const [id, book] of user.books) back.books.set(id, book);
        const { initialClk, clk } = user;
        back.session.subscribe({ ...back.request(1, options), initialClk, clk });
        agree(back.books, rig.truth, options.filter);
        rig.hub.stop();
      }
    });
  }
});

describe("being behind", () => {
  test("while the source falls silent: that is told as soon as there is room, though nothing else is new", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    user.room = 10;
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 2 }] })]);
    rig.hub.state("stale");
    user.drain(Number.POSITIVE_INFINITY);
    expect(user.messages.at(-1)?.status).toBe(503);
    rig.hub.stop();
  });

  test("when the source comes back: all is called well with the last part of what was missed, not with the first", () => {
    const rig = new Rig({ segmentBytesMax: 100 });
    rig.send([image("1.1"), image("1.2")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    rig.hub.state("stale");
    user.room = 10;
    for (let i = 0; i < 2; i++) rig.send([image("1.1"), image("1.2")]);
    rig.hub.state("live");
    const before = user.messages.length;
    user.drain(Number.POSITIVE_INFINITY);
    const told = user.messages.slice(before + 1).map((message) => message.status);
    expect(told.length).toBeGreaterThan(1);
    expect(told).toEqual([...told.slice(1).map(() => 503), undefined]);
    rig.hub.stop();
  });

  test("costs no queue: what was missed comes as one merged delta, stopped markets first", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2"), image("1.3")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    user.room = 10;
    for (let i = 0; i < 1000; i++) rig.send([change(`1.${1 + (i % 3)}`, { rc: [{ id: 5, ltp: i }] })]);
    rig.send([change("1.3", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    expect(user.session.outbox.bytesWaiting).toBeLessThan(200);
    const before = user.messages.length;
    user.drain(Number.POSITIVE_INFINITY);
    const late = user.messages.slice(before);
    expect(late.length).toBe(2); // the one cut in two by the full socket, and all the rest
    expect(late[1]?.mc?.map((entry) => entry.id)).toEqual(["1.3", "1.1", "1.2"]);
    expect(late[1]?.mc?.every((entry) => entry.con === true)).toBe(true);
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("is not what waiting for a source is that went away in the middle of a group", () => {
    const rig = new Rig({ behindMsMax: 5000 });
    rig.send([image("1.1")], { segmentType: "SEG_START" });
    rig.hub.state("stale");
    const user = rig.join();
    user.session.subscribe(user.request(1));
    rig.clock.run(60_000);
    expect([user.goodbye, user.messages.length]).toEqual([null, 0]);
    rig.send([image("1.1")], { ct: "RESUB_DELTA" });
    expect(user.messages.at(-1)?.ct).toBe("SUB_IMAGE");
    rig.hub.stop();
  });

  test("for too long ends with a code that says to come back", () => {
    const rig = new Rig({ behindMsMax: 5000 });
    rig.send([image("1.1")]);
    const user = rig.join();
    const other = rig.join();
    user.session.subscribe(user.request(1));
    other.session.subscribe(other.request(1));
    user.room = 0;
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 2 }] })]);
    rig.clock.run(7000);
    expect(user.goodbye?.code).toBe("SLOW");
    expect(other.goodbye).toBeNull();
    expect(rig.hub.sessions.size).toBe(1);
    rig.hub.stop();
  });
});

describe("the source's state", () => {
  test("is said at once, on heartbeats and changes, and taken back", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    rig.hub.state("stale");
    expect(user.messages.at(-1)).toMatchObject({ ct: "HEARTBEAT", status: 503 });
    rig.hub.state("live");
    expect(user.messages.at(-1)?.status).toBeUndefined();
    rig.hub.stop();
  });

  test("is said to those as well who are just being written to", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 2 }] })], {}, false);
    rig.hub.state("stale");
    expect(user.messages.at(-1)).toMatchObject({ ct: "HEARTBEAT", status: 503 });
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 3 }] })], {}, false);
    rig.hub.state("live");
    expect(user.messages.at(-1)?.status).toBeUndefined();
    expect(user.books.get("1.1")?.state().runners[0]?.ltp).toBe(3);
    rig.hub.stop();
  });

  test("is called good again only to those who have what they missed, whatever their cadence", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(1, { conflateMs: 60_000 }));
    rig.hub.state("stale");
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 3 }] })], { ct: "RESUB_DELTA" });
    expect(user.books.get("1.1")?.state().runners[0]?.ltp).toBeNull();
    const before = user.messages.length;
    rig.hub.state("live");
    const told = user.messages.slice(before);
    expect(told[0]?.status).toBeUndefined();
    expect(told[0]?.mc?.[0]?.rc?.[0]?.ltp).toBe(3);
    rig.hub.stop();
  });

  test("a quiet subscription hears a heartbeat with its clk within its interval", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const user = rig.join();
    user.session.subscribe(user.request(1, { heartbeatMs: 500, filter: { marketIds: ["1.1"] } }));
    rig.send([image("1.9")]);
    rig.clock.run(5000);
    const beats = user.messages.filter((message) => message.ct === "HEARTBEAT");
    expect(beats.length).toBeGreaterThanOrEqual(10);
    expect(beats.at(-1)?.clk).toBe((2).toString(36));
    rig.hub.stop();
  });
});

describe("the publish time", () => {
  const MINUTE_MS = 60_000;
  const lateBy = (rig: Rig, user: User) => rig.clock.wall() - (user.messages.at(-1)?.pt as number);

  test("of what is put together here is the exchange's time by now, so that nobody takes a quiet market for a late one", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    rig.clock.advance(MINUTE_MS);
    const user = rig.join();
    user.session.subscribe(user.request(1, { conflateMs: 5_000 }));
    expect(lateBy(rig, user)).toBe(100);
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 3 }] })]);
    while (user.messages.length < 2) rig.clock.step();
    expect(lateBy(rig, user)).toBeLessThanOrEqual(100);
    rig.hub.stop();
  });

  test("of the exchange's own messages is the exchange's, and stands still while nobody hears from it", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const [user, late] = [rig.join(), rig.join()];
    user.session.subscribe(user.request(1));
    const pt = rig.clock.wall() - 700;
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 3 }] })], { pt });
    expect(user.messages.at(-1)?.pt).toBe(pt);
    rig.hub.state("stale");
    rig.clock.advance(MINUTE_MS);
    late.session.subscribe(late.request(1));
    expect(late.messages.at(-1)?.pt).toBe(pt);
    rig.hub.stop();
  });
});

describe("a message longer than a segment", () => {
  const many = Array.from({ length: 40 }, (_, n) => `1.${n}`);

  for (const conflateMs of [0, 500]) {
    test(`comes in segments to who takes them, and in one piece to others; conflateMs ${conflateMs}`, () => {
      const rig = new Rig({ segmentBytesMax: 2_000 });
      rig.send(many.map((id) => image(id)));
      const [ann, ben] = [rig.join(), rig.join()];
      ann.session.subscribe(ann.request(1, { conflateMs, segmentationEnabled: true }));
      ben.session.subscribe(ben.request(1, { conflateMs, segmentationEnabled: false }));
      const [annHeard, benHeard] = [ann.messages.length, ben.messages.length];
      rig.send(many.map((id) => change(id, { rc: [{ id: 5, ltp: 3, atb: [[2, 7]] }] })));
      rig.clock.advance(2 * conflateMs);
      const pieces = ann.messages.slice(annHeard);
      const types = pieces.map((message) => message.segmentType);
      expect(types).toEqual(["SEG_START", ...types.slice(2).map(() => "SEG" as const), "SEG_END"]);
      expect(pieces.map((message) => message.clk)).toEqual([
        ...types.slice(1).map(() => undefined),
        ben.messages.at(-1)?.clk,
      ]);
      for (const piece of pieces) expect(JSON.stringify(piece).length).toBeLessThan(2_000);
      expect(ben.messages.length).toBe(benHeard + 1);
      expect(pieces.flatMap((piece) => piece.mc ?? [])).toEqual([...(ben.messages.at(-1)?.mc ?? [])]);
      rig.hub.stop();
    });
  }
});

describe("subscriptions", () => {
  test("a market named before it is known flows when it appears", () => {
    const rig = new Rig();
    const user = rig.join();
    user.session.subscribe(user.request(1, { filter: { marketIds: ["1.5"] } }));
    expect(user.messages[0]).toMatchObject({ ct: "SUB_IMAGE", mc: [] });
    rig.send([image("1.5"), image("1.6")]);
    expect([...user.books.keys()]).toEqual(["1.5"]);
    rig.hub.stop();
  });

  test("more markets than allowed are refused, and the old subscription goes on", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const user = rig.join();
    user.session = rig.hub.join(user, { ...VISITOR, marketsMax: 1 });
    expect(user.session.subscribe(user.request(1, { filter: { marketIds: ["1.1"] } }))).toBeNull();
    expect(user.session.subscribe(user.request(1))?.code).toBe("SUBSCRIPTION_LIMIT_EXCEEDED");
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 2 }] })]);
    expect(user.messages.at(-1)?.mc?.[0]?.rc?.[0]?.ltp).toBe(2);
    rig.hub.stop();
  });

  test("markets that come into the filter by one message are told of once, with its clk", () => {
    const rig = new Rig();
    rig.send([image("1.1", { eventTypeId: "2" }), image("1.2", { eventTypeId: "2" }), image("1.3")]);
    for (const segmentationEnabled of [false, true]) {
      const user = rig.join();
      user.session.subscribe(user.request(1, { filter: { eventTypeIds: ["1"] }, segmentationEnabled }));
      const heard = user.messages.length;
      rig.send(["1.1", "1.2"].map((id) => change(id, { marketDefinition: definition({ version: 2 }) })));
      const [message, ...more] = user.messages.slice(heard);
      expect(message?.mc?.map(({ id, img }) => [id, img])).toEqual([
        ["1.1", true],
        ["1.2", true],
      ]);
      expect([typeof message?.clk, more]).toEqual(["string", []]);
      user.session.leave();
      rig.send(
        ["1.1", "1.2"].map((id) => change(id, { marketDefinition: definition({ eventTypeId: "2", version: 3 }) })),
      );
    }
    rig.hub.stop();
  });

  test("may name so many markets by id on one connection, known or not", () => {
    const rig = new Rig();
    const user = rig.join();
    const ids = (from: number, count: number) => Array.from({ length: count }, (_, n) => `1.${from + n}`);
    const ask = (id: number, marketIds: string[]) =>
      user.session.subscribe(user.request(id, { filter: { marketIds } }));
    expect([ask(1, ids(0, 20_000)), ask(2, ids(20_000, 20_000))]).toEqual([null, null]);
    expect(ask(3, ["1.1"])?.code).toBe("SUBSCRIPTION_LIMIT_EXCEEDED");
    expect(ask(2, ids(0, 19_999))).toBeNull();
    expect(ask(3, ["1.1"])).toBeNull();
    rig.hub.stop();
  });

  test("closed markets do not count against the limit", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2", { status: "CLOSED" })]);
    const user = rig.join();
    user.session = rig.hub.join(user, { ...VISITOR, marketsMax: 1 });
    expect(user.session.subscribe(user.request(1))).toBeNull();
    expect(user.messages.at(-1)?.mc).toHaveLength(2);
    rig.hub.stop();
  });

  test("each view is encoded once, whatever the number of its users", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const users = Array.from({ length: 50 }, () => rig.join());
    for (const user of users) user.session.subscribe(user.request(1));
    const before = rig.hub.encodes;
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 2 }] })]);
    expect(rig.hub.encodes - before).toBe(1);
    for (const user of users) expect(user.writes).toBe(2);
    rig.hub.stop();
  });

  test("a crowd that comes is told some at a time, and who is here is told in between", () => {
    const rig = new Rig();
    const ids = Array.from({ length: 200 }, (_, n) => `1.${n}`);
    rig.send(ids.map((id) => image(id)));
    const first = rig.join();
    first.session.subscribe(first.request(1, { filter: { marketIds: ["1.1"] } }));
    rig.clock.advance(1);
    const crowd = Array.from({ length: 100 }, () => rig.join());
    for (const user of crowd) user.session.subscribe(user.request(1));
    const isThere = () => crowd.filter(({ books }) => books.size === ids.length).length;
    expect(isThere()).toBeWithin(1, 50);
    rig.send([change("1.1", { rc: [{ id: 5, ltp: 7 }] })]);
    expect(first.messages.at(-1)?.mc?.[0]?.rc?.[0]?.ltp).toBe(7);
    expect(isThere()).toBeLessThan(50);
    rig.clock.advance(1);
    expect(isThere()).toBe(100);
    for (const user of crowd) agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("closed markets are forgotten in time, also while nobody is there", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2", { status: "CLOSED" })]);
    rig.clock.run(120_000);
    expect([...rig.cache.books()].map(({ id }) => id)).toEqual(["1.1"]);
    rig.hub.stop();
  });

  test("a market that an upstream image leaves out is left out of an image to its users", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const user = rig.join();
    user.session.subscribe(user.request(1));
    rig.send([image("1.1")], { ct: "SUB_IMAGE" });
    expect(user.messages.at(-1)?.ct).toBe("SUB_IMAGE");
    expect([...user.books.keys()]).toEqual(["1.1"]);
    rig.hub.stop();
  });
});
