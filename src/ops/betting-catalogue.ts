import type { MarketProjection } from "../edge/betting-requests.ts";
import {
  type CatalogueEntry,
  type EventEntry,
  type Named,
  type RunnerName,
  runnersOf,
} from "../exchange/catalogue-entry.ts";
import type { Book } from "../market/book.ts";
import { asciiJson } from "../wire/text.ts";

/** What a definition tells that the catalogue tells too; names are only in historic files and worlds that give them. */
export interface NamedDefinition {
  readonly name?: string;
  readonly eventName?: string;
  readonly eventId?: string;
  readonly eventTypeId?: string;
  readonly countryCode?: string;
  readonly timezone?: string;
  readonly venue?: string;
  readonly openDate?: string;
  readonly marketTime?: string;
  readonly regulators?: readonly string[];
  readonly priceLadderDefinition?: { readonly type: string };
  readonly lineMaxUnit?: number;
  readonly lineMinUnit?: number;
  readonly lineInterval?: number;
  readonly runners?: readonly {
    readonly id: number;
    readonly hc?: number | null;
    readonly name?: string;
    readonly sortPriority?: number;
    readonly status?: string;
  }[];
  readonly [key: string]: unknown;
}

export function definitionOf(book: Book): NamedDefinition {
  return JSON.parse(book.definition() ?? "{}") as NamedDefinition;
}

/**
 * A market as listMarketCatalogue tells it, as JSON text: the catalogue's own entry, and where there is none what the definition knows, with ids for names.
 * `totalMatched` is the stream's.
 */
export function marketCatalogue(
  book: Book,
  entry: CatalogueEntry | undefined,
  projections: ReadonlySet<MarketProjection>,
): string {
  const known = entry ?? entryOf(definitionOf(book), book.id);
  const members = [`"marketId":${asciiJson(book.id)}`, `"marketName":${asciiJson(known.marketName)}`];
  const add = (name: string, json: string | null) => {
    if (json !== null) members.push(`"${name}":${json}`);
  };
  // The definition hears of a delay first.
  const starts = book.known.marketTime ?? known.marketStartTime;
  if (projections.has("MARKET_START_TIME")) add("marketStartTime", starts === null ? null : asciiJson(starts));
  if (projections.has("MARKET_DESCRIPTION")) add("description", descriptionJson(known));
  if (!Number.isNaN(book.tv)) add("totalMatched", String(book.tv));
  if (projections.has("RUNNER_METADATA")) add("runners", runnersWithMetadata(known));
  else if (projections.has("RUNNER_DESCRIPTION")) add("runners", known.runners);
  if (projections.has("EVENT_TYPE")) add("eventType", known.eventType && asciiJson(known.eventType));
  if (projections.has("COMPETITION")) add("competition", known.competition && asciiJson(known.competition));
  if (projections.has("EVENT")) add("event", known.event && eventJson(known.event));
  return `{${members.join(",")}}`;
}

export function eventJson(event: EventEntry): string {
  const said = Object.entries(event).filter(([, value]) => value !== null);
  return asciiJson(Object.fromEntries(said));
}

/** What a definition gives for an entry. */
function entryOf(definition: NamedDefinition, marketId: string): CatalogueEntry {
  return {
    marketName: definition.name ?? marketId,
    marketStartTime: definition.marketTime ?? null,
    eventType: eventTypeOf(definition.eventTypeId),
    competition: null,
    event: eventOf(definition),
    description: asciiJson(descriptionOf(definition)),
    rules: null,
    runners: asciiJson(runnerNamesOf(definition)),
    metadata: null,
  };
}

export function eventTypeOf(eventTypeId: string | null | undefined): Named | null {
  return eventTypeId == null ? null : { id: eventTypeId, name: eventTypeId };
}

export function eventOf({ eventId, eventName, ...definition }: NamedDefinition): EventEntry | null {
  if (eventId === undefined) return null;
  const { countryCode = null, timezone = null, venue = null, openDate = null } = definition;
  return { id: eventId, name: eventName ?? eventId, countryCode, timezone, venue, openDate };
}

const DESCRIPTION_KEYS = [
  "persistenceEnabled",
  "bspMarket",
  "marketTime",
  "suspendTime",
  "settleTime",
  "bettingType",
  "turnInPlayEnabled",
  "marketType",
  "marketBaseRate",
  "discountAllowed",
  "eachWayDivisor",
  "raceType",
];

function descriptionOf(definition: NamedDefinition): object {
  const { regulators, priceLadderDefinition, lineMaxUnit, lineMinUnit, lineInterval } = definition;
  const isLine = lineMaxUnit !== undefined && lineMinUnit !== undefined && lineInterval !== undefined;
  return {
    ...Object.fromEntries(
      DESCRIPTION_KEYS.filter((key) => definition[key] != null).map((key) => [key, definition[key]]),
    ),
    ...(regulators && { regulator: regulators.join(", ") }),
    ...(priceLadderDefinition && { priceLadderDescription: { type: priceLadderDefinition.type } }),
    ...(isLine && {
      lineRangeInfo: { maxUnitValue: lineMaxUnit, minUnitValue: lineMinUnit, interval: lineInterval, marketUnit: "" },
    }),
  };
}

function runnerNamesOf({ runners = [] }: NamedDefinition): RunnerName[] {
  return runners
    .map(({ id, hc, name, sortPriority }) => ({
      selectionId: id,
      runnerName: name ?? String(id),
      handicap: hc ?? 0,
      sortPriority: sortPriority ?? 0,
    }))
    .sort((a, b) => a.sortPriority - b.sortPriority);
}

function descriptionJson({ description, rules }: CatalogueEntry): string | null {
  if (description === null || rules === null) return description;
  return `${description.slice(0, -1)},"rules":${rules}}`;
}

function runnersWithMetadata(entry: CatalogueEntry): string {
  if (entry.metadata === null) return entry.runners;
  const metadata = JSON.parse(entry.metadata) as readonly object[];
  return asciiJson(runnersOf(entry).map((runner, i) => ({ ...runner, metadata: metadata[i] })));
}
