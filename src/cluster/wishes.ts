import type { MarketFilter } from "../market/filter.ts";
import { controlLine } from "./lines.ts";

/** Which markets the users of a follower want, each filter once however many want it; told to the publisher as it changes, and all of it to one that is new. */
export class Wishes {
  readonly #say: (line: string) => void;
  readonly #counts = new Map<string, { readonly filter: MarketFilter; count: number }>();

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  /** Somebody wants these, until the function that comes back is called. */
  want(filter: MarketFilter): () => void {
    const key = keyOf(filter);
    const wish = this.#counts.get(key) ?? { filter, count: 0 };
    this.#counts.set(key, wish);
    if (++wish.count === 1) this.#say(controlLine({ op: "want", filter }));
    let released = false;
    return () => {
      if (released) return;
      released = true;
      if (--wish.count > 0) return;
      this.#counts.delete(key);
      this.#say(controlLine({ op: "unwant", filter }));
    };
  }

  /** For a publisher that knows nothing yet. */
  sayAll(): void {
    for (const { filter } of this.#counts.values()) this.#say(controlLine({ op: "want", filter }));
  }
}

/** The wishes of one follower at the publisher, which end with it. */
export class HeldWishes {
  readonly #want: (filter: MarketFilter) => () => void;
  readonly #held = new Map<string, () => void>();

  constructor(want: (filter: MarketFilter) => () => void) {
    this.#want = want;
  }

  hold(filter: MarketFilter): void {
    const key = keyOf(filter);
    if (!this.#held.has(key)) this.#held.set(key, this.#want(filter));
  }

  release(filter: MarketFilter): void {
    const key = keyOf(filter);
    this.#held.get(key)?.();
    this.#held.delete(key);
  }

  releaseAll(): void {
    for (const release of this.#held.values()) release();
    this.#held.clear();
  }
}

function keyOf(filter: MarketFilter): string {
  return JSON.stringify(filter);
}
