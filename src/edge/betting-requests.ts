import type { MarketFilter } from "../market/filter.ts";
import { type BettingFault, exception, type FrameworkCode } from "./betting-faults.ts";

export const PRICE_DATA = ["SP_AVAILABLE", "SP_TRADED", "EX_BEST_OFFERS", "EX_ALL_OFFERS", "EX_TRADED"] as const;
export type PriceData = (typeof PRICE_DATA)[number];

export const MARKET_PROJECTIONS = [
  "COMPETITION",
  "EVENT",
  "EVENT_TYPE",
  "MARKET_START_TIME",
  "MARKET_DESCRIPTION",
  "RUNNER_DESCRIPTION",
  "RUNNER_METADATA",
] as const;
export type MarketProjection = (typeof MARKET_PROJECTIONS)[number];

export const MARKET_SORTS = [
  "RANK",
  "MINIMUM_TRADED",
  "MAXIMUM_TRADED",
  "MINIMUM_AVAILABLE",
  "MAXIMUM_AVAILABLE",
  "FIRST_TO_START",
  "LAST_TO_START",
] as const;
export type MarketSort = (typeof MARKET_SORTS)[number];

/** listMarketBook, checked and within its weight. */
export interface BookQuery {
  readonly marketIds: readonly string[];
  readonly priceData: ReadonlySet<PriceData>;
  /** Prices of each side in EX_BEST_OFFERS, 1 to 10. */
  readonly depth: number;
  /** Whether prices made of bets on other runners are to be in it. */
  readonly virtualise: boolean;
}

/** The API's MarketFilter: fields are ANDed, values within one ORed; null lets everything pass. */
export interface CatalogueFilter {
  /** What the stream's own filters know. */
  readonly stream: MarketFilter;
  /** Looked for in the event's name. */
  readonly textQuery: string | null;
  readonly competitionIds: readonly string[] | null;
  readonly inPlayOnly: boolean | null;
  /** Milliseconds since the Unix epoch; both ends belong to it. */
  readonly startsFrom: number | null;
  readonly startsTo: number | null;
}

/** listMarketCatalogue, checked and within its weight. */
export interface CatalogueQuery {
  readonly filter: CatalogueFilter;
  readonly projections: ReadonlySet<MarketProjection>;
  readonly sort: MarketSort;
  /** 1 to 1,000. */
  readonly maxResults: number;
}

/** Weight times markets in one request. */
export const WEIGHT_MAX = 200;
export const MAX_RESULTS_MAX = 1_000;
export const DEPTH_DEFAULT = 3;
export const DEPTH_MAX = 10;
/** The longest list in a filter. */
const VALUES_MAX = 20_000;
const BETTING_TYPES = ["ODDS", "LINE", "RANGE", "ASIAN_HANDICAP_DOUBLE_LINE", "ASIAN_HANDICAP_SINGLE_LINE"] as const;
const ROLLUP_MODELS = ["STAKE", "PAYOUT", "MANAGED_LIABILITY", "NONE"] as const;

/** What one market of listMarketBook weighs. `depth`: the one asked for, null for the default. */
export function bookWeight(priceData: ReadonlySet<PriceData>, depth: number | null): number {
  if (priceData.size === 0) return 2;
  const traded = priceData.has("EX_TRADED");
  let weight = 0;
  // Together they weigh less than the sum of both, and all offers trump the best.
  if (priceData.has("EX_ALL_OFFERS")) weight += traded ? 32 : 17;
  else if (priceData.has("EX_BEST_OFFERS"))
    weight += (5 * (depth ?? DEPTH_DEFAULT)) / DEPTH_DEFAULT + (traded ? 15 : 0);
  else if (traded) weight += 17;
  if (priceData.has("SP_AVAILABLE")) weight += 3;
  if (priceData.has("SP_TRADED")) weight += 7;
  return weight;
}

/** What one market of listMarketCatalogue weighs. */
export function catalogueWeight(projections: ReadonlySet<MarketProjection>): number {
  return Number(projections.has("MARKET_DESCRIPTION")) + Number(projections.has("RUNNER_METADATA"));
}

/** Reads the parameters of listMarketBook. Orders are not served here, and asking for them is refused: no orders would read as "you have none". */
export function readBookQuery(params: Readonly<Record<string, unknown>>): BookQuery | BettingFault {
  return reading(() => {
    const given = new Params(params, "");
    const marketIds = required(given.texts("marketIds"), "marketIds");
    if (marketIds.length === 0) throw new Refused(exception("INVALID_INPUT_DATA", "marketIds is empty"));
    for (const name of ["orderProjection", "matchProjection"])
      if (given.has(name))
        throw new Refused(exception("INVALID_INPUT_DATA", `${name}: orders are not served here, leave it out`));
    const prices = given.object("priceProjection");
    const priceData = new Set(prices.enums("priceData", PRICE_DATA) ?? []);
    const overrides = prices.object("exBestOffersOverrides");
    const asked = overrides.int("bestPricesDepth");
    overrides.enums("rollupModel", ROLLUP_MODELS, "one");
    if (asked !== null && asked < 1)
      throw new Refused(exception("INVALID_INPUT_DATA", "bestPricesDepth is a whole number from 1"));
    // More than the exchange gives weighs as much as what it gives.
    const depth = asked === null ? null : Math.min(asked, DEPTH_MAX);
    tooMuch(bookWeight(priceData, depth), marketIds.length, "markets");
    const virtualise = prices.flag("virtualise") ?? false;
    return { marketIds, priceData, depth: depth ?? DEPTH_DEFAULT, virtualise };
  });
}

/** Reads the parameters of listMarketCatalogue. */
export function readCatalogueQuery(params: Readonly<Record<string, unknown>>): CatalogueQuery | BettingFault {
  return reading(() => {
    const given = new Params(params, "");
    const filter = marketFilter(given);
    const projections = new Set(given.enums("marketProjection", MARKET_PROJECTIONS) ?? []);
    const sort = (given.enums("sort", MARKET_SORTS, "one") ?? ["RANK"])[0] as MarketSort;
    const maxResults = required(given.int("maxResults"), "maxResults");
    if (maxResults < 1) throw new Refused(exception("INVALID_INPUT_DATA", "maxResults must be greater than 0"));
    if (maxResults > MAX_RESULTS_MAX)
      throw new Refused(exception("TOO_MUCH_DATA", `MaxResults must be less than or equal to ${MAX_RESULTS_MAX}`));
    tooMuch(catalogueWeight(projections), maxResults, "maxResults");
    return { filter, projections, sort, maxResults };
  });
}

/** Reads the filter that listEventTypes and listEvents must carry. */
export function readFilter(params: Readonly<Record<string, unknown>>): CatalogueFilter | BettingFault {
  return reading(() => marketFilter(new Params(params, "")));
}

function marketFilter(given: Params): CatalogueFilter {
  if (!given.has("filter")) throw missing("filter");
  const filter = given.object("filter");
  if (filter.has("withOrders"))
    throw new Refused(exception("INVALID_INPUT_DATA", "filter.withOrders: orders are not served here, leave it out"));
  const starts = filter.object("marketStartTime");
  const stream: MarketFilter = {
    ...sets(filter, ["marketIds", "eventTypeIds", "eventIds", "venues", "raceTypes"]),
    ...renamed(filter.texts("marketCountries"), "countryCodes"),
    ...renamed(filter.texts("marketTypeCodes"), "marketTypes"),
    ...renamed(filter.enums("marketBettingTypes", BETTING_TYPES), "bettingTypes"),
    ...renamed(filter.flag("bspOnly"), "bspMarket"),
    ...renamed(filter.flag("turnInPlayEnabled"), "turnInPlayEnabled"),
  };
  const textQuery = filter.text("textQuery");
  return {
    stream,
    textQuery: textQuery === "" ? null : textQuery,
    competitionIds: filter.texts("competitionIds"),
    inPlayOnly: filter.flag("inPlayOnly"),
    startsFrom: starts.time("from"),
    startsTo: starts.time("to"),
  };
}

function sets(filter: Params, names: readonly (keyof MarketFilter & string)[]): MarketFilter {
  return Object.assign({}, ...names.map((name) => renamed(filter.texts(name), name)));
}

function renamed(value: unknown, name: keyof MarketFilter): MarketFilter {
  return value === null ? {} : { [name]: value };
}

function tooMuch(weight: number, count: number, what: string): void {
  if (weight * count <= WEIGHT_MAX) return;
  const words = `weight ${round(weight)} x ${count} ${what} is ${round(weight * count)}, and the most is ${WEIGHT_MAX}`;
  throw new Refused(exception("TOO_MUCH_DATA", words));
}

function round(weight: number): number {
  return Math.round(weight * 100) / 100;
}

/** Leaves the reading of parameters, however deep it is. */
class Refused extends Error {
  readonly fault: BettingFault;
  constructor(fault: BettingFault) {
    super(fault.details);
    this.fault = fault;
  }
}

function reading<T>(read: () => T): T | BettingFault {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refused) return error.fault;
    throw error;
  }
}

/**
 * Named parameters, as lenient as the exchange's own reader: null means absent, unknown names are passed over, a number may be written as text
 * and text as a number. Anything else of another type is refused.
 */
class Params {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(values: Readonly<Record<string, unknown>>, path: string) {
    this.#values = values;
    this.#path = path;
  }

  has(name: string): boolean {
    return this.#value(name) !== null;
  }

  object(name: string): Params {
    const value = this.#value(name) ?? {};
    if (typeof value !== "object" || Array.isArray(value)) throw this.#wrong(name, "an object");
    return new Params(value as Record<string, unknown>, `${this.#path}${name}.`);
  }

  text(name: string): string | null {
    const value = this.#value(name);
    if (value === null) return null;
    if (typeof value === "number") return String(value);
    if (typeof value !== "string") throw this.#wrong(name, "text");
    return value;
  }

  texts(name: string): readonly string[] | null {
    const value = this.#value(name);
    if (value === null) return null;
    const good = (one: unknown) => typeof one === "string" || typeof one === "number";
    if (!Array.isArray(value) || !value.every(good)) throw this.#wrong(name, "a list of texts");
    if (value.length > VALUES_MAX)
      throw new Refused(exception("TOO_MUCH_DATA", `${this.#path}${name} has more than ${VALUES_MAX} values`));
    return value.map(String);
  }

  /** `one`: not a list but one word of it. */
  enums<Word extends string>(name: string, words: readonly Word[], many: "many" | "one" = "many"): Word[] | null {
    const said = many === "many" ? this.texts(name) : this.text(name);
    if (said === null) return null;
    const list = typeof said === "string" ? [said] : said;
    if (!list.every((word) => (words as readonly string[]).includes(word)))
      throw this.#wrong(name, `${many === "one" ? "one" : "some"} of ${words.join(", ")}`);
    return list as Word[];
  }

  int(name: string): number | null {
    const value = this.#value(name);
    if (value === null) return null;
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (!Number.isSafeInteger(number)) throw this.#wrong(name, "a whole number");
    return number as number;
  }

  flag(name: string): boolean | null {
    const value = this.#value(name);
    if (value === null || typeof value === "boolean") return value as boolean | null;
    if (value !== "true" && value !== "false") throw this.#wrong(name, "true or false");
    return value === "true";
  }

  /** Milliseconds since the Unix epoch. */
  time(name: string): number | null {
    const text = this.text(name);
    if (text === null) return null;
    const time = Date.parse(text);
    if (Number.isNaN(time)) throw this.#wrong(name, "a time like 2026-11-24T14:30:00Z");
    return time;
  }

  #value(name: string): unknown {
    // Own members only: "constructor" is no parameter that anybody gave.
    return Object.hasOwn(this.#values, name) ? (this.#values[name] ?? null) : null;
  }

  #wrong(name: string, what: string): Refused {
    return refusedBy("DSC-0009", `${this.#path}${name} must be ${what}`);
  }
}

function required<T>(value: T | null, name: string): T {
  if (value === null) throw missing(name);
  return value;
}

function missing(name: string): Refused {
  return refusedBy("DSC-0018", `${name} must be given`);
}

function refusedBy(code: FrameworkCode, details: string): Refused {
  return new Refused({ kind: "framework", code, details });
}
