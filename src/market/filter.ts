import type { MarketId } from "./types.ts";

/** The exchange's marketFilter: fields are ANDed, values within one ORed; an absent field lets everything pass. */
export interface MarketFilter {
  readonly marketIds?: readonly MarketId[];
  readonly bspMarket?: boolean;
  readonly bettingTypes?: readonly string[];
  readonly eventTypeIds?: readonly string[];
  readonly eventIds?: readonly string[];
  readonly turnInPlayEnabled?: boolean;
  readonly marketTypes?: readonly string[];
  readonly venues?: readonly string[];
  readonly countryCodes?: readonly string[];
  readonly raceTypes?: readonly string[];
}

/** The filter's fields that are lists of values, and those that are true or false. */
export const FILTER_LISTS = [
  "marketIds",
  "bettingTypes",
  "eventTypeIds",
  "eventIds",
  "marketTypes",
  "venues",
  "countryCodes",
  "raceTypes",
] as const satisfies readonly (keyof MarketFilter)[];
export const FILTER_FLAGS = ["bspMarket", "turnInPlayEnabled"] as const satisfies readonly (keyof MarketFilter)[];

/** What a filter and a list of markets look at: the part of a market definition that is kept unpacked. Null: not said (yet). */
export interface MarketFacts {
  readonly status: string | null;
  readonly inPlay: boolean | null;
  readonly version: number | null;
  readonly eventId: string | null;
  readonly eventTypeId: string | null;
  readonly marketType: string | null;
  readonly bettingType: string | null;
  readonly countryCode: string | null;
  readonly venue: string | null;
  readonly raceType: string | null;
  readonly bspMarket: boolean | null;
  readonly turnInPlayEnabled: boolean | null;
  /** When it starts, as the exchange writes it: "2026-11-24T14:30:00.000Z". No filter of the stream looks at it; lists are sorted by it. */
  readonly marketTime: string | null;
}

/** Whether the filter looks at anything but market ids. */
export function looksAtFacts(filter: MarketFilter): boolean {
  return Object.entries(filter).some(([name, value]) => name !== "marketIds" && value !== undefined);
}

/** Whether a market passes a filter. */
export type Matcher = (id: MarketId, facts: MarketFacts) => boolean;

/** A filter, made ready to be asked of many markets. A fact not said passes no condition on it; the exchange's `NO_VALUE` of raceTypes asks for just that. */
export function matcher(filter: MarketFilter): Matcher {
  const conditions: Matcher[] = [];
  const among = (wanted: readonly string[] | undefined, value: (id: MarketId, facts: MarketFacts) => string | null) => {
    // An empty set is no condition, as at the exchange.
    if (wanted === undefined || wanted.length === 0) return;
    const set = new Set<string | null>(wanted);
    conditions.push((id, facts) => set.has(value(id, facts)));
  };
  among(filter.marketIds, (id) => id);
  among(filter.eventTypeIds, (_, facts) => facts.eventTypeId);
  among(filter.eventIds, (_, facts) => facts.eventId);
  among(filter.marketTypes, (_, facts) => facts.marketType);
  among(filter.countryCodes, (_, facts) => facts.countryCode);
  among(filter.bettingTypes, (_, facts) => facts.bettingType);
  among(filter.venues, (_, facts) => facts.venue);
  among(filter.raceTypes, (_, facts) => facts.raceType ?? "NO_VALUE");
  const { bspMarket, turnInPlayEnabled } = filter;
  if (bspMarket !== undefined) conditions.push((_, facts) => facts.bspMarket === bspMarket);
  if (turnInPlayEnabled !== undefined) conditions.push((_, facts) => facts.turnInPlayEnabled === turnInPlayEnabled);
  return (id, facts) => conditions.every((condition) => condition(id, facts));
}
