import { afterEach, describe, expect, test } from "bun:test";
import { type ExchangeMessage, Visitor } from "../src/sim/exchange-visitor.ts";
import type { MarketChange } from "../src/sim/naive.ts";
import { APP_KEY, DOORS, type DoorName, SESSION, TwoDoors, type TwoDoorsOptions } from "../src/sim/two-doors.ts";

/** The manners of the protocol over time, at the simulated exchange and at our ESA door alike. What single requests are answered stands in request-table.test.ts. */
let doors: TwoDoors;

afterEach(() => doors.stop());

const DEFINITION = {
  status: "OPEN",
  version: 1,
  eventTypeId: "1",
  eventId: "e1",
  bspMarket: false,
  runners: [{ id: 5 }],
};
const born = (id: string, rest: object = {}): MarketChange => ({
  id,
  img: true,
  marketDefinition: { ...DEFINITION, ...rest },
  rc: [{ id: 5, ltp: 2 }],
});
const moved = (id: string, rest: object): MarketChange => ({
  id,
  marketDefinition: { ...DEFINITION, version: 2, ...rest },
});
const traded = (id: string, ltp: number): MarketChange => ({ id, rc: [{ id: 5, ltp }] });

async function open(options: TwoDoorsOptions = {}, first: readonly MarketChange[] = [born("1.1")]): Promise<void> {
  doors = await TwoDoors.open(options, first);
}

class Client extends Visitor {
  constructor(door: DoorName, before?: Visitor) {
    const { dial, at } = doors.dial(door, "client");
    super(dial, at, before);
    doors.pass(10);
  }

  login(): this {
    this.authenticate(APP_KEY, SESSION);
    doors.pass(10);
    return this;
  }

  asks(id: number, fields: Record<string, unknown> = {}): ExchangeMessage[] {
    return this.hears(() => this.send({ op: "marketSubscription", id, ...fields }));
  }

  /** What comes within 20 ms of something. */
  hears(act: () => void, ms = 20): ExchangeMessage[] {
    const heard = this.messages.length;
    act();
    doors.pass(ms);
    return this.messages.slice(heard);
  }
}

for (const door of DOORS) {
  describe(`at the door of ${door}`, () => {
    test("the greeting is a connectionId and nothing else, and everything asked in one write is answered in order", async () => {
      await open();
      const client = new Client(door);
      expect(Object.keys(client.messages[0] as object)).toEqual(["op", "connectionId"]);
      const ask = [
        { op: "authentication", id: 1, appKey: APP_KEY, session: SESSION },
        { op: "marketSubscription", id: 2 },
        { op: "heartbeat", id: 3 },
      ];
      const said = client.hears(() => client.send(ask.map((each) => JSON.stringify(each)).join("\r\n")));
      expect(said.map(({ op, id, ct }) => ct ?? `${op} ${id}`)).toEqual([
        "status 1",
        "status 2",
        "SUB_IMAGE",
        "status 3",
      ]);
    });

    test("connectionsAvailable counts down to none, and then there is no more", async () => {
      await open({ connectionsMax: 2 });
      const [first, second, third] = [new Client(door).login(), new Client(door).login(), new Client(door).login()];
      expect([first.last.connectionsAvailable, second.last.connectionsAvailable]).toEqual([1, 0]);
      expect(third.last).toMatchObject({ id: 1, errorCode: "MAX_CONNECTION_LIMIT_EXCEEDED", connectionClosed: true });
      expect(third.closed).not.toBeNull();
      first.leave();
      doors.pass(10);
      expect(new Client(door).login().last.connectionsAvailable).toBe(0);
    });

    test("who is not subscribed and says nothing for 15 s is closed; a refused subscription is none", async () => {
      await open({ marketsMax: 1 });
      doors.publish([born("1.2")]);
      doors.pass(20);
      const client = new Client(door).login();
      expect(client.asks(2)[0]).toMatchObject({ errorCode: "SUBSCRIPTION_LIMIT_EXCEEDED" });
      doors.pass(14_000);
      expect(client.hears(() => client.send({ op: "heartbeat", id: 3 }))[0]).toMatchObject({ statusCode: "SUCCESS" });
      doors.pass(14_900);
      expect(client.closed).toBeNull();
      doors.pass(1_000);
      expect(client.last).toMatchObject({
        errorCode: "TIMEOUT",
        errorMessage: "Connection is not subscribed and is idle: 15000 ms",
        connectionClosed: true,
      });
      expect(client.last).not.toHaveProperty("id");
      expect(client.closed).not.toBeNull();
    });

    test("who only connects is closed after 15 s as well", async () => {
      await open();
      const client = new Client(door);
      doors.pass(16_000);
      expect(client.last.errorCode).toBe("TIMEOUT");
    });

    test("heartbeats have a clk and no changes, and come only where nothing else does", async () => {
      await open();
      const client = new Client(door).login();
      client.asks(2, { heartbeatMs: 1000 });
      const quiet = client.hears(() => {}, 3_500);
      expect(quiet.length).toBeWithin(3, 5);
      for (const message of quiet) {
        expect(message).toMatchObject({
          op: "mcm",
          id: 2,
          ct: "HEARTBEAT",
          clk: expect.any(String),
          pt: expect.any(Number),
        });
        expect(message).not.toHaveProperty("mc");
        expect(message).not.toHaveProperty("status");
      }
      const busy = client.hears(() => {
        for (let i = 0; i < 10; i++) {
          doors.publish([traded("1.1", 2 + i)]);
          doors.pass(300);
        }
      });
      expect(busy.map(({ ct }) => ct)).toEqual(Array(10).fill(undefined));
    });

    test("a subscription that replaces another stops its id at once and begins with an image", async () => {
      await open({}, [born("1.1"), born("1.2", { eventId: "e2" })]);
      const client = new Client(door).login();
      client.asks(2);
      const said = client.hears(() => {
        client.send({ op: "marketSubscription", id: 7, marketFilter: { eventIds: ["e2"] } });
        for (let i = 0; i < 20; i++) {
          doors.publish([traded("1.1", 3 + i), traded("1.2", 3 + i)]);
          doors.pass(1);
        }
      });
      const replaced = said.findIndex(({ op, id }) => op === "status" && id === 7);
      expect(replaced).toBeGreaterThanOrEqual(0);
      const after = said.slice(replaced + 1);
      expect(new Set(after.map(({ id }) => id))).toEqual(new Set([7]));
      expect(after[0]).toMatchObject({
        ct: "SUB_IMAGE",
        mc: [{ id: "1.2", img: true, marketDefinition: { eventId: "e2" } }],
      });
      expect(after.flatMap(({ mc = [] }) => mc).some(({ id }) => id === "1.1")).toBe(false);
      expect(client.books.get("1.2")?.state().runners[0]?.ltp).toBe(22);
    });

    test("a subscription over the limit costs an answer: connection and old subscription go on", async () => {
      await open({ marketsMax: 1 });
      const client = new Client(door).login();
      client.asks(2, { marketFilter: { marketIds: ["1.1"] } });
      doors.publish([born("1.2")]);
      doors.pass(20);
      const [refused, ...more] = client.asks(3);
      expect(refused).toMatchObject({
        ...{ op: "status", id: 3, statusCode: "FAILURE", connectionClosed: false },
        errorCode: "SUBSCRIPTION_LIMIT_EXCEEDED",
      });
      expect(more).toEqual([]);
      const [change] = client.hears(() => doors.publish([traded("1.1", 9)]));
      expect(change).toMatchObject({ id: 2, mc: [traded("1.1", 9)] });
    });

    test("markets that come later come as images: those named by id, and those that pass a filter", async () => {
      await open();
      const named = new Client(door).login();
      const roving = new Client(door).login();
      expect(named.asks(2, { marketFilter: { marketIds: ["1.5", "1.6"] } })[1]).toMatchObject({ ct: "SUB_IMAGE" });
      roving.asks(2, { marketFilter: { eventIds: ["e5"] } });
      const heard = roving.messages.length;
      const [first] = named.hears(() => doors.publish([born("1.5", { eventId: "e5" }), born("1.7"), traded("1.1", 3)]));
      expect(first?.ct).toBeUndefined();
      for (const message of [first, roving.messages[heard]])
        expect(message?.mc).toMatchObject([
          { id: "1.5", img: true, marketDefinition: { eventId: "e5" }, rc: [{ ltp: 2 }] },
        ]);
      expect(named.hears(() => doors.publish([born("1.6")]))[0]?.mc).toMatchObject([{ id: "1.6", img: true }]);
    });

    test("a market whose facts come to pass the filter comes as an image", async () => {
      await open({}, [born("1.1"), born("1.2", { eventId: "e2" })]);
      const client = new Client(door).login();
      client.asks(2, { marketFilter: { eventIds: ["e2"] } });
      const [message] = client.hears(() => doors.publish([moved("1.1", { eventId: "e2" })]));
      expect(message?.ct).toBeUndefined();
      expect(message?.mc).toMatchObject([
        { id: "1.1", img: true, marketDefinition: { eventId: "e2" }, rc: [{ ltp: 2 }] },
      ]);
    });

    test("503 is said while the source is late, on heartbeats and changes, and nobody is cut off for it", async () => {
      await open();
      const client = new Client(door).login();
      client.asks(2, { heartbeatMs: 500 });
      doors.exchange.knobs.status = 503;
      doors.publish([traded("1.1", 8)]);
      const late = client.hears(() => {}, 6_000);
      expect(late.at(-1)).toMatchObject({ ct: "HEARTBEAT", status: 503 });
      expect(late.find(({ mc }) => mc !== undefined)?.mc).toEqual([traded("1.1", 8)]);
      doors.exchange.knobs.status = null;
      const well = client.hears(() => doors.publish([traded("1.1", 9)]), 6_000);
      expect(well.at(-1)).not.toHaveProperty("status");
      expect(client.closed).toBeNull();
    });
  });
}

test("503 is said at our door as soon as the exchange's connection is gone, and taken back when it is up again", async () => {
  await open();
  const client = new Client("oddswire").login();
  client.asks(2);
  doors.network.cut("gateway");
  const [gone] = client.hears(() => {}, 50);
  expect(gone).toMatchObject({ ct: "HEARTBEAT", status: 503 });
  await doors.settle(5_000);
  expect(client.last).not.toHaveProperty("status");
  expect(client.hears(() => doors.publish([traded("1.1", 9)]))[0]?.mc).toEqual([traded("1.1", 9)]);
});

test("a market that leaves the filter is taken away by a new image without it", async () => {
  await open({}, [born("1.1"), born("1.2")]);
  const client = new Client("oddswire").login();
  client.asks(2, { marketFilter: { eventIds: ["e1"] } });
  const [image] = client.hears(() => doors.publish([moved("1.1", { eventId: "e2" })]));
  expect(image).toMatchObject({ ct: "SUB_IMAGE", mc: [{ id: "1.2", img: true }] });
  expect(client.hears(() => doors.publish([traded("1.1", 9)]))).toEqual([]);
});

test("conflateMs is rounded up to one of PROTOCOL.md's list, and what is in force is echoed and kept to", async () => {
  await open();
  for (const [asked, inForce] of [
    [1, 50],
    [1_000, 1_000],
    [1_001, 1_500],
    [100_000, 120_000],
  ])
    expect(new Client("oddswire").login().asks(2, { conflateMs: asked })[1]).toMatchObject({ conflateMs: inForce });
  const client = new Client("oddswire").login();
  client.asks(2, { conflateMs: 1_001 });
  const heard = client.hears(() => {
    for (let i = 0; i < 60; i++) {
      doors.publish([traded("1.1", 2 + i)]);
      doors.pass(100);
    }
  });
  expect(heard.length).toBeWithin(3, 6);
  for (const { mc } of heard) expect(mc?.[0]?.con).toBe(true);
});
