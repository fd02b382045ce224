import type { Timer } from "../base/clock.ts";
import { type StreamName, type SubscriptionTerms, Talk, type TalkFloor, type Wire } from "./exchange-talk.ts";

/** A stream that can tell at any time what changed since any earlier change: orders, races, cricket. */
export interface StreamSource {
  readonly name: StreamName;
  /** The last change. */
  readonly position: number;
  /** What came after this change can be told; before it, only an image says all. */
  readonly logStart: number;
  /** Told of each change. */
  readonly listeners: Set<() => void>;
  /** Everything that stands, as entries. */
  image(): Iterable<string>;
  since(position: number): Iterable<string>;
}

export interface FollowerFloor extends TalkFloor {
  /** The follower has nothing left to send. */
  caughtUp(): void;
}

/**
 * One subscription to a stream that can tell what changed since. The one number it keeps, how far it got, is its whole queue:
 * with a full socket or within a conflation interval it lets changes pass, and tells them together afterwards.
 */
export class Follower {
  readonly #floor: FollowerFloor;
  readonly #source: StreamSource;
  readonly #terms: SubscriptionTerms;
  readonly #talk: Talk;
  readonly #changed = () => this.#catchUp();
  #flushedAt = Number.NEGATIVE_INFINITY;
  #flush: Timer | null = null;

  /** Begins at once: with what changed after `from`, or with an image when that is null. */
  constructor(floor: FollowerFloor, wire: Wire, source: StreamSource, terms: SubscriptionTerms, from: number | null) {
    this.#floor = floor;
    this.#source = source;
    this.#terms = terms;
    this.#talk = new Talk(floor, wire, source.name, terms, source.position, {
      // While a conflation interval runs there may be something untold after it.
      heartbeatPosition: () => this.#talk.position,
      said: () => this.#catchUp(),
    });
    source.listeners.add(this.#changed);
    if (from === null) this.#image();
    else this.#talk.say("RESUB_DELTA", source.since(from), floor.pt(), source.position);
  }

  /** Something waits for room in the socket. */
  get behind(): boolean {
    return this.#talk.isBusy;
  }

  /** The socket has room again. */
  drained(): void {
    this.#talk.pump();
    this.#catchUp();
  }

  stop(): void {
    this.#source.listeners.delete(this.#changed);
    this.#flush?.cancel();
    this.#talk.stop();
  }

  #image(): void {
    this.#talk.say("SUB_IMAGE", this.#source.image(), this.#floor.pt(), this.#source.position);
  }

  /** Tells what changed, if there is room and the interval is over. */
  #catchUp(): void {
    if (this.#talk.isBusy) return;
    const { clock } = this.#floor;
    const { position } = this.#talk;
    if (position === this.#source.position) return this.#floor.caughtUp();
    const wait = this.#flushedAt + this.#terms.conflateMs - clock.monotonic();
    if (wait > 0) {
      this.#flush ??= clock.after(wait, () => {
        this.#flush = null;
        this.#catchUp();
      });
      return;
    }
    this.#flushedAt = clock.monotonic();
    if (position < this.#source.logStart) this.#image();
    else this.#talk.say(null, [...this.#source.since(position)], this.#floor.pt(), this.#source.position);
  }
}
