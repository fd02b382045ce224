import type { BettingMethods, BettingOutcome } from "./betting.ts";
import { factsOf, type MarketFilter, marketTest } from "./exchange-filter.ts";
import {
  type MarketChange,
  type MarketDefinition,
  NaiveBook,
  type RunnerDefinition,
  type RunnerState,
} from "./naive.ts";

/** What the catalogue calls a market, where the stream does not. */
export interface MarketNames {
  readonly market: string;
  readonly event: string;
  /** By selection id. */
  readonly runners: ReadonlyMap<number, string>;
}

/** The exchange's markets: `SimExchange`, and a world that knows their names. */
export interface MarketShelf {
  ids(): Iterable<string>;
  /** The whole book as an `mc` entry; null when there is no such market. */
  image(id: string): MarketChange | null;
  /** Null: whatever names its definition has. */
  namesOf(id: string): MarketNames | null;
}

const EVENT_TYPES: Readonly<Record<string, string>> = {
  "1": "Soccer",
  "2": "Tennis",
  "4": "Cricket",
  "7": "Horse Racing",
};
const WEIGHT_MAX = 200;
const DEPTH = 3;
const PRICE_WEIGHTS: Readonly<Record<string, number>> = {
  SP_AVAILABLE: 3,
  SP_TRADED: 7,
  EX_BEST_OFFERS: 5,
  EX_ALL_OFFERS: 17,
  EX_TRADED: 17,
};

type Json = Readonly<Record<string, unknown>>;

/** The betting API's operations about markets, in the exchange's shapes; from nothing but the exchange's own books. */
export function marketMethods(shelf: MarketShelf): BettingMethods {
  return (operation, params) => {
    const given = (params ?? {}) as Json;
    switch (operation) {
      case "listMarketBook":
        return listMarketBook(shelf, given);
      case "listMarketCatalogue":
        return listMarketCatalogue(shelf, given);
      case "listEventTypes":
        return counted(shelf, given, ({ eventType }) => ["eventType", eventType]);
      case "listEvents":
        return counted(shelf, given, ({ event }) => ["event", event]);
      default:
        return null;
    }
  };
}

function listMarketBook(shelf: MarketShelf, params: Json): BettingOutcome {
  if (!Array.isArray(params.marketIds)) return { kind: "invalid", fault: "DSC-0018" };
  const prices = (params.priceProjection ?? {}) as Json;
  const priceData = new Set((prices.priceData ?? []) as string[]);
  const depth = (prices.exBestOffersOverrides as Json | undefined)?.bestPricesDepth as number | undefined;
  const weight = bookWeight(priceData, depth);
  if (weight * params.marketIds.length > WEIGHT_MAX) return tooMuch(weight, params.marketIds.length);
  const result = (params.marketIds as string[]).flatMap((id) => {
    const image = shelf.image(id);
    return image?.marketDefinition == null ? [] : [bookOf(image, image.marketDefinition, priceData, depth ?? DEPTH)];
  });
  return { kind: "result", result };
}

function bookWeight(priceData: ReadonlySet<string>, depth: number | undefined): number {
  if (priceData.size === 0) return 2;
  const wanted = [...priceData].filter((name) => !(name === "EX_BEST_OFFERS" && priceData.has("EX_ALL_OFFERS")));
  let weight = wanted.reduce((sum, name) => sum + (PRICE_WEIGHTS[name] ?? 0), 0);
  if (wanted.includes("EX_BEST_OFFERS") && depth !== undefined) weight += 5 * (depth / DEPTH - 1);
  // Together with what is offered, what was traded costs two less.
  if (priceData.has("EX_TRADED") && wanted.some((name) => name.endsWith("OFFERS"))) weight -= 2;
  return weight;
}

function bookOf(
  image: MarketChange,
  definition: MarketDefinition,
  priceData: ReadonlySet<string>,
  depth: number,
): Json {
  const book = new NaiveBook(image.id);
  book.apply(image);
  const { totalMatched, runners } = book.state();
  const defined = definition.runners ?? [];
  const state = ({ id, hc }: RunnerDefinition) =>
    runners.find((runner) => runner.id === id && runner.hc === (hc ?? 0)) as RunnerState;
  return {
    marketId: image.id,
    isMarketDataDelayed: false,
    status: definition.status,
    betDelay: definition.betDelay,
    bspReconciled: definition.bspReconciled,
    complete: definition.complete,
    inplay: definition.inPlay,
    numberOfWinners: definition.numberOfWinners,
    numberOfRunners: defined.length,
    numberOfActiveRunners: definition.numberOfActiveRunners,
    totalMatched: totalMatched ?? 0,
    totalAvailable: available(runners),
    crossMatching: definition.crossMatching,
    runnersVoidable: definition.runnersVoidable,
    version: definition.version,
    runners: [...defined]
      .sort((a, b) => (a.sortPriority ?? 0) - (b.sortPriority ?? 0))
      .map((runner) => runnerOf(state(runner), runner, definition.bspReconciled === true, priceData, depth)),
  };
}

function runnerOf(
  state: RunnerState,
  defined: RunnerDefinition,
  reconciled: boolean,
  priceData: ReadonlySet<string>,
  depth: number,
): Json {
  const wants = (...names: string[]) => names.some((name) => priceData.has(name));
  const levels = wants("EX_ALL_OFFERS") ? Number.POSITIVE_INFINITY : wants("EX_BEST_OFFERS") ? depth : 0;
  return {
    selectionId: state.id,
    handicap: state.hc,
    status: state.status ?? undefined,
    adjustmentFactor: defined.adjustmentFactor ?? undefined,
    lastPriceTraded: state.ltp ?? undefined,
    totalMatched: state.tv ?? undefined,
    removalDate: defined.removalDate ?? undefined,
    ...(wants("SP_AVAILABLE", "SP_TRADED") && {
      sp: {
        ...(!reconciled && { nearPrice: state.spn, farPrice: state.spf }),
        backStakeTaken: priceSizes(state.spl),
        layLiabilityTaken: priceSizes(state.spb),
        actualSP: state.bsp,
      },
    }),
    ...(wants("EX_BEST_OFFERS", "EX_ALL_OFFERS", "EX_TRADED") && {
      ex: {
        availableToBack: priceSizes(state.atb).slice(0, levels),
        availableToLay: priceSizes(state.atl).slice(0, levels),
        tradedVolume: wants("EX_TRADED") ? priceSizes(state.trd) : [],
      },
    }),
  };
}

function priceSizes(rows: readonly (readonly [number, number])[] = []): Json[] {
  return rows.map(([price, size]) => ({ price, size }));
}

function available(runners: readonly RunnerState[]): number {
  const sizes = runners.flatMap(({ atb, atl }) => [...atb, ...atl]).map(([, size]) => size);
  return Math.round(sizes.reduce((sum, size) => sum + size, 0) * 100) / 100;
}

interface Described {
  readonly entry: Json;
  readonly eventType: Json;
  readonly event: Json;
}

function listMarketCatalogue(shelf: MarketShelf, params: Json): BettingOutcome {
  const { filter, marketProjection, maxResults } = params;
  if (filter == null || maxResults == null) return { kind: "invalid", fault: "DSC-0018" };
  const wanted = new Set((marketProjection ?? []) as string[]);
  const most = Number(maxResults);
  const weight = Number(wanted.has("MARKET_DESCRIPTION")) + Number(wanted.has("RUNNER_METADATA"));
  if (weight * most > WEIGHT_MAX) return tooMuch(weight, most);
  const found = matching(shelf, filter as Json).slice(0, most);
  return { kind: "result", result: found.map(({ entry }) => projected(entry, wanted)) };
}

/** How many markets there are of each. */
function counted(shelf: MarketShelf, { filter }: Json, of: (market: Described) => [string, Json]): BettingOutcome {
  if (filter == null) return { kind: "invalid", fault: "DSC-0018" };
  const groups = Map.groupBy(matching(shelf, filter as Json), (market) => of(market)[1].id);
  const result = [...groups.values()].map((markets) => {
    const [name, value] = of(markets[0] as Described);
    return { [name]: value, marketCount: markets.length };
  });
  return { kind: "result", result };
}

function matching(shelf: MarketShelf, filter: Json): Described[] {
  const { marketIds, eventTypeIds, eventIds, venues, raceTypes, turnInPlayEnabled } = filter as MarketFilter;
  const stream = { marketIds, eventTypeIds, eventIds, venues, raceTypes, turnInPlayEnabled };
  const passes = marketTest({
    ...withoutUndefined(stream),
    ...withoutUndefined({
      countryCodes: filter.marketCountries,
      marketTypes: filter.marketTypeCodes,
      bettingTypes: filter.marketBettingTypes,
      bspMarket: filter.bspOnly,
    }),
  });
  const found: Described[] = [];
  for (const id of marketIds ?? shelf.ids()) {
    const image = shelf.image(id);
    const definition = image?.marketDefinition;
    if (image === null || definition == null || definition.status === "CLOSED") continue;
    if (passes(id, factsOf(definition))) found.push(described(id, image, definition, shelf.namesOf(id)));
  }
  return found;
}

function described(
  id: string,
  image: MarketChange,
  definition: MarketDefinition,
  names: MarketNames | null,
): Described {
  const { eventId, eventTypeId, marketTime, countryCode, timezone, venue, openDate } = definition;
  const eventType = { id: eventTypeId, name: EVENT_TYPES[eventTypeId ?? ""] ?? eventTypeId };
  const event = {
    id: eventId,
    name: names?.event ?? definition.eventName ?? eventId,
    countryCode,
    timezone,
    venue,
    openDate,
  };
  const runners = (definition.runners ?? []).map((runner) => ({
    selectionId: runner.id,
    runnerName: names?.runners.get(runner.id) ?? runner.name ?? String(runner.id),
    handicap: runner.hc ?? 0,
    sortPriority: runner.sortPriority,
    metadata: { runnerId: String(runner.id) },
  }));
  const { persistenceEnabled, bspMarket, suspendTime, bettingType, turnInPlayEnabled, marketType } = definition;
  const { marketBaseRate, discountAllowed, priceLadderDefinition } = definition;
  const entry = {
    marketId: id,
    marketName: names?.market ?? definition.name ?? id,
    marketStartTime: marketTime,
    description: {
      persistenceEnabled,
      bspMarket,
      marketTime,
      suspendTime,
      bettingType,
      turnInPlayEnabled,
      marketType,
      regulator: "GIBRALTAR REGULATOR",
      marketBaseRate,
      discountAllowed,
      wallet: "UK wallet",
      rules: "Simulated: every bet here is imaginary.",
      rulesHasDate: false,
      priceLadderDescription: priceLadderDefinition,
    },
    totalMatched: image.tv ?? 0,
    runners,
    eventType,
    event,
  };
  return { entry, eventType, event };
}

/** Which projection each part of an entry needs. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  marketStartTime: ["MARKET_START_TIME"],
  description: ["MARKET_DESCRIPTION"],
  runners: ["RUNNER_DESCRIPTION", "RUNNER_METADATA"],
  eventType: ["EVENT_TYPE"],
  event: ["EVENT"],
};

function projected(entry: Json, wanted: ReadonlySet<string>): Json {
  const kept = Object.entries(entry).filter(([name]) => PARTS[name]?.some((part) => wanted.has(part)) ?? true);
  const result: Record<string, unknown> = Object.fromEntries(kept);
  if (result.runners !== undefined && !wanted.has("RUNNER_METADATA"))
    result.runners = (result.runners as Json[]).map(({ metadata, ...runner }) => runner);
  return result;
}

function tooMuch(weight: number, count: number): BettingOutcome {
  return { kind: "exception", errorCode: "TOO_MUCH_DATA", errorDetails: `${weight} x ${count} > ${WEIGHT_MAX}` };
}

function withoutUndefined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member != null));
}
