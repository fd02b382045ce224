import type { Book } from "../market/book.ts";
import type { Projection } from "../market/changes.ts";
import type { Beat } from "./beat.ts";
import type { Subscription } from "./subscription.ts";

/**
 * What everybody gets who wants the same of one market at the same moments: (market, fields, depth, policy, cadence, slot).
 * Its changes are encoded once per flush, whatever the number of its subscriptions.
 */
export class View {
  readonly book: Book;
  readonly projection: Projection;
  readonly policy: number;
  readonly beat: Beat;
  /** Up to which sequence its subscriptions in step were told. */
  sent: number;
  /** How often the market was touched since; more than once means that changes are merged. */
  touches = 0;
  readonly subscriptions: Subscription[] = [];
  /** For each subscription, where this view stands in its list. */
  readonly #places: number[] = [];

  constructor(book: Book, projection: Projection, policy: number, beat: Beat, sent: number) {
    this.book = book;
    this.projection = projection;
    this.policy = policy;
    this.beat = beat;
    this.sent = sent;
  }

  /** Somebody is in step with it. */
  get hasListeners(): boolean {
    for (const subscription of this.subscriptions) if (subscription.isInStep) return true;
    return false;
  }

  add(subscription: Subscription): void {
    this.#places.push(subscription.views.length);
    subscription.places.push(this.subscriptions.length);
    subscription.views.push(this);
    this.subscriptions.push(subscription);
  }

  /** Where this view stands in the list of its last subscription. */
  get placeOfLast(): number {
    return this.#places.at(-1) as number;
  }

  /** Takes out the subscription's view at `index`: the last of each list moves into the gap, so that leaving costs the same in any crowd. */
  static remove(subscription: Subscription, index: number): View {
    const { views, places } = subscription;
    const view = views[index] as View;
    const place = places[index] as number;
    const lastSubscription = view.subscriptions.pop() as Subscription;
    const lastPlace = view.#places.pop() as number;
    if (lastSubscription !== subscription) {
      view.subscriptions[place] = lastSubscription;
      view.#places[place] = lastPlace;
      lastSubscription.places[lastPlace] = place;
    }
    const movedView = views.pop() as View;
    const movedPlace = places.pop() as number;
    if (movedView !== view) {
      views[index] = movedView;
      places[index] = movedPlace;
      movedView.#places[movedPlace] = index;
    }
    return view;
  }
}

/** All views of one market; hangs on its book. */
export class Watchers {
  readonly views: View[] = [];

  static of(book: Book): Watchers {
    return (book.watchers ??= new Watchers()) as Watchers;
  }

  static ifAny(book: Book): Watchers | null {
    return book.watchers as Watchers | null;
  }

  /** The view with these properties; made, as told up to `sent`, if there is none. */
  view(book: Book, projection: Projection, policy: number, beat: Beat, sent: number): View {
    for (const view of this.views) {
      if (
        view.beat === beat &&
        view.policy === policy &&
        view.projection.fields === projection.fields &&
        view.projection.ladderLevels === projection.ladderLevels
      ) {
        return view;
      }
    }
    const view = new View(book, projection, policy, beat, sent);
    this.views.push(view);
    return view;
  }

  drop(view: View): void {
    const index = this.views.indexOf(view);
    if (index >= 0) this.views.splice(index, 1);
  }
}
