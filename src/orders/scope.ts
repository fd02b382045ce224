import { createHash } from "node:crypto";
import type { Goodbye } from "../base/errors.ts";
import type { Account } from "../tenancy/tokens.ts";
import type { OrderFilter } from "../wire/requests.ts";

/** What of the account's orders one subscription is told: what its visitor may see, and of that what it asked for. */
export interface Scope {
  /** The same for subscriptions that are told the same. */
  readonly key: string;
  /** May see what is nobody's in particular: the account's id, the position in all orders together. */
  readonly isAccount: boolean;
  /** `mb` and `ml` of all orders together. */
  readonly overall: boolean;
  /** `smc`: positions by strategy reference. */
  readonly strategies: boolean;
  /** Orders of this customerStrategyRef, "" for those without one. */
  sees(ref: string): boolean;
}

/**
 * What a visitor who asks with this filter is told, or why it may not ask so.
 *
 * A visitor with a prefix has all references that begin with it, and nothing else: no order without a reference, no overall position. At the exchange
 * `includeOverallPosition` is true where nothing is said; for such a visitor it is false then (docs/decisions/0007-orders.md).
 */
export function scopeOf({ orders }: Pick<Account, "orders">, filter: OrderFilter): Scope | Goodbye {
  if (orders === undefined) return { code: "NOT_AUTHORIZED", message: "this visitor has no orders here" };
  if (filter.accountIds.length > 0)
    return { code: "INVALID_REQUEST", message: "orderFilter.accountIds is not to be set" };
  const { includeOverallPosition, partitionMatchedByStrategyRef: strategies } = filter;
  const refs = filter.customerStrategyRefs.length > 0 ? new Set(filter.customerStrategyRefs) : null;
  if (orders === "account") {
    const overall = includeOverallPosition ?? true;
    return { ...keyed("account", refs, overall, strategies), isAccount: true, sees: (ref) => refs?.has(ref) ?? true };
  }
  const { refPrefix } = orders;
  if (refPrefix === "") throw new Error("an empty prefix would be everybody's orders");
  if (includeOverallPosition === true) {
    return {
      code: "NOT_AUTHORIZED",
      message: "the overall position is the account's: ask with includeOverallPosition false",
    };
  }
  const other = filter.customerStrategyRefs.find((ref) => !ref.startsWith(refPrefix));
  if (other !== undefined) {
    return { code: "NOT_AUTHORIZED", message: `customerStrategyRefs must begin with ${JSON.stringify(refPrefix)}` };
  }
  const sees = refs === null ? (ref: string) => ref.startsWith(refPrefix) : (ref: string) => refs.has(ref);
  return { ...keyed({ refPrefix }, refs, false, strategies), isAccount: false, sees };
}

function keyed(
  rights: NonNullable<Account["orders"]>,
  refs: ReadonlySet<string> | null,
  overall: boolean,
  strategies: boolean,
) {
  const text = JSON.stringify([rights, refs && [...refs].sort(), overall, strategies]);
  return { key: createHash("sha256").update(text).digest("base64url").slice(0, 12), overall, strategies };
}
