import type { EsaErrorCode } from "../base/errors.ts";
import { FIELD_FLAGS, type FieldFlag, LADDER_LEVELS_MAX } from "./exchange-fields.ts";
import { FILTER_FLAGS, FILTER_LISTS, type MarketFilter } from "./exchange-filter.ts";
import type { OrderFilter } from "./exchange-orders.ts";
import type { SportOp } from "./exchange-sports.ts";

export const CONFLATE_MS_MAX = 120_000;
export const HEARTBEAT_MS_MIN = 500;
export const HEARTBEAT_MS_MAX = 5_000;
/** A longer list in a filter names more markets than any subscription may match. */
export const FILTER_VALUES_MAX = 20_000;

export interface AuthenticationRequest {
  readonly kind: "authentication";
  readonly id: number | null;
  readonly appKey: string | null;
  readonly session: string | null;
}

export interface MarketSubscriptionRequest {
  readonly kind: "marketSubscription";
  readonly id: number;
  readonly filter: MarketFilter;
  readonly fields: readonly FieldFlag[];
  readonly ladderLevels: number;
  /** Clamped, as is heartbeatMs. */
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
  readonly initialClk: string | null;
  readonly clk: string | null;
}

/** A subscription to a stream beside the markets; clamped as they are. */
export interface SideSubscriptionRequest {
  readonly kind: "sideSubscription";
  readonly id: number;
  readonly what: { readonly op: "ocm"; readonly filter: OrderFilter } | { readonly op: SportOp };
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
  readonly initialClk: string | null;
  readonly clk: string | null;
}

export type ExchangeRequest =
  | AuthenticationRequest
  | MarketSubscriptionRequest
  | SideSubscriptionRequest
  | { readonly kind: "heartbeat"; readonly id: number | null }
  | { readonly kind: "invalid"; readonly id: number | null; readonly code: EsaErrorCode; readonly message: string };

/** One line from a client. JSON null means absent, everywhere; whatever cannot be read is `invalid`. */
export function parseRequest(line: string): ExchangeRequest {
  let id: number | null = null;
  try {
    const message = new Fields("", JSON.parse(line));
    id = message.int32("id");
    return requestOf(message, id);
  } catch (error) {
    const { message } = error as Error;
    if (error instanceof NotAllowed) return { kind: "invalid", id, code: error.code, message };
    return { kind: "invalid", id, code: "INVALID_INPUT", message: `Unable to parse message: ${message}` };
  }
}

function requestOf(message: Fields, id: number | null): ExchangeRequest {
  const op = message.text("op");
  switch (op) {
    case "authentication":
      return { kind: "authentication", id, appKey: message.text("appKey"), session: message.text("session") };
    case "marketSubscription":
      return marketSubscription(message, id);
    case "heartbeat":
      return { kind: "heartbeat", id };
    case "orderSubscription":
      return sideSubscription(message, id, { op: "ocm", filter: orderFilter(message.object("orderFilter")) });
    case "raceSubscription":
      return sideSubscription(message, id, { op: "rcm" });
    case "cricketSubscription":
      return sideSubscription(message, id, { op: "ccm" });
    default:
      throw new Error(`unknown op ${op}`);
  }
}

function marketSubscription(message: Fields, id: number | null): MarketSubscriptionRequest {
  const data = message.object("marketDataFilter");
  return {
    kind: "marketSubscription",
    ...terms(message, id),
    filter: marketFilter(message.object("marketFilter")),
    fields: data.texts("fields")?.map(fieldFlag) ?? [],
    ladderLevels: clamp(data.int32("ladderLevels") ?? LADDER_LEVELS_MAX, 1, LADDER_LEVELS_MAX),
  };
}

/** What every subscription has. Change messages carry its id, so it must have one. */
function terms(message: Fields, id: number | null) {
  if (id === null) throw new Error("a subscription needs an id");
  return {
    id,
    conflateMs: clamp(message.int64("conflateMs") ?? 0, 0, CONFLATE_MS_MAX),
    heartbeatMs: clamp(message.int64("heartbeatMs") ?? HEARTBEAT_MS_MAX, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX),
    segmentationEnabled: message.flag("segmentationEnabled") ?? false,
    initialClk: message.text("initialClk"),
    clk: message.text("clk"),
  };
}

function sideSubscription(
  message: Fields,
  id: number | null,
  what: SideSubscriptionRequest["what"],
): SideSubscriptionRequest {
  return { kind: "sideSubscription", ...terms(message, id), what };
}

function orderFilter(filter: Fields): OrderFilter {
  if (filter.int64s("accountIds") !== null) throw new NotAllowed("INVALID_REQUEST", "accountIds is not for clients");
  return {
    includeOverallPosition: filter.flag("includeOverallPosition") ?? true,
    customerStrategyRefs: filter.texts("customerStrategyRefs") ?? [],
    partitionMatchedByStrategyRef: filter.flag("partitionMatchedByStrategyRef") ?? false,
  };
}

function marketFilter(fields: Fields): MarketFilter {
  const filter: Record<string, unknown> = {};
  for (const name of FILTER_LISTS) filter[name] = fields.texts(name) ?? undefined;
  for (const name of FILTER_FLAGS) filter[name] = fields.flag(name) ?? undefined;
  return filter as MarketFilter;
}

function fieldFlag(name: string): FieldFlag {
  if (!(FIELD_FLAGS as string[]).includes(name)) throw new Error(`unknown field ${name}`);
  return name as FieldFlag;
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}

/** What can be read, and may not be asked. */
class NotAllowed extends Error {
  readonly code: EsaErrorCode;

  constructor(code: EsaErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** A JSON object read with types checked: absent and null are null, anything else of another type throws. */
class Fields {
  readonly #name: string;
  readonly #values: Record<string, unknown>;

  constructor(name: string, value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${name} not an object`);
    this.#name = name;
    this.#values = value as Record<string, unknown>;
  }

  text(key: string): string | null {
    return this.#get(key, (value) => typeof value === "string", "a string");
  }

  int32(key: string): number | null {
    return this.#get(key, (value) => isInteger(value, 31), "an integer of 32 bits");
  }

  int64(key: string): number | null {
    return this.#get(key, (value) => isInteger(value, 63), "an integer of 64 bits");
  }

  int64s(key: string): number[] | null {
    return this.#list(key, (item) => isInteger(item, 63), "a list of integers");
  }

  flag(key: string): boolean | null {
    return this.#get(key, (value) => typeof value === "boolean", "a boolean");
  }

  texts(key: string): string[] | null {
    return this.#list(key, (item) => typeof item === "string", "a list of strings");
  }

  object(key: string): Fields {
    return new Fields(key, Object.hasOwn(this.#values, key) ? (this.#values[key] ?? {}) : {});
  }

  /** An empty list means what an absent one means. */
  #list<T>(key: string, is: (item: unknown) => boolean, what: string): T[] | null {
    const list = this.#get<T[]>(key, (value) => Array.isArray(value) && value.every(is), what);
    if (list !== null && list.length > FILTER_VALUES_MAX)
      throw new NotAllowed("SUBSCRIPTION_LIMIT_EXCEEDED", `${key} has ${list.length} values`);
    return list?.length === 0 ? null : list;
  }

  #get<T>(key: string, is: (value: unknown) => boolean, what: string): T | null {
    const value = Object.hasOwn(this.#values, key) ? (this.#values[key] ?? null) : null;
    if (value !== null && !is(value)) throw new Error(`${this.#name}${this.#name && "."}${key} is not ${what}`);
    return value as T | null;
  }
}

/** A whole number from -(2 ** bits) to below 2 ** bits. */
function isInteger(value: unknown, bits: number): boolean {
  return Number.isInteger(value) && (value as number) >= -(2 ** bits) && (value as number) < 2 ** bits;
}
