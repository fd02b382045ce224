import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import type { CatchUpWriter } from "./catchup.ts";
import type { Session } from "./session.ts";
import { goesFirst, type Subscription } from "./subscription.ts";
import { Watchers } from "./view.ts";

type Stop = readonly [Subscription, Book];

/**
 * Markets that stopped, for users whose allowance is spent: they are told of nothing else until it is back. Whose socket is full then is told as soon as it has room, of those
 * that still stand: only from where on is kept.
 */
export class HeldStops {
  readonly #cache: Cache;
  readonly #catchUp: CatchUpWriter;
  /** Who is still to be told: of what stopped after this sequence. */
  readonly #unsaid = new Map<Session, number>();

  constructor(cache: Cache, catchUp: CatchUpWriter) {
    this.#cache = cache;
    this.#catchUp = catchUp;
  }

  /** These have stopped now. */
  tell(stopped: readonly Book[]): void {
    const stops = new Map<Session, Stop[]>();
    for (const book of stopped) {
      for (const subscription of Watchers.of(book).views.flatMap((view) => view.subscriptions)) {
        if (!mayBeTold(subscription)) continue;
        const own = stops.get(subscription.session);
        if (own === undefined) stops.set(subscription.session, [[subscription, book]]);
        else own.push([subscription, book]);
      }
    }
    for (const [session, own] of stops) {
      const isTold = this.#catchUp.overtake(session, own);
      if (!isTold) this.#leave(session, Math.min(...own.map(([, book]) => book.suspended)) - 1);
    }
  }

  /** A user is held from now on. It may be in the middle of a pass, and what stopped since that began is still to be told. */
  begin(session: Session): void {
    const begun = session.subscriptions.flatMap(({ catchUp }) => (catchUp === null ? [] : [catchUp.to]));
    if (begun.length > 0) this.#leave(session, Math.min(...begun));
  }

  /** Its socket has room. Not within a group: books are half of this and half of that. */
  say(session: Session): void {
    const since = this.#unsaid.get(session);
    if (since === undefined || this.#cache.midGroup || !session.outbox.isClear) return;
    this.#unsaid.delete(session);
    this.#catchUp.overtake(session, this.#stopsSince(session, since));
  }

  /** The same for all who have room: it may have come within a group. */
  sayAll(): void {
    for (const session of this.#unsaid.keys()) this.say(session);
  }

  /** It is not held any more, or gone. */
  forget(session: Session): void {
    this.#unsaid.delete(session);
  }

  #leave(session: Session, since: number): void {
    this.#unsaid.set(session, Math.min(since, this.#unsaid.get(session) ?? since));
  }

  #stopsSince({ subscriptions }: Session, since: number): Stop[] {
    const { sequence } = this.#cache;
    return subscriptions
      .filter(mayBeTold)
      .flatMap((subscription) =>
        subscription.views
          .filter(({ book }) => book.suspended > since && goesFirst(book, sequence))
          .map(({ book }): Stop => [subscription, book]),
      );
  }
}

/** Not before the first word of an answer that it waits for. */
function mayBeTold({ session, catchUp, told }: Subscription): boolean {
  return session.held && catchUp !== null && (told !== 0 || catchUp.begun);
}
