import type { MarketBook } from "../book.ts";
import type { MarketChange, MarketDefinition } from "../messages.ts";

const PRICES = ["atb", "atl", "trd", "spb", "spl"] as const;
const LEVELS = ["batb", "batl", "bdatb", "bdatl"] as const;
const SCALARS = ["tv", "ltp", "spn", "spf"] as const;

interface PlainRunner {
  id: number;
  hc: number;
  [ladderOrScalar: string]: unknown;
}

/** For tests: the same book written down with no thought of speed, to compare with. */
export class PlainBook {
  definition: MarketDefinition | null = null;
  tv: number | null = null;
  runners: PlainRunner[] = [];
  readonly id: string;

  constructor(id: string) {
    this.id = id;
  }

  apply(change: MarketChange): void {
    if (change.img) {
      this.definition = this.tv = null;
      this.runners = [];
    }
    if (typeof change.tv === "number") this.tv = change.tv;
    if (change.marketDefinition) {
      this.definition = change.marketDefinition;
      for (const { id, hc } of this.definition.runners ?? []) this.#runner(id, hc ?? 0);
    }
    for (const sent of change.rc ?? []) {
      const runner = this.#runner(sent.id, sent.hc ?? 0);
      for (const name of SCALARS) runner[name] = sent[name] ?? runner[name];
      if (sent.trd?.length === 0) runner.trd = [];
      for (const name of PRICES) runner[name] = merged(runner[name] as number[][], sent[name] as never, 1);
      for (const name of LEVELS) runner[name] = merged(runner[name] as number[][], sent[name] as never, 2);
    }
  }

  /** The whole book as one market change. */
  image(): MarketChange {
    const rc = this.runners.map((runner) => ({ ...runner }));
    return { id: this.id, img: true, tv: this.tv, marketDefinition: this.definition, rc: rc as never };
  }

  /** Something that two equal books have equal. */
  state(): unknown {
    const runners = this.runners.map((runner) => ({ ...runner, atb: (runner.atb as number[][]).toReversed() }));
    return { id: this.id, definition: this.definition, tv: this.tv, runners: runners.sort(byRunner) };
  }

  #runner(id: number, hc: number): PlainRunner {
    const found = this.runners.find((runner) => runner.id === id && runner.hc === hc);
    if (found) return found;
    const runner: PlainRunner = { id, hc, tv: null, ltp: null, spn: null, spf: null };
    for (const name of [...PRICES, ...LEVELS]) runner[name] = [];
    this.runners.push(runner);
    return runner;
  }
}

/** A `MarketBook`'s side of the comparison. */
export function stateOf(book: MarketBook): unknown {
  const runners = [...book.runners].map((runner) => {
    const plain: PlainRunner = { id: runner.id, hc: runner.hc, tv: runner.tv, ltp: runner.ltp, spn: null, spf: null };
    for (const name of ["spn", "spf"] as const) plain[name] = asSent(runner[name]);
    for (const name of [...PRICES, ...LEVELS]) plain[name] = [...runner[name]];
    return plain;
  });
  return { id: book.id, definition: book.definition, tv: book.totalMatched, runners: runners.sort(byRunner) };
}

function merged(ladder: number[][], changes: number[][] | null | undefined, size: number): number[][] {
  const entries = new Map(ladder.map((entry) => [entry[0], entry]));
  for (const change of changes ?? []) {
    if (change[size] === 0) entries.delete(change[0]);
    else entries.set(change[0], change);
  }
  return [...entries.values()].sort((a, b) => a[0] - b[0]);
}

function asSent(value: number | null): unknown {
  return value === null || Number.isFinite(value) ? value : String(value);
}

function byRunner(a: PlainRunner, b: PlainRunner): number {
  return a.id - b.id || a.hc - b.hc;
}
