import type { BookReader, MarketPage, MarketQuery, MarketSummary } from "../edge/http.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import { changesSince } from "../market/changes.ts";
import { matcher } from "../market/filter.ts";
import { ALL_FIELDS, LADDER_LEVELS_MAX } from "../market/types.ts";
import { writeChanges } from "../wire/changes.ts";
import { TextWriter } from "../wire/text.ts";

const WHOLE = { fields: ALL_FIELDS, ladderLevels: LADDER_LEVELS_MAX };

interface RunnerDefinition {
  readonly id: number;
  readonly hc?: number;
  readonly name?: string;
  readonly status?: string;
}

interface Definition {
  readonly name?: string;
  readonly eventName?: string;
  readonly marketTime?: string;
  readonly runners?: readonly RunnerDefinition[];
}

/** Shows the cache's books to whoever asks for one now, or for a list. */
export class Bookshop implements BookReader {
  readonly #cache: Cache;
  readonly #batch = new ChangeBatch();
  readonly #out = new TextWriter();

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  /** Pages go by the order in which markets were first heard of, so they are stable while markets come and go. */
  list({ filter, status, inPlay, limit, cursor }: MarketQuery): MarketPage | null {
    const after = cursor === null ? 0 : this.#ordinalOf(cursor);
    if (after === null) return null;
    const matches = matcher(filter);
    const markets: MarketSummary[] = [];
    let last = 0;
    for (const book of this.#cache.books()) {
      if (book.ordinal <= after) continue;
      const { facts } = book;
      if (!matches(book.id, book.known)) continue;
      if (status.length > 0 && !status.includes(facts.status ?? "")) continue;
      if (inPlay !== null && facts.inPlay !== inPlay) continue;
      if (markets.length === limit) return { markets, next: `${this.#cache.epoch}.${last.toString(36)}` };
      markets.push(summary(book));
      last = book.ordinal;
    }
    return { markets, next: null };
  }

  book(id: string): string | null {
    const book = this.#cache.get(id);
    if (book === undefined) return null;
    this.#batch.clear();
    this.#out.clear();
    changesSince(book, 0, WHOLE, this.#batch);
    writeChanges(this.#batch, this.#out);
    return `{"pt":${book.pt},"market":${this.#out.bytes.toString("latin1", 0, this.#out.length)}}`;
  }

  #ordinalOf(cursor: string): number | null {
    const [epoch, ordinal = ""] = cursor.split(/\.(?=[^.]*$)/);
    return epoch === this.#cache.epoch && /^[0-9a-z]+$/.test(ordinal) ? Number.parseInt(ordinal, 36) : null;
  }
}

function summary(book: Book): MarketSummary {
  const { facts } = book;
  const {
    name = null,
    eventName = null,
    marketTime = null,
    runners = [],
  } = JSON.parse(book.definition() ?? "{}") as Definition;
  return {
    id: book.id,
    name,
    eventName,
    eventId: facts.eventId,
    eventTypeId: facts.eventTypeId,
    marketType: facts.marketType,
    countryCode: facts.countryCode,
    marketTime,
    status: facts.status,
    inPlay: facts.inPlay,
    version: facts.version,
    totalMatched: Number.isNaN(book.tv) ? null : book.tv,
    runners: runners.map((runner) => ({
      id: runner.id,
      hc: runner.hc ?? 0,
      name: runner.name ?? null,
      status: runner.status ?? null,
    })),
  };
}
