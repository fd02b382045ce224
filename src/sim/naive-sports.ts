/** An entry of `rc` or `cc`. */
export interface SportEntry {
  readonly rrc?: readonly { readonly id: number; readonly [key: string]: unknown }[];
  readonly [key: string]: unknown;
}

/** What a reader of races or cricket holds, as simply as it can be done: the last word on each part of each race or match, and on each runner. */
export class NaiveSports {
  readonly games = new Map<string, Map<string, unknown>>();

  apply(entries: readonly SportEntry[]): void {
    for (const { id, mid, eventId, marketId, rrc = [], ...parts } of entries) {
      const game = JSON.stringify({ id, mid, eventId, marketId });
      const words = this.games.get(game) ?? new Map<string, unknown>();
      this.games.set(game, words);
      for (const [key, value] of Object.entries(parts)) words.set(key, value);
      for (const runner of rrc) words.set(`runner ${runner.id}`, runner);
    }
  }

  /** As text in a fixed order; of what `others` know too. */
  state(others: NaiveSports = this): string[] {
    const known = [...this.games].flatMap(([game, words]) =>
      [...words].filter(([key]) => others.games.get(game)?.has(key)).map((word) => JSON.stringify([game, ...word])),
    );
    return known.sort();
  }
}
