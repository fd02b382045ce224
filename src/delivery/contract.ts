import { createHash } from "node:crypto";
import type { MarketFilter } from "../market/filter.ts";
import type { FieldSet } from "../market/types.ts";

/** What a subscription is about: as long as it is the same, a clk is good on any node that carries the epoch. */
export interface Contract {
  readonly tenant: string;
  /** Versions of what the tenant may see and of how prices are shown to it; both 0 until tenants have them. */
  readonly entitlements: number;
  readonly policy: number;
  readonly filter: MarketFilter;
  readonly fields: FieldSet;
  readonly ladderLevels: number;
}

/** `initialClk`: the epoch and the contract, so that another of either is answered by an image. Opaque on the wire. */
export function initialClkOf(epoch: string, contract: Contract): string {
  const { tenant, entitlements, policy, filter, fields, ladderLevels } = contract;
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
