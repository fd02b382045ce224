/**
 * What a server must not do to betfairlightweight and flumine, and where each is tested. In every test a small hostile exchange does it first,
 * so that the trap is seen to be one; then the same client goes to Oddswire.
 *
 * | trap | what | test |
 * | --- | --- | --- |
 * | 1 | host and port are fixed | "1: …" |
 * | 2 | one read is one message until subscribed | "2: …" |
 * | 3 | a CRLF apart from its message, or cut by a read, holds it back | "3: …", two |
 * | 4 | a character cut by a read kills the stream | "4: …" |
 * | 5 | messages of an older subscription | "5: …" |
 * | 6 | pt missing or old | "6: …" |
 * | 7 | a refusal that does not close | "7: …" |
 * | 8 | INVALID_CLOCK for a stale clk, for ever (flumine) | "8: …" |
 * | 9 | an image whose markets have no img | "9: …" |
 * | 10 | unknown keys in runners | "10: …" |
 * | 11 | silence, and heartbeats without clk | "11: …" |
 * | 12 | a ladder nobody asked for takes the place of another | "12: …" |
 * | 13 | closed markets are purged after 8 h | "13: …" |
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { betfairlightweight, flumine, networkNamespace } from "../parts.ts";
import { type Manner, market } from "./hostile.ts";
import { Library, type StreamBooks, type StreamOptions, type StreamState } from "./library.ts";
import { Strategy } from "./strategy.ts";
import { Street, until } from "./street.ts";

const python = betfairlightweight();
const pythonOfFlumine = flumine();
const network = networkNamespace();

/** What betfairlightweight reads at a time. */
const READ_BYTES = 1024;
const NINE_HOURS_MS = 9 * 3_600_000;
/** A visitor who may have two markets. */
const SMALL = { token: "small-session-token", name: "small", marketsMax: 2 };

describe.skipIf([python, pythonOfFlumine, network].some(({ kind }) => kind === "missing"))("trap", () => {
  let street: Street;
  let moved: Library;
  let direct: Library;
  let trapped: Library;
  beforeAll(async () => {
    // So short, that clocks get stale and closed markets are forgotten within a test.
    street = await Street.open((config) => ({
      ...config,
      cache: { retentionMs: 1_000, forgetMs: 1_000 },
      visitors: [...(config.visitors ?? []), SMALL],
    }));
    const start = (way: "oddswire" | "exchange" | "hostile") => Library.start(street, way, python.path);
    [moved, direct, trapped] = await Promise.all([start("oddswire"), start("exchange"), start("hostile")]);
    await street.publish([market("1.1", [{ id: 11, ltp: 2 }]), market("1.2", [{ id: 11, ltp: 3 }])]);
  }, 30_000);
  afterAll(() => street?.close());
  afterEach(async () => {
    for (const each of [moved, direct, trapped]) {
      await each.closeAll();
      await each.complaints();
    }
  });

  /** What becomes of a client of the hostile exchange. */
  async function suffers(manner: Manner, options: StreamOptions = {}): Promise<StreamState> {
    await street.exchange.ask("behave", { manner });
    return trapped.open(manner, options);
  }

  test("the hostile exchange is one only where it is told to be", async () => {
    await suffers("honest", { heartbeat_ms: 500 });
    const state = await trapped.wait("honest", { updates: 2, changes: { HEARTBEAT: 1 } });
    expect(state).toMatchObject({ end: null, connectionId: "002-hostile-1", connectionsAvailable: 9 });
    expect(await trapped.complaints()).toEqual([]);
  });

  test("1: a client that cannot be told another host or port comes in all the same", async () => {
    const { host } = await moved.open("1", { host: "oddswire.example.com" });
    expect(host).toBe("stream-api.betfair.com");
    const { connectionsEver } = await street.exchange.ask<{ connectionsEver: number }>("counts");
    await Promise.all(["1b", "1c", "1d"].map((name) => moved.open(name)));
    expect(await moved.wait("1", { updates: 2 })).toMatchObject({ end: null, running: true });
    expect((await street.exchange.ask<{ connectionsEver: number }>("counts")).connectionsEver).toBe(connectionsEver);
    expect(await moved.complaints()).toEqual([]);
  });

  test("2: nothing comes together with the greeting or the answer to the authentication", async () => {
    expect((await suffers("greetingWithMore")).connectionId).toBeNull();
    expect((await trapped.complaints())[0]).toContain("value error");
    for (let n = 0; n < 10; n++) {
      const state = await moved.open(`2.${n}`, { heartbeat_ms: 500 });
      expect(state.connectionId).not.toBeNull();
      expect(state.connectionsAvailable).toBeGreaterThan(0);
    }
    expect(await moved.complaints()).toEqual([]);
    const { token } = await moved.login("interactive");
    await moved.useToken("wrong");
    expect((await moved.open("2.wrong")).end).toContain("INVALID_SESSION_INFORMATION");
    await moved.useToken(token);
  });

  test("3: a message is there when it was sent, whatever comes after it", async () => {
    await suffers("lateLineFeed", { heartbeat_ms: 5_000 });
    expect((await trapped.wait("lateLineFeed", { changes: { UPDATE: 1 } }, 0.5)).changes.UPDATE).toBeUndefined();
    expect((await trapped.wait("lateLineFeed", { changes: { UPDATE: 2 } })).changes.UPDATE).toBe(2);
    await moved.open("3", { heartbeat_ms: 5_000 });
    for (const runners of [1, 10, 11, 12, 13, 100]) {
      const before = (await moved.state("3")).updates;
      await street.publish([market("1.3", many(runners))]);
      expect((await moved.wait("3", { updates: before + 1 }, 2)).updates).toBe(before + 1);
    }
  });

  test("3: nor does it wait where its last byte would be a read of its own", async () => {
    await suffers("loneLineFeed", { heartbeat_ms: 5_000 });
    expect((await trapped.wait("loneLineFeed", { changes: { UPDATE: 1 } }, 0.5)).changes.UPDATE).toBeUndefined();
    expect((await trapped.wait("loneLineFeed", { changes: { UPDATE: 2 } })).changes.UPDATE).toBe(2);
    await moved.open("3", { heartbeat_ms: 5_000 });
    const arrives = async (letters: number) => {
      const { updates } = await moved.state("3");
      await street.publish([market("1.3", [{ id: 11, ltp: 2 }], { eventName: "x".repeat(letters) })]);
      const state = await moved.wait("3", { updates: updates + 1 }, 2);
      expect(state.updates).toBe(updates + 1);
      return state.length;
    };
    const short = READ_BYTES * 2 - 1 - ((await arrives(READ_BYTES)) % READ_BYTES);
    const lengths = [];
    for (const more of [-1, 0, 1]) lengths.push(await arrives(short + more));
    // One of the three would have been it: it came with a space at its end.
    expect(lengths.map((length) => length % READ_BYTES)).toContain(0);
  });

  test("4: no character is cut, since all of them are ASCII", async () => {
    await suffers("rawUtf8");
    expect((await trapped.wait("rawUtf8", { end: true })).end).toContain("UnicodeDecodeError");
    const eventName = "Zoë & Søn \u{1f3cf} भारत ".repeat(200);
    await street.publish([market("1.4", [{ id: 11, ltp: 2 }], { eventName })]);
    await moved.open("4");
    await street.publish([market("1.4", [{ id: 11, ltp: 2 }], { eventName: `${eventName}!` })]);
    await until(async () => (await moved.books("4")).snap["1.4"]?.marketDefinition.eventName === `${eventName}!`);
    expect((await moved.state("4")).end).toBeNull();
    // The simulated exchange sends it as it is, and is a trap itself to those who go there directly.
    await street.publish([market("1.4", [{ id: 11, ltp: 2 }])]);
  });

  test("5: after a new subscription the old one is silent", async () => {
    const again = async (library: Library, name: string) => {
      await library.subscribe(name, { filter: { market_ids: ["1.1"] } });
      return library.wait(name, { changes: { SUB_IMAGE: 2, UPDATE: 1 } }, 2);
    };
    await suffers("oldId");
    await again(trapped, "oldId");
    expect((await trapped.state("oldId")).late).toBeGreaterThan(0);
    expect((await trapped.complaints()).some((text) => text.includes("Unwanted data"))).toBeTrue();
    await moved.open("5");
    let publishing = true;
    const published = (async () => {
      for (let n = 0; publishing; n++) await street.publish([{ id: "1.1", rc: [{ id: 11, ltp: 2 + (n % 9) }] }]);
    })();
    for (let n = 0; n < 5; n++) await again(moved, "5");
    publishing = false;
    await published;
    // What was on its way when the library asked anew it calls unwanted, whoever the server is; none must come once that is answered.
    for (const ltp of [20, 21]) {
      await moved.complaints();
      await street.publish([{ id: "1.1", rc: [{ id: 11, ltp }] }]);
      await until(async () => bookOf(await moved.books("5"), "1.1")?.runners[0]?.ltp === ltp);
    }
    expect(await moved.complaints()).toEqual([]);
    expect((await moved.state("5")).late).toBe(0);
  });

  test("6: each change says when it was published, and that is now", async () => {
    await suffers("noPublishTime");
    expect((await trapped.wait("noPublishTime", { end: true })).end).toBe("KeyError: 'pt'");
    await suffers("oldPublishTime");
    await trapped.wait("oldPublishTime", { changes: { UPDATE: 1 } });
    expect((await trapped.complaints()).some((text) => text.includes("Latency high"))).toBeTrue();
    await moved.open("6");
    for (let n = 0; n < 20; n++) await street.publish([{ id: "1.1", rc: [{ id: 11, ltp: 2 + n }] }]);
    await moved.wait("6", { changes: { UPDATE: 20 } });
    expect(await moved.complaints()).toEqual([]);
  });

  test("7: a client that asked for too many markets hears so, and can ask for fewer on the same connection", async () => {
    await suffersSilently(suffers("quietRefusal"));
    const { token } = await moved.login("interactive");
    await moved.useToken(SMALL.token);
    await suffersSilently(moved.open("7"));
    expect((await moved.complaints())[0]).toContain("SUBSCRIPTION_LIMIT_EXCEEDED");
    await moved.subscribe("7", { filter: { market_ids: ["1.1", "1.2"] } });
    expect((await moved.wait("7", { updates: 2 })).updates).toBe(2);
    await moved.useToken(token);
  });

  test("8: a stale clk is answered by an image, so that flumine comes back instead of running in circles", async () => {
    const options = { client: { market_recording_mode: true, order_stream: false } };
    await street.exchange.ask("behave", { manner: "invalidClock" });
    const [circling, back] = await Promise.all([
      Strategy.start(street, "hostile", pythonOfFlumine.path, options),
      Strategy.start(street, "relay", pythonOfFlumine.path, options),
    ]);
    const before = await back.until(({ handled }) => handled >= 2);
    await back.complaints();
    await street.exchange.ask("cut", { who: "clients" });
    await street.publish([market("1.8", [{ id: 11, ltp: 2 }])]);
    expect((await back.until((state) => state.markets.includes("1.8"))).markets).toContain("1.8");
    expect((await back.state()).clk).not.toBe(before.clk);
    await until(async () => (await street.exchange.ask<Counts>("counts")).hostile.resumes >= 2);
    expect((await circling.complaints()).filter((text) => text.includes("INVALID_CLOCK")).length).toBeGreaterThan(0);
    expect((await circling.state()).running).toBeFalse();
    // That the connection broke is what flumine must say; nothing after it.
    expect((await back.complaints()).filter((text) => !text.includes("MarketStream"))).toEqual([]);
  });

  test("9: every market of an image starts anew", async () => {
    await suffers("imageWithoutImg");
    await trapped.wait("imageWithoutImg", { changes: { SUB_IMAGE: 2 } });
    expect((await trapped.books("imageWithoutImg")).books[0]?.runners[0]?.atb).toEqual([
      [3, 10],
      [2.9, 5],
    ]);
    const atb = (prices: number[][]) => ({ id: 11, ltp: 2, atb: prices as [number, number][] });
    await street.publish([
      market("1.9", [
        atb([
          [3, 10],
          [2.9, 5],
        ]),
      ]),
    ]);
    await moved.open("9");
    await moved.close("9");
    await street.publish([{ id: "1.9", rc: [atb([[3, 0]])] }]);
    await moved.open("9 again", { initial_clk: "of another epoch", clk: "and long ago" }, "9");
    await direct.open("9");
    expect(await moved.state("9 again")).toMatchObject({ end: null, changes: { SUB_IMAGE: 2 } });
    expect(bookOf(await moved.books("9 again"), "1.9")?.runners[0]?.atb).toEqual([[2.9, 5]]);
    expect((await moved.books("9 again")).books).toEqual((await direct.books("9")).books);
  });

  test("10: no key in a runner that the exchange has not sent", async () => {
    await suffers("keyInDefinitionRunner");
    expect((await trapped.wait("keyInDefinitionRunner", { end: true })).end).toContain("TypeError");
    await suffers("keyInNewRunner");
    expect((await trapped.wait("keyInNewRunner", { end: true })).end).toContain("TypeError");
    const runners = many(5).map((runner) => ({ ...runner, hc: -0.5, spn: "NaN" as const, spf: 3.5 }));
    await moved.open("10");
    await street.publish([market("1.10", runners)]);
    await street.publish([{ id: "1.10", rc: [{ id: 999, ltp: 4 }] }]);
    await until(async () =>
      (await moved.books("10")).books.some(({ runners }) => runners.some(({ id }) => id === 999)),
    );
    await direct.open("10");
    expect((await moved.state("10")).end).toBeNull();
    expect((await moved.books("10")).snap["1.10"]).toEqual((await direct.books("10")).snap["1.10"] as never);
  });

  test("11: an idle stream has heartbeats, each with a clk, and one that was asked for is answered", async () => {
    const quiet = { heartbeat_ms: 500, timeout: 1, filter: { market_ids: ["1.none"] } };
    await moved.open("11", quiet);
    await suffers("heartbeatsWithoutClk");
    await suffers("noHeartbeats", { timeout: 1 });
    expect((await trapped.wait("noHeartbeats", { end: true })).end).toContain("timed out");
    const { heartbeats } = await trapped.wait("heartbeatsWithoutClk", { changes: { HEARTBEAT: 2 } });
    expect(heartbeats).toContain(null);
    const state = await moved.wait("11", { changes: { HEARTBEAT: 3 } });
    expect(state).toMatchObject({ end: null, running: true });
    expect(state.heartbeats).not.toContain(null);
    const id = await moved.heartbeat("11");
    await until(async () =>
      (await moved.state("11")).replies.some((reply) => reply.id === id && reply.statusCode === "SUCCESS"),
    );
  });

  test("12: who asks for the best offers sees those, and not the whole ladder in their place", async () => {
    const options = { fields: ["EX_BEST_OFFERS", "EX_MARKET_DEF"], ladderLevels: 2 };
    await suffers("deafToFields", options);
    expect(firstPrices(await trapped.books("deafToFields"), "1.100")).toEqual([1.01]);
    const batb = [
      [0, 3, 1],
      [1, 2.9, 1],
      [2, 2.8, 1],
    ] as [number, number, number][];
    const atb = [
      [3, 1],
      [2.9, 1],
      [2.8, 1],
    ] as [number, number][];
    await street.publish([market("1.12", [{ id: 11, batb, atb }])]);
    await moved.open("12", options);
    expect(firstPrices(await moved.books("12"), "1.12")).toEqual([3, 2.9]);
    await moved.open("12 all", { fields: ["EX_ALL_OFFERS", "EX_MARKET_DEF"], ladderLevels: 2 });
    expect(firstPrices(await moved.books("12 all"), "1.12")).toEqual([3, 2.9, 2.8]);
  });

  test("13: a market that was closed, purged by the client after 8 h, and opened again, is whole", async () => {
    await suffers("purgedThenChanged");
    await trapped.wait("purgedThenChanged", { updates: 3 });
    expect((await trapped.complaints()).some((text) => text.includes("Missing marketDefinition"))).toBeTrue();
    const closed = market("1.13", [{ id: 11, ltp: 2 }], { status: "CLOSED" });
    await street.publish([closed]);
    await moved.open("13");
    await street.publish([market("1.14", [{ id: 11, ltp: 2 }])], NINE_HOURS_MS);
    await until(async () => bookOf(await moved.books("13"), "1.13") === undefined);
    await street.publish([market("1.13", [{ id: 11, ltp: 3 }], { version: 2 })], NINE_HOURS_MS);
    await until(async () => bookOf(await moved.books("13"), "1.13")?.runners[0]?.ltp === 3);
    expect(bookOf(await moved.books("13"), "1.13")?.status).toBe("OPEN");
    expect(await moved.complaints()).toEqual([]);
  });
});

interface Counts {
  readonly hostile: { readonly connections: number; readonly resumes: number };
}

/** A refusal that keeps the connection: the library waits, and its user sees nothing. */
async function suffersSilently(opening: Promise<StreamState>): Promise<void> {
  expect(await opening).toMatchObject({ end: null, running: true, updates: 0 });
}

function many(runners: number) {
  return Array.from({ length: runners }, (_, i) => ({ id: 100 + i, ltp: 2 + i / 100, tv: i }));
}

function bookOf({ books }: StreamBooks, id: string) {
  return books.find((book) => book.market === id);
}

function firstPrices({ snap }: StreamBooks, id: string): number[] | undefined {
  return snap[id]?.runners[0]?.ex.availableToBack.map(({ price }) => price);
}
