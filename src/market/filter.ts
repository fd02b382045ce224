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
  readonly marketTime: string | null;
  readonly bspMarket: boolean | null;
  readonly turnInPlayEnabled: boolean | null;
}

/** Whether the filter looks at anything but market ids. */
export function looksAtFacts(filter: MarketFilter): boolean {
  return Object.entries(filter).some(([name, value]) => name !== "marketIds" && value !== undefined);
}

/** Whether a market passes. A fact not said passes no condition on it; the exchange's `NO_VALUE` of raceTypes asks for just that. */
export function matches(filter: MarketFilter, id: MarketId, facts: MarketFacts): boolean {
  return (
    among(filter.marketIds, id) &&
    among(filter.eventTypeIds, facts.eventTypeId) &&
    among(filter.eventIds, facts.eventId) &&
    among(filter.marketTypes, facts.marketType) &&
    among(filter.countryCodes, facts.countryCode) &&
    among(filter.bettingTypes, facts.bettingType) &&
    among(filter.venues, facts.venue) &&
    among(filter.raceTypes, facts.raceType ?? "NO_VALUE") &&
    (filter.bspMarket === undefined || filter.bspMarket === facts.bspMarket) &&
    (filter.turnInPlayEnabled === undefined || filter.turnInPlayEnabled === facts.turnInPlayEnabled)
  );
}

/** An empty set is no condition, as at the exchange. */
function among(wanted: readonly string[] | undefined, value: string | null): boolean {
  return wanted === undefined || wanted.length === 0 || (value !== null && wanted.includes(value));
}
