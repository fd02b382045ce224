import { type OpenWire, webSocketWire } from "../../client/wire.ts";
import type { Clock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Dial, Listen } from "../base/socket.ts";
import { cameThrough } from "./came-through.ts";
import { SimExchange } from "./exchange.ts";
import { lineWire } from "./line-wire.ts";
import { type BookState, firstDifference, type MarketChange, NaiveBook } from "./naive.ts";
import { mark, Onlooker } from "./onlooker.ts";
import { recordingMessages } from "./recording.ts";
import { type Sample, SamplePlan } from "./samples.ts";

/** Messages published before we wait for the client: more would test how a slow reader catches up, not how a stream is carried. */
const MESSAGES_UNSEEN_MAX = 256;
const HOST = "127.0.0.1";
const SESSION = "verify-session";
const APP_KEY = "verify-app-key";

/** The way from the exchange to the client: by one of the gateway's doors, or without a gateway. */
export type Through = "websocket" | "esa" | "direct";

/** Where the simulated exchange is, and what it asks of who connects. */
export interface Upstream {
  /** Plain TCP. */
  readonly host: string;
  readonly port: number;
  readonly session: string;
  readonly appKey: string;
}

/** A gateway that holds that exchange's stream. */
export interface PlayedGateway {
  readonly websocketUrl: string;
  readonly esaPort: number;
  readonly session: string;
  readonly appKey: string;
  stop(): void | Promise<void>;
}

/** What a recording is played on. */
export interface Stage {
  readonly clock: Clock;
  readonly random: Random;
  readonly dial: Dial;
  readonly listen: Listen;
  startGateway(upstream: Upstream): PlayedGateway | Promise<PlayedGateway>;
}

/** A state that the client held, as `--dump` prints it. */
export interface SampledState extends BookState {
  readonly n: number;
  readonly of: number;
  readonly final: boolean;
  readonly publishTime: number;
}

/** Where the client's book was not what the exchange had said. */
export interface Difference {
  readonly market: string;
  readonly n: number;
  readonly of: number;
  /** The path with what it should be against what came. */
  readonly where: string;
}

/** How a playthrough went; counted up while it runs, so that progress can be shown. */
export class Playthrough {
  messages = 0;
  /** Of `changesOf`: how far it is. */
  changes = 0;
  changesOf = 0;
  markets = 0;
  states = 0;
  /** How often the client lost its connection and resumed: right books all the same, but nobody had cut it. */
  reconnects = 0;
  readonly differences: Difference[] = [];
}

/**
 * Plays a recording's `mcm` messages from the simulated exchange to a client over real sockets, and compares the client's books with naive
 * ones at the samples. Between samples the client sees every message for itself. Throws OddswireError when it cannot be played to the end.
 */
export async function playThrough(
  path: string,
  through: Through,
  stage: Stage,
  went: Playthrough,
  came: (state: SampledState) => void,
): Promise<void> {
  const { counts, firstPt } = await countChanges(path, went);
  const exchange = openExchange(stage);
  const { port } = exchange.listen(stage.listen, { host: HOST, port: 0 });
  exchange.publish(firstPt, [mark(0)]);
  const upstream = { host: HOST, port, session: SESSION, appKey: APP_KEY };
  let gateway: PlayedGateway | null = null;
  let onlooker: Onlooker | null = null;
  try {
    if (through !== "direct") gateway = await stage.startGateway(upstream);
    const { session, appKey } = gateway ?? upstream;
    onlooker = new Onlooker({ wire: wireTo(upstream, gateway, through, stage), session, appKey, ...stage });
    await onlooker.seen(0);
    const { reconnects } = onlooker;
    await play(path, new SamplePlan(counts), exchange, onlooker, went, came);
    went.reconnects = onlooker.reconnects - reconnects;
  } finally {
    onlooker?.close();
    await gateway?.stop();
    exchange.stop();
  }
}

/** The first of two passes: how many changes each market has, which says when to look at it. */
async function countChanges(path: string, went: Playthrough) {
  const counts = new Map<string, number>();
  let firstPt: number | null = null;
  for await (const { message } of recordingMessages(path)) {
    if (message.op !== "mcm") continue;
    firstPt ??= message.pt as number;
    for (const change of message.mc ?? []) counts.set(change.id, (counts.get(change.id) ?? 0) + 1);
  }
  if (firstPt === null || counts.size === 0)
    throw new OddswireError("INVALID_RECORDING", `${path}: no market data in it (no mcm message with changes)`);
  went.markets = counts.size;
  went.changesOf = counts.values().reduce((sum, count) => sum + count, 0);
  return { counts, firstPt };
}

function openExchange({ clock, random }: Stage): SimExchange {
  const sessions = { accountOf: (token: string) => (token === SESSION ? "verify" : null) };
  const limits = { marketsMax: Number.POSITIVE_INFINITY };
  return new SimExchange({ clock, random, log: silentLog, sessions, appKeys: [APP_KEY], limits });
}

function wireTo(upstream: Upstream, gateway: PlayedGateway | null, through: Through, stage: Stage): OpenWire {
  if (gateway === null) return lineWire(stage.dial, { host: upstream.host, port: upstream.port });
  if (through === "esa") return lineWire(stage.dial, { host: HOST, port: gateway.esaPort });
  return webSocketWire(gateway.websocketUrl);
}

async function play(
  path: string,
  plan: SamplePlan,
  exchange: SimExchange,
  onlooker: Onlooker,
  went: Playthrough,
  came: (state: SampledState) => void,
): Promise<void> {
  const books = new Map<string, NaiveBook>();
  let marks = 0;
  let unseen = 0;
  for await (const { message } of recordingMessages(path)) {
    if (message.op !== "mcm") continue;
    went.messages++;
    const changes = message.mc ?? [];
    if (changes.length === 0) continue;
    const pt = message.pt as number;
    exchange.publish(pt, changes);
    for (const change of changes) applyTo(books, change);
    went.changes += changes.length;
    const samples = plan.take(changes);
    if (samples.length === 0 && ++unseen < MESSAGES_UNSEEN_MAX) continue;
    unseen = 0;
    exchange.publish(pt, [mark(++marks)]);
    await onlooker.seen(marks);
    for (const sample of samples) came(look(sample, pt, books, onlooker, went));
  }
  for (const book of books.values()) lookOnceMore(book, onlooker, went);
}

function applyTo(books: Map<string, NaiveBook>, change: MarketChange): void {
  let book = books.get(change.id);
  if (book === undefined) books.set(change.id, (book = new NaiveBook(change.id)));
  book.apply(change);
}

function look(
  { market, n, of, final }: Sample,
  publishTime: number,
  books: ReadonlyMap<string, NaiveBook>,
  onlooker: Onlooker,
  went: Playthrough,
): SampledState {
  const expected = (books.get(market) as NaiveBook).state();
  const state = cameThrough(market, onlooker.book(market));
  const where = firstDifference(expected, state);
  went.states++;
  if (where !== null) went.differences.push({ market, n, of, where });
  const { market: _, ...rest } = state;
  return { market, n, of, final, publishTime, ...rest };
}

/** At the very end, so that nothing that came for other markets has spoilt one that was right at its own end. */
function lookOnceMore(book: NaiveBook, onlooker: Onlooker, went: Playthrough): void {
  const where = firstDifference(book.state(), cameThrough(book.market, onlooker.book(book.market)));
  const isKnown = went.differences.some((difference) => difference.market === book.market && difference.n === book.n);
  if (where !== null && !isKnown) went.differences.push({ market: book.market, n: book.n, of: book.n, where });
}
