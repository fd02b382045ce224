import type { View } from "../src/sim/naive-orders.ts";
import type { Matched, OrderAccount } from "../src/sim/order-account.ts";

/** The exchange's own list, filtered, in the words of the naive book. */
export function truth(account: OrderAccount, { sees, overall, strategies }: View): string[] {
  const lines: string[] = [];
  for (const market of account.markets.values())
    for (const runner of market.runners.values()) {
      const at = `${market.id} ${runner.selectionId}/${runner.handicap}`;
      const matched = (ref: string | null, { mb, ml }: Matched) => {
        for (const [side, prices] of [["mb", mb] as const, ["ml", ml] as const])
          for (const [price, { size }] of prices)
            if (size > 0) lines.push(`${at} ${JSON.stringify(ref)} ${side} ${price / 100}: ${size / 100}`);
      };
      for (const order of runner.orders.keys())
        if (order.executable && sees(order.terms.strategyRef)) lines.push(`${at} ${JSON.stringify(order.streamed())}`);
      if (overall && runner.overall !== null) matched(null, runner.overall);
      for (const [ref, one] of runner.byStrategy) if (strategies && ref !== "" && sees(ref)) matched(ref, one);
    }
  return lines.sort();
}
