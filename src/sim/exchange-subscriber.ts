import type { Timer } from "../base/clock.ts";
import type { Audience } from "./exchange-audience.ts";
import type { ExchangeBooks, ExchangeMarket } from "./exchange-books.ts";
import { type SubscriptionTerms, Talk, type TalkFloor, type Wire } from "./exchange-talk.ts";

/** What a subscriber needs of the exchange around it. */
export interface Floor extends TalkFloor {
  readonly books: ExchangeBooks;
  /** The subscriber has nothing left to send. */
  caughtUp(): void;
  /** A subscriber of this audience is gone. */
  left(audience: Audience): void;
}

/**
 * One market subscription. In step it gets every message as it is published; conflated, or with a full socket, it only notes which markets
 * it missed, and gets them merged when time or room comes: the note is the bound, no message ever queues.
 *
 *     in step ──conflateMs, or socket full──> behind (missed markets) ──interval over, or drained──> sending ──> in step
 */
export class Subscriber {
  readonly #floor: Floor;
  readonly #audience: Audience;
  readonly #terms: SubscriptionTerms;
  readonly #talk: Talk;
  readonly #missed = new Set<ExchangeMarket>();
  #flushedAt = Number.NEGATIVE_INFINITY;
  #flush: Timer | null = null;

  constructor(floor: Floor, wire: Wire, audience: Audience, terms: SubscriptionTerms) {
    this.#floor = floor;
    this.#audience = audience;
    this.#terms = terms;
    this.#talk = new Talk(floor, wire, { op: "mcm", key: "mc" }, terms, floor.books.position, {
      heartbeatPosition: () => (this.#missed.size > 0 ? this.#talk.position : floor.books.position),
      said: () => this.#catchUp(),
    });
    audience.subscribers.add(this);
  }

  /** Messages can go out the moment they are published. */
  get inStep(): boolean {
    return this.#terms.conflateMs === 0 && !this.behind;
  }

  /** Something waits for room in the socket, or for its turn. */
  get behind(): boolean {
    return this.#talk.isBusy || (this.#terms.conflateMs === 0 && this.#missed.size > 0);
  }

  /** The start: everything, as images. Returns how many markets that are. */
  image(): number {
    const members = [...this.#audience.members];
    this.#talk.say("SUB_IMAGE", this.#images(members), this.#floor.pt(), this.#floor.books.position);
    return members.length;
  }

  /** The start of one who has been here: what changed after `position`, which must be within the log. Returns how many markets did. */
  resume(position: number): number {
    const changed = [...this.#audience.members].filter((market) => market.changedAt > position);
    this.#talk.say("RESUB_DELTA", this.#changes(changed, position), this.#floor.pt(), this.#floor.books.position);
    return changed.length;
  }

  /** One message of the exchange, for a subscriber in step. */
  update(position: number, pt: number, texts: readonly string[]): void {
    if (texts.length === 0) this.#talk.position = position;
    else this.#talk.say(null, texts, pt, position);
  }

  /** A message it could not get: these markets changed. */
  miss(markets: Iterable<ExchangeMarket>): void {
    for (const market of markets) this.#missed.add(market);
    this.#catchUp();
  }

  /** The exchange has forgotten the market. */
  forget(market: ExchangeMarket): void {
    this.#missed.delete(market);
  }

  /** The socket has room again. */
  drained(): void {
    this.#talk.pump();
    this.#catchUp();
  }

  stop(): void {
    this.#audience.subscribers.delete(this);
    this.#flush?.cancel();
    this.#talk.stop();
    this.#missed.clear();
    this.#floor.left(this.#audience);
  }

  *#images(markets: readonly ExchangeMarket[]): Generator<string> {
    for (const market of markets) yield this.#audience.imageOf(market);
  }

  *#changes(markets: readonly ExchangeMarket[], position: number): Generator<string> {
    const sayable = position >= this.#floor.books.logStart;
    for (const market of markets) {
      const change = sayable ? market.since(position) : null;
      const text = change === null ? this.#audience.imageOf(market) : this.#audience.textOf(change);
      if (text !== null) yield text;
    }
  }

  /** Sends what was missed, if there is room and the interval is over. */
  #catchUp(): void {
    if (this.#talk.isBusy) return;
    const { clock, books } = this.#floor;
    if (this.#missed.size === 0) {
      this.#talk.position = books.position;
      return this.#floor.caughtUp();
    }
    const wait = this.#flushedAt + this.#terms.conflateMs - clock.monotonic();
    if (wait > 0) {
      this.#flush ??= clock.after(wait, () => {
        this.#flush = null;
        this.#catchUp();
      });
      return;
    }
    const missed = [...this.#missed];
    this.#missed.clear();
    this.#flushedAt = clock.monotonic();
    this.#talk.say(null, this.#changes(missed, this.#talk.position), this.#floor.pt(), books.position);
  }
}
