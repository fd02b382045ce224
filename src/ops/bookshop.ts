import type { BookReader, MarketPage, MarketQuery, MarketSummary } from "../edge/http.ts";
import type { CatalogueEntry, RunnerName } from "../exchange/catalogue-entry.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import { changesSince } from "../market/changes.ts";
import { matcher } from "../market/filter.ts";
import { ALL_FIELDS, LADDER_LEVELS_MAX } from "../market/types.ts";
import { writeChanges } from "../wire/changes.ts";
import { TextWriter } from "../wire/text.ts";
import type { Names } from "./betting.ts";

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

const NO_NAMES: Names = { get: () => undefined };

/** Shows the cache's books to whoever asks for one now, or for a list. Names are the catalogue's, or else the definition's. */
export class Bookshop implements BookReader {
  readonly #cache: Cache;
  readonly #names: Names;
  readonly #batch = new ChangeBatch();
  readonly #out = new TextWriter();

  constructor(cache: Cache, names: Names = NO_NAMES) {
    this.#cache = cache;
    this.#names = names;
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
      markets.push(summary(book, this.#names.get(book.id)));
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

function summary(book: Book, entry: CatalogueEntry | undefined): MarketSummary {
  const { facts } = book;
  const definition = JSON.parse(book.definition() ?? "{}") as Definition;
  const nameOf = runnerNames(entry);
  return {
    id: book.id,
    name: entry?.marketName ?? definition.name ?? null,
    eventName: entry?.event?.name ?? definition.eventName ?? null,
    eventId: facts.eventId,
    eventTypeId: facts.eventTypeId,
    marketType: facts.marketType,
    countryCode: facts.countryCode,
    marketTime: definition.marketTime ?? null,
    status: facts.status,
    inPlay: facts.inPlay,
    version: facts.version,
    totalMatched: Number.isNaN(book.tv) ? null : book.tv,
    runners: (definition.runners ?? []).map(({ id, hc = 0, name, status }) => ({
      id,
      hc,
      name: nameOf(id, hc) ?? name ?? null,
      status: status ?? null,
    })),
  };
}

function runnerNames(entry: CatalogueEntry | undefined): (id: number, hc: number) => string | undefined {
  if (entry === undefined) return () => undefined;
  const runners = JSON.parse(entry.runners) as readonly RunnerName[];
  const names = new Map(runners.map((runner) => [`${runner.selectionId}/${runner.handicap}`, runner.runnerName]));
  return (id, hc) => names.get(`${id}/${hc}`);
}
