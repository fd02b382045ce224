import { pick, type Random, randomInt } from "../base/random.ts";

interface PlacedOrder {
  readonly id: string;
  readonly p: number;
  readonly s: number;
  readonly side: "B" | "L";
  status: "E" | "EC";
  sm: number;
  sr: number;
  sc: number;
  rfs?: string;
  /** A word that stands in no other order: who sees it sees this order. */
  readonly rfo: string;
}

interface Runner {
  readonly orders: Map<string, PlacedOrder>;
  /** By reference; null: all together. "mb 2.5" → size. */
  readonly matched: Map<string | null, Map<string, number>>;
}

type Rows = Record<"mb" | "ml", [number, number][]>;

const PRICES = [1.5, 2, 3.75, 10];

/**
 * For tests: an account at an exchange, that trades by chance under the references it is given (undefined: without one), and what its order stream says of it.
 * Everything happens that may: matches and cancellations, images of runners and markets with or without something in them, closed markets that open again,
 * repetitions, things that happen while nobody listens.
 */
export class RandomAccount {
  readonly #random: Random;
  readonly #refs: readonly (string | undefined)[];
  readonly #markets = new Map<string, Map<string, Runner>>();
  #orders = 0;

  constructor(random: Random, refs: readonly (string | undefined)[]) {
    this.#random = random;
    this.#refs = refs;
  }

  /** Something happens; what is said of it: `oc` entries. */
  next(): object[] {
    return Array.from({ length: 1 + randomInt(this.#random, 2) }, () => this.#happen());
  }

  /** All there is: what an image says. */
  image(): object[] {
    return [...this.#markets].flatMap(([id, runners]) => {
      const orc = [...runners].flatMap(([key, runner]) => this.#runnerImage(key, runner));
      return orc.length === 0 ? [] : [{ id, accountId: 77, fullImage: true, orc }];
    });
  }

  #happen(): object {
    const id = `1.${randomInt(this.#random, 3)}`;
    const isNew = !this.#markets.has(id);
    const runners = this.#markets.get(id) ?? new Map<string, Runner>();
    this.#markets.set(id, runners);
    const chance = this.#random.next();
    const account = this.#random.next() < 0.5 ? { accountId: 77 } : {};
    if (chance < 0.03) {
      runners.clear();
      return { id, ...account, fullImage: true };
    }
    if (chance < 0.06) return { id, closed: true };
    if (chance < 0.1) {
      this.#lose(runners);
      return { id, fullImage: true, orc: [...runners].flatMap(([key, runner]) => this.#runnerImage(key, runner)) };
    }
    return { id, ...account, ...(isNew && { fullImage: true }), orc: [this.#runner(runners)] };
  }

  #runner(runners: Map<string, Runner>): object {
    const key = `${randomInt(this.#random, 2)} ${pick(this.#random, [0, 0, -0.5])}`;
    const isNew = !runners.has(key);
    const runner = runners.get(key) ?? { orders: new Map(), matched: new Map() };
    runners.set(key, runner);
    if (this.#random.next() < 0.05) {
      this.#lose(new Map([[key, runner]]));
      return this.#runnerImage(key, runner)[0] ?? { ...named(key), fullImage: true };
    }
    const uo = Array.from({ length: 1 + randomInt(this.#random, 3) }, () => this.#order(runner));
    const smc: [string, Rows][] = [];
    const overall: Rows = { mb: [], ml: [] };
    for (const order of uo) if (order.sm > 0) this.#match(runner, order, overall, smc);
    return {
      ...named(key),
      ...(isNew && this.#random.next() < 0.7 && { fullImage: true }),
      uo: [...new Map(uo.map((order) => [order.id, { ...order }])).values()],
      ...overall,
      ...(smc.length > 0 && { smc: Object.fromEntries(smc) }),
    };
  }

  #order({ orders }: Runner): PlacedOrder {
    const open = [...orders.values()];
    const chance = this.#random.next();
    if (open.length === 0 || chance < 0.4) return this.#place(orders);
    const order = pick(this.#random, open);
    if (chance < 0.55) {
      order.sc = order.sr;
    } else if (chance < 0.6) {
      order.rfs = pick(this.#random, this.#refs);
      return order;
    } else order.sm += chance < 0.8 ? order.sr : order.sr / 2;
    order.sr = order.s - order.sm - order.sc;
    if (order.sr > 0) return order;
    order.status = "EC";
    orders.delete(order.id);
    return order;
  }

  #place(orders: Map<string, PlacedOrder>): PlacedOrder {
    const id = String(++this.#orders);
    const s = 4 * (1 + randomInt(this.#random, 5));
    const order: PlacedOrder = {
      id,
      p: pick(this.#random, PRICES),
      s,
      side: pick(this.#random, ["B", "L"]),
      status: "E",
      sm: 0,
      sr: s,
      sc: 0,
      rfs: pick(this.#random, this.#refs),
      rfo: `<secret-${id}>`,
    };
    orders.set(id, order);
    return order;
  }

  /** Sizes are what is said last, not sums: that is all a reader can see. Now and then nothing is matched at a price any more. */
  #match(runner: Runner, { p, side, rfs = "" }: PlacedOrder, overall: Rows, smc: [string, Rows][]): void {
    const key = side === "B" ? "mb" : "ml";
    for (const ref of [null, rfs]) {
      const size = this.#random.next() < 0.1 ? 0 : 1 + randomInt(this.#random, 50) / 4;
      const matched = runner.matched.get(ref) ?? new Map<string, number>();
      runner.matched.set(ref, matched.set(`${key} ${p}`, size));
      const rows: Rows = { mb: [], ml: [] };
      if (ref !== null) smc.push([ref, rows]);
      const into = ref === null ? overall[key] : rows[key];
      into.push([p, size]);
    }
    // one entry a reference, the last one: an object has a key once
    for (const [ref, rows] of smc) for (const [k, size] of runner.matched.get(ref) ?? []) put(rows, k, size);
  }

  /** Something is not there any more, without a word. */
  #lose(runners: ReadonlyMap<string, Runner>): void {
    for (const { orders, matched } of runners.values()) {
      for (const id of [...orders.keys()]) if (this.#random.next() < 0.3) orders.delete(id);
      for (const prices of matched.values())
        for (const key of [...prices.keys()]) if (this.#random.next() < 0.3) prices.delete(key);
    }
  }

  #runnerImage(key: string, { orders, matched }: Runner): object[] {
    const all = [...matched].map(([ref, prices]): [string | null, Rows] => {
      const rows: Rows = { mb: [], ml: [] };
      for (const [k, size] of prices) if (size > 0) put(rows, k, size);
      return [ref, rows];
    });
    const smc = all.filter((entry): entry is [string, Rows] => entry[0] !== null);
    if (orders.size === 0 && all.every(([, { mb, ml }]) => mb.length + ml.length === 0)) return [];
    const overall = all.find(([ref]) => ref === null)?.[1] ?? {};
    const uo = [...orders.values()].map((order) => ({ ...order }));
    return [{ ...named(key), fullImage: true, uo, ...overall, smc: Object.fromEntries(smc) }];
  }
}

function put(rows: Rows, key: string, size: number): void {
  const [side, price] = key.split(" ") as ["mb" | "ml", string];
  const row = rows[side].find(([at]) => at === Number(price));
  if (row === undefined) rows[side].push([Number(price), size]);
  else row[1] = size;
}

function named(key: string): object {
  const [id, hc] = key.split(" ").map(Number);
  return { id, ...(hc !== 0 && { hc }) };
}
