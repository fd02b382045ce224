import { afterEach, describe, expect, test } from "bun:test";
import { type Connection, connect } from "../client/connection.ts";
import type { Subscription } from "../client/subscription.ts";
import { type OpenWire, webSocketWire } from "../client/wire.ts";
import { systemClock } from "../src/base/clock.ts";
import { pick, randomInt, seededRandom } from "../src/base/random.ts";
import { bunDial } from "../src/edge/sockets.ts";
import { cameThrough } from "../src/sim/came-through.ts";
import { lineWire } from "../src/sim/line-wire.ts";
import { type BookState, firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { recordings } from "./parts.ts";
import type { FaultProxy } from "./proxy.ts";
import { Recorded } from "./real/recorded.ts";
import { HASTE, type OpenStage, openStage, SESSION, until } from "./stage.ts";

const CUTS = 50;
const found = recordings();
const FILE = `${found.path}/flumine/1.200806927`;
const MARKET = "1.200806927";
const SEED = Number(process.env.ODDSWIRE_SEED ?? Date.now() % 1_000_000);

interface Message {
  readonly pt: number;
  readonly mc: readonly MarketChange[];
}

/** Every state that the exchange gave the market, in order: what a user may show, and never go back from. */
class History {
  readonly book = new NaiveBook(MARKET);
  readonly #indexes = new Map<bigint | number, number[]>();
  #count = 0;

  publish(changes: readonly MarketChange[]): void {
    for (const change of changes) if (change.id === MARKET) this.book.apply(change);
    const key = keyOf(this.book.state());
    const indexes = this.#indexes.get(key);
    if (indexes === undefined) this.#indexes.set(key, [this.#count]);
    else indexes.push(this.#count);
    this.#count++;
  }

  /** The first time that the state was given, at or after `from`; null: never. */
  indexOf(state: BookState, from: number): number | null {
    return this.#indexes.get(keyOf(state))?.find((index) => index >= from) ?? null;
  }
}

function keyOf(state: BookState): bigint | number {
  return Bun.hash(JSON.stringify(state));
}

/** A user that checks each state it shows. */
class Witness {
  readonly connection: Connection;
  readonly subscription: Subscription;
  readonly violations: string[] = [];
  #shown = 0;

  constructor(wire: OpenWire, history: History) {
    this.connection = connect({ wire, session: SESSION, random: HASTE, clock: systemClock });
    const change = () => {
      const state = cameThrough(MARKET, this.subscription.books.get(MARKET));
      const index = history.indexOf(state, this.#shown);
      if (index === null)
        this.violations.push(
          history.indexOf(state, 0) === null ? "a state never given" : "a state older than one shown",
        );
      else this.#shown = index;
    };
    this.subscription = this.connection.subscribe({ heartbeatMs: 500 }, { change });
  }

  get isLive(): boolean {
    return this.subscription.state.kind === "live";
  }
}

let stage: OpenStage | null = null;
const witnesses: Witness[] = [];

afterEach(async () => {
  for (const witness of witnesses.splice(0)) witness.connection.close();
  await stage?.close();
  stage = null;
});

async function begin(messages: readonly Message[], history: History, retentionMs = 600_000) {
  stage = await openStage(SEED, { cache: { retentionMs, forgetMs: retentionMs } });
  const { exchange, websocketUrl, esaAddress, gateway } = stage;
  const [first] = messages as [Message];
  history.publish(first.mc);
  exchange.publish(first.pt, first.mc);
  await until(() => gateway.isReady, "the gateway is ready");
  witnesses.push(
    new Witness(webSocketWire(websocketUrl), history),
    new Witness(lineWire(bunDial, esaAddress), history),
  );
  await until(allLive, "both users are live");
  return stage;
}

function allLive(): boolean {
  return witnesses.every((witness) => witness.isLive);
}

function sum(what: (witness: Witness) => number): number {
  return witnesses.reduce((total, witness) => total + what(witness), 0);
}

/** Plays on, with `CUTS` faults at random moments; each comes when what the one before hit is up again. */
async function playWithCuts(
  messages: readonly Message[],
  history: History,
  isUpAfter: (cuts: number) => boolean,
  proxies: readonly FaultProxy[],
) {
  const random = seededRandom(SEED);
  const at = new Set<number>();
  while (at.size < CUTS) at.add(1 + randomInt(random, messages.length - 2));
  let cuts = 0;
  for (let i = 1; i < messages.length; i++) {
    const { pt, mc } = messages[i] as Message;
    history.publish(mc);
    stage?.exchange.publish(pt, mc);
    if (i % 64 === 0) await Bun.sleep(1);
    if (!at.has(i)) continue;
    await until(() => isUpAfter(cuts), `all is up before the cut at message ${i}`);
    const fault = pick(random, ["cut", "cut", "reset", "reset", "halfOpen"] as const);
    cuts += Math.min(1, pick(random, proxies)[fault]());
  }
  expect(cuts).toBe(CUTS);
}

async function sameBooks(history: History) {
  const truth = history.book.state();
  for (const [i, witness] of witnesses.entries()) {
    const difference = () => firstDifference(cameThrough(MARKET, witness.subscription.books.get(MARKET)), truth);
    await until(() => witness.isLive && difference() === null, `user ${i} holds the exchange's book`);
    expect(witness.violations).toEqual([]);
  }
}

async function read(): Promise<readonly Message[]> {
  return (await Recorded.read(FILE)).messages as unknown as Message[];
}

describe.skipIf(found.kind === "missing")(`a recording cut at ${CUTS} random moments (seed ${SEED})`, () => {
  test("upstream: same books, none older than one shown, every reconnect resumed", async () => {
    const messages = await read();
    const history = new History();
    const { gateway, upstream, exchange } = await begin(messages, history);
    const { source } = gateway;
    const isUpAfter = (cuts: number) => source.connects > cuts && source.sourceState === "live";
    await playWithCuts(messages, history, isUpAfter, [upstream]);
    await until(() => isUpAfter(CUTS), "the gateway is back after the last cut");
    await sameBooks(history);
    expect([source.images, exchange.counters.images]).toEqual([1, 1]);
    expect(source.resumes).toBeGreaterThanOrEqual(CUTS);
    expect(sum(({ connection }) => connection.reconnects)).toBe(0);
    expect(sum(({ subscription }) => subscription.counters.images)).toBe(2);
  }, 90_000);

  test("at the users: same books, none older than one shown, every reconnect resumed", async () => {
    const messages = await read();
    const history = new History();
    const { websocket, esa, gateway } = await begin(messages, history);
    const isUpAfter = (cuts: number) => sum(({ connection }) => connection.reconnects) >= cuts && allLive();
    await playWithCuts(messages, history, isUpAfter, [websocket, esa]);
    await until(() => isUpAfter(CUTS), "the users are back after the last cut");
    await sameBooks(history);
    expect(sum(({ subscription }) => subscription.counters.resumes)).toBeGreaterThanOrEqual(CUTS);
    expect(sum(({ subscription }) => subscription.counters.images)).toBe(2);
    expect(gateway.source.connects).toBe(1);
  }, 90_000);

  test("a user who was away for longer than the retention gets an image, and nobody else does", async () => {
    const messages = await read();
    const history = new History();
    const { exchange, websocket } = await begin(messages, history, 200);
    await websocket.refuse(true);
    websocket.cut();
    for (let i = 1; i < 400; i++) {
      const { pt, mc } = messages[i] as Message;
      history.publish(mc);
      exchange.publish(pt, mc);
      await Bun.sleep(8);
    }
    await websocket.refuse(false);
    await sameBooks(history);
    expect(witnesses.map(({ subscription }) => subscription.counters.images)).toEqual([2, 1]);
  }, 60_000);
});
