import type { MarketBook, RunnerBook } from "../client/book.ts";
import type { MarketDefinition } from "../client/messages.ts";
import { eventName, marketName, runnerName, sportName } from "./words.ts";

/** What the order and the search look at, made anew only when a market's definition changes. */
export interface Facts {
  readonly book: MarketBook;
  readonly definition: MarketDefinition | null;
  readonly event: string;
  readonly eventName: string;
  readonly sport: string;
  readonly name: string;
  readonly start: number;
  readonly inPlay: boolean;
  readonly closed: boolean;
  /** What a search is looked for in, in lower case. */
  readonly text: string;
}

export function factsOf(book: MarketBook): Facts {
  const definition = book.definition;
  const [event, name] = [eventName(book), marketName(book)];
  const sport = sportName(definition?.eventTypeId);
  const runners = [...book.runners].map(runnerName).join(" ");
  return {
    book,
    definition,
    event: definition?.eventId ?? book.id,
    eventName: event,
    sport,
    name,
    start: Date.parse(definition?.marketTime ?? "") || Number.MAX_SAFE_INTEGER,
    inPlay: book.inPlay === true,
    closed: book.closed,
    text: `${event} ${name} ${sport} ${runners} ${book.id} ${definition?.venue ?? ""}`.toLowerCase(),
  };
}

/** Groups of markets, an event each: in-play first, then by start and name, closed ones last. */
export function byEvent(found: readonly Facts[]): Facts[][] {
  const events = Map.groupBy(found, ({ event }) => event);
  for (const markets of events.values()) markets.sort(byImportance);
  return [...events.values()].sort(
    (a, b) =>
      Number(a.every(({ closed }) => closed)) - Number(b.every(({ closed }) => closed)) ||
      Number(b.some(isLive)) - Number(a.some(isLive)) ||
      earliest(a) - earliest(b) ||
      (a[0].eventName < b[0].eventName ? -1 : 1),
  );
}

/** The runner that the market thinks likeliest; once it is settled, the winner. */
export function favouriteOf(book: MarketBook): RunnerBook | null {
  let best: RunnerBook | null = null;
  for (const runner of book.runners) {
    if (runner.status === "WINNER") return runner;
    if (runner.ltp === null || runner.ltp === 0 || runner.status?.startsWith("REMOVED")) continue;
    if (best === null || runner.ltp < (best.ltp as number)) best = runner;
  }
  return best;
}

const MAIN_TYPES = ["MATCH_ODDS", "WIN"];

function byImportance(a: Facts, b: Facts): number {
  const main = (facts: Facts) => Number(MAIN_TYPES.includes(facts.definition?.marketType ?? ""));
  return Number(a.closed) - Number(b.closed) || main(b) - main(a) || a.start - b.start || a.name.localeCompare(b.name);
}

function isLive(facts: Facts): boolean {
  return facts.inPlay && !facts.closed;
}

function earliest(markets: readonly Facts[]): number {
  return Math.min(...markets.map(({ start }) => start));
}
