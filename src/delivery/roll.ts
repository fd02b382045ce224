import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import type { MarketId } from "../market/types.ts";
import type { CatchUp, Subscription } from "./subscription.ts";
import { View, Watchers } from "./view.ts";

/** Whom the roll tells when a market goes in or out of a running subscription. */
export interface RollKeeper {
  /** A market that others have already came in: its users in step are not where this one is. */
  entered(subscription: Subscription): void;
  /** A market went out. The protocol has no word for that: only a new image leaves it out. */
  left(subscription: Subscription): void;
}

/**
 * Who wants which markets. Subscriptions that name markets by id alone hang on those, and wait for those that are not known yet; the others rove: each
 * new market is held against their filters, and each one of which a fact has changed that filters look at.
 */
export class Roll {
  readonly #cache: Cache;
  readonly #keeper: RollKeeper;
  readonly #roving = new Set<Subscription>();
  readonly #waiting = new Map<MarketId, Set<Subscription>>();

  constructor(cache: Cache, keeper: RollKeeper) {
    this.#cache = cache;
    this.#keeper = keeper;
  }

  /** The markets there are for a subscription. */
  matching(subscription: Subscription): Book[] {
    const { marketIds } = subscription.filter;
    const found: Book[] = [];
    if (marketIds === undefined || marketIds.length === 0) {
      for (const book of this.#cache.books()) if (subscription.matches(book)) found.push(book);
      return found;
    }
    for (const id of new Set(marketIds)) {
      const book = this.#cache.get(id);
      if (book !== undefined && (!subscription.roving || subscription.matches(book))) found.push(book);
    }
    return found;
  }

  /** Puts a subscription on these markets, and down for those to come. */
  enter(subscription: Subscription, books: readonly Book[]): void {
    for (const book of books) this.#add(subscription, book, this.#cache.sequence);
    if (subscription.roving) this.#roving.add(subscription);
    else for (const id of idsOf(subscription)) if (this.#cache.get(id) === undefined) this.#wait(id, subscription);
  }

  /** Puts a subscription that names markets by ids alone on these too; returns those that are known. */
  add(subscription: Subscription, ids: readonly MarketId[]): Book[] {
    const books: Book[] = [];
    for (const id of ids) {
      const book = this.#cache.get(id);
      if (book === undefined) this.#wait(id, subscription);
      else books.push(book);
    }
    for (const book of books) this.#add(subscription, book, this.#cache.sequence);
    return books;
  }

  /** Takes it off these. */
  drop(subscription: Subscription, ids: readonly MarketId[]): void {
    const gone = new Set(ids);
    for (const id of gone) this.#stopWaiting(id, subscription);
    for (let i = subscription.views.length - 1; i >= 0; i--)
      if (gone.has((subscription.views[i] as View).book.id)) this.#remove(subscription, i);
  }

  /** Takes a subscription off everything. */
  leave(subscription: Subscription): void {
    this.#roving.delete(subscription);
    for (const id of idsOf(subscription)) this.#stopWaiting(id, subscription);
    while (subscription.views.length > 0) this.#remove(subscription, subscription.views.length - 1);
  }

  /** A batch touched this market: lets it in where it is waited for or has come to match, and out where it has ceased to. */
  touched(book: Book): void {
    const isNew = Watchers.ifAny(book) === null;
    if (isNew) {
      const waiting = this.#waiting.get(book.id);
      this.#waiting.delete(book.id);
      for (const subscription of waiting ?? []) this.#add(subscription, book, 0);
    }
    if (!isNew && book.filterChanged !== this.#cache.sequence) return;
    const had = new Set(isNew ? [] : Watchers.of(book).views.flatMap((view) => view.subscriptions));
    for (const subscription of this.#roving) {
      const matches = subscription.matches(book);
      if (matches && !had.has(subscription)) this.#letIn(subscription, book, isNew);
      else if (!matches && had.has(subscription)) this.#letOut(subscription, book);
    }
  }

  /** The source's image came without this market. */
  lost(book: Book): void {
    for (const subscription of this.#detach(book)) this.#keeper.left(subscription);
  }

  /** The market closed long ago and is forgotten; users have heard that it closed. */
  forgotten(book: Book): void {
    this.#detach(book);
  }

  /** Whether a market may have been in the filter at `since` and is no longer. */
  leftSince(subscription: Subscription, since: number): boolean {
    for (const lost of this.#cache.lost) if (lost.sequence > since && subscription.matches(lost)) return true;
    if (!subscription.roving) return false;
    for (const book of this.#cache.books()) {
      if (book.filterChanged > since && book.born <= since && !subscription.matches(book)) return true;
    }
    return false;
  }

  #wait(id: MarketId, subscription: Subscription): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) this.#waiting.set(id, new Set([subscription]));
    else waiting.add(subscription);
  }

  #stopWaiting(id: MarketId, subscription: Subscription): void {
    const waiting = this.#waiting.get(id);
    if (waiting?.delete(subscription) && waiting.size === 0) this.#waiting.delete(id);
  }

  #add(subscription: Subscription, book: Book, sent: number): void {
    const { terms, beat, catchUp } = subscription;
    Watchers.of(book).view(book, terms, terms.policy, beat, sent).add(subscription);
    if (catchUp !== null) disturb(catchUp);
  }

  #remove(subscription: Subscription, index: number): void {
    const view = View.remove(subscription, index);
    if (subscription.catchUp !== null) disturb(subscription.catchUp);
    if (view.subscriptions.length === 0) Watchers.of(view.book).drop(view);
  }

  #letIn(subscription: Subscription, book: Book, isNew: boolean): void {
    this.#add(subscription, book, isNew ? 0 : this.#cache.sequence);
    if (!isNew && subscription.isInStep) this.#keeper.entered(subscription);
  }

  #letOut(subscription: Subscription, book: Book): void {
    const index = subscription.views.findIndex((view) => view.book === book);
    this.#remove(subscription, index);
    this.#keeper.left(subscription);
  }

  /** Takes a market that is no more off everybody; whoever named it by its id waits for it to come again. */
  #detach(book: Book): Subscription[] {
    const gone: Subscription[] = [];
    for (const view of [...(Watchers.ifAny(book)?.views ?? [])]) {
      while (view.subscriptions.length > 0) {
        const subscription = view.subscriptions.at(-1) as Subscription;
        this.#remove(subscription, view.placeOfLast);
        if (!subscription.roving) this.#wait(book.id, subscription);
        gone.push(subscription);
      }
    }
    return gone;
  }
}

/** A pass that has not looked at any market yet misses none: markets that come in by one message are told of once. */
function disturb(catchUp: CatchUp): void {
  if (catchUp.phase > 0 || catchUp.cursor > 0) catchUp.disturbed = true;
}

function idsOf(subscription: Subscription): readonly MarketId[] {
  return subscription.filter.marketIds ?? [];
}
