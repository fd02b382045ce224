import { pick, type Random, randomInt } from "../base/random.ts";
import type { PriceSize, RunnerChange, RunnerDefinition, StartingPrice } from "./naive.ts";
import { Offers } from "./world-offers.ts";
import { LAST_TICK, PRICES } from "./world-prices.ts";

export interface RunnerSpec {
  readonly id: number;
  readonly name: string;
  readonly hc?: number;
  readonly adjustmentFactor?: number;
}

export type RunnerStatus = "ACTIVE" | "WINNER" | "LOSER" | "REMOVED";

/** How a market is quoted. */
export interface Depth {
  /** Prices on each side. */
  readonly levels: number;
  /** Prices ever traded at, at most. */
  readonly tradedLevels: number;
  /** The usual size of an offer, pence. */
  readonly pence: number;
  /** Ticks between the fair price and the best on each side, at most. */
  readonly spread: number;
}

/** What one runner's part of a market change says, gathered while it is made: the last word on a price wins. */
export class RunnerEdit {
  readonly #runner: RunnerSpec;
  readonly #ladders: { atb?: PriceSize[]; atl?: PriceSize[]; trd?: PriceSize[]; spb?: PriceSize[]; spl?: PriceSize[] } =
    {};
  readonly #scalars: { tv?: number; ltp?: number; spn?: StartingPrice; spf?: StartingPrice } = {};

  constructor(runner: RunnerSpec) {
    this.#runner = runner;
  }

  put(ladder: "atb" | "atl" | "trd" | "spb" | "spl", tick: number, pence: number): void {
    const entries = (this.#ladders[ladder] ??= []);
    const entry: PriceSize = [PRICES[tick] as number, pence / 100];
    const at = entries.findIndex(([price]) => price === entry[0]);
    if (at === -1) entries.push(entry);
    else entries[at] = entry;
  }

  set(scalar: "tv" | "ltp" | "spn" | "spf", value: StartingPrice): void {
    (this.#scalars as Record<string, StartingPrice>)[scalar] = value;
  }

  /** The `rc` entry, or null when there is nothing to say. */
  change(): RunnerChange | null {
    const change = { ...this.#ladders, ...this.#scalars };
    for (const _ in change) return { ...change, id: this.#runner.id, ...(this.#runner.hc && { hc: this.#runner.hc }) };
    return null;
  }
}

/** One runner of one market: what is offered on it and what was traded. Every change of it goes through an edit. */
export class WorldRunner {
  readonly spec: RunnerSpec;
  status: RunnerStatus = "ACTIVE";
  bsp: StartingPrice | null = null;
  removalDate: string | null = null;
  /** Pence. */
  traded = 0;
  readonly #depth: Depth;
  readonly #back = new Offers(-1);
  readonly #lay = new Offers(1);
  readonly #trd = new Offers(1);
  #ltp: number | null = null;
  #spn: StartingPrice | null = null;
  #spf: StartingPrice | null = null;

  constructor(spec: RunnerSpec, depth: Depth) {
    this.spec = spec;
    this.#depth = depth;
  }

  /**
   * Moves the offers to around a fair price (a tick, in fractions): what stands on the wrong side goes, the gap is filled, and at most
   * `fill` prices are added behind. The best to back stays below the fair price and the best to lay above it, so they never cross.
   */
  quote(fair: number, fill: number, random: Random, edit: RunnerEdit): void {
    const spread = 1 + randomInt(random, this.#depth.spread);
    const [below, above] = [Math.ceil(fair), Math.floor(fair)];
    this.#side({ name: "atb", side: this.#back, away: -1, edge: below - 1, best: below - spread }, fill, random, edit);
    this.#side({ name: "atl", side: this.#lay, away: 1, edge: above + 1, best: above + spread }, fill, random, edit);
  }

  /** Takes away everything offered. */
  clear(edit: RunnerEdit): void {
    for (const tick of [...this.#back.ticks]) this.#offer("atb", this.#back, tick, 0, edit);
    for (const tick of [...this.#lay.ticks]) this.#offer("atl", this.#lay, tick, 0, edit);
  }

  /** Somebody changes an offer near the top. */
  resize(random: Random, edit: RunnerEdit): void {
    const [name, side] = this.#anySide(random);
    if (side.length === 0) return;
    const at = Math.min(side.length - 1, Math.floor(random.next() ** 2 * side.length));
    this.#offer(name, side, side.ticks[at] as number, anyPence(random, this.#depth.pence), edit);
  }

  /** Somebody takes the best offer, or a part of it. */
  trade(random: Random, edit: RunnerEdit): void {
    const [name, side] = this.#anySide(random);
    const tick = side.ticks[0];
    if (tick === undefined || !this.#mayTradeAt(tick)) return;
    const offered = side.sizes[0] as number;
    const pence = Math.min(offered, anyPence(random, this.#depth.pence / 2));
    this.#offer(name, side, tick, offered - pence, edit);
    this.#match(tick, pence, edit);
  }

  /** The trades of the days before, around a fair price. */
  history(fair: number, levels: number, random: Random): void {
    const edit = new RunnerEdit(this.spec);
    const middle = Math.min(LAST_TICK - (levels >> 1), Math.max(levels >> 1, Math.round(fair)));
    for (let i = 0; i < levels; i++) {
      const tick = middle - (levels >> 1) + i;
      if (tick < 0 || tick > LAST_TICK) continue;
      this.#match(tick, anyPence(random, this.#depth.pence * 4), edit);
    }
    this.#ltp = middle;
  }

  /** Starting prices as they are projected before the off; strange ones included. */
  project(random: Random, edit: RunnerEdit): void {
    const price = PRICES[this.#ltp ?? 0] as number;
    this.#spn = pick(random, ["NaN", price * (0.95 + random.next() / 10), price * (0.95 + random.next() / 10)]);
    this.#spf = pick(random, ["Infinity", "NaN", Math.round(price * 100) / 100, Math.round(price * 105) / 100]);
    edit.set("spn", this.#spn);
    edit.set("spf", this.#spf);
    edit.put(random.next() < 0.5 ? "spb" : "spl", randomInt(random, 4) * 20, anyPence(random, this.#depth.pence));
  }

  /** The off: the starting price is struck. */
  reconcile(): void {
    if (this.status === "ACTIVE" && this.#ltp !== null) this.bsp = PRICES[this.#ltp] as number;
  }

  /** It will not run: offers and trades are void. */
  remove(date: string, edit: RunnerEdit): void {
    this.status = "REMOVED";
    this.removalDate = date;
    this.clear(edit);
    for (const tick of [...this.#trd.ticks]) {
      this.#trd.put(tick, 0);
      edit.put("trd", tick, 0);
    }
    this.traded = 0;
    edit.set("tv", 0);
  }

  definition(sortPriority: number, withName: boolean): RunnerDefinition {
    const { id, hc, name, adjustmentFactor } = this.spec;
    return {
      ...(adjustmentFactor !== undefined && { adjustmentFactor }),
      status: this.status,
      sortPriority,
      ...(this.bsp !== null && { bsp: this.bsp }),
      ...(this.removalDate !== null && { removalDate: this.removalDate }),
      id,
      ...(hc !== undefined && hc !== 0 && { hc }),
      ...(withName && { name }),
    };
  }

  /** All of it, as the `rc` entry of an image. Starting price offers are not kept: they come again. */
  image(): RunnerChange {
    const { id, hc } = this.spec;
    return {
      ...(this.#back.length > 0 && { atb: this.#back.entries() }),
      ...(this.#lay.length > 0 && { atl: this.#lay.entries() }),
      ...(this.#trd.length > 0 && { trd: this.#trd.entries() }),
      ...(this.#spn !== null && { spn: this.#spn, spf: this.#spf }),
      ...(this.#ltp !== null && { ltp: PRICES[this.#ltp] }),
      tv: this.traded / 100,
      id,
      ...(hc !== undefined && hc !== 0 && { hc }),
    };
  }

  #side({ name, side, away, edge, best }: SideQuote, fill: number, random: Random, edit: RunnerEdit): void {
    while (side.length > 0 && (side.ticks[0] as number) * away < edge * away)
      this.#offer(name, side, side.ticks[0] as number, 0, edit);
    const first = side.ticks[0];
    if (first === undefined || first * away > best * away)
      this.#offer(name, side, best, anyPence(random, this.#depth.pence), edit);
    for (let added = 0; added < fill && side.length > 0 && side.length < this.#depth.levels; added++) {
      const tick = (side.ticks[side.length - 1] as number) + away * (1 + randomInt(random, 2));
      if (tick < 0 || tick > LAST_TICK) break;
      this.#offer(name, side, tick, anyPence(random, this.#depth.pence * 2), edit);
    }
    while (side.length > this.#depth.levels) this.#offer(name, side, side.ticks[side.length - 1] as number, 0, edit);
  }

  #offer(name: "atb" | "atl", side: Offers, tick: number, pence: number, edit: RunnerEdit): void {
    if (tick < 0 || tick > LAST_TICK) return;
    side.put(tick, pence);
    edit.put(name, tick, pence);
  }

  #match(tick: number, pence: number, edit: RunnerEdit): void {
    const size = this.#trd.sizeAt(tick) + pence;
    this.#trd.put(tick, size);
    this.traded += pence;
    this.#ltp = tick;
    edit.put("trd", tick, size);
    edit.set("ltp", PRICES[tick] as number);
    edit.set("tv", this.traded / 100);
  }

  #mayTradeAt(tick: number): boolean {
    return this.#trd.length < this.#depth.tradedLevels || this.#trd.sizeAt(tick) > 0;
  }

  #anySide(random: Random): ["atb", Offers] | ["atl", Offers] {
    return random.next() < 0.5 ? ["atb", this.#back] : ["atl", this.#lay];
  }
}

interface SideQuote {
  readonly name: "atb" | "atl";
  readonly side: Offers;
  /** The direction that leads away from the best. */
  readonly away: 1 | -1;
  /** Nothing may be offered nearer to the other side than this tick. */
  readonly edge: number;
  /** And something should be at this tick, or nearer. */
  readonly best: number;
}

/** Sizes spread over two orders of magnitude around the usual one, as people's stakes do. */
function anyPence(random: Random, usual: number): number {
  return Math.max(1, Math.round(usual * 10 ** (2 * random.next() - 1)));
}
