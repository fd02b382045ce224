import type { MarketBook, RunnerBook } from "../../client/book.ts";
import type { BookState, RunnerState, StartingPrice } from "./naive.ts";

/** What a client's book says, in the judge's spelling. Ladders are taken in the client's own order: that is a promise, too. */
export function cameThrough(market: string, book: MarketBook | undefined): BookState {
  return {
    market,
    status: book?.status ?? null,
    inPlay: book?.inPlay ?? null,
    version: book?.version ?? null,
    totalMatched: book?.totalMatched ?? null,
    runners: [...(book?.runners ?? [])].map(runnerState).sort((a, b) => a.id - b.id || a.hc - b.hc),
  };
}

function runnerState(runner: RunnerBook): RunnerState {
  const { definition } = runner;
  return {
    id: runner.id,
    hc: runner.hc,
    status: runner.status,
    ltp: runner.ltp,
    tv: runner.tv,
    atb: [...runner.atb],
    atl: [...runner.atl],
    trd: [...runner.trd],
    ...whenNotEmpty("batb", runner.batb),
    ...whenNotEmpty("batl", runner.batl),
    ...whenNotEmpty("bdatb", runner.bdatb),
    ...whenNotEmpty("bdatl", runner.bdatl),
    ...whenNotEmpty("spb", runner.spb),
    ...whenNotEmpty("spl", runner.spl),
    ...whenKnown("spn", asSent(runner.spn)),
    ...whenKnown("spf", asSent(runner.spf)),
    ...whenKnown("bsp", definition?.bsp),
    ...whenKnown("adjustmentFactor", definition?.adjustmentFactor),
    ...whenKnown("removalDate", definition?.removalDate),
  };
}

/** JSON has no NaN and no Infinity: the exchange sends them as strings, the library gives numbers. */
function asSent(value: number | null): StartingPrice | null {
  return value === null || Number.isFinite(value) ? value : String(value);
}

function whenNotEmpty(name: keyof RunnerState, ladder: readonly unknown[]): Partial<RunnerState> {
  return ladder.length > 0 ? { [name]: [...ladder] } : {};
}

function whenKnown(name: keyof RunnerState, value: unknown): Partial<RunnerState> {
  return value == null ? {} : { [name]: value };
}
