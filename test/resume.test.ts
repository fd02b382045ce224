import { afterEach, describe, expect, test } from "bun:test";
import { type Gateway, startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import { parseConfig } from "../src/config.ts";
import { bunDial, bunListen } from "../src/edge/sockets.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { type ExchangeMessage, Visitor } from "../src/sim/exchange-visitor.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { APP_KEY, SESSION, TwoDoors, type TwoDoorsOptions } from "../src/sim/two-doors.ts";
import { until } from "./stage.ts";

/** What a client is answered who comes back, after whatever time and with whatever clocks: the right book, in as few bytes as may be. */
const MARKETS = 30;
const RUNNERS = 8;

/** A book of some size, so that an image and a patch are worlds apart. */
function born(n: number, version = 1): MarketChange {
  const runners = Array.from({ length: RUNNERS }, (_, i) => ({ id: i + 1, status: "ACTIVE", sortPriority: i + 1 }));
  const ladder = Array.from({ length: 20 }, (_, i) => [2 + i / 100, 10 + n + i] as const);
  return {
    id: `1.${n}`,
    img: true,
    tv: 100 + n,
    marketDefinition: { status: "OPEN", version, eventTypeId: "1", eventId: `e${n % 3}`, bspMarket: true, runners },
    rc: runners.map(({ id }) => ({
      id,
      ltp: 2,
      atb: ladder,
      atl: ladder.map(([price, size]) => [price + 1, size] as const),
    })),
  };
}
const traded = (n: number, ltp: number): MarketChange => ({ id: `1.${n}`, rc: [{ id: 1, ltp }] });

let doors: TwoDoors | null = null;
const truth = new Map<string, NaiveBook>();

afterEach(() => {
  doors?.stop();
  doors = null;
  truth.clear();
});

function learn(changes: readonly MarketChange[]): readonly MarketChange[] {
  for (const change of changes) {
    if (!truth.has(change.id)) truth.set(change.id, new NaiveBook(change.id));
    truth.get(change.id)?.apply(change);
  }
  return changes;
}

async function open(options: TwoDoorsOptions = {}): Promise<TwoDoors> {
  doors = await TwoDoors.open(options, learn(Array.from({ length: MARKETS }, (_, n) => born(n))));
  return doors;
}

function publish(...changes: MarketChange[]): void {
  doors?.publish(learn(changes));
  doors?.pass(20);
}

interface Answer {
  readonly visitor: Visitor;
  readonly status: ExchangeMessage;
  /** The messages of the answer. */
  readonly messages: readonly ExchangeMessage[];
  readonly bytes: number;
}

/** Comes, or comes back with what is known from before; `clocks` instead of those known. */
function come(before?: Visitor, clocks: Record<string, unknown> = {}, asks: Record<string, unknown> = {}): Answer {
  const street = doors as TwoDoors;
  const { dial, at } = street.dial("oddswire", "client");
  const visitor = new Visitor(dial, at, before);
  street.pass(10);
  visitor.authenticate(APP_KEY, SESSION);
  street.pass(10);
  const [heard, chunks] = [visitor.messages.length, visitor.chunks.length];
  visitor.subscribe({ segmentationEnabled: true, ...asks, ...clocks });
  street.pass(50);
  const [status, ...messages] = visitor.messages.slice(heard) as [ExchangeMessage, ...ExchangeMessage[]];
  const bytes = visitor.chunks.slice(chunks).reduce((sum, chunk) => sum + chunk.length, 0);
  return { visitor, status, messages, bytes };
}

function go(visitor: Visitor): Visitor {
  visitor.leave();
  doors?.pass(5);
  return visitor;
}

function isRight(visitor: Visitor, filter: (book: NaiveBook) => boolean = () => true): void {
  for (const [id, book] of truth) {
    if (!filter(book)) continue;
    const held = visitor.books.get(id);
    expect([id, held === undefined ? "missing" : firstDifference(held.state(), book.state())]).toEqual([id, null]);
  }
}

/** An image whole and by the book: `img` and a definition for every market there is. */
function isImage({ status, messages, visitor }: Answer, markets = truth.size): void {
  expect(status).toMatchObject({ op: "status", statusCode: "SUCCESS", connectionClosed: false });
  for (const { ct } of messages) expect(ct).toBe("SUB_IMAGE");
  const entries = messages.flatMap(({ mc }) => mc ?? []);
  expect(new Set(entries.map(({ id }) => id)).size).toBe(markets);
  for (const { img, marketDefinition } of entries) expect([img, typeof marketDefinition]).toEqual([true, "object"]);
  expect([visitor.initialClk, visitor.clk]).toEqual([
    messages.at(-1)?.initialClk ?? null,
    messages.at(-1)?.clk ?? null,
  ]);
  isRight(visitor);
}

function isPatch({ status, messages, visitor }: Answer): void {
  expect(status).toMatchObject({ op: "status", statusCode: "SUCCESS" });
  for (const { ct } of messages) expect(ct).toBe("RESUB_DELTA");
  isRight(visitor);
}

describe("a client that comes back", () => {
  for (const seconds of [1, 10, 60]) {
    for (const segmentationEnabled of [true, false]) {
      test(`after ${seconds} s is told what changed and nothing else${segmentationEnabled ? ", in segments" : ""}`, async () => {
        await open({ retentionMs: 120_000 });
        const first = come(undefined, {}, { segmentationEnabled });
        isImage(first);
        go(first.visitor);
        for (let second = 0; second < seconds; second++) {
          publish(traded(3, 2 + second), {
            id: "1.4",
            rc: [
              {
                id: 2,
                atb: [
                  [2, 0],
                  [9, 1 + second],
                ],
              },
            ],
          });
          doors?.pass(960);
        }
        const back = come(first.visitor, {}, { segmentationEnabled });
        isPatch(back);
        expect(back.messages[0]?.mc).toEqual([
          { id: "1.3", rc: [{ id: 1, ltp: 1 + seconds }] },
          {
            id: "1.4",
            rc: [
              {
                id: 2,
                atb: [
                  [9, seconds],
                  [2, 0],
                ],
              },
            ],
          },
        ]);
        expect(back.bytes).toBeLessThan(first.bytes / 100);
        publish(traded(7, 9));
        isRight(back.visitor);
      });
    }
  }

  test("having missed nothing is told so in a few bytes", async () => {
    await open();
    const { visitor, bytes } = come();
    go(visitor);
    const back = come(visitor);
    isPatch(back);
    expect(back.messages.flatMap(({ mc }) => mc ?? [])).toEqual([]);
    expect(back.bytes).toBeLessThan(bytes / 300);
  });

  test("is told whole of what cannot be patched, and of the rest what changed", async () => {
    await open();
    const { visitor } = come();
    go(visitor);
    publish(born(5, 2), born(99), traded(3, 7));
    publish({
      id: "1.6",
      marketDefinition: { ...(born(6).marketDefinition as object), status: "SUSPENDED", version: 2 },
    });
    const back = come(visitor);
    isPatch(back);
    const entries = back.messages.flatMap(({ mc }) => mc ?? []);
    expect(entries.map(({ id, img }) => `${id}${img ? " img" : ""}`).sort()).toEqual([
      "1.3",
      "1.5 img",
      "1.6",
      "1.99 img",
    ]);
    expect(entries[0]).toMatchObject({ id: "1.6", marketDefinition: { status: "SUSPENDED" } });
  });

  test("cut in the middle of an image goes on from before it, or anew, and ends with the right book", async () => {
    await open({ segmentBytesMax: 4_000 });
    const street = doors as TwoDoors;
    const { dial, at } = street.dial("oddswire", "client");
    const visitor = new Visitor(dial, at);
    street.pass(10);
    visitor.authenticate(APP_KEY, SESSION);
    street.pass(10);
    visitor.subscribe({ segmentationEnabled: true });
    street.pass(1.5);
    street.network.cut("client");
    street.pass(10);
    expect(visitor.clk).toBeNull();
    isImage(come(visitor));
  });

  test("to a conflated subscription is told up to now, and merged from then on", async () => {
    await open();
    const { visitor } = come(undefined, {}, { conflateMs: 1_000 });
    go(visitor);
    publish(traded(3, 7), traded(3, 8));
    const back = come(visitor, {}, { conflateMs: 1_000 });
    isPatch(back);
    publish(traded(3, 9));
    publish(traded(3, 10));
    doors?.pass(1_100);
    expect(back.visitor.last.mc).toEqual([{ id: "1.3", con: true, rc: [{ id: 1, ltp: 10 }] }]);
    isRight(back.visitor);
  });

  test("after longer than is remembered gets an image", async () => {
    await open({ retentionMs: 5_000 });
    const { visitor } = come();
    go(visitor);
    publish(traded(3, 7));
    doors?.pass(10_000);
    publish(traded(3, 8));
    isImage(come(visitor));
  });

  test("with other criteria gets an image of those", async () => {
    await open();
    const { visitor } = come();
    go(visitor);
    const { initialClk, clk } = visitor;
    const others: Record<string, unknown>[] = [
      { marketFilter: { eventTypeIds: ["1"] } },
      { marketFilter: { marketIds: [...truth.keys()] } },
      { marketDataFilter: { fields: ["EX_ALL_OFFERS", "EX_TRADED_VOL", "EX_LTP", "EX_MARKET_DEF"] } },
      { marketDataFilter: { ladderLevels: 3 } },
    ];
    for (const asks of others) isImage(come(undefined, { initialClk, clk }, asks));
    // What says the same in other words is the same.
    const same = { marketFilter: { venues: [], marketIds: null }, marketDataFilter: { fields: [], ladderLevels: 10 } };
    isPatch(come(visitor, { initialClk, clk }, same));
  });

  test("over a restart of the gateway gets an image", async () => {
    const street = await open();
    const { visitor } = come();
    go(visitor);
    publish(traded(3, 7));
    await street.restart();
    publish(traded(4, 8));
    const back = come(visitor);
    isImage(back);
    expect(back.visitor.initialClk).not.toBe(visitor.initialClk);
  });
});

describe("clocks that are none", () => {
  test("are answered by an image, never by an error", async () => {
    await open();
    const { visitor } = come();
    go(visitor);
    const { initialClk, clk } = visitor as { initialClk: string; clk: string };
    const bad: Record<string, unknown>[] = [
      ...["", " ", "garbage", "é", "0", "-1", "AAAAAAAA", `${clk} `, "9".repeat(5_000), "\u0000", "null"].flatMap(
        (odd) => [
          { initialClk, clk: odd },
          { initialClk: odd, clk },
          { initialClk: odd, clk: odd },
        ],
      ),
      { initialClk, clk: "zzzzzz" },
      { initialClk, clk: "zzzzzzz" },
      { initialClk: `e2${initialClk.slice(2)}`, clk },
      { initialClk: clk, clk: initialClk },
      { initialClk, clk: null },
      { initialClk: null, clk },
    ];
    // A clk that happens to be one of ours is good.
    for (const clocks of bad.filter((each) => each.clk !== "0" || each.initialClk !== initialClk)) {
      const answer = come(undefined, clocks);
      isImage(answer);
      expect(answer.visitor.closed).toBeNull();
      go(answer.visitor);
    }
  });

  test("sent again and again for ever, as flumine does, are answered each time by the right book", async () => {
    await open({ retentionMs: 20_000 });
    const { visitor } = come();
    const { initialClk, clk } = go(visitor);
    const answers: string[] = [];
    for (let time = 0; time < 60; time++) {
      publish(traded(time % MARKETS, 3 + time));
      doors?.pass(1_000);
      const back = come(visitor, { initialClk, clk });
      expect(back.status.statusCode).toBe("SUCCESS");
      answers.push(back.messages[0]?.ct as string);
      isRight(back.visitor);
      go(back.visitor);
    }
    // Patched for as long as it can be, and from then on with images.
    expect([...new Set(answers)]).toEqual(["RESUB_DELTA", "SUB_IMAGE"]);
    expect(answers.lastIndexOf("RESUB_DELTA")).toBeLessThan(answers.indexOf("SUB_IMAGE"));
    expect(answers.indexOf("SUB_IMAGE")).toBeGreaterThan(10);
    expect(doors?.gateway.lobby.ends.get("INVALID_CLOCK")).toBeUndefined();
    expect(doors?.gateway.hub.sessions.size).toBe(0);
  });
});

test("over real sockets, a restart of the gateway: the same client comes back with its old clocks and holds the right book", async () => {
  const exchange = new SimExchange({
    clock: systemClock,
    random: seededRandom(1),
    log: silentLog,
    sessions: { accountOf: () => "ada" },
    appKeys: [APP_KEY],
  });
  const { port } = exchange.listen(bunListen, { host: "127.0.0.1", port: 0 });
  const say = (...changes: MarketChange[]) => exchange.publish(Date.now(), learn(changes));
  const start = async (): Promise<Gateway> => {
    const free = { host: "127.0.0.1", port: 0 };
    const upstream = { host: "127.0.0.1", port, tls: false, session: "s", appKey: APP_KEY };
    const visitors = [{ token: SESSION, name: "ann" }];
    const config = parseConfig({ exchange: upstream, doors: { http: free, websocket: free, esa: free }, visitors });
    const gateway = await startGateway(config, { log: silentLog });
    await until(() => gateway.isReady, "the gateway has its image");
    return gateway;
  };
  const enter = async ({ esaPort }: Gateway, before?: Visitor): Promise<Visitor> => {
    const visitor = new Visitor(bunDial, { host: "127.0.0.1", port: esaPort as number }, before);
    await until(() => visitor.messages.length > 0, "a greeting");
    visitor.authenticate(APP_KEY, SESSION);
    await until(() => visitor.last.connectionsAvailable !== undefined, "let in");
    visitor.subscribe({ heartbeatMs: 500 });
    await until(() => visitor.messages.some(({ initialClk }) => initialClk !== undefined), "an answer");
    return visitor;
  };
  say(...Array.from({ length: MARKETS }, (_, n) => born(n)));
  let gateway = await start();
  const first = await enter(gateway);
  say(traded(3, 7));
  await until(() => first.books.get("1.3")?.state().runners[0]?.ltp === 7, "an update");
  await gateway.stop();
  await until(() => first.closed !== null, "the client is cut off");
  say(traded(3, 8), traded(4, 9));
  gateway = await start();
  const back = await enter(gateway, first);
  expect(back.messages.find(({ ct }) => ct === "SUB_IMAGE")?.mc).toHaveLength(MARKETS);
  expect(back.messages.some(({ statusCode }) => statusCode === "FAILURE")).toBe(false);
  isRight(back);
  say(traded(5, 10));
  await until(() => back.books.get("1.5")?.state().runners[0]?.ltp === 10, "an update after the restart");
  // And once more, cut alone: now it is patched.
  back.leave();
  say(traded(6, 11));
  await Bun.sleep(50);
  const again = await enter(gateway, back);
  expect(again.messages.find(({ ct }) => ct !== undefined)).toMatchObject({ ct: "RESUB_DELTA", mc: [traded(6, 11)] });
  isRight(again);
  again.leave();
  await gateway.stop();
  exchange.stop();
}, 30_000);
