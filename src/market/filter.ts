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
