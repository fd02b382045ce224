import type { BettingReader } from "../edge/betting.ts";
import { type BettingFault, exception } from "../edge/betting-faults.ts";
import type { BookQuery, CatalogueFilter, CatalogueQuery, MarketSort, PriceData } from "../edge/betting-requests.ts";
import type { CatalogueEntry, EventEntry, Named } from "../exchange/catalogue-entry.ts";
import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import { matcher } from "../market/filter.ts";
import { FIELD, type FieldSet } from "../market/types.ts";
import { asciiJson } from "../wire/text.ts";
import { type BookDefinition, marketBook, totalAvailable } from "./betting-book.ts";
import { definitionOf, eventJson, eventOf, eventTypeOf, marketCatalogue } from "./betting-catalogue.ts";

/** What is known of markets' names. */
export interface Names {
  get(marketId: string): CatalogueEntry | undefined;
}

export interface BettingDeskOptions {
  readonly cache: Cache;
  readonly catalogue: Names;
  /** What the stream carries. */
  readonly fields: FieldSet;
  /** Whether books may be old: the stream is late or silent. */
  readonly isDelayed: () => boolean;
}

/** What must be carried for each projection; any of them will do. */
const NEEDS: Readonly<Record<PriceData, FieldSet>> = {
  SP_AVAILABLE: FIELD.SP_PROJECTED | FIELD.SP_TRADED,
  SP_TRADED: FIELD.SP_PROJECTED | FIELD.SP_TRADED,
  EX_BEST_OFFERS: FIELD.EX_ALL_OFFERS | FIELD.EX_BEST_OFFERS,
  EX_ALL_OFFERS: FIELD.EX_ALL_OFFERS,
  EX_TRADED: FIELD.EX_TRADED,
};

/** Answers the betting API from memory: books from the cache, names from the catalogue. Nothing here ever asks the exchange. */
export class BettingDesk implements BettingReader {
  readonly #options: BettingDeskOptions;

  constructor(options: BettingDeskOptions) {
    this.#options = options;
  }

  /** Markets that are not known, or have no definition yet, are not in the answer. */
  listMarketBook(query: BookQuery): string | BettingFault {
    const { cache, fields, isDelayed } = this.#options;
    const refusal = notCarried(query, fields);
    if (refusal !== null) return refusal;
    const delayed = isDelayed();
    const books = [...new Set(query.marketIds)].flatMap((id) => {
      const book = cache.get(id);
      const text = book?.definition() ?? null;
      if (book === undefined || text === null) return [];
      return [marketBook(book, JSON.parse(text) as BookDefinition, query, fields, delayed)];
    });
    return asciiJson(books);
  }

  listMarketCatalogue({ filter, projections, sort, maxResults }: CatalogueQuery): string {
    const books = sorted(this.#matching(filter), sort).slice(0, maxResults);
    return `[${books.map((book) => marketCatalogue(book, this.#entry(book), projections)).join(",")}]`;
  }

  listEventTypes(filter: CatalogueFilter): string {
    const groups = Map.groupBy(this.#matching(filter), ({ known }) => known.eventTypeId);
    const results = [...groups].flatMap(([id, books]) => {
      const eventType = this.#first(books, ({ eventType }) => eventType) ?? eventTypeOf(id);
      return eventType === null ? [] : [`{"eventType":${asciiJson(eventType)},"marketCount":${books.length}}`];
    });
    return `[${results.join(",")}]`;
  }

  listEvents(filter: CatalogueFilter): string {
    const groups = Map.groupBy(this.#matching(filter), ({ known }) => known.eventId);
    const results = [...groups].flatMap(([, books]) => {
      const event = this.#first(books, ({ event }) => event) ?? eventOf(definitionOf(books[0] as Book));
      return event === null ? [] : [`{"event":${eventJson(event)},"marketCount":${books.length}}`];
    });
    return `[${results.join(",")}]`;
  }

  /** What the first of these markets that is in the catalogue says. */
  #first<T extends Named | EventEntry>(books: readonly Book[], of: (entry: CatalogueEntry) => T | null): T | null {
    for (const book of books) {
      const entry = this.#entry(book);
      const found = entry === undefined ? null : of(entry);
      if (found !== null) return found;
    }
    return null;
  }

  /** The markets that are not closed and pass, in the order in which they were first heard of. */
  #matching(filter: CatalogueFilter): Book[] {
    const passes = matcher(filter.stream);
    const { cache } = this.#options;
    const named = this.#nameTest(filter);
    const found: Book[] = [];
    const { marketIds = [] } = filter.stream;
    const among = marketIds.length > 0 ? [...new Set(marketIds)].flatMap((id) => cache.get(id) ?? []) : cache.books();
    for (const book of among) {
      const { known, facts } = book;
      if (known.status === null || known.status === "CLOSED" || !passes(book.id, known)) continue;
      if (filter.inPlayOnly !== null && facts.inPlay !== filter.inPlayOnly) continue;
      if (!startsWithin(known.marketTime, filter)) continue;
      if (named(book)) found.push(book);
    }
    return found;
  }

  /** The conditions on what the catalogue tells: asked last, since they may have to look into a definition. */
  #nameTest({ competitionIds, textQuery }: CatalogueFilter): (book: Book) => boolean {
    const competitions = competitionIds === null || competitionIds.length === 0 ? null : new Set(competitionIds);
    const text = textQuery === null ? null : textTest(textQuery);
    return (book) => {
      const entry = this.#entry(book);
      if (competitions !== null && !competitions.has(entry?.competition?.id ?? "")) return false;
      if (text === null) return true;
      const event = entry?.event ?? eventOf(definitionOf(book));
      return event !== null && text(event.name);
    };
  }

  #entry(book: Book): CatalogueEntry | undefined {
    return this.#options.catalogue.get(book.id);
  }
}

/** Empty ladders would read as "nobody offers anything": what the stream does not carry is refused. */
function notCarried({ priceData }: BookQuery, fields: FieldSet): BettingFault | null {
  const lacking = [...priceData].find((name) => (fields & NEEDS[name]) === 0);
  if (lacking === undefined) return null;
  return exception("INVALID_INPUT_DATA", `${lacking} is not carried here (exchange.fields of the gateway)`);
}

function startsWithin(marketTime: string | null, { startsFrom, startsTo }: CatalogueFilter): boolean {
  if (startsFrom === null && startsTo === null) return true;
  const time = marketTime === null ? Number.NaN : Date.parse(marketTime);
  return time >= (startsFrom ?? Number.NEGATIVE_INFINITY) && time <= (startsTo ?? Number.POSITIVE_INFINITY);
}

/** The API's textQuery: case does not matter, `*` stands for anything. Pieces have letters, so no more are looked for than a name has. */
function textTest(query: string): (text: string) => boolean {
  const pieces = query
    .toLowerCase()
    .split("*")
    .filter((piece) => piece !== "");
  return (text) => {
    let at = 0;
    const lower = text.toLowerCase();
    return pieces.every((piece) => {
      const found = lower.indexOf(piece, at);
      at = found + piece.length;
      return found >= 0;
    });
  };
}

/** RANK is the exchange's own opinion, which nobody tells us: the first to start is first. */
function sorted(books: Book[], sort: MarketSort): Book[] {
  const sign = sort.startsWith("MAX") || sort.startsWith("LAST") ? -1 : 1;
  const key = SORT_KEYS[sort];
  const keyed = books.map((book) => ({ book, key: key(book) }));
  // Compared, not subtracted: without a start time both are Infinity.
  keyed.sort((a, b) => (a.key === b.key ? 0 : (a.key < b.key ? -1 : 1) * sign));
  return keyed.map(({ book }) => book);
}

const startTime = ({ known }: Book) =>
  known.marketTime === null ? Number.POSITIVE_INFINITY : Date.parse(known.marketTime);
const traded = ({ tv }: Book) => (Number.isNaN(tv) ? 0 : tv);

const SORT_KEYS: Readonly<Record<MarketSort, (book: Book) => number>> = {
  RANK: startTime,
  FIRST_TO_START: startTime,
  LAST_TO_START: startTime,
  MINIMUM_TRADED: traded,
  MAXIMUM_TRADED: traded,
  MINIMUM_AVAILABLE: totalAvailable,
  MAXIMUM_AVAILABLE: totalAvailable,
};
