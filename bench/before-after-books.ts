import type { BookState, PriceSize } from "../src/sim/naive.ts";

/** What both sides tell of a market, in one spelling; nothing matched yet is 0 in both. */
export interface PlainBook {
  readonly market: string;
  readonly status: string | null;
  readonly inPlay: boolean | null;
  readonly version: number | null;
  readonly matched: number;
  readonly runners: readonly PlainRunner[];
}

interface PlainRunner {
  readonly id: number;
  readonly status: string | null;
  readonly ltp: number | null;
  readonly matched: number;
  /** The dearest first, the cheapest first, the cheapest first. */
  readonly atb: readonly PriceSize[];
  readonly atl: readonly PriceSize[];
  readonly trd: readonly PriceSize[];
}

export function plainBook({ market, status, inPlay, version, totalMatched, runners }: BookState): PlainBook {
  return {
    market,
    status,
    inPlay,
    version,
    matched: totalMatched ?? 0,
    runners: runners.map(({ id, status, ltp, tv, atb, atl, trd }) => ({
      id,
      status,
      ltp,
      matched: tv ?? 0,
      atb,
      atl,
      trd,
    })),
  };
}

interface Offer {
  readonly price: number;
  readonly size: number;
}

/** A MarketBook as betfairlightweight writes it. */
interface MarketBook {
  readonly marketId: string;
  readonly status: string | null;
  readonly inplay: boolean | null;
  readonly version: number | null;
  readonly totalMatched: number | null;
  readonly publishTime: number;
  readonly runners: readonly {
    readonly selectionId: number;
    readonly status: string | null;
    readonly lastPriceTraded: number | null;
    readonly totalMatched: number | null;
    readonly ex: Readonly<Record<"availableToBack" | "availableToLay" | "tradedVolume", readonly Offer[]>>;
  }[];
}

/** A user's book of the fleet, and the time that it says. */
export function bookOf(book: MarketBook): { readonly pt: number; readonly book: PlainBook } {
  const { marketId, status, inplay, version, totalMatched, publishTime, runners } = book;
  const pairs = (offers: readonly Offer[]) => offers.map(({ price, size }): PriceSize => [price, size]);
  const plain = runners
    .map(({ selectionId, status, lastPriceTraded, totalMatched, ex }) => ({
      id: selectionId,
      status,
      ltp: lastPriceTraded,
      matched: totalMatched ?? 0,
      atb: pairs(ex.availableToBack),
      atl: pairs(ex.availableToLay),
      trd: pairs(ex.tradedVolume),
    }))
    .sort((a, b) => a.id - b.id);
  return {
    pt: publishTime,
    book: { market: marketId, status, inPlay: inplay, version, matched: totalMatched ?? 0, runners: plain },
  };
}
