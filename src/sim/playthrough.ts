import type { ChangeMessage } from "../../client/messages.ts";
import { type OpenWire, webSocketWire } from "../../client/wire.ts";
import type { Clock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Dial, Listen } from "../base/socket.ts";
import { SimExchange } from "./exchange.ts";
import { Judge, type Playthrough, type SampledState } from "./judge.ts";
import { lineWire } from "./line-wire.ts";
import { type Asked, mark, Onlooker } from "./onlooker.ts";
import { type RecordingMessage, recordingMessages } from "./recording.ts";
import { type Sample, SamplePlan } from "./samples.ts";

/** Messages published before we wait for the client: more would test how a slow reader catches up, not how a stream is carried. */
const MESSAGES_UNSEEN_MAX = 256;
/** A conflated client sees a recording in at least so many flushes: it is played in as many parts, each waited for. */
const FLUSHES_MIN = 20;
/** Within a part, all that listens on this event loop gets its turn after so many messages: the exchange would merge for a gateway that cannot read. */
const MESSAGES_A_TURN = 32;
const HOST = "127.0.0.1";
const SESSION = "verify-session";
const APP_KEY = "verify-app-key";

/** The way from the exchange to the client: by one of the gateway's doors, or without a gateway. */
export type Through = "websocket" | "esa" | "direct";

/** How a recording is to come to the client, and what of it. */
export interface Way {
  readonly through: Through;
  readonly asked: Asked;
}

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

/**
 * Plays a recording's `mcm` messages from the simulated exchange to a client over real sockets, and compares the client's books with naive
 * ones: at the samples, between which the client sees every message for itself; or, when the client asked for conflation, at every flush.
 * Throws OddswireError when it cannot be played to the end.
 */
export async function playThrough(
  path: string,
  { through, asked }: Way,
  stage: Stage,
  went: Playthrough,
  came: (state: SampledState) => void,
): Promise<void> {
  const { counts, firstPt } = await countChanges(path, went);
  const exchange = openExchange(stage);
  const { port } = exchange.listen(stage.listen, { host: HOST, port: 0 });
  exchange.publish(firstPt, [mark(0)]);
  const upstream = { host: HOST, port, session: SESSION, appKey: APP_KEY };
  const judge = new Judge({ asked, computes: through !== "direct", counts, firstPt, went, came });
  let gateway: PlayedGateway | null = null;
  let onlooker: Onlooker | null = null;
  try {
    if (through !== "direct") gateway = await stage.startGateway(upstream);
    const { session, appKey } = gateway ?? upstream;
    const wire = wireTo(upstream, gateway, through, stage);
    const watch = (message: ChangeMessage, markets: readonly string[]) =>
      judge.told(message, markets, stage.clock.monotonic());
    const told = asked.conflateMs > 0 ? { told: watch } : {};
    onlooker = judge.onlooker = new Onlooker({ wire, session, appKey, asked, ...told, ...stage });
    await onlooker.seen(0);
    const { reconnects } = onlooker;
    const show = new Show(exchange, onlooker, judge, stage.clock);
    if (asked.conflateMs > 0) await playInParts(path, show, went);
    else await playToSamples(path, new SamplePlan(counts), show, went);
    judge.lookOnceMore();
    went.reconnects = onlooker.reconnects - reconnects;
    went.bytes = onlooker.bytes;
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

/** The exchange plays, the client watches, the judge has both. */
class Show {
  readonly #exchange: SimExchange;
  readonly #onlooker: Onlooker;
  readonly #judge: Judge;
  readonly #clock: Clock;
  #marks = 0;

  constructor(exchange: SimExchange, onlooker: Onlooker, judge: Judge, clock: Clock) {
    this.#exchange = exchange;
    this.#onlooker = onlooker;
    this.#judge = judge;
    this.#clock = clock;
  }

  publish({ pt, mc }: RecordingMessage): void {
    this.#exchange.publish(this.#judge.published(pt as number, mc ?? []), mc ?? []);
  }

  /** Resolves when the client has all that was published. */
  async seen(): Promise<void> {
    this.#exchange.publish(this.#judge.published(0, []), [mark(++this.#marks)]);
    await this.#onlooker.seen(this.#marks);
  }

  look(sample: Sample): void {
    this.#judge.look(sample);
  }

  /** Lets everybody else have a turn. */
  turn(): Promise<void> {
    return new Promise((resolve) => void this.#clock.after(0, resolve));
  }
}

async function playToSamples(path: string, plan: SamplePlan, show: Show, went: Playthrough): Promise<void> {
  let unseen = 0;
  for await (const message of changesOf(path, went)) {
    show.publish(message);
    const samples = plan.take(message.mc ?? []);
    if (samples.length === 0 && ++unseen < MESSAGES_UNSEEN_MAX) continue;
    unseen = 0;
    await show.seen();
    for (const sample of samples) show.look(sample);
  }
  if (unseen > 0) await show.seen();
}

async function playInParts(path: string, show: Show, went: Playthrough): Promise<void> {
  const part = Math.ceil(went.changesOf / FLUSHES_MIN);
  let [unseen, messages] = [0, 0];
  for await (const message of changesOf(path, went)) {
    show.publish(message);
    unseen += message.mc?.length ?? 0;
    if (++messages % MESSAGES_A_TURN === 0) await show.turn();
    if (unseen < part) continue;
    unseen = 0;
    await show.seen();
  }
  if (unseen > 0) await show.seen();
}

/** The messages that change something, counted in. */
async function* changesOf(path: string, went: Playthrough): AsyncGenerator<RecordingMessage> {
  for await (const { message } of recordingMessages(path)) {
    if (message.op !== "mcm") continue;
    went.messages++;
    if ((message.mc ?? []).length === 0) continue;
    went.changes += message.mc?.length ?? 0;
    yield message;
  }
}
