import { type BatchKind, ChangeBatch, type Segment } from "../market/batch.ts";
import { decodeServerLine, type ServerMessage } from "./esa.ts";
import { asciiJson } from "./text.ts";

/** `[price, size]`: the size matched at a price, absolute; 0: none any more. */
export type PriceSize = readonly [price: number, size: number];

/** An order as it is after a change, always whole. */
export interface OrderChange {
  /** The bet's id. */
  readonly id: string;
  /** The customerStrategyRef it was placed with; "" without one. */
  readonly ref: string;
  /** EXECUTION_COMPLETE: matched, cancelled, lapsed or voided to the last penny. Such an order is told once. */
  readonly isComplete: boolean;
  /** The order as the exchange wrote it: JSON text, ASCII only. */
  readonly text: string;
}

/** What was matched, by price: backs and lays. */
export interface MatchedChange {
  readonly mb: readonly PriceSize[];
  readonly ml: readonly PriceSize[];
}

/** A position by the strategy reference of its orders; "" for those without one. */
export interface StrategyChange extends MatchedChange {
  readonly ref: string;
}

/** An `orc` entry; `mb` and `ml` are those of all orders together. */
export interface OrderRunnerChange extends MatchedChange {
  readonly id: number;
  readonly hc: number;
  /** Forget this runner and start from here. */
  readonly fullImage: boolean;
  readonly orders: readonly OrderChange[];
  readonly strategies: readonly StrategyChange[];
}

/** An `oc` entry. */
export interface OrderMarketChange {
  readonly id: string;
  /** Null where it says nothing. */
  readonly accountId: number | null;
  readonly closed: boolean | null;
  /** Forget this market and start from here. */
  readonly fullImage: boolean;
  readonly runners: readonly OrderRunnerChange[];
}

/** One `ocm` line: a tree, as an account's own orders are few beside the prices of all markets. Filled anew with each line. */
export class OrderBatch {
  kind: BatchKind = "update";
  segment: Segment = "whole";
  /** The exchange's publish time, milliseconds since the Unix epoch. */
  pt = 0;
  clk: string | null = null;
  initialClk: string | null = null;
  status: number | null = null;
  heartbeatMs: number | null = null;
  id: number | null = null;
  markets: readonly OrderMarketChange[] = [];
}

const CHANGE: ServerMessage = { kind: "change" };
const UTF8 = new TextDecoder("utf-8", { fatal: true });

/**
 * Reads one line from an exchange. Order changes go into `batch`; whatever is not as the protocol has it makes the whole line `invalid`,
 * so that nothing is ever applied by half. Unknown keys of an order are kept, as orders are passed on whole; others are passed over.
 */
export function decodeOrderLine(bytes: Uint8Array, start: number, end: number, batch: OrderBatch): ServerMessage {
  // Checks that it is JSON, and reads what is none of ours.
  const message = decodeServerLine(bytes, start, end, heads);
  if (message.kind === "change") return { kind: "other", op: "mcm" };
  if (message.kind !== "other" || message.op !== "ocm") return message;
  try {
    const line = new Fields(JSON.parse(UTF8.decode(bytes.subarray(start, end))), "the message");
    fill(batch, line.list("oc").map(marketChange));
    return CHANGE;
  } catch (error) {
    return { kind: "invalid", reason: error instanceof Error ? error.message : "an order change that cannot be read" };
  }
}

/** What `decodeServerLine` fills: the head, which is the same for every kind of change, is taken from here. */
const heads = new ChangeBatch();

function fill(batch: OrderBatch, markets: readonly OrderMarketChange[]): void {
  const { kind, segment, pt, clk, initialClk, status, heartbeatMs, id } = heads;
  Object.assign(batch, { kind, segment, pt, clk, initialClk, status, heartbeatMs, id, markets } satisfies OrderBatch);
}

function marketChange(value: unknown): OrderMarketChange {
  const change = new Fields(value, "an oc entry");
  return {
    id: required(change.text("id"), "an oc entry without id"),
    accountId: change.number("accountId"),
    closed: change.flag("closed"),
    fullImage: change.flag("fullImage") ?? false,
    runners: change.list("orc").map(runnerChange),
  };
}

function runnerChange(value: unknown): OrderRunnerChange {
  const change = new Fields(value, "an orc entry");
  return {
    id: required(change.number("id"), "an orc entry without id"),
    hc: change.number("hc") ?? 0,
    fullImage: change.flag("fullImage") ?? false,
    orders: change.list("uo").map(orderChange),
    strategies: change.entries("smc").map(([ref, matched]) => ({ ref, ...matchedChange(new Fields(matched, "smc")) })),
    ...matchedChange(change),
  };
}

function matchedChange(change: Fields): MatchedChange {
  return { mb: change.list("mb").map(priceSize), ml: change.list("ml").map(priceSize) };
}

function priceSize(value: unknown): PriceSize {
  const [price, size] = Array.isArray(value) && value.length === 2 ? value : [];
  if (typeof price === "number" && typeof size === "number" && price >= 0 && size >= 0) return [price, size];
  throw new Error("a matched size that is not [price, size]");
}

const ORDER_TEXTS = ["side", "pt", "ot", "lsrc", "rac", "rc", "rfo"];
const ORDER_NUMBERS = ["p", "s", "bsp", "pd", "md", "cd", "ld", "avp", "sm", "sr", "sl", "sc", "sv"];

function orderChange(value: unknown): OrderChange {
  const order = new Fields(value, "an order");
  for (const key of ORDER_TEXTS) order.text(key);
  for (const key of ORDER_NUMBERS) order.size(key);
  const status = order.text("status");
  if (status !== "E" && status !== "EC") throw new Error("an order that is neither E nor EC");
  return {
    id: required(order.text("id"), "an order without id"),
    ref: order.text("rfs") ?? "",
    isComplete: status === "EC",
    text: asciiJson(value),
  };
}

function required<T>(value: T | null, otherwise: string): T {
  if (value === null) throw new Error(otherwise);
  return value;
}

/** A JSON object read with types checked: absent and null are null, or an empty list; anything else of another type throws. */
class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #name: string;

  constructor(value: unknown, name: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new Error(`${name} is not an object`);
    this.#values = value as Record<string, unknown>;
    this.#name = name;
  }

  text(key: string): string | null {
    return this.#read(key, (value) => typeof value === "string");
  }

  number(key: string): number | null {
    return this.#read(key, (value) => typeof value === "number");
  }

  /** The exchange writes "NaN" and "Infinity" as strings. */
  size(key: string): number | string | null {
    return this.#read(key, (value) => typeof value === "number" || value === "NaN" || value === "Infinity");
  }

  flag(key: string): boolean | null {
    return this.#read(key, (value) => typeof value === "boolean");
  }

  list(key: string): readonly unknown[] {
    return this.#read<unknown[]>(key, Array.isArray) ?? [];
  }

  /** Whatever a key is called, also like something that every object has. */
  entries(key: string): readonly [string, unknown][] {
    const value = this.#read<object>(key, (value) => typeof value === "object" && !Array.isArray(value));
    return Object.entries(value ?? {});
  }

  #read<T>(key: string, isRight: (value: unknown) => boolean): T | null {
    const value = Object.hasOwn(this.#values, key) ? this.#values[key] : null;
    if (value === null) return null;
    if (!isRight(value)) throw new Error(`${this.#name} whose ${key} is not what it should be`);
    return value as T;
  }
}
