import type { StreamSource } from "./exchange-follower.ts";
import type { StreamName } from "./exchange-talk.ts";

/** An `rc` or `cc` entry as it was recorded. */
export type SportChange = Readonly<Record<string, unknown>>;
export type SportOp = "rcm" | "ccm";

/** Races and matches that are remembered; beyond it the one that was silent longest goes. */
const GAMES_MAX = 1_000;

interface Game {
  /** The last word on every key of its entries. */
  state: Record<string, unknown>;
  changedAt: number;
}

/**
 * Sports data, races or cricket matches. Entries go out as they come to who is in step; who comes late, or could not take one,
 * gets what is known of the race or match: the last word on each part of it, runners of a race one by one.
 */
export class SportStream implements StreamSource {
  readonly name: StreamName;
  readonly listeners = new Set<() => void>();
  position = 0;
  logStart = 0;
  readonly #idOf: (change: SportChange) => string;
  /** The one that was silent longest is first. */
  readonly #games = new Map<string, Game>();
  #last: readonly string[] = [];

  constructor(op: SportOp) {
    this.name = op === "rcm" ? { op, key: "rc" } : { op, key: "cc" };
    this.#idOf = op === "rcm" ? (race) => `${race.id}/${race.mid}` : (match) => `${match.eventId}/${match.marketId}`;
  }

  publish(changes: readonly SportChange[]): void {
    this.position++;
    this.#last = changes.map((change) => JSON.stringify(change));
    for (const change of changes) this.#record(change);
    for (const listener of [...this.listeners]) listener();
  }

  image(): string[] {
    return [...this.#games.values()].map(({ state }) => JSON.stringify(state));
  }

  since(position: number): string[] {
    if (position === this.position - 1) return [...this.#last];
    const changed = [...this.#games.values()].filter(({ changedAt }) => changedAt > position);
    return changed.map(({ state }) => JSON.stringify(state));
  }

  #record(change: SportChange): void {
    const id = this.#idOf(change);
    const game = this.#games.get(id) ?? { state: {}, changedAt: 0 };
    const rrc = mergedRunners(game.state.rrc, change.rrc);
    game.state = { ...game.state, ...change, ...(rrc && { rrc }) };
    game.changedAt = this.position;
    this.#games.delete(id);
    this.#games.set(id, game);
    const [oldest] = this.#games.keys();
    if (this.#games.size > GAMES_MAX) this.#games.delete(oldest as string);
  }
}

function mergedRunners(known: unknown, change: unknown): unknown[] | null {
  if (!Array.isArray(known) || !Array.isArray(change)) return null;
  const runners = new Map([...known, ...change].map((runner: { readonly id?: unknown }) => [runner.id, runner]));
  return [...runners.values()];
}
