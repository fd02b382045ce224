import { asciiJson } from "../wire/text.ts";

/** An event type or a competition. */
export interface Named {
  readonly id: string;
  readonly name: string;
}

/** An event as the catalogue describes it; what it did not say is null. */
export interface EventEntry extends Named {
  readonly countryCode: string | null;
  readonly timezone: string | null;
  readonly venue: string | null;
  /** ISO 8601. */
  readonly openDate: string | null;
}

/** What a runner is called. */
export interface RunnerName {
  readonly selectionId: number;
  readonly runnerName: string;
  readonly handicap: number;
  readonly sortPriority: number;
}

/**
 * What the exchange's listMarketCatalogue says of one market. What is only handed on is kept as JSON text (ASCII), a third of the size of what it
 * would be as objects: of 20,000 markets most are never asked for.
 */
export interface CatalogueEntry {
  readonly marketName: string;
  /** ISO 8601. */
  readonly marketStartTime: string | null;
  readonly eventType: Named | null;
  readonly competition: Named | null;
  readonly event: EventEntry | null;
  /** A MarketDescription without its rules, a JSON object. */
  readonly description: string | null;
  /** The rules, a JSON string. */
  readonly rules: string | null;
  /** A list of `RunnerName`. */
  readonly runners: string;
  /** What RUNNER_METADATA adds to each, a JSON list in the order of `runners`. */
  readonly metadata: string | null;
}

/** The runners of an entry. */
export function runnersOf(entry: CatalogueEntry): readonly RunnerName[] {
  return JSON.parse(entry.runners) as RunnerName[];
}

/** Different events, competitions, rules and the like that are kept once; all begin anew when there are more. */
const SHARED_MAX = 50_000;

/** Reads entries, and keeps what many of them share once: a league's rules, an event with a hundred markets. */
export class EntryReader {
  readonly #shared = new Map<string, unknown>();

  /** One element of listMarketCatalogue's result; null where it is none. */
  read(value: unknown): { readonly marketId: string; readonly entry: CatalogueEntry } | null {
    const { marketId, marketName, marketStartTime, eventType, competition, event, description, runners } =
      members(value);
    if (typeof marketId !== "string" || typeof marketName !== "string") return null;
    const { rules, ...rest } = members(description);
    const list = Array.isArray(runners) ? runners.map(members) : [];
    const entry: CatalogueEntry = {
      marketName: this.#share(marketName, (name) => name),
      marketStartTime: text(marketStartTime),
      eventType: this.#named(eventType),
      competition: this.#named(competition),
      event: this.#event(event),
      description: isEmpty(rest) ? null : asciiJson(rest),
      rules: typeof rules === "string" ? this.#share(asciiJson(rules), (json) => json) : null,
      runners: asciiJson(list.map(runnerName)),
      metadata: list.some(({ metadata }) => metadata != null)
        ? asciiJson(list.map(({ metadata }) => members(metadata)))
        : null,
    };
    return { marketId, entry };
  }

  #named(value: unknown): Named | null {
    const { id, name } = members(value);
    if (typeof id !== "string" || typeof name !== "string") return null;
    return this.#share(`${id}/${name}`, () => ({ id, name }));
  }

  #event(value: unknown): EventEntry | null {
    const named = this.#named(value);
    if (named === null) return null;
    const { countryCode, timezone, venue, openDate } = members(value);
    const event = {
      ...named,
      countryCode: text(countryCode),
      timezone: text(timezone),
      venue: text(venue),
      openDate: text(openDate),
    };
    return this.#share(JSON.stringify(event), () => event);
  }

  #share<T>(key: string, make: (key: string) => T): T {
    const known = this.#shared.get(key);
    if (known !== undefined) return known as T;
    if (this.#shared.size >= SHARED_MAX) this.#shared.clear();
    const made = make(key);
    this.#shared.set(key, made);
    return made;
  }
}

function runnerName({ selectionId, runnerName, handicap, sortPriority }: Record<string, unknown>): RunnerName {
  return {
    selectionId: Number(selectionId),
    runnerName: text(runnerName) ?? String(selectionId),
    handicap: Number(handicap ?? 0),
    sortPriority: Number(sortPriority ?? 0),
  };
}

function members(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
