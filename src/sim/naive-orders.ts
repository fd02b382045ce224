/** An `oc` entry as it comes over the wire, as far as a book of orders looks at it. */
export interface OrderEntry {
  readonly id: string;
  readonly accountId?: number;
  readonly fullImage?: boolean;
  readonly closed?: boolean;
  readonly orc?: readonly {
    readonly id: number;
    readonly hc?: number;
    readonly fullImage?: boolean;
    readonly uo?: readonly NaiveOrder[];
    readonly mb?: readonly PriceSize[];
    readonly ml?: readonly PriceSize[];
    readonly smc?: Readonly<Record<string, { readonly mb?: readonly PriceSize[]; readonly ml?: readonly PriceSize[] }>>;
  }[];
}

export interface NaiveOrder {
  readonly id: string;
  readonly status: "E" | "EC";
  readonly rfs?: string;
}

type PriceSize = readonly [price: number, size: number];

/** What somebody sees of it all. */
export interface View {
  sees(ref: string): boolean;
  readonly overall: boolean;
  readonly strategies: boolean;
}

const EVERYTHING: View = { sees: () => true, overall: true, strategies: true };

/** A reference, or null for all orders together; "mb" or "ml"; price → size. */
type Side = readonly [ref: string | null, side: string, prices: Map<number, number>];

interface Runner {
  readonly orders: Map<string, NaiveOrder>;
  readonly matched: Map<string, Side>;
}

/**
 * The book of orders that a client keeps, in the plainest way: shares no code with what it judges. `state` is what it shows that it
 * holds: executable orders, whole, and what was matched; markets and runners with neither are left out.
 */
export class NaiveOrders {
  /** Orders that came as complete, as they came, each time they came. */
  readonly completed: NaiveOrder[] = [];
  readonly #markets = new Map<string, Map<string, Runner>>();
  readonly #closed = new Set<string>();

  apply(entries: readonly OrderEntry[]): void {
    for (const entry of entries) this.#market(entry);
  }

  get closed(): string[] {
    return [...this.#closed].sort();
  }

  /** Everything it has of what somebody may see, in a fixed order, as text. */
  state({ sees, overall, strategies }: View = EVERYTHING): string[] {
    const lines: string[] = [];
    for (const [market, runners] of this.#markets) {
      for (const [runner, { orders, matched }] of runners) {
        for (const order of orders.values())
          if (order.status === "E" && sees(order.rfs ?? "")) lines.push(`${market} ${runner} ${JSON.stringify(order)}`);
        for (const [ref, side, prices] of matched.values()) {
          if (ref === null ? !overall : !strategies || !sees(ref)) continue;
          for (const [price, size] of prices)
            if (size !== 0) lines.push(`${market} ${runner} ${JSON.stringify(ref)} ${side} ${price}: ${size}`);
        }
      }
    }
    return lines.sort();
  }

  #market(entry: OrderEntry): void {
    let runners = this.#markets.get(entry.id);
    if (runners === undefined || entry.fullImage === true) {
      this.#markets.set(entry.id, (runners = new Map()));
      this.#closed.delete(entry.id);
    }
    if (entry.closed === true) this.#closed.add(entry.id);
    for (const change of entry.orc ?? []) {
      const key = `${change.id}/${change.hc ?? 0}`;
      let runner = runners.get(key);
      if (runner === undefined || change.fullImage === true)
        runners.set(key, (runner = { orders: new Map(), matched: new Map() }));
      for (const order of change.uo ?? []) {
        runner.orders.set(order.id, order);
        if (order.status === "EC") this.completed.push(order);
      }
      for (const side of ["mb", "ml"] as const) {
        match(runner, null, side, change[side]);
        for (const [ref, strategy] of Object.entries(change.smc ?? {})) match(runner, ref, side, strategy[side]);
      }
    }
  }
}

function match(runner: Runner, ref: string | null, side: string, rows: readonly PriceSize[] = []): void {
  const key = `${side} ${JSON.stringify(ref)}`;
  let found = runner.matched.get(key);
  if (found === undefined) runner.matched.set(key, (found = [ref, side, new Map()]));
  for (const [price, size] of rows) found[2].set(price, size);
}
