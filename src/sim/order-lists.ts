import type { OrderAccount } from "./order-account.ts";
import { InvalidParams, Params } from "./order-instructions.ts";
import { type Order, REGULATOR } from "./order-life.ts";
import type { ClearedOrder } from "./orders.ts";

/** Orders in one answer, as at the exchange. */
const RECORDS_MAX = 1_000;

/** The answer of listCurrentOrders: executable orders, and complete ones that were matched in markets that are not settled. */
export function currentOrders(account: OrderAccount, value: unknown): Record<string, unknown> {
  const params = new Params("", value);
  const projection = params.text("orderProjection") ?? "ALL";
  if (!["ALL", "EXECUTABLE", "EXECUTION_COMPLETE"].includes(projection))
    throw new InvalidParams(`orderProjection is "${projection}"`);
  const isAsked = orderTest(params);
  const found = [...account.orders.values()].filter((order) => {
    if (!isAsked(order) || account.markets.get(order.terms.marketId)?.closedAt !== null) return false;
    const wanted = order.executable ? projection !== "EXECUTION_COMPLETE" : projection !== "EXECUTABLE";
    return wanted && (order.executable || order.matched > 0);
  });
  const { page, moreAvailable } = paged(params, found);
  return { currentOrders: page.map(currentOrder), moreAvailable };
}

/** The answer of listClearedOrders, newest first. */
export function clearedOrders(cleared: readonly ClearedOrder[], value: unknown): Record<string, unknown> {
  const params = new Params("", value);
  const betStatus = params.word("betStatus", ["SETTLED", "VOIDED", "LAPSED", "CANCELLED"] as const);
  const isAsked = orderTest(params);
  const found = cleared.filter(({ order, outcome }) => outcome === betStatus && isAsked(order)).reverse();
  const { page, moreAvailable } = paged(params, found);
  return { clearedOrders: page.map(clearedOrder), moreAvailable };
}

export function iso(at: number): string {
  return new Date(at).toISOString();
}

function orderTest(params: Params): (order: Order) => boolean {
  const lists = [
    [params.texts("betIds"), (order: Order) => order.betId],
    [params.texts("marketIds"), (order: Order) => order.terms.marketId],
    [params.texts("customerOrderRefs"), (order: Order) => order.terms.orderRef],
    [params.texts("customerStrategyRefs"), (order: Order) => order.terms.strategyRef],
  ] as const;
  return (order) => lists.every(([values, textOf]) => values === null || values.includes(textOf(order)));
}

function paged<T>(
  params: Params,
  found: readonly T[],
): { readonly page: readonly T[]; readonly moreAvailable: boolean } {
  const from = params.number("fromRecord") ?? 0;
  const count = Math.min(params.number("recordCount") || RECORDS_MAX, RECORDS_MAX);
  return { page: found.slice(from, from + count), moreAvailable: found.length > from + count };
}

function currentOrder(order: Order): Record<string, unknown> {
  const { terms } = order;
  return {
    betId: order.betId,
    marketId: terms.marketId,
    selectionId: terms.selectionId,
    handicap: terms.handicap,
    priceSize: { price: terms.price / 100, size: order.size / 100 },
    bspLiability: terms.liability / 100,
    side: terms.side,
    status: order.executable ? "EXECUTABLE" : "EXECUTION_COMPLETE",
    persistenceType: order.persistence,
    orderType: terms.orderType,
    placedDate: iso(order.placedAt),
    ...(order.matchedAt !== null && { matchedDate: iso(order.matchedAt) }),
    ...(order.cancelledAt !== null && { cancelledDate: iso(order.cancelledAt) }),
    ...(order.lapsedAt !== null && { lapsedDate: iso(order.lapsedAt) }),
    ...(order.lapseReason !== null && { lapseStatusReasonCode: order.lapseReason }),
    averagePriceMatched: order.averagePrice ?? 0,
    sizeMatched: order.matched / 100,
    sizeRemaining: order.remaining / 100,
    sizeLapsed: order.lapsed / 100,
    sizeCancelled: order.cancelled / 100,
    sizeVoided: order.voided / 100,
    regulatorCode: REGULATOR,
    ...(terms.orderRef !== "" && { customerOrderRef: terms.orderRef }),
    ...(terms.strategyRef !== "" && { customerStrategyRef: terms.strategyRef }),
  };
}

function clearedOrder({
  order,
  outcome,
  profit,
  eventId,
  eventTypeId,
  settledAt,
}: ClearedOrder): Record<string, unknown> {
  const { terms } = order;
  return {
    eventTypeId,
    eventId,
    marketId: terms.marketId,
    selectionId: terms.selectionId,
    handicap: terms.handicap,
    betId: order.betId,
    placedDate: iso(order.placedAt),
    persistenceType: order.persistence,
    orderType: terms.orderType,
    side: terms.side,
    priceRequested: terms.price / 100,
    settledDate: iso(settledAt),
    betCount: 1,
    ...(order.matchedAt !== null && { lastMatchedDate: iso(order.matchedAt) }),
    ...(outcome === "SETTLED" && {
      betOutcome: profit > 0 ? "WON" : "LOST",
      priceMatched: order.averagePrice,
      priceReduced: false,
      sizeSettled: order.matched / 100,
      profit: profit / 100,
    }),
    sizeCancelled: (order.cancelled + order.lapsed + order.voided) / 100,
    ...(terms.orderRef !== "" && { customerOrderRef: terms.orderRef }),
    ...(terms.strategyRef !== "" && { customerStrategyRef: terms.strategyRef }),
  };
}
