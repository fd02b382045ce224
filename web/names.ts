import type { MarketBook } from "../client/book.ts";

/**
 * What things are called. The exchange's stream tells ids only, so names come by the gateway's list of markets, a batch at a time; definitions of recordings
 * and demos may have them too.
 */
interface MarketNames {
  readonly name: string | null;
  readonly eventName: string | null;
}

/** One market of `GET /v1/markets`. */
interface Listed extends MarketNames {
  readonly id: string;
  readonly runners: readonly { readonly id: number; readonly name: string | null }[];
}

const markets = new Map<string, MarketNames>();
/** By selection id: the same runner has the same id in every market. */
const runners = new Map<number, string>();
/** Names kept: a page that stays open for weeks begins anew. */
const NAMES_MAX = 100_000;
/** Markets in one request: their ids must fit into an address. */
const BATCH = 200;
/** From a market's appearance to the question, so that many go together; and from one batch to the next. */
const SOON_MS = 150;
/** A name that is not there yet is asked for again, ever less often. */
const RETRY_FIRST_MS = 2_000;
const RETRY_MAX_MS = 300_000;
const REQUEST_MS_MAX = 10_000;

export function namesOf(marketId: string): MarketNames | undefined {
  return markets.get(marketId);
}

export function runnerNameOf(selectionId: number): string | undefined {
  return runners.get(selectionId);
}

/** Gets names for the markets that the page shows. */
export class NameLoader {
  readonly #session: () => Promise<string>;
  readonly #shown: () => Iterable<MarketBook>;
  readonly #learned: (marketIds: readonly string[]) => void;
  readonly #wanted = new Set<string>();
  readonly #missing = new Set<string>();
  #timer: number | undefined;
  #retryMs = RETRY_FIRST_MS;

  /** `shown`: all markets there are now. `learned` is told which have names now. */
  constructor(
    session: () => Promise<string>,
    shown: () => Iterable<MarketBook>,
    learned: (marketIds: readonly string[]) => void,
  ) {
    this.#session = session;
    this.#shown = shown;
    this.#learned = learned;
  }

  /** These markets are shown; those with names in their definitions need none. */
  want(books: Iterable<MarketBook>): void {
    for (const { id, definition } of books)
      if (definition !== null && definition.name === undefined && !markets.has(id) && !this.#missing.has(id))
        this.#wanted.add(id);
    if (this.#wanted.size > 0) this.#after(SOON_MS);
  }

  #after(ms: number): void {
    this.#timer ??= window.setTimeout(() => {
      this.#timer = undefined;
      void this.#load();
    }, ms);
  }

  async #load(): Promise<void> {
    if (this.#wanted.size === 0) return this.#retry();
    const ids = [...this.#wanted].slice(0, BATCH);
    const listed = await this.#ask(ids);
    for (const id of ids) this.#wanted.delete(id);
    const found = listed.filter(({ name }) => name !== null);
    for (const market of found) learn(market);
    for (const id of ids) if (!markets.has(id)) this.#missing.add(id);
    if (found.length > 0) this.#learned(found.map(({ id }) => id));
    if (this.#wanted.size > 0) this.#after(SOON_MS);
    else if (this.#missing.size > 0) this.#after(this.#retryMs);
  }

  /** Everything was asked for once: begins again with what has no name, of what is still there. */
  #retry(): void {
    this.#missing.clear();
    this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2);
    this.want(this.#shown());
  }

  /** Empty where the gateway does not answer: names are not worth a word about that. */
  async #ask(ids: readonly string[]): Promise<readonly Listed[]> {
    try {
      const headers = { Authorization: `Bearer ${await this.#session()}` };
      const signal = AbortSignal.timeout(REQUEST_MS_MAX);
      const response = await fetch(`/v1/markets?limit=${BATCH}&marketIds=${ids.join()}`, { headers, signal });
      return response.ok ? (await response.json()).markets : [];
    } catch {
      return [];
    }
  }
}

function learn(market: Listed): void {
  if (markets.size >= NAMES_MAX || runners.size >= NAMES_MAX) {
    markets.clear();
    runners.clear();
  }
  markets.set(market.id, { name: market.name, eventName: market.eventName });
  for (const { id, name } of market.runners) if (name !== null) runners.set(id, name);
}
