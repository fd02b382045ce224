import type { MarketChange, RunnerChange } from "./naive.ts";

/** The exchange's field flags and the keys of a runner change each lets through. */
const RUNNER_KEYS = {
  EX_BEST_OFFERS_DISP: ["bdatb", "bdatl"],
  EX_BEST_OFFERS: ["batb", "batl"],
  EX_ALL_OFFERS: ["atb", "atl"],
  EX_TRADED: ["trd"],
  EX_TRADED_VOL: ["tv"],
  EX_LTP: ["ltp"],
  EX_MARKET_DEF: [],
  SP_TRADED: ["spb", "spl"],
  SP_PROJECTED: ["spn", "spf"],
} as const satisfies Record<string, readonly (keyof RunnerChange)[]>;

export type FieldFlag = keyof typeof RUNNER_KEYS;
export const FIELD_FLAGS = Object.keys(RUNNER_KEYS) as FieldFlag[];
export const LADDER_LEVELS_MAX = 10;
const LEVEL_KEYS: ReadonlySet<string> = new Set(["batb", "batl", "bdatb", "bdatl"]);

/** What a marketDataFilter lets through. */
export interface FieldChoice {
  /** Nothing is dropped: changes go out as they are. */
  readonly whole: boolean;
  readonly key: string;
  /** The market change as asked for, or null when nothing of it is left. Nothing is computed: a ladder not published is not there. */
  choose(change: MarketChange): MarketChange | null;
}

/** `fields` empty: all of them. */
export function fieldChoice(fields: readonly FieldFlag[], ladderLevels: number): FieldChoice {
  const asked = new Set<FieldFlag>(fields.length === 0 ? FIELD_FLAGS : fields);
  const keys = new Set<string>(["id", "hc", ...[...asked].flatMap((flag) => RUNNER_KEYS[flag])]);
  const whole = asked.size === FIELD_FLAGS.length && ladderLevels >= LADDER_LEVELS_MAX;
  return {
    whole,
    key: whole ? "all" : `${[...asked].sort().join(",")}/${ladderLevels}`,
    choose: (change) => (whole ? change : chooseMarket(change, asked, keys, ladderLevels)),
  };
}

function chooseMarket(
  change: MarketChange,
  asked: ReadonlySet<FieldFlag>,
  keys: ReadonlySet<string>,
  levels: number,
): MarketChange | null {
  const { tv, marketDefinition, rc, ...rest } = change;
  const runners = (rc ?? []).flatMap((runner) => chooseRunner(runner, keys, levels) ?? []);
  const kept = {
    ...(asked.has("EX_TRADED_VOL") && tv != null && { tv }),
    ...(asked.has("EX_MARKET_DEF") && marketDefinition != null && { marketDefinition }),
    ...(runners.length > 0 && { rc: runners }),
  };
  return change.img !== true && Object.keys(kept).length === 0 ? null : { ...rest, ...kept };
}

function chooseRunner(runner: RunnerChange, keys: ReadonlySet<string>, levels: number): RunnerChange | null {
  const chosen: Record<string, unknown> & { id: number } = { id: runner.id };
  let values = 0;
  for (const [key, value] of Object.entries(runner)) {
    if (!keys.has(key) || key === "id") continue;
    chosen[key] = LEVEL_KEYS.has(key) && value != null ? shallow(value as readonly number[][], levels) : value;
    if (key !== "hc") values++;
  }
  return values === 0 ? null : chosen;
}

/** A change below the levels asked for leaves an empty list, as the exchange shows it. */
function shallow(entries: readonly number[][], levels: number): number[][] {
  return entries.filter((entry) => (entry[0] as number) < levels);
}
