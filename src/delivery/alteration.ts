import type { Goodbye } from "../base/errors.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { MarketId } from "../market/types.ts";
import { type AlterRequest, FILTER_VALUES_MAX } from "../wire/requests.ts";
import type { Terms } from "./contract.ts";
import type { Subscription } from "./subscription.ts";

/** What a running subscription becomes, and which market ids it has more or less. */
export interface Alteration {
  readonly filter: MarketFilter;
  readonly terms: Terms;
  readonly added: readonly MarketId[];
  readonly removed: readonly MarketId[];
}

/** What is asked for, or why it cannot be. Ids that are there already, or not there, are passed over. */
export function alterationOf({ id, filter, terms, roving }: Subscription, asked: AlterRequest): Alteration | Goodbye {
  if (asked.kind === "change") {
    const conflateMs = asked.conflateMs ?? terms.conflateMs;
    return { filter, terms: { ...terms, ...asked.data, conflateMs }, added: [], removed: [] };
  }
  if (roving) {
    const message = `subscription ${id} is not by marketIds alone: its filter says which markets it has`;
    return { code: "INVALID_REQUEST", message };
  }
  const had = new Set(filter.marketIds);
  const named = [...new Set(asked.marketIds)];
  const added = asked.kind === "addMarkets" ? named.filter((id) => !had.has(id)) : [];
  const removed = asked.kind === "removeMarkets" ? named.filter((id) => had.has(id)) : [];
  for (const id of removed) had.delete(id);
  const marketIds = [...had, ...added];
  // A list that is empty asks for every market, and one that is longer could not be asked for again.
  if (marketIds.length === 0) {
    return { code: "INVALID_REQUEST", message: `no market would be left in subscription ${id}: unsubscribe` };
  }
  if (marketIds.length > FILTER_VALUES_MAX) {
    const message = `marketIds would be longer than ${FILTER_VALUES_MAX}`;
    return { code: "SUBSCRIPTION_LIMIT_EXCEEDED", message };
  }
  return { filter: { ...filter, marketIds }, terms, added, removed };
}
