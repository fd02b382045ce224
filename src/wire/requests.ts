import type { FaultCode } from "../base/errors.ts";
import { FILTER_FLAGS, FILTER_LISTS, type MarketFilter } from "../market/filter.ts";
import { ALL_FIELDS, FIELD, type FieldName, type FieldSet, LADDER_LEVELS_MAX, type MarketId } from "../market/types.ts";

/** A marketSubscription, checked and with the exchange's defaults and clamps filled in. */
export interface SubscribeRequest {
  readonly id: number;
  readonly filter: MarketFilter;
  readonly fields: FieldSet;
  readonly ladderLevels: number;
  /** 0 to 120,000 as asked and clamped. */
  readonly conflateMs: number;
  /** 500 to 5,000 as asked and clamped. */
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
  readonly initialClk: string | null;
  readonly clk: string | null;
}

/** What of the markets: a subscription's marketDataFilter. */
export type DataFilter = Pick<SubscribeRequest, "fields" | "ladderLevels">;

/** Extension (WebSocket): how a market subscription that runs is to be altered. Null: as it is. */
export type AlterRequest =
  | {
      readonly kind: "change";
      readonly id: number | null;
      readonly subscription: number;
      /** Clamped as in a subscription. */
      readonly conflateMs: number | null;
      readonly data: DataFilter | null;
    }
  | {
      readonly kind: "addMarkets" | "removeMarkets";
      readonly id: number | null;
      readonly subscription: number;
      /** Not empty. */
      readonly marketIds: readonly MarketId[];
    };

/** Which orders: the exchange's orderFilter, as asked. */
export interface OrderFilter {
  /** Positions of all orders together beside those by reference; null: not said (at the exchange that means yes). */
  readonly includeOverallPosition: boolean | null;
  /** Empty: all. */
  readonly customerStrategyRefs: readonly string[];
  readonly partitionMatchedByStrategyRef: boolean;
  /** Internal to the exchange; refused where not empty. */
  readonly accountIds: readonly number[];
}

/** An orderSubscription, checked and with defaults and clamps filled in as for markets. */
export interface OrderSubscribeRequest
  extends Pick<SubscribeRequest, "id" | "conflateMs" | "heartbeatMs" | "segmentationEnabled" | "initialClk" | "clk"> {
  readonly filter: OrderFilter;
}

/** A raceSubscription or cricketSubscription: clients send nothing but the id. */
export type SportSubscribeRequest = Omit<OrderSubscribeRequest, "filter">;

/** What a client may ask, told apart by `kind`; `invalid` carries what is wrong in the protocol's words. */
export type ClientRequest =
  | {
      readonly kind: "authentication";
      readonly id: number | null;
      readonly appKey: string | null;
      readonly session: string | null;
    }
  | { readonly kind: "marketSubscription"; readonly id: number | null; readonly request: SubscribeRequest }
  | { readonly kind: "orderSubscription"; readonly id: number | null; readonly request: OrderSubscribeRequest }
  | {
      readonly kind: "raceSubscription" | "cricketSubscription";
      readonly id: number | null;
      readonly request: SportSubscribeRequest;
    }
  | { readonly kind: "heartbeat"; readonly id: number | null }
  /** Extension (WebSocket, SSE): ends the subscription of that id. */
  | { readonly kind: "unsubscribe"; readonly id: number | null; readonly subscription: number }
  /** Extension (WebSocket): how many bytes of prices a second this connection wants at most; null: as many as it may have. */
  | { readonly kind: "limits"; readonly id: number | null; readonly bytesPerSecond: number | null }
  | AlterRequest
  | { readonly kind: "invalid"; readonly id: number | null; readonly code: FaultCode; readonly message: string };

/** The exchange's bounds and defaults; what lies outside is moved to the bound, as the exchange does. */
export const CONFLATE_MS_MAX = 120_000;
export const HEARTBEAT_MS_MIN = 500;
export const HEARTBEAT_MS_MAX = 5_000;
/** The longest list in a filter: as many markets as one gateway is built for. */
export const FILTER_VALUES_MAX = 20_000;

const INT64_MAX = 2 ** 63;

/**
 * Reads one message of a client. JSON `null` means absent (betfairlightweight sends every optional field), unknown keys are passed over;
 * everything else must be of its type. `extensions` lets in what the exchange's own protocol does not have, and tells a message that breaks the
 * protocol (INVALID_REQUEST) from one that is none; the exchange knows one word for both, INVALID_INPUT (docs/decisions/0005-esa-door.md).
 */
export function parseRequest(text: string, extensions: boolean): ClientRequest {
  const object = parseObject(text);
  if (typeof object === "string") return { kind: "invalid", id: null, code: "INVALID_INPUT", message: object };
  const message = new Fields(object, "");
  let id: number | null = null;
  try {
    id = message.int32("id");
    return requestOf(message, id, extensions);
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    const code = error.code ?? (extensions ? "INVALID_REQUEST" : "INVALID_INPUT");
    return { kind: "invalid", id, code, message: error.message };
  }
}

function requestOf(message: Fields, id: number | null, extensions: boolean): ClientRequest {
  const op = message.string("op");
  switch (op) {
    case "authentication":
      return { kind: op, id, appKey: message.string("appKey"), session: message.string("session") };
    case "marketSubscription":
      return { kind: op, id, request: subscribeRequest(message, id) };
    case "orderSubscription":
      return { kind: op, id, request: { ...terms(message, id), filter: orderFilter(message.object("orderFilter")) } };
    case "raceSubscription":
    case "cricketSubscription":
      return { kind: op, id, request: terms(message, id) };
    case "heartbeat":
      return { kind: op, id };
  }
  if (op === null) throw new Wrong("op is missing");
  const request = extensions ? extensionOf(message, op, id) : null;
  if (request === null) throw new Wrong(`unknown op ${quoted(op)}`);
  return request;
}

/** What the exchange's own protocol does not have. */
function extensionOf(message: Fields, op: string, id: number | null): ClientRequest | null {
  const subscription = () => required(message.int32("subscription"), "subscription");
  switch (op) {
    case "unsubscribe":
      return { kind: op, id, subscription: subscription() };
    case "limits":
      return { kind: op, id, bytesPerSecond: message.int64("bytesPerSecond") };
    case "change": {
      const conflateMs = message.int64("conflateMs");
      const data = message.has("marketDataFilter") ? dataFilter(message) : null;
      if (conflateMs === null && data === null) throw new Wrong("neither conflateMs nor marketDataFilter is there");
      return {
        kind: op,
        id,
        subscription: subscription(),
        conflateMs: conflateMs && clampConflateMs(conflateMs),
        data,
      };
    }
    case "addMarkets":
    case "removeMarkets": {
      const marketIds = message.strings("marketIds");
      if (marketIds.length === 0) throw new Wrong("marketIds is missing or empty");
      return { kind: op, id, subscription: subscription(), marketIds };
    }
  }
  return null;
}

function subscribeRequest(message: Fields, id: number | null): SubscribeRequest {
  return {
    ...terms(message, id),
    filter: marketFilter(message.object("marketFilter")),
    ...dataFilter(message),
  };
}

function dataFilter(message: Fields): DataFilter {
  const data = message.object("marketDataFilter");
  return {
    fields: fieldSet(data.strings("fields")),
    ladderLevels: clamp(data.int32("ladderLevels") ?? LADDER_LEVELS_MAX, 1, LADDER_LEVELS_MAX),
  };
}

/** What every kind of subscription has. */
function terms(message: Fields, id: number | null): SportSubscribeRequest {
  return {
    id: required(id, "id"),
    conflateMs: clampConflateMs(message.int64("conflateMs") ?? 0),
    heartbeatMs: clamp(message.int64("heartbeatMs") ?? HEARTBEAT_MS_MAX, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX),
    segmentationEnabled: message.boolean("segmentationEnabled") ?? false,
    initialClk: message.string("initialClk"),
    clk: message.string("clk"),
  };
}

function orderFilter(filter: Fields): OrderFilter {
  return {
    includeOverallPosition: filter.boolean("includeOverallPosition"),
    customerStrategyRefs: filter.strings("customerStrategyRefs"),
    partitionMatchedByStrategyRef: filter.boolean("partitionMatchedByStrategyRef") ?? false,
    accountIds: filter.integers("accountIds"),
  };
}

/** An empty list restricts nothing, just as an absent one. */
function marketFilter(filter: Fields): MarketFilter {
  const wanted: Record<string, readonly string[] | boolean> = {};
  for (const key of FILTER_LISTS) {
    const values = filter.strings(key);
    if (values.length > 0) wanted[key] = values;
  }
  for (const key of FILTER_FLAGS) {
    const value = filter.boolean(key);
    if (value !== null) wanted[key] = value;
  }
  return wanted;
}

function fieldSet(names: readonly string[]): FieldSet {
  if (names.length === 0) return ALL_FIELDS;
  let fields = 0;
  for (const name of names) {
    if (!Object.hasOwn(FIELD, name)) throw new Wrong(`unknown field ${quoted(name)} in marketDataFilter.fields`);
    fields |= FIELD[name as FieldName];
  }
  return fields;
}

/** What is wrong, in the protocol's words; never leaves this file. No code: it is not of its type. */
class Wrong extends Error {
  readonly code: FaultCode | null;

  constructor(message: string, code: FaultCode | null = null) {
    super(message);
    this.code = code;
  }
}

/** Reads an object's own fields by name and type. `at` is how its keys are called in messages: "" or "marketFilter.". */
class Fields {
  readonly #object: object;
  readonly #at: string;

  constructor(object: object, at: string) {
    this.#object = object;
    this.#at = at;
  }

  has(key: string): boolean {
    return this.#read(key, "", () => true) !== null;
  }

  string(key: string): string | null {
    return this.#read(key, "a string", (value) => typeof value === "string");
  }

  boolean(key: string): boolean | null {
    return this.#read(key, "true or false", (value) => typeof value === "boolean");
  }

  int64(key: string): number | null {
    return this.#read(key, "an integer of 64 bits", isInt64);
  }

  int32(key: string): number | null {
    return this.#read(key, "an integer of 32 bits", (value) => typeof value === "number" && value === (value | 0));
  }

  strings(key: string): readonly string[] {
    return this.#list(key, "a list of strings", (item) => typeof item === "string");
  }

  integers(key: string): readonly number[] {
    return this.#list(key, "a list of integers", isInt64);
  }

  object(key: string): Fields {
    const value = this.#read<object>(key, "an object", (value) => typeof value === "object" && !Array.isArray(value));
    return new Fields(value ?? {}, `${this.#at}${key}.`);
  }

  #list<T>(key: string, type: string, isItem: (item: unknown) => boolean): readonly T[] {
    const isList = (value: unknown) => Array.isArray(value) && value.every(isItem);
    const values = this.#read<readonly T[]>(key, type, isList) ?? [];
    if (values.length <= FILTER_VALUES_MAX) return values;
    throw new Wrong(`${this.#at}${key} is longer than ${FILTER_VALUES_MAX}`, "SUBSCRIPTION_LIMIT_EXCEEDED");
  }

  #read<T>(key: string, type: string, isRight: (value: unknown) => boolean): T | null {
    const value = Object.hasOwn(this.#object, key) ? (this.#object as Record<string, unknown>)[key] : null;
    if (value === null) return null;
    if (!isRight(value)) throw new Wrong(`${this.#at}${key} must be ${type}`);
    return value as T;
  }
}

function isInt64(value: unknown): boolean {
  return Number.isInteger(value) && Math.abs(value as number) < INT64_MAX;
}

/** The object, or what is wrong with the text. */
function parseObject(text: string): object | string {
  let value: unknown;
  try {
    value = JSON.parse(text); // nested too deep, it throws too
  } catch {
    return "the message is not JSON";
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  return "the message is not a JSON object";
}

function required(value: number | null, key: string): number {
  if (value === null) throw new Wrong(`${key} is missing`);
  return value;
}

function clampConflateMs(conflateMs: number): number {
  return clamp(conflateMs, 0, CONFLATE_MS_MAX);
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}
