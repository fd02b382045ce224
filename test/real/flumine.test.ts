/** flumine as it comes from PyPI, moved as docs/MIGRATION.md says: it sees what one at the exchange sees, and has nothing to complain of. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { flumine, networkNamespace, recordings } from "../parts.ts";
import { Strategy, type StrategyOptions } from "./strategy.ts";
import { Street, until } from "./street.ts";

const python = flumine();
const network = networkNamespace();
const folder = recordings();

/** One market from long before its event to its end, and one in which every field comes. */
const RECORDINGS = [
  { sport: "4", file: "flumine/1.200806927" },
  { sport: "7", file: "kelvinvail-betfair/MarketStream.txt" },
];
/** Published at a time: the strategies take it in before they are given more, however slow the machine is. */
const STEP_MESSAGES = 150;
/** No orders, and none of the workers that ask for them. */
const WATCHING: StrategyOptions = { client: { market_recording_mode: true, order_stream: false } };

describe.skipIf([python, network, folder].some(({ kind }) => kind === "missing"))("a moved flumine", () => {
  let street: Street;
  beforeAll(async () => {
    street = await Street.open();
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
    for (const { sport, file } of RECORDINGS) {
      const options = { ...WATCHING, filter: { event_type_ids: [sport] } };
      const [moved, direct] = await Promise.all([start("oddswire", options), start("exchange", options)]);
      const { messages } = await street.exchange.ask<{ messages: number }>("recording", {
        file: `${folder.path}/${file}`,
      });
      await playAll([moved, direct]);
      const [here, there] = [await moved.seen(), await direct.seen()];
      const shown = Object.values(here.seen).flat().length + Object.values(here.closed).flat().length;
      expect([sport, shown]).toEqual([sport, messages]);
      expect(here).toEqual(there);
      expect(await moved.complaints()).toEqual([]);
      for (const strategy of [moved, direct]) strategy.end();
    }
  }, 60_000);

  test("comes back by itself when its connection is cut, and its books are right", async () => {
    await street.exchange.ask("world", { seed: 9, markets: 12, messages: 60 });
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
});
