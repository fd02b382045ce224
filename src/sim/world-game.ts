import type { RunnerSpec } from "./world-runner.ts";

/** A market that an event has, before it has any prices. */
export interface MarketSpec {
  /** The exchange's marketType. */
  readonly type: string;
  readonly name: string;
  readonly runners: readonly RunnerSpec[];
  /** How many runners win: what chances add up to. */
  readonly winners: number;
  readonly turnInPlay: boolean;
  readonly bsp: boolean;
  /** ODDS where absent. */
  readonly bettingType?: string;
  /** Decided before the event begins, as a toss is: so many milliseconds before. */
  readonly endsBeforeMs?: number;
}

/** Why markets are suspended in play: the exchange's suspendReason, or null where it gives none. */
export interface Incident {
  readonly reason: string | null;
}

/**
 * What happens on the field, and what follows for the chances of each runner. Games are played quicker than in life,
 * so that a demo sees an event from its beginning to its settlement within minutes.
 */
export interface Game {
  /** Seconds that a bet waits in play. */
  readonly betDelay: number;
  readonly over: boolean;
  /** It lasts at least this long. */
  readonly lastsMs: number;
  /** Grows whenever chances may have changed, so that they need not be worked out again before. */
  readonly stage: number;
  /** The chance of each runner of a market, in its order; they add up to the number of winners. */
  chances(market: MarketSpec): number[];
  /** Goes on for so long; says when something happened that suspends the markets. */
  play(ms: number): Incident | null;
  /** Makes something happen now. */
  force(): Incident;
  /** Nothing can change who wins this market any more. */
  decided(market: MarketSpec): boolean;
  /** Who won, in the order of the market's runners; asked when it is decided. */
  results(market: MarketSpec): boolean[];
  /** A runner will not run; absent where that does not happen. */
  withdraw?(id: number): void;
}

/** Results where the chances have become certainties. */
export function certainties(chances: readonly number[]): boolean[] {
  return chances.map((chance) => chance > 0.5);
}

export function isCertain(chances: readonly number[]): boolean {
  return chances.every((chance) => chance < 1e-9 || chance > 1 - 1e-9);
}

/** An event to come. */
export interface Fixture {
  readonly name: string;
  readonly eventTypeId: string;
  readonly countryCode: string;
  readonly timezone: string;
  readonly venue?: string;
  readonly raceType?: string;
  /** The most popular first: a small world takes only these. */
  readonly markets: readonly MarketSpec[];
  readonly game: Game;
}

/** The id of a selection: the same name has the same one, as teams and players do at the exchange. */
export function selectionId(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return 1_000_000 + ((h >>> 0) % 98_000_000);
}

/** Runners by name, with the ids that the exchange really has for the words common to many markets. */
export function runnersNamed(...names: readonly string[]): RunnerSpec[] {
  return names.map((name) => ({ id: WELL_KNOWN[name] ?? selectionId(name), name }));
}

const WELL_KNOWN: Readonly<Record<string, number>> = {
  "The Draw": 58805,
  Yes: 30246,
  No: 110503,
  "Under 2.5 Goals": 47972,
  "Over 2.5 Goals": 47973,
};
