import type { Clock, Timer } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { Latencies } from "../base/latencies.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Dial, TlsClientOptions } from "../base/socket.ts";
import type { Settings, State } from "../exchange/connection.ts";
import type { Session } from "../exchange/session.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { FieldName, SourceState } from "../market/types.ts";
import type { ShadowBook } from "./shadow-book.ts";
import { type Court, type FindingKind, Pair, type Terms } from "./shadow-pair.ts";
import {
  type Finding,
  Findings,
  findingLine,
  kindsWords,
  latencySummary,
  latencyWords,
  type Pause,
  SAMPLES_MAX,
  type ShadowReport,
  type SideReport,
  thousands,
} from "./shadow-report.ts";
import { type Move, ShadowStream } from "./shadow-stream.ts";

/** One of the two ways to the same prices. */
export interface ShadowSide {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsClientOptions | "off";
  readonly appKey: string;
  readonly session: Session;
}

export interface ShadowOptions {
  readonly direct: ShadowSide;
  readonly through: ShadowSide;
  readonly filter: MarketFilter;
  /** None: all. */
  readonly fields: readonly FieldName[];
  readonly ladderLevels: number;
  /** Asked of the through side; the direct one is always read unconflated, so that every state is known. */
  readonly conflateMs: number;
  readonly lateMs: number;
  readonly staleMs: number;
  readonly graceMs: number;
  readonly lineBytesMax: number;
  readonly settings: Settings;
}

export interface ShadowWorld {
  readonly clock: Clock;
  readonly random: Random;
  readonly dial: Dial;
  readonly log: Log;
}

/** What a run starts with, where nobody says otherwise, milliseconds. */
export const SHADOW_DEFAULTS = {
  lateMs: 2_000,
  /** Longer than a gateway takes to notice that the exchange has fallen silent: two heartbeats. */
  staleMs: 15_000,
  graceMs: 10_000,
} as const;

/**
 * Shadow mode: the same subscription over two ways, directly from the exchange and through Oddswire, their books compared as they move. `Pair` says how.
 *
 * While either side is down, resuming, or says that its data are late, nothing is compared, and the pause is told.
 */
export class Shadow {
  readonly findings = new Findings();
  readonly latencies = new Latencies();
  /** Told of each finding that is among those told, and of each pause when it is over. */
  onFinding: ((finding: Finding) => void) | null = null;
  onPause: ((pause: Pause) => void) | null = null;
  readonly direct: ShadowStream;
  readonly through: ShadowStream;
  readonly #options: ShadowOptions;
  readonly #clock: Clock;
  readonly #court: Court;
  readonly #pairs = new Map<string, Pair>();
  readonly #states = { direct: 0, through: 0 };
  #conflated = 0;
  #unjudged = 0;
  /** Markets that were followed and are let go of. */
  #comparedBefore = 0;
  /** When both sides were there for the first time, by either clock. */
  #began: { readonly at: number; readonly wall: number } | null = null;
  #paused: { readonly at: number; readonly wall: number; readonly reason: string } | null = null;
  readonly #pauses: Pause[] = [];
  #pauseCount = 0;
  #pausedMs = 0;
  #isRunning = false;
  #tick: Timer | null = null;

  constructor(options: ShadowOptions, world: ShadowWorld) {
    this.#options = options;
    this.#clock = world.clock;
    this.direct = this.#open("direct", { ...options, conflateMs: 0 }, world);
    this.through = this.#open("through", options, world);
    this.#court = {
      terms: this.#terms(),
      directPt: () => this.direct.lastPublishTime ?? 0,
      found: (market, kind, what) => this.#found(market, kind, what),
      matched: (latencyMs) => this.latencies.add(latencyMs),
      conflated: (states) => void (this.#conflated += states),
      unjudged: (states) => void (this.#unjudged += states),
    };
  }

  start(): void {
    this.direct.start();
    this.through.start();
    this.#tickOn();
  }

  stop(): void {
    this.#tick?.cancel();
    this.#tick = null;
    if (this.#isRunning) this.#isRunning = false;
    else this.#pauseOver();
    this.direct.stop();
    this.through.stop();
  }

  /** How long it has compared, pauses included; null before both sides were there. */
  get comparedMs(): number | null {
    return this.#began === null ? null : this.#clock.monotonic() - this.#began.at;
  }

  /** Why a side is not there, "direct: …"; null when both are. */
  get missing(): string | null {
    const sides = [this.direct, this.through].filter(({ sourceState }) => sourceState !== "live");
    return sides.length === 0 ? null : sides.map(({ name, state }) => `${name}: ${whyNot(state)}`).join("; ");
  }

  /** A side has refused us for good. */
  get isRefused(): boolean {
    return [this.direct, this.through].some(({ state }) => state.kind === "failed");
  }

  report(): ShadowReport {
    const compared = [...this.#pairs.values()].filter((pair) => pair.compared).length + this.#comparedBefore;
    const { total, counts, samples } = this.findings;
    return {
      startedAt: new Date(this.#began?.wall ?? this.#clock.wall()).toISOString(),
      seconds: seconds(this.comparedMs ?? 0),
      direct: this.#side("direct"),
      through: this.#side("through"),
      marketsCompared: compared,
      statesMatched: this.latencies.count,
      statesConflated: this.#conflated,
      statesUnjudged: this.#unjudged,
      latencyMs: latencySummary(this.latencies),
      pauses: { count: this.#pauseCount, seconds: seconds(this.#pausedMs), samples: this.#pauses },
      findings: { total, counts, samples },
    };
  }

  #open(name: "direct" | "through", options: ShadowOptions, world: ShadowWorld): ShadowStream {
    const { session, ...where } = options[name];
    const { filter, fields, ladderLevels, conflateMs, lineBytesMax, settings } = options;
    const stream = { ...where, name, filter, fields, ladderLevels, conflateMs, lineBytesMax, settings };
    return new ShadowStream(
      stream,
      { ...world, session },
      {
        moved: (book, move) => this.#moved(name, book, move),
        gone: (book) => this.#gone(name, book),
        state: (state, reason) => this.#told(name, state, reason),
      },
    );
  }

  /** Read anew each time: what is in force is known only from the first image on. */
  #terms(): Terms {
    const { lateMs, staleMs, graceMs, conflateMs } = this.#options;
    const { through } = this;
    return {
      lateMs,
      staleMs,
      graceMs,
      get conflateMs() {
        return through.conflateMs ?? conflateMs;
      },
    };
  }

  #moved(name: "direct" | "through", book: ShadowBook, move: Move): void {
    let pair = this.#pairs.get(book.id);
    if (pair === undefined) this.#pairs.set(book.id, (pair = new Pair(book.id, this.#court)));
    const isNew = pair[name] !== book;
    pair[name] = book;
    if (!this.#isRunning) return;
    if (!move.same) this.#states[name]++;
    if (isNew) pair.begin(move.at);
    else if (name === "direct") pair.directMoved(move);
    else pair.throughMoved(move);
  }

  #gone(name: "direct" | "through", book: ShadowBook): void {
    const pair = this.#pairs.get(book.id);
    if (pair === undefined || pair[name] !== book) return;
    pair[name] = null;
    if (pair.direct !== null || pair.through !== null) {
      if (this.#isRunning) pair.begin(this.#clock.monotonic());
      return;
    }
    this.#pairs.delete(book.id);
    if (pair.compared) this.#comparedBefore++;
  }

  #told(name: string, state: SourceState, reason: string): void {
    const areLive = [this.direct, this.through].every(({ sourceState }) => sourceState === "live");
    if (areLive && !this.#isRunning) this.#goOn();
    else if (!areLive && this.#isRunning) this.#pause(`${name} is ${state}: ${reason}`);
  }

  #goOn(): void {
    const at = this.#clock.monotonic();
    this.#pauseOver();
    this.#began ??= { at, wall: this.#clock.wall() };
    this.#isRunning = true;
    for (const pair of this.#pairs.values()) pair.begin(at);
  }

  #pause(reason: string): void {
    this.#isRunning = false;
    this.#paused = { at: this.#clock.monotonic(), wall: this.#clock.wall(), reason };
    for (const pair of this.#pairs.values()) pair.pause();
  }

  #pauseOver(): void {
    if (this.#paused === null) return;
    const { at, wall, reason } = this.#paused;
    const ms = this.#clock.monotonic() - at;
    const pause = { at: new Date(wall).toISOString(), seconds: seconds(ms), reason };
    this.#paused = null;
    this.#pauseCount++;
    this.#pausedMs += ms;
    if (this.#pauses.length < SAMPLES_MAX) this.#pauses.push(pause);
    this.onPause?.(pause);
  }

  #tickOn(): void {
    this.#tick = this.#clock.after(TICK_MS, () => {
      this.#tickOn();
      this.#due(this.#clock.monotonic());
    });
  }

  #due(now: number): void {
    let held = 0;
    for (const pair of this.#pairs.values()) {
      if (this.#isRunning) pair.due(now);
      held += pair.held;
      if (isClosed(pair) && now - pair.movedAt > CLOSED_MS_MAX) this.#forget(pair);
    }
    if (held <= STATES_HELD_MAX) return;
    for (const pair of this.#pairs.values()) if (pair.held > 1) pair.giveUp(now);
  }

  #forget({ direct, through }: Pair): void {
    if (direct !== null) this.direct.forget(direct);
    if (through !== null) this.through.forget(through);
  }

  #found(market: string, kind: FindingKind, what: string): void {
    const finding = { kind, market, at: new Date(this.#clock.wall()).toISOString(), what };
    if (this.findings.add(finding)) this.onFinding?.(finding);
  }

  #side(name: "direct" | "through"): SideReport {
    const { books, messages, bytes, connects, conflateMs } = this[name];
    const { host, port } = this.#options[name];
    return {
      address: `${host}:${port}`,
      markets: books.size,
      states: this.#states[name],
      messages,
      bytes,
      connects,
      conflateMs,
    };
  }
}

/** Where a run prints. */
export interface ShadowPrinter {
  /** A line beside the result (standard error). */
  note(line: string): void;
  /** How it goes, for a terminal: each replaces the last, null clears. Absent where nobody looks. */
  progress?(text: string | null): void;
}

/**
 * Runs until `comparedMs` were compared (null: for ever) or `stopped` resolves; `missing` says why a side was not there at the end. Throws CONNECTION_FAILED when it never came to compare: a side refuses us,
 * or is not there within a minute.
 */
export async function runShadow(
  shadow: Shadow,
  comparedMs: number | null,
  stopped: Promise<void>,
  clock: Clock,
  printer: ShadowPrinter,
): Promise<{ readonly report: ShadowReport; readonly missing: string | null }> {
  shadow.onFinding = (finding) => say(printer, findingLine(finding).trimStart());
  shadow.onPause = ({ at, seconds, reason }) => say(printer, `${at}  paused for ${seconds} s: ${reason}`);
  shadow.start();
  await Promise.race([stopped, over(shadow, comparedMs, clock, printer)]);
  printer.progress?.(null);
  const [report, missing] = [shadow.report(), shadow.missing];
  const never = shadow.comparedMs === null;
  shadow.stop();
  if (never) throw new OddswireError("CONNECTION_FAILED", `nothing was compared; ${missing}`);
  return { report, missing };
}

/** Markets are looked at so often for what time brings. */
const TICK_MS = 250;
/** Closed on both sides, or on the only one, for so long: let go of. */
const CLOSED_MS_MAX = 600_000;
/** States held of all markets together: 200 a second for every second until one counts as stale, many times over. */
const STATES_HELD_MAX = 500_000;
const START_MS_MAX = 60_000;
const PROGRESS_MS = 1_000;
/** Where there is no terminal, so often. */
const NOTE_MS = 60_000;

function over(shadow: Shadow, comparedMs: number | null, clock: Clock, printer: ShadowPrinter): Promise<void> {
  const startedAt = clock.monotonic();
  let notedAt = startedAt;
  return new Promise((resolve) => {
    const look = () => {
      const now = clock.monotonic();
      const ms = shadow.comparedMs;
      if (
        shadow.isRefused ||
        (ms === null ? now - startedAt > START_MS_MAX : ms >= (comparedMs ?? Number.POSITIVE_INFINITY))
      )
        return resolve();
      clock.after(
        Math.min(PROGRESS_MS, ms === null ? PROGRESS_MS : (comparedMs ?? Number.POSITIVE_INFINITY) - ms),
        look,
      );
      printer.progress?.(progressText(shadow));
      if (printer.progress !== undefined || now - notedAt < NOTE_MS) return;
      notedAt = now;
      printer.note(progressText(shadow));
    };
    look();
  });
}

function say(printer: ShadowPrinter, line: string): void {
  printer.progress?.(null);
  printer.note(line);
}

function progressText(shadow: Shadow): string {
  const { missing, comparedMs } = shadow;
  const report = shadow.report();
  const where = comparedMs === null ? "connecting" : `${(comparedMs / 60_000).toFixed(1)} min`;
  const { total, counts } = report.findings;
  const found = total === 0 ? "no findings" : `${thousands(total)} findings (${kindsWords(counts)})`;
  const waits = missing === null ? "" : `, waiting for ${missing}`;
  return `${where}: ${thousands(report.marketsCompared)} markets, ${thousands(report.statesMatched)} states, ${latencyWords(report)}, ${found}${waits}`;
}

function whyNot(state: State): string {
  return "reason" in state ? state.reason : state.kind;
}

function isClosed({ direct, through }: Pair): boolean {
  return [direct, through].every((book) => book === null || book.status === "CLOSED");
}

function seconds(ms: number): number {
  return Math.round(ms) / 1000;
}
