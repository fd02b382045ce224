import type { OrderAccount } from "./order-account.ts";
import {
  cancelParams,
  type InstructionError,
  InvalidParams,
  isOnLadder,
  OTHER_INSTRUCTIONS_MAX,
  PLACE_INSTRUCTIONS_MAX,
  type PlaceInstruction,
  placeParams,
  replaceParams,
  updateParams,
} from "./order-instructions.ts";
import type { Hundredths, Order } from "./order-life.ts";
import { clearedOrders, currentOrders, iso } from "./order-lists.ts";
import { ladderOf, type OrderBooks } from "./orders.ts";

/** What a method of the exchange's REST API gives: its result, or what becomes an APINGException. */
export type MethodOutcome =
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "exception"; readonly errorCode: "INVALID_INPUT_DATA"; readonly errorDetails: string };

/** Answers a method ("placeOrders", without what stands before it) for an account, or null where it knows no such method. */
export type Methods = (method: string, params: unknown, account: string) => MethodOutcome | null;

/** The betting API's methods about orders, in the exchange's shapes. */
export function orderMethods(books: OrderBooks): Methods {
  return (method, params, account) => {
    if (!Object.hasOwn(METHODS, method)) return null;
    const run = METHODS[method as keyof typeof METHODS];
    const mine = books.account(account);
    try {
      return { kind: "result", result: run(books, mine, params ?? {}) };
    } catch (error) {
      if (!(error instanceof InvalidParams)) throw error;
      return { kind: "exception", errorCode: "INVALID_INPUT_DATA", errorDetails: error.message };
    } finally {
      mine.commit();
    }
  };
}

const METHODS = {
  placeOrders,
  cancelOrders,
  replaceOrders,
  updateOrders,
  listCurrentOrders: (_books: OrderBooks, account: OrderAccount, params: unknown) => currentOrders(account, params),
  listClearedOrders: (books: OrderBooks, account: OrderAccount, params: unknown) =>
    clearedOrders(books.cleared(account), params),
} as const;

/** Why a call is refused whole. */
type ExecutionError =
  | "INVALID_MARKET_ID"
  | "MARKET_SUSPENDED"
  | "MARKET_NOT_OPEN_FOR_BETTING"
  | "INVALID_MARKET_VERSION"
  | "DUPLICATE_TRANSACTION"
  | "TOO_MANY_INSTRUCTIONS";

interface InstructionReport {
  readonly status: "SUCCESS" | "FAILURE";
  readonly errorCode?: string;
  readonly [more: string]: unknown;
}

interface Said {
  readonly customerRef: string | null;
  readonly marketId: string | null;
}

function placeOrders(books: OrderBooks, account: OrderAccount, value: unknown): unknown {
  const params = placeParams(value);
  const { instructions, marketVersion } = params;
  const market = books.market(params.marketId);
  const version = market?.definition.version ?? 0;
  const stale = marketVersion !== null && marketVersion < version ? "INVALID_MARKET_VERSION" : null;
  const tooMany = instructions.length > PLACE_INSTRUCTIONS_MAX ? "TOO_MANY_INSTRUCTIONS" : null;
  const error = tooMany ?? closedTo(market?.status) ?? stale ?? repeated(books, account, params.customerRef);
  if (market === null || error !== null)
    return refused(
      params,
      error ?? "INVALID_MARKET_ID",
      instructions.map(({ said }) => said),
    );
  return executed(
    params,
    instructions.map(({ said, terms }) => {
      const outcome = typeof terms === "string" ? terms : books.place(account, market, terms);
      return typeof outcome === "string" ? failed(said, outcome) : placed(said, outcome);
    }),
  );
}

function cancelOrders(books: OrderBooks, account: OrderAccount, value: unknown): unknown {
  const params = cancelParams(value);
  const isIn = (order: Order) => params.marketId === null || order.terms.marketId === params.marketId;
  const whole = [...account.orders.values()]
    .filter((order) => order.remaining > 0 && isIn(order))
    .map(({ betId }) => ({ betId, sizeReduction: null }));
  const instructions = params.instructions.length > 0 ? params.instructions : whole;
  const said = instructions.map(({ betId, sizeReduction }) => ({
    betId,
    ...(sizeReduction !== null && { sizeReduction: sizeReduction / 100 }),
  }));
  const tooMany = params.instructions.length > OTHER_INSTRUCTIONS_MAX ? "TOO_MANY_INSTRUCTIONS" : null;
  const error = tooMany ?? repeated(books, account, params.customerRef);
  if (error !== null) return refused(params, error, said);
  const reports = instructions.map(({ betId, sizeReduction }, i) => {
    const order = account.orders.get(betId);
    const found = order !== undefined && isIn(order);
    return cancelReport(said[i], order, found ? books.cancel(account, order, sizeReduction) : "INVALID_BET_ID");
  });
  return executed(params, reports);
}

function cancelReport(
  said: unknown,
  order: Order | undefined,
  outcome: ReturnType<OrderBooks["cancel"]>,
): InstructionReport {
  if (typeof outcome === "string") return failed(said, outcome);
  const cancelledDate = iso(order?.cancelledAt as number);
  return { status: "SUCCESS", instruction: said, sizeCancelled: outcome / 100, cancelledDate };
}

function replaceOrders(books: OrderBooks, account: OrderAccount, value: unknown): unknown {
  const params = replaceParams(value);
  const said = params.instructions.map(({ betId, newPrice }) => ({ betId, newPrice: (newPrice ?? 0) / 100 }));
  const error = whyNotEdit(books, account, params);
  if (error !== null) return refused(params, error, said);
  const reports = params.instructions.map(({ betId, newPrice }): InstructionReport => {
    const order = account.orders.get(betId);
    const found = order !== undefined && order.terms.marketId === params.marketId;
    return found
      ? replaced(books, account, order, newPrice)
      : { ...notFound(betId), cancelInstructionReport: notFound(betId) };
  });
  return executed(params, reports);
}

/** The exchange's way: what remains is cancelled and placed anew under another bet id. */
function replaced(books: OrderBooks, account: OrderAccount, order: Order, price: Hundredths | null): InstructionReport {
  const market = books.market(order.terms.marketId);
  const wrong = whyNotPrice(order, price, ladderOf(market?.definition ?? {}));
  if (market === null || price === null || wrong !== null)
    return { status: "FAILURE", errorCode: wrong ?? "INVALID_PRICE_EDIT" };
  const said = { betId: order.betId };
  const size = books.cancel(account, order, null);
  const cancelInstructionReport = cancelReport(said, order, size);
  if (typeof size === "string") return { status: "FAILURE", errorCode: size, cancelInstructionReport };
  const { terms, persistence } = order;
  const again = books.place(account, market, { ...terms, price, size, persistence, fillAtLeast: null });
  const instruction = {
    selectionId: terms.selectionId,
    handicap: terms.handicap,
    side: terms.side,
    orderType: terms.orderType,
    limitOrder: { size: size / 100, price: price / 100, persistenceType: persistence },
  };
  if (typeof again === "string")
    return {
      status: "FAILURE",
      errorCode: "CANCELLED_NOT_PLACED",
      cancelInstructionReport,
      placeInstructionReport: failed(instruction, again),
    };
  return { status: "SUCCESS", cancelInstructionReport, placeInstructionReport: placed(instruction, again) };
}

function whyNotPrice(order: Order, price: Hundredths | null, ladder: string): InstructionError | null {
  if (order.remaining === 0 || order.terms.orderType !== "LIMIT") return "BET_TAKEN_OR_LAPSED";
  if (price === order.terms.price) return "NO_ACTION_REQUIRED";
  return price === null || !isOnLadder(price, ladder) ? "INVALID_ODDS" : null;
}

function updateOrders(books: OrderBooks, account: OrderAccount, value: unknown): unknown {
  const params = updateParams(value);
  const error = whyNotEdit(books, account, params);
  if (error !== null) return refused(params, error, params.instructions);
  const reports = params.instructions.map((instruction): InstructionReport => {
    const order = account.orders.get(instruction.betId);
    const found = order !== undefined && order.terms.marketId === params.marketId;
    const wrong = found ? books.update(account, order, instruction.newPersistenceType) : "INVALID_BET_ID";
    return wrong === null ? { status: "SUCCESS", instruction } : failed(instruction, wrong);
  });
  return executed(params, reports);
}

function whyNotEdit(
  books: OrderBooks,
  account: OrderAccount,
  params: Said & { readonly marketId: string; readonly instructions: readonly unknown[] },
): ExecutionError | null {
  if (params.instructions.length > OTHER_INSTRUCTIONS_MAX) return "TOO_MANY_INSTRUCTIONS";
  return closedTo(books.market(params.marketId)?.status) ?? repeated(books, account, params.customerRef);
}

function closedTo(status: string | null | undefined): ExecutionError | null {
  if (status === undefined) return "INVALID_MARKET_ID";
  if (status === "SUSPENDED") return "MARKET_SUSPENDED";
  return status === "OPEN" ? null : "MARKET_NOT_OPEN_FOR_BETTING";
}

function repeated(books: OrderBooks, account: OrderAccount, customerRef: string | null): ExecutionError | null {
  return books.isRepeated(account, customerRef) ? "DUPLICATE_TRANSACTION" : null;
}

function placed(said: PlaceInstruction["said"], order: Order): InstructionReport {
  return {
    status: "SUCCESS",
    instruction: said,
    betId: order.betId,
    placedDate: iso(order.placedAt),
    averagePriceMatched: order.averagePrice ?? 0,
    sizeMatched: order.matched / 100,
    orderStatus: order.executable ? "EXECUTABLE" : "EXECUTION_COMPLETE",
  };
}

function failed(instruction: unknown, errorCode: InstructionError): InstructionReport {
  return { status: "FAILURE", errorCode, instruction };
}

function notFound(betId: string): InstructionReport {
  return failed({ betId }, "INVALID_BET_ID");
}

function executed({ customerRef, marketId }: Said, reports: readonly InstructionReport[]): unknown {
  const failures = reports.filter(({ status }) => status === "FAILURE").length;
  const all = failures === reports.length && failures > 0;
  const error = all ? "BET_ACTION_ERROR" : "PROCESSED_WITH_ERRORS";
  return {
    ...(customerRef !== null && { customerRef }),
    status: failures === 0 ? "SUCCESS" : all ? "FAILURE" : "PROCESSED_WITH_ERRORS",
    ...(failures > 0 && { errorCode: error }),
    ...(marketId !== null && { marketId }),
    instructionReports: reports,
  };
}

/** Nothing was done, for a reason that is not in any one instruction. */
function refused({ customerRef, marketId }: Said, errorCode: ExecutionError, said: readonly unknown[]): unknown {
  return {
    ...(customerRef !== null && { customerRef }),
    status: "FAILURE",
    errorCode,
    ...(marketId !== null && { marketId }),
    instructionReports: said.map((instruction) => failed(instruction, "ERROR_IN_ORDER")),
  };
}
