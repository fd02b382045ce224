import type { Clock } from "../base/clock.ts";
import type { SportChange } from "../wire/sports.ts";

export interface GamesOptions {
  readonly clock: Pick<Clock, "monotonic">;
  /** How many races or matches are remembered; beyond it the one that was silent longest goes. */
  readonly gamesMax: number;
  /** One that is silent for so long is over. Milliseconds. */
  readonly forgetMs: number;
}

/** Something said, and when: the text of a value, and the sequence of the change that said it. */
interface Word {
  readonly text: string;
  readonly sequence: number;
}

/** What is known of one race or match: the last word on each part of it, and on each of its runners. */
export class Game {
  /** Its ids as they begin an entry. */
  readonly ids: string;
  changed = 0;
  /** By the monotonic clock. */
  heardAt = 0;
  readonly #parts = new Map<string, Word>();
  readonly #runners = new Map<string, Word>();

  constructor(ids: string) {
    this.ids = ids;
  }

  apply({ parts, runners }: SportChange, sequence: number): void {
    this.changed = sequence;
    for (const [key, text] of parts) this.#parts.set(key, { text, sequence });
    for (const [id, text] of runners) this.#runners.set(id, { text, sequence });
  }

  /** An entry with everything that was said after this change, as it stands now. */
  since(sequence: number): string {
    const said = (word: Word) => word.sequence > sequence;
    const members = [this.ids];
    for (const [key, word] of this.#parts) if (said(word)) members.push(`${key}:${word.text}`);
    const runners = [...this.#runners.values()].filter(said);
    if (runners.length > 0) members.push(`"rrc":[${runners.map(({ text }) => text).join(",")}]`);
    return `{${members.join(",")}}`;
  }
}

/**
 * The races or matches that are spoken of, and the one place where what is said of them gets its position.
 *
 * The exchange never takes a word back: an image of its, too, is what it says now, and what it leaves out stands. (So have it the clients: betfairlightweight
 * passes over the image of races, and lays that of cricket over what it knows.) So "what changed since S" can be told for any S, but for what is forgotten.
 */
export class Games {
  /** Messages that changed anything. */
  sequence = 0;
  /** The newest change of a game that has been forgotten: who knows less cannot be told what changed. */
  reach = 0;
  readonly #options: GamesOptions;
  /** The one that was silent longest is first. */
  readonly #games = new Map<string, Game>();

  constructor(options: GamesOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#games.size;
  }

  apply(changes: readonly SportChange[]): void {
    this.sequence++;
    for (const change of changes) {
      const game = this.#games.get(change.game) ?? new Game(change.game);
      game.apply(change, this.sequence);
      game.heardAt = this.#options.clock.monotonic();
      this.#games.delete(game.ids);
      this.#games.set(game.ids, game);
    }
    this.#forget(() => this.#games.size > this.#options.gamesMax);
  }

  /** Those of which something was said after this change. */
  changedSince(sequence: number): Game[] {
    return [...this.#games.values()].filter(({ changed }) => changed > sequence);
  }

  /** Forgets what is over; every now and then. */
  sweep(): void {
    const horizon = this.#options.clock.monotonic() - this.#options.forgetMs;
    this.#forget(({ heardAt }) => heardAt <= horizon);
  }

  #forget(isOver: (oldest: Game) => boolean): void {
    for (const [ids, oldest] of this.#games) {
      if (!isOver(oldest)) return;
      this.#games.delete(ids);
      this.reach = Math.max(this.reach, oldest.changed);
    }
  }
}
