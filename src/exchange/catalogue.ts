import { Backoff, type BackoffOptions } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { type BettingApi, type CallOutcome, callBetting, isSessionCode } from "./betting-call.ts";
import { type CatalogueEntry, EntryReader } from "./catalogue-entry.ts";
import type { Post } from "./identity.ts";
import type { Session } from "./session.ts";

export interface CatalogueOptions extends BettingApi {
  /** How old an entry may get before it is asked for again. */
  readonly refreshMs: number;
  /** Calls in any second. */
  readonly callsPerSecondMax: number;
  /** How often we look for markets that are not in the catalogue yet. */
  readonly lookMs: number;
  /** Waits between attempts after one that failed. */
  readonly retry: BackoffOptions;
}

export const CATALOGUE_DEFAULTS = {
  refreshMs: 600_000,
  callsPerSecondMax: 5,
  lookMs: 1_000,
  requestMsMax: 15_000,
  retry: { firstMs: 1_000, maxMs: 60_000 },
} as const;

/** What it needs of the world. */
export interface CatalogueWorld {
  readonly post: Post;
  /** The stream's, so that there is one login. */
  readonly session: Session;
  /** The markets there are now; closed ones are not asked for, as the exchange's catalogue does not have them. */
  markets(): Iterable<{ readonly id: string; readonly closedAt: number | null }>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** An answer of 50 markets with rules and metadata stays below this. */
export const CATALOGUE_BYTES_MAX = 16 * 1024 * 1024;
/** Weight 2 each: the exchange would take 100. Half of it is half the time that everybody waits while an answer is read. */
const MARKETS_PER_CALL = 50;
const PROJECTIONS = [
  "COMPETITION",
  "EVENT",
  "EVENT_TYPE",
  "MARKET_START_TIME",
  "MARKET_DESCRIPTION",
  "RUNNER_DESCRIPTION",
  "RUNNER_METADATA",
];
const SECOND_MS = 1_000;
/** Credentials that are not taken are not shown again for so long: accounts get locked. */
const LOCKED_MS = 600_000;

interface Slot {
  entry: CatalogueEntry | null;
  /** When it was last asked for, on the monotonic clock; null: never. */
  askedAt: number | null;
  /** The last look that still found the market. */
  look: number;
}

type Outcome =
  | { readonly kind: "markets"; readonly markets: readonly unknown[] }
  /** The exchange says no to this very request: asking the same again changes nothing. */
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "too much" }
  /** No session, or one that is not taken; `locked`: nor are our credentials. */
  | { readonly kind: "session"; readonly reason: string; readonly locked: boolean }
  | { readonly kind: "unreachable"; readonly reason: string };

/**
 * The exchange's catalogue of the markets that the stream carries: names, events, competitions, descriptions, which the stream does not tell.
 *
 * One call at a time, 50 markets each, so many calls a second at the most: first markets never asked for, then those whose entry is old. What the
 * exchange does not answer is missing, and asked for again when everything is. Whatever goes wrong here costs names, never prices.
 */
export class Catalogue {
  calls = 0;
  failures = 0;

  readonly #options: CatalogueOptions;
  readonly #world: CatalogueWorld;
  readonly #backoff: Backoff;
  readonly #reader = new EntryReader();
  readonly #slots = new Map<string, Slot>();
  #run = new AbortController();
  #timer: Timer | null = null;
  #look = 0;
  #marketsPerCall = MARKETS_PER_CALL;

  constructor(options: CatalogueOptions, world: CatalogueWorld) {
    this.#options = options;
    this.#world = world;
    this.#backoff = new Backoff(options.retry, world.random);
  }

  /** What is known of a market; undefined where nothing is (yet). */
  get(id: string): CatalogueEntry | undefined {
    return this.#slots.get(id)?.entry ?? undefined;
  }

  /** How many markets are in it. */
  get named(): number {
    let named = 0;
    for (const { entry } of this.#slots.values()) if (entry !== null) named++;
    return named;
  }

  start(): void {
    this.#after(0);
  }

  /** Ends what is under way. What is known stays. */
  stop(): void {
    this.#run.abort();
    this.#run = new AbortController();
    this.#timer?.cancel();
  }

  #after(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#world.clock.after(ms, () => void this.#step());
  }

  async #step(): Promise<void> {
    const ids = this.#due();
    if (ids.length === 0) return this.#after(this.#options.lookMs);
    const run = this.#run.signal;
    const outcome = await this.#ask(ids, run);
    if (run.aborted) return;
    this.#after(this.#take(ids, outcome));
  }

  /** Takes the answer; returns how long to wait for the next call. */
  #take(ids: readonly string[], outcome: Outcome): number {
    if (outcome.kind !== "markets") this.#failed(outcome);
    // A refused call is not made again before all others: one market that the exchange dislikes must not keep the rest without names.
    if (outcome.kind === "markets" || outcome.kind === "refused") this.#asked(ids);
    if (outcome.kind === "too much") this.#marketsPerCall = Math.max(1, this.#marketsPerCall >> 1);
    if (outcome.kind === "session" && outcome.locked) return LOCKED_MS;
    if (outcome.kind !== "markets") return this.#backoff.next();
    this.#backoff.reset();
    for (const market of outcome.markets) this.#learn(market);
    return SECOND_MS / this.#options.callsPerSecondMax;
  }

  #asked(ids: readonly string[]): void {
    const now = this.#world.clock.monotonic();
    for (const id of ids) {
      const slot = this.#slots.get(id);
      if (slot !== undefined) slot.askedAt = now;
    }
  }

  #learn(market: unknown): void {
    const read = this.#reader.read(market);
    const slot = read === null ? undefined : this.#slots.get(read.marketId);
    if (read !== null && slot !== undefined) slot.entry = read.entry;
  }

  #failed(outcome: Exclude<Outcome, { kind: "markets" }>): void {
    this.failures++;
    const reason = "reason" in outcome ? outcome.reason : "TOO_MUCH_DATA";
    this.#world.log.warn({ outcome: outcome.kind, reason }, "no catalogue");
  }

  /** The markets to ask for now: new ones, otherwise those asked for longest ago, if that is long enough. */
  #due(): string[] {
    const look = ++this.#look;
    const old = this.#world.clock.monotonic() - this.#options.refreshMs;
    const fresh: string[] = [];
    const stale: string[] = [];
    for (const { id, closedAt } of this.#world.markets()) {
      const slot = this.#slot(id);
      slot.look = look;
      if (closedAt !== null) continue;
      if (slot.askedAt === null && fresh.length < this.#marketsPerCall) fresh.push(id);
      else if (slot.askedAt !== null && slot.askedAt <= old && stale.length < this.#marketsPerCall) stale.push(id);
    }
    for (const [id, slot] of this.#slots) if (slot.look !== look) this.#slots.delete(id);
    return [...fresh, ...stale].slice(0, this.#marketsPerCall);
  }

  #slot(id: string): Slot {
    const known = this.#slots.get(id);
    if (known !== undefined) return known;
    const slot: Slot = { entry: null, askedAt: null, look: 0 };
    this.#slots.set(id, slot);
    return slot;
  }

  async #ask(marketIds: readonly string[], run: AbortSignal): Promise<Outcome> {
    const session = await this.#world.session.token();
    if (session.kind !== "token")
      return { kind: "session", reason: session.reason, locked: session.kind === "refused" };
    const params = { filter: { marketIds }, marketProjection: PROJECTIONS, maxResults: marketIds.length };
    const call = { operation: "listMarketCatalogue", params, id: ++this.calls, token: session.token };
    const outcome = readOutcome(await callBetting(call, this.#options, this.#world, run));
    if (outcome.kind === "session") this.#world.session.refused(session.token);
    return outcome;
  }
}

const TROUBLE_CODES = ["UNEXPECTED_ERROR", "TOO_MANY_REQUESTS", "SERVICE_BUSY", "TIMEOUT_ERROR"];

function readOutcome(outcome: CallOutcome): Outcome {
  if (outcome.kind === "unanswered") return { kind: "unreachable", reason: outcome.reason };
  if (outcome.kind === "result")
    return Array.isArray(outcome.result)
      ? { kind: "markets", markets: outcome.result }
      : { kind: "unreachable", reason: "the answer is none" };
  const { code } = outcome;
  if (code === "TOO_MUCH_DATA") return { kind: "too much" };
  if (isSessionCode(code)) return { kind: "session", reason: code, locked: false };
  return { kind: TROUBLE_CODES.includes(code) ? "unreachable" : "refused", reason: code.slice(0, 64) };
}
