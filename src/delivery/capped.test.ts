import { describe, expect, test } from "bun:test";
import { agree, change, definition, image, type Message, Rig, type User } from "../../test/hub-rig.ts";
import { OVERDRAFT_BYTES_MAX } from "./allowance.ts";

const ltp = (id: string, value: number) => change(id, { rc: [{ id: 5, ltp: value }] });
const size = (message: Message) => JSON.stringify(message).length + 1;

/** Somebody with so many bytes a second, in step; how many bytes came since it was last asked. */
function capped(rig: Rig, bytesPerSecondMax: number | undefined, options = {}) {
  const user = rig.join({ bytesPerSecondMax });
  user.session.subscribe(user.request(1, options));
  rig.clock.advance(30_000);
  let heard = user.messages.length;
  const news = (): Message[] => user.messages.slice(heard, (heard = user.messages.length));
  return { user, news };
}

/** Changes a market every 10 ms for a while. */
function move(rig: Rig, ms: number, id = "1.1"): void {
  for (let i = 0; i < ms / 10; i++) {
    rig.send([ltp(id, i + 1)]);
    rig.clock.advance(10);
  }
}

/** A change so large that the user has to wait for a while. */
function spend(rig: Rig, user: User): void {
  rig.send([change("1.1", { marketDefinition: definition({ name: "x".repeat(5000) }) })]);
  rig.clock.advance(1000);
  expect(user.session.held).toBe(true);
}

const prices = (messages: readonly Message[]) => messages.filter(({ ct }) => ct !== "HEARTBEAT");

describe("who may have so many bytes a second", () => {
  test("gets no more on the mean: its cadence is stretched, what it missed is merged and says so", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const [slow, quick] = [capped(rig, 2000), capped(rig, undefined)];
    for (const { news } of [slow, quick]) news();
    move(rig, 20_000);
    const got = prices(slow.news());
    const bytes = got.reduce((sum, message) => sum + size(message), 0);
    expect(bytes).toBeGreaterThan(2000 * 15);
    expect(bytes).toBeLessThan(2000 * 21.1);
    expect(got.some(({ mc }) => mc?.[0]?.con === true)).toBe(true);
    expect(got.every(({ clk }) => clk !== undefined)).toBe(true);
    expect(quick.news().length).toBe(2000);
    rig.clock.advance(3000);
    for (const { user } of [slow, quick]) agree(user.books, rig.truth, {});
    expect(rig.hub.holds).toBeGreaterThan(10);
    rig.hub.stop();
  });

  test("is not slow by that, however long it lasts, and hears heartbeats that claim nothing", () => {
    const rig = new Rig({ behindMsMax: 3000, segmentBytesMax: 1024 });
    rig.send(Array.from({ length: 200 }, (_, i) => image(`1.${i}`)));
    const user = rig.join({ bytesPerSecondMax: 1024 });
    user.session.subscribe(user.request(1, { heartbeatMs: 500 }));
    rig.clock.advance(10_000);
    expect([user.goodbye, user.clk, rig.hub.held]).toEqual([null, null, 1]);
    const beats = user.messages.filter(({ ct }) => ct === "HEARTBEAT");
    expect(beats.length).toBeGreaterThan(3);
    expect(beats.every(({ clk }) => clk === undefined)).toBe(true);
    rig.clock.advance(60_000);
    expect([rig.hub.held, typeof user.clk]).toEqual([0, "string"]);
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("is slow where its socket takes nothing for too long", () => {
    const rig = new Rig({ behindMsMax: 3000 });
    rig.send([image("1.1")]);
    const { user } = capped(rig, 1024);
    user.room = 10;
    move(rig, 20_000);
    expect(user.goodbye?.code).toBe("SLOW");
    expect([rig.hub.sessions.size, rig.hub.held]).toEqual([0, 0]);
    rig.hub.stop();
  });

  test("hears of a market that stops at once, whole, without a clk, and of nothing else", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    for (const conflateMs of [0, 1000]) {
      const { user, news } = capped(rig, 1024, { conflateMs });
      spend(rig, user);
      news();
      const { clk } = user;
      rig.send([ltp("1.2", 77)]);
      rig.send([change("1.2", { marketDefinition: definition({ status: "SUSPENDED", version: conflateMs }) })]);
      const [stop, ...more] = news();
      expect(more).toEqual([]);
      expect([stop?.mc?.map(({ id }) => id), stop?.clk, user.clk]).toEqual([["1.2"], undefined, clk]);
      expect(user.books.get("1.2")?.state()).toMatchObject({ status: "SUSPENDED", runners: [{ ltp: 77 }] });
      rig.clock.advance(20_000);
      agree(user.books, rig.truth, {});
      rig.send([change("1.2", { marketDefinition: definition() })]);
      user.session.leave();
    }
    rig.hub.stop();
  });

  test("whose socket is full then, hears of it as soon as there is room", () => {
    const rig = new Rig();
    rig.send(["1.1", "1.2", "1.3"].map((id) => image(id)));
    const { user, news } = capped(rig, 1024);
    user.room = 100;
    spend(rig, user);
    rig.send([change("1.2", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    rig.send([change("1.3", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    rig.send([change("1.3", { marketDefinition: definition() })]);
    news();
    user.drain(Number.POSITIVE_INFINITY);
    const [big, stop, ...more] = news();
    const idsOf = (message: Message | undefined) => message?.mc?.map(({ id }) => id);
    expect([idsOf(big), idsOf(stop), stop?.clk, more.length]).toEqual([["1.1"], ["1.2"], undefined, 0]);
    rig.clock.advance(20_000);
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("and where it is held in the middle of catching up, of what stopped since that began", () => {
    const rig = new Rig({ segmentBytesMax: 1024 });
    const ids = Array.from({ length: 100 }, (_, i) => `1.${i}`);
    rig.send(ids.map((id) => image(id)));
    const { user, news } = capped(rig, 5000);
    user.room = 10;
    rig.send([ltp("1.0", 2)]);
    rig.send(ids.map((id) => ltp(id, 3)));
    user.drain(1100);
    expect(user.session.held).toBe(false);
    rig.send([change("1.0", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    news();
    user.drain(Number.POSITIVE_INFINITY);
    expect(user.session.held).toBe(true);
    expect(user.books.get("1.0")?.state()).toMatchObject({ status: "SUSPENDED" });
    rig.clock.advance(20_000);
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("borrows for that up to the overdraft; what finds no credit comes first when the allowance is back", () => {
    const rig = new Rig();
    const name = "x".repeat(4000);
    const ids = Array.from({ length: 100 }, (_, i) => `1.${i}`);
    rig.send(ids.map((id) => image(id, { name })));
    const { user, news } = capped(rig, 50_000, { segmentationEnabled: false });
    rig.clock.advance(10_000);
    while (!user.session.held) rig.send(ids.map((id) => image(id, { name, version: 2 })));
    news();
    rig.send([ltp("1.0", 3)]);
    for (const id of ids.slice(1))
      rig.send([change(id, { marketDefinition: definition({ name, status: "SUSPENDED" }) })]);
    const borrowed = news();
    const bytes = borrowed.reduce((sum, message) => sum + size(message), 0);
    expect(bytes).toBeLessThan(OVERDRAFT_BYTES_MAX);
    expect(bytes).toBeGreaterThan(OVERDRAFT_BYTES_MAX - 10_000);
    rig.clock.advance(30_000);
    const rest = prices(news()).flatMap(({ mc }) => mc?.map(({ id }) => id) ?? []);
    expect([rest.length, rest.at(-1)]).toEqual([100, "1.0"]);
    agree(user.books, rig.truth, {});
    rig.hub.stop();
  });

  test("is told of a silence at once, and not that it is over before it has what it missed", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const { user, news } = capped(rig, 1024);
    spend(rig, user);
    news();
    rig.hub.state("stale");
    expect(news()).toMatchObject([{ ct: "HEARTBEAT", status: 503 }]);
    rig.hub.state("live");
    expect(news()).toMatchObject([{ ct: "HEARTBEAT", status: 503 }]);
    rig.clock.advance(10_000);
    expect(prices(news())[0]?.status).toBeUndefined();
    rig.hub.stop();
  });
});

describe("a limit of one's own", () => {
  const inForce = (user: User, asked: number | null) => user.session.limit(asked);

  test("is not above the visitor's nor below the least there is, and can be taken back", () => {
    const rig = new Rig();
    const [user, free] = [rig.join({ bytesPerSecondMax: 5000 }), rig.join()];
    expect([9000, 3000, 1, -5, null].map((asked) => inForce(user, asked))).toEqual([5000, 3000, 1024, 1024, 5000]);
    expect([9000, null].map((asked) => inForce(free, asked))).toEqual([9000, null]);
    rig.hub.stop();
  });

  test("changes while it runs: taken back, what was missed comes at once; raised, within a second", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const { user, news } = capped(rig, undefined);
    for (const higher of [null, 1_000_000]) {
      inForce(user, 1024);
      for (const big of [1, 2])
        rig.send([change("1.1", { marketDefinition: definition({ name: "x".repeat(20_000), big }) })]);
      expect(user.session.held).toBe(true);
      news();
      inForce(user, higher);
      expect(prices(news()).length).toBe(higher === null ? 1 : 0);
      rig.clock.advance(1100);
      expect(user.session.held).toBe(false);
      agree(user.books, rig.truth, {});
      inForce(user, null);
    }
    rig.hub.stop();
  });

  test("costs one timer, whoever waits, and leaves none behind", () => {
    const rig = new Rig();
    rig.send([image("1.1")]);
    const waiting = rig.clock.waiting;
    const users = Array.from({ length: 50 }, () => capped(rig, 1024).user);
    move(rig, 3000);
    expect(rig.hub.held).toBe(50);
    expect(rig.clock.waiting).toBeLessThanOrEqual(waiting + 1);
    for (const { session } of users) session.leave();
    rig.clock.advance(7000);
    expect([rig.hub.held, rig.clock.waiting]).toEqual([0, waiting]);
    rig.hub.stop();
  });
});
