import { createHash } from "node:crypto";
import type { MarketFilter } from "../market/filter.ts";
import type { FieldSet } from "../market/types.ts";

/** What a subscription asks for but for which markets, and for whom. Users who ask for the same share one. */
export interface Terms {
  readonly tenant: string;
  /** Versions of what the tenant may see and of how prices are shown to it; both 0 until tenants have them. */
  readonly entitlements: number;
  readonly policy: number;
  readonly fields: FieldSet;
  readonly ladderLevels: number;
  /** As asked and clamped; the cadence is the next one up. */
  readonly conflateMs: number;
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
}

/** So many different terms are remembered; those beyond are their subscription's own. */
const TERMS_MAX = 1000;

/** The terms in use, each once. */
export class TermsInUse {
  readonly #known = new Map<string, Terms>();

  of(terms: Terms): Terms {
    const key = JSON.stringify(Object.values(terms));
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size === TERMS_MAX) this.#known.clear();
    this.#known.set(key, terms);
    return terms;
  }
}

/**
 * `initialClk`: the epoch and the contract, which is what a subscription is about (its cadence, heartbeat and segments are not). As long as both are the same, a
 * clk is good on any node that carries the epoch; another of either is answered by an image. Opaque on the wire.
 */
export function initialClkOf(epoch: string, terms: Terms, filter: MarketFilter): string {
  const { tenant, entitlements, policy, fields, ladderLevels } = terms;
  const text = JSON.stringify([tenant, entitlements, policy, canonical(filter), fields, ladderLevels]);
  return `${epoch}.${createHash("sha256").update(text).digest("base64url").slice(0, 12)}`;
}

/** The epoch of an initialClk, whatever the contract. */
export function epochOf(initialClk: string): string {
  return initialClk.slice(0, Math.max(0, initialClk.lastIndexOf(".")));
}

/** `clk`: how far the subscription was told. Opaque on the wire. */
export function clkOf(sequence: number): string {
  return sequence.toString(36);
}

/** The sequence of a clk, null when it is none of ours. */
export function sequenceOf(clk: string): number | null {
  if (!/^[0-9a-z]{1,7}$/.test(clk)) return null;
  const sequence = Number.parseInt(clk, 36);
  return clkOf(sequence) === clk ? sequence : null;
}

/** The same for filters that mean the same: sets have no order. */
function canonical(filter: MarketFilter): unknown {
  const names = Object.keys(filter).sort() as (keyof MarketFilter)[];
  return names.flatMap((name) => {
    const value = filter[name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return [];
    return [[name, Array.isArray(value) ? [...new Set(value)].sort() : value]];
  });
}
