import type { Hundredths, OrderTerms, OrderType, Pence, Persistence } from "./order-life.ts";

/** Instructions in one call, as at the exchange. */
export const PLACE_INSTRUCTIONS_MAX = 200;
export const OTHER_INSTRUCTIONS_MAX = 60;
/** Lengths of what clients call things. */
export const ORDER_REF_MAX = 32;
export const STRATEGY_REF_MAX = 15;
/** A price beyond the ladder's end, and a stake no market has seen. */
const PRICE_MAX = 1_000;
const SIZE_MAX = 1e8;

/** What is wrong with an instruction: the exchange's word for it. */
export type InstructionError =
  | "INVALID_BET_SIZE"
  | "INVALID_RUNNER"
  | "BET_TAKEN_OR_LAPSED"
  | "RUNNER_REMOVED"
  | "MARKET_NOT_OPEN_FOR_BSP_BETTING"
  | "INVALID_PRICE_EDIT"
  | "INVALID_ODDS"
  | "INVALID_PERSISTENCE_TYPE"
  | "ERROR_IN_ORDER"
  | "INVALID_BET_ID"
  | "CANCELLED_NOT_PLACED"
  | "NO_ACTION_REQUIRED"
  | "INVALID_ORDER_TYPE"
  | "INVALID_CUSTOMER_ORDER_REF"
  | "INVALID_CUSTOMER_STRATEGY_REF"
  | "INVALID_MIN_FILL_SIZE";

/** Parameters that cannot be read: the call fails as INVALID_INPUT_DATA. */
export class InvalidParams extends Error {}

export interface PlaceParams {
  readonly marketId: string;
  readonly customerRef: string | null;
  readonly strategyRef: string;
  /** Null: any version will do. */
  readonly marketVersion: number | null;
  readonly instructions: readonly PlaceInstruction[];
}

export interface PlaceInstruction {
  /** As it came, which is how reports repeat it. */
  readonly said: Record<string, unknown>;
  readonly terms: OrderTerms | InstructionError;
}

export function placeParams(value: unknown): PlaceParams {
  const params = new Params("", value);
  const marketId = params.mustText("marketId");
  const strategyRef = params.text("customerStrategyRef") ?? "";
  const instructions = params.list("instructions").map((instruction) => ({
    said: instruction.values,
    terms: termsOf(instruction, marketId, strategyRef),
  }));
  const marketVersion = params.object("marketVersion")?.number("version") ?? null;
  return { marketId, customerRef: params.text("customerRef"), strategyRef, marketVersion, instructions };
}

function termsOf(instruction: Params, marketId: string, strategyRef: string): OrderTerms | InstructionError {
  const orderType = instruction.word("orderType", ["LIMIT", "LIMIT_ON_CLOSE", "MARKET_ON_CLOSE"] as const);
  const selectionId = instruction.number("selectionId");
  if (selectionId === null) throw new InvalidParams("selectionId is missing");
  const orderRef = instruction.text("customerOrderRef") ?? "";
  if (orderRef.length > ORDER_REF_MAX) return "INVALID_CUSTOMER_ORDER_REF";
  if (strategyRef.length > STRATEGY_REF_MAX) return "INVALID_CUSTOMER_STRATEGY_REF";
  const what = orderType === "LIMIT" ? limitOrder(instruction) : onCloseOrder(instruction, orderType);
  if (typeof what === "string") return what;
  const side = instruction.word("side", ["BACK", "LAY"] as const);
  return {
    marketId,
    selectionId,
    handicap: instruction.number("handicap") ?? 0,
    side,
    orderType,
    orderRef,
    strategyRef,
    ...what,
  };
}

type Amounts = Pick<OrderTerms, "price" | "size" | "liability" | "persistence" | "fillAtLeast">;

function limitOrder(instruction: Params): Amounts | InstructionError {
  const order = instruction.mustObject("limitOrder");
  const price = hundredths(order.number("price"), PRICE_MAX);
  const size = hundredths(order.number("size"), SIZE_MAX);
  const persistence = order.persistence("persistenceType") ?? "LAPSE";
  const kill = order.text("timeInForce") === "FILL_OR_KILL";
  const least = hundredths(order.number("minFillSize"), SIZE_MAX) ?? size;
  if (price === null) return "INVALID_ODDS";
  if (size === null || size === 0) return "INVALID_BET_SIZE";
  if (least === null || least > size) return "INVALID_MIN_FILL_SIZE";
  return { price, size, liability: 0, persistence, fillAtLeast: kill ? least : null };
}

function onCloseOrder(instruction: Params, orderType: OrderType): Amounts | InstructionError {
  const limited = orderType === "LIMIT_ON_CLOSE";
  const order = instruction.mustObject(limited ? "limitOnCloseOrder" : "marketOnCloseOrder");
  const liability = hundredths(order.number("liability"), SIZE_MAX);
  const price = limited ? hundredths(order.number("price"), PRICE_MAX) : 0;
  if (price === null) return "INVALID_ODDS";
  if (liability === null || liability === 0) return "INVALID_BET_SIZE";
  return { price, size: 0, liability, persistence: "LAPSE", fillAtLeast: null };
}

export interface CancelParams {
  /** Null: in all markets. */
  readonly marketId: string | null;
  readonly customerRef: string | null;
  /** Empty: everything. */
  readonly instructions: readonly { readonly betId: string; readonly sizeReduction: Pence | null }[];
}

export function cancelParams(value: unknown): CancelParams {
  const params = new Params("", value);
  const instructions = (params.values.instructions == null ? [] : params.list("instructions")).map((each) => ({
    betId: each.mustText("betId"),
    sizeReduction: hundredths(each.number("sizeReduction"), SIZE_MAX),
  }));
  return { marketId: params.text("marketId"), customerRef: params.text("customerRef"), instructions };
}

export interface EditParams<Edit> {
  readonly marketId: string;
  readonly customerRef: string | null;
  readonly instructions: readonly ({ readonly betId: string } & Edit)[];
}

/** A new price of null is one that no ladder has. */
export function replaceParams(value: unknown): EditParams<{ readonly newPrice: Hundredths | null }> {
  return editParams(value, (each) => ({ newPrice: hundredths(each.number("newPrice"), PRICE_MAX) }));
}

export function updateParams(value: unknown): EditParams<{ readonly newPersistenceType: Persistence }> {
  return editParams(value, (each) => {
    const newPersistenceType = each.persistence("newPersistenceType");
    if (newPersistenceType === null) throw new InvalidParams("newPersistenceType is missing");
    return { newPersistenceType };
  });
}

function editParams<Edit>(value: unknown, edit: (instruction: Params) => Edit): EditParams<Edit> {
  const params = new Params("", value);
  const instructions = params.list("instructions").map((each) => ({ betId: each.mustText("betId"), ...edit(each) }));
  return { marketId: params.mustText("marketId"), customerRef: params.text("customerRef"), instructions };
}

/** Whether the exchange takes orders at a price: CLASSIC ladders have steps, others take every hundredth. */
export function isOnLadder(price: Hundredths, ladder: string): boolean {
  if (price < 101 || price > PRICE_MAX * 100) return ladder === "LINE_RANGE";
  if (ladder !== "CLASSIC") return true;
  const [, step] = CLASSIC_STEPS.find(([below]) => price < below) ?? [0, 1_000];
  return price % step === 0;
}

/** Below this price (hundredths) the ladder has this step. */
const CLASSIC_STEPS: readonly (readonly [below: number, step: number])[] = [
  [200, 1],
  [300, 2],
  [400, 5],
  [600, 10],
  [1_000, 20],
  [2_000, 50],
  [3_000, 100],
  [5_000, 200],
  [10_000, 500],
];

/** Null where it has more than two decimals, or is not from 0 to `most`. */
function hundredths(value: number | null, most: number): number | null {
  if (value === null || value < 0 || value > most) return null;
  const whole = Math.round(value * 100);
  return Math.abs(whole - value * 100) < 1e-6 ? whole : null;
}

/** A JSON object read with types checked: absent and null are null, another type throws InvalidParams. */
export class Params {
  readonly values: Record<string, unknown>;
  readonly #name: string;

  constructor(name: string, value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new InvalidParams(`${name || "params"} is not an object`);
    this.#name = name && `${name}.`;
    this.values = value as Record<string, unknown>;
  }

  text(key: string): string | null {
    return this.#get(key, (value) => typeof value === "string", "a string");
  }

  mustText(key: string): string {
    const text = this.text(key);
    if (text === null) throw new InvalidParams(`${this.#name}${key} is missing`);
    return text;
  }

  texts(key: string): readonly string[] | null {
    const isTexts = (value: unknown) => Array.isArray(value) && value.every((item) => typeof item === "string");
    const texts = this.#get<string[]>(key, isTexts, "a list of strings");
    return texts?.length === 0 ? null : texts;
  }

  /** Numbers may be written as strings, as the exchange lets them be. */
  number(key: string): number | null {
    const isNumber = (value: unknown) =>
      Number.isFinite(typeof value === "string" && value !== "" ? Number(value) : value);
    const value = this.#get(key, isNumber, "a number");
    return value === null ? null : Number(value);
  }

  word<Word extends string>(key: string, words: readonly Word[]): Word {
    const word = this.mustText(key);
    if (!(words as readonly string[]).includes(word)) throw new InvalidParams(`${this.#name}${key} is "${word}"`);
    return word as Word;
  }

  persistence(key: string): Persistence | null {
    return this.values[key] == null ? null : this.word(key, ["LAPSE", "PERSIST", "MARKET_ON_CLOSE"] as const);
  }

  object(key: string): Params | null {
    return this.values[key] == null ? null : new Params(`${this.#name}${key}`, this.values[key]);
  }

  mustObject(key: string): Params {
    return new Params(`${this.#name}${key}`, this.values[key]);
  }

  list(key: string): Params[] {
    const list = this.#get<unknown[]>(key, Array.isArray, "a list") ?? [];
    if (list.length === 0) throw new InvalidParams(`${this.#name}${key} is empty`);
    return list.map((item, i) => new Params(`${this.#name}${key}[${i}]`, item));
  }

  #get<T>(key: string, is: (value: unknown) => boolean, what: string): T | null {
    const value = Object.hasOwn(this.values, key) ? (this.values[key] ?? null) : null;
    if (value !== null && !is(value)) throw new InvalidParams(`${this.#name}${key} is not ${what}`);
    return value as T | null;
  }
}
