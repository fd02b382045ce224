import {
  type LevelPriceSize,
  type MarketChange,
  type MarketDefinition,
  NaiveBook,
  type RunnerDefinition,
  type RunnerState,
} from "./naive.ts";
import type { Hundredths, Pence, Side } from "./order-life.ts";

/** What an order can take at once. */
export interface Offer {
  readonly price: Hundredths;
  readonly size: Pence;
}

/** A market as its orders see it: kept only for markets somebody has orders in. */
export class OrderMarket {
  readonly id: string;
  readonly #book: NaiveBook;
  #runners: Map<string, RunnerState> | null = null;

  constructor(image: MarketChange) {
    this.id = image.id;
    this.#book = new NaiveBook(image.id);
    this.#book.apply(image);
  }

  apply(change: MarketChange): void {
    this.#book.apply(change);
    this.#runners = null;
  }

  get definition(): MarketDefinition {
    return this.#book.definition ?? {};
  }

  get status(): string | null {
    return this.definition.status ?? null;
  }

  runner(selectionId: number, handicap: number): RunnerDefinition | null {
    const isIt = ({ id, hc }: RunnerDefinition) => id === selectionId && (hc ?? 0) === handicap;
    return this.definition.runners?.find(isIt) ?? null;
  }

  /** What is there for an order of this side at `limit` or better, best first. Full depth where it is shown, else the best offers. */
  offers(selectionId: number, handicap: number, side: Side, limit: Hundredths): Offer[] {
    const runner = this.#states().get(runnerKey(selectionId, handicap));
    if (runner === undefined) return [];
    return offersOf(runner, side).filter(({ price }) => (side === "BACK" ? price >= limit : price <= limit));
  }

  /** A runner's starting price once the market has one. */
  startingPrice(selectionId: number, handicap: number): Hundredths | null {
    const bsp = this.runner(selectionId, handicap)?.bsp;
    return typeof bsp === "number" && Number.isFinite(bsp) ? Math.round(bsp * 100) : null;
  }

  #states(): Map<string, RunnerState> {
    this.#runners ??= new Map(this.#book.state().runners.map((state) => [runnerKey(state.id, state.hc), state]));
    return this.#runners;
  }
}

export function runnerKey(selectionId: number, handicap: number): string {
  return `${selectionId}/${handicap}`;
}

function offersOf(runner: RunnerState, side: Side): Offer[] {
  const [all, displayed, best] =
    side === "BACK" ? [runner.atb, runner.bdatb, runner.batb] : [runner.atl, runner.bdatl, runner.batl];
  const ladder = all.length > 0 ? all : (displayed ?? best ?? []).map((level: LevelPriceSize) => level.slice(1));
  return ladder.map((entry) => ({
    price: Math.round((entry[0] as number) * 100),
    size: Math.floor((entry[1] as number) * 100 + 1e-6),
  }));
}
