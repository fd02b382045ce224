import type { MatchedChange, OrderChange, OrderRunnerChange, PriceSize } from "../wire/orders.ts";

/** An order, and the sequence at which it became what it is. Complete ones are remains: kept so that nobody misses how they ended. */
export interface Order {
  readonly text: string;
  readonly isComplete: boolean;
  readonly changed: number;
}

/** A size matched at a price, and the sequence of its last change; size 0 is a remain as well. */
export interface Matched {
  readonly size: number;
  readonly changed: number;
}

/** Who is told that something is a remain now: that it is to be forgotten some day, and how. `forget` does nothing where it has come back to life. */
export type Bury = (forget: () => void) => void;

/** What was matched, by price. */
export class Position {
  readonly mb = new Map<number, Matched>();
  readonly ml = new Map<number, Matched>();
  /** The sequence at which it had something for the first time; 0: never yet. */
  born = 0;

  get isEmpty(): boolean {
    return this.mb.size === 0 && this.ml.size === 0;
  }

  /** True when anything changed. */
  apply(change: MatchedChange, sequence: number, bury: Bury): boolean {
    const backs = set(this.mb, change.mb, sequence, bury);
    const lays = set(this.ml, change.ml, sequence, bury);
    if (this.born === 0 && (backs || lays)) this.born = sequence;
    return backs || lays;
  }

  /** Lets go of every price that an image does not list; true when there was one. */
  keepOnly(image: MatchedChange | undefined): boolean {
    const backs = keep(this.mb, image?.mb ?? []);
    return keep(this.ml, image?.ml ?? []) || backs;
  }
}

/** The orders of one strategy reference on a runner, and what of them was matched. What one visitor sees is some of these, whole. */
export class Partition {
  readonly ref: string;
  /** The sequences of its first and its last change, and of when something of it went without a word (an image came without it). */
  readonly born: number;
  last: number;
  gone = 0;
  readonly orders = new Map<string, Order>();
  readonly position = new Position();

  constructor(ref: string, sequence: number) {
    this.ref = ref;
    this.born = this.last = sequence;
  }

  get isEmpty(): boolean {
    return this.orders.size === 0 && this.position.isEmpty;
  }

  set(change: OrderChange, sequence: number, bury: Bury): void {
    const { id, text, isComplete } = change;
    if (this.orders.get(id)?.text === text) return;
    const order: Order = { text, isComplete, changed: sequence };
    this.orders.set(id, order);
    this.last = sequence;
    if (isComplete) bury(() => void (this.orders.get(id) === order && this.orders.delete(id)));
  }

  apply(change: MatchedChange, sequence: number, bury: Bury): void {
    if (this.position.apply(change, sequence, bury)) this.last = sequence;
  }

  /** Lets go of what an image does not list. Complete orders stay: they were never to be in it. */
  keepOnly(orders: ReadonlySet<string>, matched: MatchedChange | undefined, sequence: number): void {
    let went = this.position.keepOnly(matched);
    for (const [id, order] of this.orders) {
      if (order.isComplete || orders.has(id)) continue;
      this.orders.delete(id);
      went = true;
    }
    if (went) this.gone = this.last = sequence;
  }

  /** The order goes on under another reference; false where it is not here. */
  release(id: string, sequence: number): boolean {
    if (!this.orders.delete(id)) return false;
    this.gone = this.last = sequence;
    return true;
  }
}

/** The account's orders on one runner, apart by strategy reference, and its position in all of them together. */
export class RunnerOrders {
  readonly id: number;
  readonly hc: number;
  last: number;
  /** As in a partition, of the overall position. */
  gone = 0;
  readonly overall = new Position();
  readonly partitions = new Map<string, Partition>();

  constructor(id: number, hc: number, sequence: number) {
    this.id = id;
    this.hc = hc;
    this.last = sequence;
  }

  apply(change: OrderRunnerChange, isImage: boolean, sequence: number, bury: Bury): void {
    this.last = sequence;
    if (isImage) this.#keepOnly(change, sequence);
    for (const order of change.orders) this.#set(order, sequence, bury);
    for (const matched of change.strategies) this.#partition(matched.ref, sequence).apply(matched, sequence, bury);
    this.overall.apply(change, sequence, bury);
  }

  /** Lets go of partitions with nothing in them: of who had something there, nobody is left who has to be told. */
  prune(): void {
    for (const [ref, partition] of this.partitions) if (partition.isEmpty) this.partitions.delete(ref);
  }

  #keepOnly(image: OrderRunnerChange, sequence: number): void {
    const orders = new Set(image.orders.map(({ id }) => id));
    const matched = new Map(image.strategies.map((strategy) => [strategy.ref, strategy]));
    for (const partition of this.partitions.values()) partition.keepOnly(orders, matched.get(partition.ref), sequence);
    if (this.overall.keepOnly(image)) this.gone = sequence;
  }

  #set(order: OrderChange, sequence: number, bury: Bury): void {
    const partition = this.#partition(order.ref, sequence);
    if (!partition.orders.has(order.id)) {
      // The exchange never does this; if it did, whoever saw the order must not keep it.
      for (const other of this.partitions.values()) if (other.ref !== order.ref) other.release(order.id, sequence);
    }
    partition.set(order, sequence, bury);
  }

  #partition(ref: string, sequence: number): Partition {
    let partition = this.partitions.get(ref);
    if (partition === undefined) this.partitions.set(ref, (partition = new Partition(ref, sequence)));
    return partition;
  }
}

function set(into: Map<number, Matched>, changes: readonly PriceSize[], sequence: number, bury: Bury): boolean {
  let changed = false;
  for (const [price, size] of changes) {
    if ((into.get(price)?.size ?? 0) === size) continue;
    const matched: Matched = { size, changed: sequence };
    into.set(price, matched);
    changed = true;
    if (size === 0) bury(() => void (into.get(price) === matched && into.delete(price)));
  }
  return changed;
}

function keep(prices: Map<number, Matched>, listed: readonly PriceSize[]): boolean {
  const kept = new Set(listed.map(([price]) => price));
  let went = false;
  for (const [price, { size }] of prices) {
    if (size === 0 || kept.has(price)) continue;
    prices.delete(price);
    went = true;
  }
  return went;
}
