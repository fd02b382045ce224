import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { agree, change, definition, image, type Message, Rig, type User } from "../../test/hub-rig.ts";
import { pick, seededRandom } from "../base/random.ts";
import type { MarketFilter } from "../market/filter.ts";
import { ALL_FIELDS, FIELD } from "../market/types.ts";
import { type AlterRequest, FILTER_VALUES_MAX } from "../wire/requests.ts";

const OK = '{"op":"status","id":9,"statusCode":"SUCCESS"}';
const isStatus = ({ op }: Message) => op === "status";
const ids = ({ mc }: Message) => mc?.map(({ id }) => id);
const ltp = (value: number) => ({ rc: [{ id: 5, ltp: value }] });

/** A user of some markets by id, and what came since it was last asked. */
function subscribed(rig: Rig, marketIds: string[], options = {}) {
  const user = rig.join();
  expect(user.session.subscribe(user.request(1, { filter: { marketIds }, ...options }))).toBeNull();
  let heard = user.messages.length;
  const news = () => user.messages.slice(heard, (heard = user.messages.length));
  const ask = (request: AlterRequest, answered: () => void = () => {}) => {
    user.onAnswer.push(answered);
    const refusal = user.session.alter(request, OK);
    if (refusal !== null) user.onAnswer.pop();
    return refusal;
  };
  const alter = (kind: "addMarkets" | "removeMarkets", marketIds: string[], answered?: () => void) =>
    ask({ kind, id: 9, subscription: 1, marketIds }, answered);
  const pace = (conflateMs: number) => ask({ kind: "change", id: 9, subscription: 1, conflateMs, data: null });
  const look = (fields: number, ladderLevels = 10) =>
    ask({ kind: "change", id: 9, subscription: 1, conflateMs: null, data: { fields, ladderLevels } });
  return { user, news, alter, pace, look };
}

/** Goes away, and comes back with these markets and the last clk. */
function comeBack(rig: Rig, user: User, marketIds: string[], options = {}): Message {
  user.session.leave();
  user.session = rig.hub.join(user, user.session.visitor);
  const heard = user.messages.length;
  user.session.subscribe(user.request(1, { filter: { marketIds }, ...options }));
  return user.messages[heard] as Message;
}

describe("markets more or less", () => {
  test("an added market comes whole under a new initialClk, after the status; the others go on in step", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const { user, news, alter } = subscribed(rig, ["1.1"]);
    const { initialClk } = user;
    expect(alter("addMarkets", ["1.2", "1.1"])).toBeNull();
    const [status, message, ...more] = news();
    expect([isStatus(status as Message), more]).toEqual([true, []]);
    expect(message?.mc).toMatchObject([{ id: "1.2", img: true }]);
    expect([message?.ct, typeof message?.clk, message?.initialClk === initialClk]).toEqual([
      undefined,
      "string",
      false,
    ]);
    rig.send([change("1.1", ltp(3)), change("1.2", ltp(4))]);
    expect(news().map(ids)).toEqual([["1.1", "1.2"]]);
    expect(comeBack(rig, user, ["1.2", "1.1"])).toMatchObject({ ct: "RESUB_DELTA", mc: [] });
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("one that is not known yet flows when it appears", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const { user, news, alter } = subscribed(rig, ["1.1"]);
    alter("addMarkets", ["1.7"]);
    expect(news()[1]).toMatchObject({ initialClk: user.initialClk, mc: [] });
    rig.send([image("1.7"), image("1.8")]);
    expect(news().map(ids)).toEqual([["1.7"]]);
    rig.hub.stop();
  });

  test("a removed market is not told of any more, known or not; who comes back without it is told what changed", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const { user, news, alter } = subscribed(rig, ["1.1", "1.2", "1.9"]);
    const before = user.initialClk;
    expect(alter("removeMarkets", ["1.2", "1.9", "1.404"])).toBeNull();
    expect(news()[1]).toMatchObject({ initialClk: user.initialClk, mc: [] });
    expect(user.initialClk).not.toBe(before);
    rig.send([change("1.2", ltp(3)), image("1.9")]);
    rig.send([change("1.1", ltp(3))]);
    expect(news().map(ids)).toEqual([["1.1"]]);
    expect(comeBack(rig, user, ["1.1"])).toMatchObject({ ct: "RESUB_DELTA", mc: [] });
    rig.hub.stop();
  });

  test("what waited for its beat is not lost, and a cut before the new initialClk costs an image and no more", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const { user, news, alter } = subscribed(rig, ["1.1"], { conflateMs: 1000 });
    rig.send([change("1.1", ltp(7))]);
    user.room = OK.length + 1;
    alter("addMarkets", ["1.2"]);
    expect(news().map(isStatus)).toEqual([true]);
    user.room = Number.POSITIVE_INFINITY;
    expect(comeBack(rig, user, ["1.1", "1.2"]).ct).toBe("SUB_IMAGE");
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("are refused in clear words where that cannot be, and nothing has changed then", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2"), image("1.3", { status: "CLOSED" })]);
    const { user, news, alter, pace } = subscribed(rig, ["1.1"]);
    expect(alter("removeMarkets", ["1.1"])?.message).toBe("no market would be left in subscription 1: unsubscribe");
    const many = Array.from({ length: FILTER_VALUES_MAX }, (_, i) => `2.${i}`);
    expect(alter("addMarkets", many)?.code).toBe("SUBSCRIPTION_LIMIT_EXCEEDED");
    user.session.subscribe(user.request(2, { filter: { marketIds: many } }));
    user.session.subscribe(user.request(3, { filter: { marketIds: many.slice(1) } }));
    expect(alter("addMarkets", ["1.2"])?.message).toContain("name 40001 markets by id");
    user.session.unsubscribe(3);
    user.session.subscribe(user.request(4, { filter: { eventTypeIds: ["1"], marketIds: ["1.1"] } }));
    const roving = user.session.alter({ kind: "addMarkets", id: 9, subscription: 4, marketIds: ["1.2"] }, OK);
    expect(roving?.message).toContain("subscription 4 is not by marketIds alone");
    user.session.unsubscribe(1);
    expect(pace(100)).toEqual({ code: "INVALID_REQUEST", message: "there is no market subscription 1" });
    expect(news().filter(isStatus)).toEqual([]);
    rig.hub.stop();
  });

  test("keep within the visitor's limit, for which closed ones do not count", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2"), image("1.3", { status: "CLOSED" }), image("1.4")]);
    const user = rig.join({ marketsMax: 2 });
    user.session.subscribe(user.request(1, { filter: { marketIds: ["1.1"] } }));
    const add = (id: string) =>
      user.session.alter({ kind: "addMarkets", id: 9, subscription: 1, marketIds: [id] }, OK)?.message ?? "added";
    expect(["1.2", "1.3", "1.4"].map(add)).toEqual([
      "added",
      "added",
      "trying to subscribe to 3 markets, the limit is 2",
    ]);
    rig.hub.stop();
  });

  test("are wished for before the old wish is taken back, where only what is wanted is carried", () => {
    const wishes: string[] = [];
    const name = ({ marketIds }: MarketFilter) => (marketIds ?? []).join("+");
    const want = (filter: MarketFilter) => {
      wishes.push(name(filter));
      return () => void wishes.push(`no ${name(filter)}`);
    };
    const rig = new Rig({ want });
    const { user, alter, pace } = subscribed(rig, ["1.1"]);
    alter("addMarkets", ["1.2"]);
    pace(500);
    alter("removeMarkets", ["1.1"]);
    alter("removeMarkets", ["1.1"]);
    user.session.leave();
    expect(wishes).toEqual(["1.1", "1.1+1.2", "no 1.1", "1.2", "no 1.1+1.2", "no 1.2"]);
    rig.hub.stop();
  });
});

describe("another cadence", () => {
  test("is another beat under the same contract: said, with what had waited; nothing where it rounds to the same", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const { user, news, pace } = subscribed(rig, ["1.1"]);
    const { initialClk } = user;
    expect(pace(490)).toBeNull();
    expect(news()[1]).toMatchObject({ conflateMs: 500, initialClk, clk: user.clk, mc: [] });
    for (const value of [3, 4]) rig.send([change("1.1", ltp(value))]);
    expect(news()).toEqual([]);
    rig.clock.advance(500);
    expect(news().map(({ mc }) => mc)).toMatchObject([[{ id: "1.1", con: true, ...ltp(4) }]]);
    rig.send([change("1.1", ltp(5))]);
    pace(0);
    expect(news()[1]).toMatchObject({ conflateMs: 0, initialClk, mc: [ltp(5)] });
    pace(0);
    expect(news().map(isStatus)).toEqual([true]);
    rig.send([change("1.1", ltp(6))]);
    expect(news()).toMatchObject([{ mc: [ltp(6)] }]);
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("leaves no view and no timer of the old one behind", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const { pace } = subscribed(rig, ["1.1"]);
    for (const conflateMs of [100, 200, 500, 0]) pace(conflateMs);
    const before = rig.hub.encodes;
    rig.send([change("1.1", ltp(3))]);
    rig.clock.advance(2000);
    expect(rig.hub.encodes - before).toBe(1);
    rig.hub.stop();
  });
});

describe("other fields or levels", () => {
  test("are another contract: an image of all, so that nothing stays that is no longer told of", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const { user, news, look } = subscribed(rig, ["1.1", "1.2"]);
    const { initialClk } = user;
    expect(look(FIELD.EX_LTP)).toBeNull();
    expect(news()[1]).toMatchObject({ ct: "SUB_IMAGE", mc: [{ img: true }, { img: true }] });
    expect(user.initialClk).not.toBe(initialClk);
    rig.send([change("1.1", { rc: [{ id: 5, atb: [[2, 7]], ltp: 9 }] })]);
    expect(news()[0]?.mc).toEqual([change("1.1", ltp(9))]);
    expect(comeBack(rig, user, ["1.2", "1.1"], { fields: FIELD.EX_LTP })).toMatchObject({ ct: "RESUB_DELTA", mc: [] });
    look(FIELD.EX_LTP);
    expect(news().at(-1)?.ct).toBeUndefined();
    rig.hub.stop();
  });
});

describe("whatever is altered, and whatever the socket takes", () => {
  const ALL = ["1.1", "1.2", "1.3", "1.4", "1.5"];

  test("a user holds the exchange's books of its markets, and may come back with what it has", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = seededRandom(seed);
        const rig = new Rig({
          segmentBytesMax: pick(random, [100, 1000]),
          flushBytesMax: pick(random, [200, 100_000]),
        });
        rig.send(ALL.slice(0, 4).map((id) => image(id)));
        let marketIds = ["1.1", "1.2"];
        const segmentationEnabled = random.next() < 0.5;
        const { user, alter, pace, look } = subscribed(rig, marketIds, { segmentationEnabled });
        for (let i = 0; i < 60; i++) {
          const id = pick(random, ALL);
          const dice = random.next();
          if (dice < 0.5) rig.send([image(id, { version: i, status: pick(random, ["OPEN", "OPEN", "SUSPENDED"]) })]);
          else if (dice < 0.6 && alter("addMarkets", [id]) === null) marketIds = [...new Set([...marketIds, id])];
          else if (dice < 0.7 && alter("removeMarkets", [id], () => user.books.delete(id)) === null)
            marketIds = marketIds.filter((other) => other !== id);
          else if (dice < 0.75) pace(pick(random, [0, 100, 1000]));
          else if (dice < 0.8) look(pick(random, [ALL_FIELDS, FIELD.EX_ALL_OFFERS | FIELD.EX_MARKET_DEF]));
          else if (dice < 0.9) rig.clock.advance(300);
          else user.drain(pick(random, [0, 50, 300, Number.POSITIVE_INFINITY]));
        }
        look(ALL_FIELDS);
        for (let i = 0; i < 9; i++) user.drain(Number.POSITIVE_INFINITY);
        rig.clock.advance(3000);
        const truth = new Map([...rig.truth].filter(([id]) => marketIds.includes(id)));
        expect([...user.books.keys()].sort()).toEqual([...truth.keys()].sort());
        agree(user.books, truth, {});
        expect(comeBack(rig, user, marketIds, { segmentationEnabled }).ct).toBe("RESUB_DELTA");
        rig.hub.stop();
      }),
      { numRuns: 150 },
    );
  });

  test("a market that stops is told at once while another is added", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const { news, alter } = subscribed(rig, ["1.1"], { conflateMs: 60_000 });
    alter("addMarkets", ["1.2"]);
    news();
    rig.send([change("1.2", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    expect(news()).toMatchObject([{ mc: [{ id: "1.2", marketDefinition: { status: "SUSPENDED" } }] }]);
    rig.hub.stop();
  });
});
