import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { Sink, SourceState } from "../market/types.ts";
import type { ExchangeClient, Upstream } from "./client.ts";
import type { Marks } from "./connection.ts";

export interface PoolWorld {
  readonly clock: Clock;
  readonly log: Log;
}

export interface PoolKeeper extends PoolWorld {
  /** All parts are stopped. */
  readonly stopped: () => void;
}

/** A part that is not live so long after it was begun is told of: before, everybody would hear 503 whenever somebody wants something new. */
const PATIENCE_MS = 2_000;
/** The longest that markets are kept where they were because those who take them over have not answered. */
const HANDOVER_MS_MAX = 60_000;

/**
 * Several connections of one account as one Source: each carries its part, says so on its batches (`shard`), and resumes by itself. The whole is live when all parts are.
 *
 * Parts may be given other filters while they run. One that gives markets up does so last: those that may carry them too are asked anew first, so that a
 * market is taken over before it is let go.
 */
export class ExchangePool implements Upstream {
  readonly name: string;
  sourceState: SourceState = "down";
  /** How often a part was given other criteria. */
  changes = 0;
  readonly want?: Upstream["want"];
  readonly #clients: readonly ExchangeClient[];
  readonly #world: PoolKeeper;
  readonly #filters: (MarketFilter | null)[];
  readonly #states: SourceState[];
  /** What is wanted next, while a handover is under way. */
  #next: readonly (MarketFilter | null)[] | null = null;
  /** Who is to be complete before the others give up; null: no handover. */
  #handover: { readonly waiting: Set<number>; readonly filters: readonly (MarketFilter | null)[] } | null = null;
  #timer: Timer | null = null;
  /** Parts begun of late, which are borne with. */
  readonly #patience = new Map<number, Timer>();
  #sink: Sink | null = null;
  #isComplete = false;

  /** `filters`: what each client was made for; null: it waits for something to carry. */
  constructor(
    name: string,
    clients: readonly ExchangeClient[],
    filters: readonly (MarketFilter | null)[],
    world: PoolKeeper,
    want?: Upstream["want"],
  ) {
    this.name = name;
    if (want !== undefined) this.want = want;
    this.#clients = clients;
    this.#filters = [...filters];
    this.#states = clients.map(({ sourceState }) => sourceState);
    if (this.#carrying().length > 0) this.sourceState = this.#worst();
    this.#world = world;
  }

  start(sink: Sink): void {
    this.#sink = sink;
    for (let n = 0; n < this.#clients.length; n++) if (this.#filters[n] !== null) this.#begin(n);
  }

  stop(): void {
    this.#sink = null;
    this.#timer?.cancel();
    for (const timer of this.#patience.values()) timer.cancel();
    this.#patience.clear();
    for (const client of this.#clients) client.stop();
    this.sourceState = "down";
    this.#world.stopped();
  }

  /** Stays so: a connection that comes in later, or is given other markets, takes nothing back from those who are served. */
  get isComplete(): boolean {
    this.#isComplete ||= this.#carrying().every((n) => this.#clients[n]?.isComplete);
    return this.#isComplete;
  }
  get images(): number {
    return this.#sum((client) => client.images);
  }
  get resumes(): number {
    return this.#sum((client) => client.resumes);
  }
  get invalidLines(): number {
    return this.#sum((client) => client.invalidLines);
  }
  get messages(): number {
    return this.#sum((client) => client.messages);
  }
  get connects(): number {
    return this.#sum((client) => client.connects);
  }
  get bytes(): number {
    return this.#sum((client) => client.bytes);
  }
  get allMarks(): readonly Marks[] | null {
    const marks = this.#carrying().map((n) => this.#clients[n]?.marks ?? null);
    return marks.every((each) => each !== null) ? marks : null;
  }
  /** What each part is to carry from now on. */
  carry(filters: readonly (MarketFilter | null)[]): void {
    if (this.#sink === null) return;
    if (this.#handover !== null) {
      this.#next = filters;
      return;
    }
    const changed = filters.flatMap((filter, n) => (same(filter, this.#filters[n] ?? null) ? [] : [n]));
    const shrinking = changed.filter((n) => givesUp(this.#filters[n] ?? null, filters[n] ?? null));
    // Markets by ids stay where they are, so only who carries by other properties can have what another gives up.
    const takers = shrinking.length > 0 ? this.#takers(filters, shrinking) : [];
    const first = [...new Set([...changed.filter((n) => !shrinking.includes(n)), ...takers])];
    for (const n of first) this.#give(n, filters[n] ?? null);
    if (takers.length === 0) {
      for (const n of shrinking) this.#give(n, filters[n] ?? null);
      return;
    }
    this.#handover = { waiting: new Set(first), filters };
    this.#timer = this.#world.clock.after(HANDOVER_MS_MAX, () => this.#handOver("they took too long"));
  }

  #takers(filters: readonly (MarketFilter | null)[], shrinking: readonly number[]): number[] {
    const takers = filters.flatMap((filter, n) => (filter === null || shrinking.includes(n) ? [] : [n]));
    const mixed = [...this.#filters, ...filters].some((filter) => filter !== null && !onlyIds(filter));
    return mixed ? takers : [];
  }

  #handOver(why: string): void {
    const handover = this.#handover;
    if (handover === null) return;
    this.#timer?.cancel();
    this.#handover = null;
    this.#world.log.debug({ source: this.name, why }, "markets change connections");
    for (const [n, filter] of handover.filters.entries()) {
      if (!same(filter, this.#filters[n] ?? null)) this.#give(n, filter);
    }
    const next = this.#next;
    this.#next = null;
    if (next !== null) this.carry(next);
  }

  #give(n: number, filter: MarketFilter | null): void {
    const before = this.#filters[n] ?? null;
    this.#filters[n] = filter;
    this.changes++;
    const client = this.#clients[n] as ExchangeClient;
    if (filter === null) return this.#rest(n);
    client.setFilter(filter);
    if (before === null) this.#begin(n);
  }

  #begin(n: number): void {
    if (this.sourceState === "live") this.#bearWith(n);
    (this.#clients[n] as ExchangeClient).start({
      batch: (batch) => {
        batch.shard = n;
        this.#sink?.batch(batch);
      },
      settled: () => this.#sink?.settled(),
      state: (state, reason) => this.#told(n, state, reason),
    });
  }

  #bearWith(n: number): void {
    const { name } = this.#clients[n] as ExchangeClient;
    this.#states[n] = "live";
    const timer = this.#world.clock.after(PATIENCE_MS, () => this.#told(n, "down", `${name} has not come up`));
    this.#patience.set(n, timer);
  }

  #hurry(n: number): void {
    this.#patience.get(n)?.cancel();
    this.#patience.delete(n);
  }

  /** A part with nothing to carry has no connection, and what it carried is gone. */
  #rest(n: number): void {
    const client = this.#clients[n] as ExchangeClient;
    client.stop();
    this.#hurry(n);
    this.#states[n] = "down";
    const nothing = new ChangeBatch();
    nothing.kind = "image";
    nothing.shard = n;
    nothing.pt = client.lastPublishTime ?? 0;
    this.#sink?.batch(nothing);
    this.#sink?.settled();
    this.#tell(`${client.name} has nothing to carry`);
  }

  #told(n: number, state: SourceState, reason: string): void {
    this.#hurry(n);
    this.#states[n] = state;
    this.#tell(reason);
    if (state !== "live" || this.#handover === null) return;
    this.#handover.waiting.delete(n);
    if (this.#handover.waiting.size === 0) this.#handOver("all that take over are complete");
  }

  /** The worst of the parts, when it is another than it was. */
  #tell(reason: string): void {
    const state = this.#worst();
    if (state === this.sourceState) return;
    this.sourceState = state;
    this.#sink?.state(state, reason);
  }

  #worst(): SourceState {
    const states = this.#carrying().map((n) => this.#states[n]);
    return states.includes("down") ? "down" : states.includes("stale") ? "stale" : "live";
  }

  #carrying(): number[] {
    return this.#filters.flatMap((filter, n) => (filter === null ? [] : [n]));
  }

  #sum(of: (client: ExchangeClient) => number): number {
    return this.#clients.reduce((sum, client) => sum + of(client), 0);
  }
}

function onlyIds(filter: MarketFilter): boolean {
  return filter.marketIds !== undefined;
}

/** Whether what passed `before` may not pass `after`. */
function givesUp(before: MarketFilter | null, after: MarketFilter | null): boolean {
  if (before === null) return false;
  if (after === null || before.marketIds === undefined || after.marketIds === undefined) return true;
  const kept = new Set(after.marketIds);
  return before.marketIds.some((id) => !kept.has(id));
}

function same(a: MarketFilter | null, b: MarketFilter | null): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
