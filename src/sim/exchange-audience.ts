import type { ExchangeBooks, ExchangeMarket, Published } from "./exchange-books.ts";
import type { FieldChoice } from "./exchange-fields.ts";
import type { MarketTest } from "./exchange-filter.ts";
import type { Subscriber } from "./exchange-subscriber.ts";
import type { MarketChange } from "./naive.ts";

/**
 * The subscribers who asked for the same markets and fields: what differs by filter or field is worked out here, once for all of them.
 * A market is a member from the message in which its definition first passes the filter, and comes to the audience as an image then.
 */
export class Audience {
  /** The criteria, as text: equal for equal questions. */
  readonly criteria: string;
  readonly subscribers = new Set<Subscriber>();
  readonly members = new Set<ExchangeMarket>();
  readonly #test: MarketTest;
  readonly #choice: FieldChoice;

  constructor(criteria: string, test: MarketTest, choice: FieldChoice, books: ExchangeBooks) {
    this.criteria = criteria;
    this.#test = test;
    this.#choice = choice;
    for (const market of books.markets.values()) if (test(market.id, market.facts)) this.members.add(market);
  }

  /** Passes one message of the exchange on. */
  publish(position: number, pt: number, published: readonly Published[]): void {
    const entered = this.#updateMembers(position, published);
    const mine = published.filter(({ market }) => this.members.has(market));
    const markets = new Set(mine.map(({ market }) => market));
    let texts: string[] | null = null;
    for (const subscriber of this.subscribers) {
      if (subscriber.inStep) subscriber.update(position, pt, (texts ??= this.#texts(position, mine, entered)));
      else subscriber.miss(markets);
    }
  }

  /** The exchange has forgotten the market. */
  forget(market: ExchangeMarket): void {
    this.members.delete(market);
    for (const subscriber of this.subscribers) subscriber.forget(market);
  }

  /** The text of a change of this audience's markets, null when nothing asked for is in it. */
  textOf(change: MarketChange): string | null {
    const chosen = this.#choice.choose(change);
    return chosen === null ? null : JSON.stringify(chosen);
  }

  imageOf(market: ExchangeMarket): string {
    const image = market.image();
    return this.#choice.whole ? image : (this.textOf(JSON.parse(image) as MarketChange) as string);
  }

  /** Which markets came in by this message. */
  #updateMembers(position: number, published: readonly Published[]): Set<ExchangeMarket> {
    const entered = new Set<ExchangeMarket>();
    for (const { market } of published) {
      if (market.factsAt !== position) continue;
      if (!this.#test(market.id, market.facts)) this.members.delete(market);
      else if (!this.members.has(market)) {
        this.members.add(market);
        entered.add(market);
      }
    }
    return entered;
  }

  #texts(position: number, mine: readonly Published[], entered: ReadonlySet<ExchangeMarket>): string[] {
    const texts: string[] = [];
    const seen = new Set<ExchangeMarket>();
    for (const published of mine) {
      const text = this.#text(position, published, entered, seen);
      if (text !== null) texts.push(text);
    }
    return texts;
  }

  #text(
    position: number,
    { market, change, text }: Published,
    entered: ReadonlySet<ExchangeMarket>,
    seen: Set<ExchangeMarket>,
  ): string | null {
    if (entered.has(market)) {
      const first = !seen.has(market);
      seen.add(market);
      // A market born in this message comes as its entries, the first made an image; one that was there before comes as its book.
      if (market.bornAt !== position) return first ? this.imageOf(market) : null;
      if (first && change.img !== true) return this.textOf({ ...change, img: true });
    }
    return this.#choice.whole ? text : this.textOf(change);
  }
}
