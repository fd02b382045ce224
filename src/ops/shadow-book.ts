/**
 * A market's book as shadow mode keeps it, one on each side: read by `JSON.parse` into plain arrays, sharing no code with the decoder and the cache
 * that the gateway between the two sides is made of, as a mistake in both would pass unseen.
 *
 * Its `hash` is of the whole content (definition, scalars, ladders) and of nothing else: the sum, in 52 bits, of a hash of each value at its place.
 * So it costs what changed and not what there is, and the order in which keys and values came makes no difference to it.
 */
export class ShadowBook {
  readonly id: string;
  hash = 0;
  /** The definition's; null until there is one. */
  status: string | null = null;
  /** The definition with its keys in order and without nulls, so that equal ones are equal as text. */
  definition: string | null = null;
  #tv: number | null = null;
  readonly #runners = new Map<string, Runner>();

  constructor(id: string) {
    this.id = id;
  }

  /** Applies an `mc` entry; `replaces`: to an empty book. The hashes of what it set go into `said`: values at their places, 0 where one went. */
  apply(change: MarketChange, replaces: boolean, said: number[]): void {
    if (replaces) this.#clear();
    if (change.tv != null) {
      this.#count(MARKET, MARKET_TV, 0, this.#tv, change.tv, said);
      this.#tv = change.tv;
    }
    if (change.marketDefinition != null) this.#define(change.marketDefinition, said);
    for (const runner of change.rc ?? []) this.#applyRunner(runner, said);
  }

  /** The value at a place; null where there is none. */
  valueAt({ id, hc, name, key }: Place): Value | null {
    if (name === MARKET_TV) return this.#tv;
    if (name === MARKET_DEFINITION) return this.definition;
    const runner = this.#runners.get(`${id}/${hc}`);
    if (runner === undefined) return null;
    if (name >= FIRST_SCALAR) return runner.scalars[name - FIRST_SCALAR] ?? null;
    const ladder = runner.ladders[name] ?? NO_LADDER;
    const i = find(ladder, key);
    return ladder[i] === key ? (ladder[i + 1] as number) : null;
  }

  /** Where another book has other values, in this one's order; then what the other alone has. */
  *differences(other: ShadowBook): Generator<Difference> {
    if (this.hash === other.hash) return;
    for (const place of this.#places()) {
      const [here, there] = [this.valueAt(place), other.valueAt(place)];
      if (here !== there) yield { place, here, there };
    }
    for (const place of other.#places()) {
      if (this.valueAt(place) === null) yield { place, here: null, there: other.valueAt(place) };
    }
  }

  /** Becomes the same as another. */
  copy(other: ShadowBook): void {
    this.hash = other.hash;
    this.status = other.status;
    this.definition = other.definition;
    this.#tv = other.#tv;
    this.#runners.clear();
    for (const [key, runner] of other.#runners) this.#runners.set(key, runner.copy());
  }

  *#places(): Generator<Place> {
    if (this.definition !== null) yield { ...MARKET, name: MARKET_DEFINITION, key: 0 };
    if (this.#tv !== null) yield { ...MARKET, name: MARKET_TV, key: 0 };
    for (const runner of this.#runners.values()) yield* runner.places();
  }

  #clear(): void {
    this.hash = 0;
    this.status = this.definition = this.#tv = null;
    this.#runners.clear();
  }

  #define(definition: object, said: number[]): void {
    const text = canonical(definition);
    this.#count(MARKET, MARKET_DEFINITION, 0, this.definition, text, said);
    this.definition = text;
    const { status } = definition as { status?: unknown };
    this.status = typeof status === "string" ? status : null;
  }

  #applyRunner(change: RunnerChange, said: number[]): void {
    const runner = this.#runner(change.id, change.hc ?? 0);
    for (const [i, name] of SCALARS.entries()) {
      const value = change[name];
      if (value == null) continue;
      this.#count(runner, FIRST_SCALAR + i, 0, runner.scalars[i] ?? null, value, said);
      runner.scalars[i] = value;
    }
    if (change.trd?.length === 0) for (const price of runner.keys(TRD)) this.#set(runner, TRD, price, 0, said);
    for (const [i, name] of PRICE_LADDERS.entries())
      for (const [price, size] of change[name] ?? []) this.#set(runner, i, price, size, said);
    for (const [i, name] of LEVEL_LADDERS.entries())
      for (const [level, price, size] of change[name] ?? []) {
        this.#set(runner, FIRST_LEVEL_PRICE + i, level, size === 0 ? 0 : price, said);
        this.#set(runner, FIRST_LEVEL_SIZE + i, level, size, said);
      }
  }

  #runner(id: number, hc: number): Runner {
    const key = `${id}/${hc}`;
    let runner = this.#runners.get(key);
    if (runner === undefined) this.#runners.set(key, (runner = new Runner(id, hc)));
    return runner;
  }

  #set(runner: Runner, name: number, key: number, value: number, said: number[]): void {
    const ladder = (runner.ladders[name] ??= []);
    const i = find(ladder, key);
    const before = ladder[i] === key ? (ladder[i + 1] as number) : null;
    if (before === null && value === 0) return;
    if (before === null) ladder.splice(i, 0, key, value);
    else if (value === 0) ladder.splice(i, 2);
    else ladder[i + 1] = value;
    this.#count(runner, name, key, before, value === 0 ? null : value, said);
  }

  #count(at: Whose, name: number, key: number, before: Value | null, after: Value | null, said: number[]): void {
    if (before === after) return;
    const hash = valueHash(at.id, at.hc, name, key, after);
    if (before !== null) this.hash = minus(this.hash, valueHash(at.id, at.hc, name, key, before));
    if (after !== null) this.hash = plus(this.hash, hash);
    said.push(hash);
  }
}

/** What stands at a place: starting prices can be the strings "NaN" and "Infinity", a definition is text. */
export type Value = number | string;

interface Whose {
  readonly id: number;
  readonly hc: number;
}

/** Where in a book a value stands: whose (0 for the market's own), which value, and in a ladder at which price or level. */
export interface Place extends Whose {
  /** An index into `NAMES`. */
  readonly name: number;
  readonly key: number;
}

export interface Difference {
  readonly place: Place;
  readonly here: Value | null;
  readonly there: Value | null;
}

/** The hash of a value at its place, as `apply` says it. */
export function hashAt({ id, hc, name, key }: Place, value: Value | null): number {
  return valueHash(id, hc, name, key, value);
}

/** A difference for people: "runner 4711 atb 3.2: 120.5 direct, 99 through Oddswire". Of definitions the first key that differs. */
export function differenceWords({ place, here, there }: Difference): string {
  const { id, hc, name, key } = place;
  if (name === MARKET_DEFINITION) return definitionWords(here, there);
  const what = NAMES[name] as string;
  if (name === MARKET_TV) return `${what}: ${versus(here, there)}`;
  const where = name >= FIRST_SCALAR ? "" : name >= FIRST_LEVEL_PRICE ? ` of level ${key}` : ` ${key}`;
  return `runner ${id}${hc === 0 ? "" : ` hc ${hc}`} ${what}${where}: ${versus(here, there)}`;
}

/** An `mc` entry as JSON.parse gives it; null means absent. */
export interface MarketChange {
  readonly id: string;
  readonly img?: boolean | null;
  readonly con?: boolean | null;
  readonly tv?: number | null;
  readonly marketDefinition?: object | null;
  readonly rc?: readonly RunnerChange[] | null;
}

type Rows = readonly (readonly number[])[] | null;

/** An `rc` entry. */
export type RunnerChange = {
  readonly id: number;
  readonly hc?: number | null;
} & { readonly [Name in (typeof SCALARS)[number]]?: Value | null } & {
  readonly [Name in (typeof PRICE_LADDERS)[number] | (typeof LEVEL_LADDERS)[number]]?: Rows;
};

/** Whether a parsed `mc` entry is of the protocol's shape, so that it can be applied. */
export function isMarketChange(value: unknown): value is MarketChange {
  if (!isObject(value) || typeof value.id !== "string") return false;
  const { tv, marketDefinition, rc } = value;
  return (
    (tv == null || typeof tv === "number") &&
    (marketDefinition == null || isObject(marketDefinition)) &&
    (rc == null || (Array.isArray(rc) && rc.every(isRunnerChange)))
  );
}

export const PRICE_LADDERS = ["atb", "atl", "trd", "spb", "spl"] as const;
export const LEVEL_LADDERS = ["batb", "batl", "bdatb", "bdatl"] as const;
const SCALARS = ["tv", "ltp", "spn", "spf"] as const;

/** All kinds of values. A level ladder is two here, of its prices and of its sizes, each by level. */
const NAMES: readonly string[] = [
  ...PRICE_LADDERS,
  ...LEVEL_LADDERS.map((name) => `${name} price`),
  ...LEVEL_LADDERS.map((name) => `${name} size`),
  ...SCALARS,
  "market tv",
  "marketDefinition",
];
const TRD = PRICE_LADDERS.indexOf("trd");
const FIRST_LEVEL_PRICE = PRICE_LADDERS.length;
const FIRST_LEVEL_SIZE = FIRST_LEVEL_PRICE + LEVEL_LADDERS.length;
const FIRST_SCALAR = FIRST_LEVEL_SIZE + LEVEL_LADDERS.length;
const MARKET_TV = FIRST_SCALAR + SCALARS.length;
const MARKET_DEFINITION = MARKET_TV + 1;
const MARKET: Whose = { id: 0, hc: 0 };
const NO_LADDER: readonly number[] = [];
/** A value in words is not longer. */
const SHOWN_MAX = 120;

/** A ladder is a list of key, value, key, value …, by key: with 20,000 full ones on each side, 16 bytes a price instead of a Map's 50 and more. */
class Runner implements Whose {
  readonly id: number;
  readonly hc: number;
  scalars: (Value | undefined)[] = [];
  ladders: (number[] | undefined)[] = [];

  constructor(id: number, hc: number) {
    this.id = id;
    this.hc = hc;
  }

  *places(): Generator<Place> {
    const { id, hc } = this;
    for (const [i, value] of this.scalars.entries())
      if (value !== undefined) yield { id, hc, name: FIRST_SCALAR + i, key: 0 };
    for (const name of this.ladders.keys()) for (const key of this.keys(name)) yield { id, hc, name, key };
  }

  keys(name: number): number[] {
    return (this.ladders[name] ?? NO_LADDER).filter((_, i) => i % 2 === 0);
  }

  copy(): Runner {
    const copy = new Runner(this.id, this.hc);
    copy.scalars = [...this.scalars];
    copy.ladders = this.ladders.map((ladder) => ladder && [...ladder]);
    return copy;
  }
}

/** Where a key stands in a ladder, or would. */
function find(ladder: readonly number[], key: number): number {
  let [low, high] = [0, ladder.length / 2];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ladder[middle * 2] as number) < key) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}

const HASHES = 2 ** 52;

function plus(a: number, b: number): number {
  return (a + b) % HASHES;
}

function minus(a: number, b: number): number {
  return (a - b + HASHES) % HASHES;
}

const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

/** 52 bits from two lanes of 32, mixed as MurmurHash3 does. */
function valueHash(id: number, hc: number, name: number, key: number, value: Value | null): number {
  low = 0x9e3779b9 ^ name;
  high = 0x85ebca6b + name;
  mixNumber(id);
  mixNumber(hc);
  mixNumber(key);
  if (typeof value === "string") for (let i = 0; i < value.length; i++) mix(value.charCodeAt(i));
  else mixNumber(value ?? 0);
  return (finish(high) & 0xfffff) * 2 ** 32 + finish(low);
}

let low = 0;
let high = 0;

function mixNumber(value: number): void {
  double[0] = value + 0; // -0 is 0
  mix(words[0] as number);
  mix(words[1] as number);
}

function mix(word: number): void {
  low = Math.imul(rotate(low ^ Math.imul(rotate(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593), 13), 5) + 0xe6546b64;
  high = Math.imul(rotate(high ^ Math.imul(rotate(Math.imul(word, 0x239b961b), 16), 0xab0e9789), 17), 5) + 0x561ccd1b;
}

function rotate(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function finish(lane: number): number {
  let word = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return (word ^ (word >>> 16)) >>> 0;
}

/** JSON with keys in order and nulls left out, as null means absent. Numbers are as JSON.parse has them, so 1.0 is 1. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const keys = Object.keys(value).filter((key) => value[key] !== null);
  return `{${keys
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`)
    .join(",")}}`;
}

function definitionWords(here: Value | null, there: Value | null): string {
  if (here === null || there === null) return `marketDefinition: ${versus(here, there)}`;
  const [a, b] = [JSON.parse(String(here)), JSON.parse(String(there))] as [Fields, Fields];
  const key = [...new Set([...Object.keys(a), ...Object.keys(b)])].find(
    (name) => canonical(a[name] ?? null) !== canonical(b[name] ?? null),
  );
  return `marketDefinition.${key}: ${versus(text(a[key as string]), text(b[key as string]))}`;
}

function text(value: unknown): string | null {
  return value === undefined ? null : canonical(value);
}

function versus(here: Value | null, there: Value | null): string {
  return `${shown(here)} direct, ${shown(there)} through Oddswire`;
}

function shown(value: Value | null): string {
  const words = value === null ? "nothing" : String(value);
  return words.length > SHOWN_MAX ? `${words.slice(0, SHOWN_MAX)}…` : words;
}

type Fields = Record<string, unknown>;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isRunnerChange(value: unknown): boolean {
  if (!isObject(value) || typeof value.id !== "number") return false;
  const rows = (names: readonly string[], width: number) =>
    names.every((name) => value[name] == null || isRows(value[name], width));
  return rows(PRICE_LADDERS, 2) && rows(LEVEL_LADDERS, 3);
}

function isRows(value: unknown, width: number): boolean {
  const isRow = (row: unknown) =>
    Array.isArray(row) && row.length === width && row.every((cell) => typeof cell === "number");
  return Array.isArray(value) && value.every(isRow);
}
