/** How a call of the exchange's APIs ended: with what was asked for, with the API's no, or with no answer that can be read. */
export type CallEnd = "result" | "error" | "unanswered";

/** The operations that are called: those of the identity service, and those of the betting API. */
export const OPERATIONS = [
  "login",
  "keepAlive",
  "listMarketCatalogue",
  "listCurrentOrders",
  "listClearedOrders",
] as const;
export const CALL_ENDS: readonly CallEnd[] = ["result", "error", "unanswered"];

/** Calls of the exchange's APIs, as ops reads them. */
export class CallCounts {
  readonly #counts = new Map<string, number>();

  ended(operation: string, end: CallEnd): void {
    this.#counts.set(`${operation} ${end}`, this.of(operation, end) + 1);
  }

  of(operation: string, end: CallEnd): number {
    return this.#counts.get(`${operation} ${end}`) ?? 0;
  }
}
