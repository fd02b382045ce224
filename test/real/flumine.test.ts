/** flumine as it comes from PyPI, moved as docs/MIGRATION.md says: it sees what one at the exchange sees, and has nothing to complain of. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { flumine, networkNamespace, recordings } from "../parts.ts";
import { Strategy, type StrategyOptions } from "./strategy.ts";
import { type Held, Street, until } from "./street.ts";

const python = flumine();
const network = networkNamespace();
const folder = recordings();

/** One market from long before its event to its end, and one in which every field comes. */
const RECORDINGS = ["flumine/1.200806927", "kelvinvail-betfair/MarketStream.txt"];
/** Published at a time: the strategies take it in before they are given more, however slow the machine is. */
const STEP_MESSAGES = 150;
/** No orders, and none of the workers that ask for them. */
const WATCHING: StrategyOptions = { client: { market_recording_mode: true, order_stream: false } };

describe.skipIf([python, network, folder].some(({ kind }) => kind === "missing"))("a moved flumine", () => {
  let street: Street;
  let whole: Strategy;
  beforeAll(async () => {
    street = await Street.open((config) => ({
      ...config,
      orders: { enabled: true },
      visitors: (config.visitors ?? []).map((visitor) => ({ ...visitor, orders: { refPrefix: "alpha-" } })),
    }));
    await street.exchange.ask("world", { seed: 9, markets: 20, messages: 60 });
    await street.play(5);
    // With all that flumine does by default. Its workers begin after ten seconds: the last test looks at it.
    whole = await start("oddswire", { filter: { event_type_ids: ["1"] } });
  }, 30_000);
  afterAll(() => street?.close());

  function start(way: "oddswire" | "exchange" | "relay", options = WATCHING): Promise<Strategy> {
    return Strategy.start(street, way, python.path, options);
  }

  /** Plays what the exchange holds to its end, at the pace of these. */
  async function playAll(strategies: readonly Strategy[]): Promise<void> {
    for (;;) {
      const { messages, changesEver } = await street.play(STEP_MESSAGES);
      if (messages === 0) return;
      for (const strategy of strategies) await strategy.until(({ handled }) => handled >= changesEver);
    }
  }

  test("is shown the same market books one by one, over two whole recordings", async () => {
    for (const file of RECORDINGS) {
      const { messages, markets } = await street.exchange.ask<Held>("recording", { file: `${folder.path}/${file}` });
      const options = { ...WATCHING, filter: { market_ids: markets } };
      const [moved, direct] = await Promise.all([start("oddswire", options), start("exchange", options)]);
      await playAll([moved, direct]);
      const [here, there] = [await moved.seen(), await direct.seen()];
      const shown = Object.values(here.seen).flat().length + Object.values(here.closed).flat().length;
      expect([file, shown]).toEqual([file, messages]);
      expect(here).toEqual(there);
      expect(await moved.complaints()).toEqual([]);
      for (const strategy of [moved, direct]) strategy.end();
    }
  }, 60_000);

  test("comes back by itself when its connection is cut, and its books are right", async () => {
    await street.exchange.ask("world", { seed: 10, markets: 12, messages: 60 });
    await street.play(20);
    const [cut, direct] = await Promise.all([start("relay"), start("exchange")]);
    await street.exchange.ask("cut", { who: "clients" });
    await cut.until(({ running }) => !running);
    await street.play(20);
    await cut.until(({ running }) => running);
    await street.play(20);
    await until(async () => Bun.deepEquals((await cut.seen()).books, (await direct.seen()).books));
    // That the connection broke it must say, once; and nothing else.
    const [broke, ...more] = await cut.complaints();
    expect(broke).toMatch(/MarketStream \d+ run error .*Connection closed by server/);
    expect(more).toEqual([]);
    for (const strategy of [cut, direct]) strategy.end();
  }, 30_000);

  test("has its order stream, its names and its balance, and runs on without a word", async () => {
    const { catalogues, threads } = await whole.until((state) => Object.keys(state.catalogues).length > 0, 20_000);
    expect(threads).toEqual(["MarketStream", "OrderStream"]);
    expect(Object.values(catalogues)).toContain("Match Odds");
    // The account's balance and closed markets are asked for right after the catalogue.
    await Bun.sleep(500);
    expect(await whole.complaints()).toEqual([]);
  }, 30_000);

  test("comes back by itself when Oddswire is restarted, with the session that it has", async () => {
    await street.exchange.ask("world", { seed: 11, markets: 12, messages: 40 });
    await street.play(20);
    const [moved, direct] = await Promise.all([start("oddswire"), start("exchange")]);
    await street.restartGateway("SIGTERM");
    await moved.until(({ running }) => !running);
    await street.play(20);
    await moved.until(({ running }) => running);
    await until(async () => Bun.deepEquals((await moved.seen()).books, (await direct.seen()).books));
    expect((await whole.until(({ threads }) => threads.length === 2)).threads).toEqual(["MarketStream", "OrderStream"]);
    // What the gateway said when it went, and what the library says of itself when flumine subscribes to orders anew.
    const known = /the server is stopping|stream already registered/;
    for (const strategy of [moved, whole])
      expect((await strategy.complaints()).filter((text) => !known.test(text))).toEqual([]);
  }, 30_000);
});
