import type { MarketDefinition } from "./naive.ts";

/** A marketFilter as it came over the wire, checked; fields are ANDed, values within one ORed, an absent field lets everything pass. */
export interface MarketFilter {
  readonly marketIds?: readonly string[];
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

export const FILTER_LISTS = [
  "marketIds",
  "bettingTypes",
  "eventTypeIds",
  "eventIds",
  "marketTypes",
  "venues",
  "countryCodes",
  "raceTypes",
] as const;
export const FILTER_FLAGS = ["bspMarket", "turnInPlayEnabled"] as const;

/** What a filter looks at; null: not said, and so no answer to any question. Kept small, because 20,000 whole definitions as objects are not. */
export interface MarketFacts {
  readonly bspMarket: boolean | null;
  readonly turnInPlayEnabled: boolean | null;
  readonly bettingTypes: string | null;
  readonly eventTypeIds: string | null;
  readonly eventIds: string | null;
  readonly marketTypes: string | null;
  readonly venues: string | null;
  readonly countryCodes: string | null;
  readonly raceTypes: string | null;
}

/** What is known of a market before its first definition. */
export const NO_FACTS: MarketFacts = factsOf({});

export function factsOf(definition: MarketDefinition): MarketFacts {
  return {
    bspMarket: flag(definition.bspMarket),
    turnInPlayEnabled: flag(definition.turnInPlayEnabled),
    bettingTypes: text(definition.bettingType),
    eventTypeIds: text(definition.eventTypeId),
    eventIds: text(definition.eventId),
    marketTypes: text(definition.marketType),
    venues: text(definition.venue),
    countryCodes: text(definition.countryCode),
    raceTypes: text(definition.raceType),
  };
}

export function sameFacts(a: MarketFacts, b: MarketFacts): boolean {
  return (Object.keys(a) as (keyof MarketFacts)[]).every((name) => a[name] === b[name]);
}

/** A filter made ready to be asked often. */
export type MarketTest = (id: string, facts: MarketFacts) => boolean;

export function marketTest(filter: MarketFilter): MarketTest {
  const lists = FILTER_LISTS.flatMap((name) => (filter[name] ? [{ name, values: new Set(filter[name]) }] : []));
  const flags = FILTER_FLAGS.filter((name) => filter[name] !== undefined);
  return (id, facts) =>
    flags.every((name) => facts[name] === filter[name]) &&
    lists.every(({ name, values }) => {
      const fact = name === "marketIds" ? id : factOf(facts, name);
      return fact !== null && values.has(fact);
    });
}

/** The exchange's word for "has no race type", in filters only. */
const NO_RACE_TYPE = "NO_VALUE";

function factOf(facts: MarketFacts, name: Exclude<(typeof FILTER_LISTS)[number], "marketIds">): string | null {
  return facts[name] ?? (name === "raceTypes" ? NO_RACE_TYPE : null);
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function flag(value: unknown): boolean | null {
  return typeof value === "boolean" ? value : null;
}
