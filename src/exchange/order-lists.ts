import type { Clock } from "../base/clock.ts";
import { type BettingApi, callBetting, isSessionCode } from "./betting-call.ts";
import type { Post } from "./identity.ts";
import type { Session } from "./session.ts";

export interface OrderListsOptions extends BettingApi {
  /** Calls under way at a time; the exchange advises three where orders are asked for. */
  readonly callsMax: number;
}

export const ORDER_LISTS_DEFAULTS = { requestMsMax: 15_000, callsMax: 3 } as const;
/** 1,000 orders with everything in them stay below this. */
export const ORDER_LISTS_BYTES_MAX = 4 * 1024 * 1024;
/** Calls that wait for others to come back; more are refused. */
const WAITING_MAX = 100;

export type OrderListName = "listCurrentOrders" | "listClearedOrders";

/** The exchange's result as it is, or its error's code where it gives one. */
export type OrderListOutcome =
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "refused"; readonly code: string };

export interface OrderListsWorld {
  readonly post: Post;
  /** The stream's, so that there is one login. */
  readonly session: Session;
  readonly clock: Clock;
}

/** The account's orders as the exchange itself lists them: settled ones, which no stream tells. Who may ask for which is for the caller to know. */
export class OrderLists {
  calls = 0;
  readonly #options: OrderListsOptions;
  readonly #world: OrderListsWorld;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;

  constructor(options: OrderListsOptions, world: OrderListsWorld) {
    this.#options = options;
    this.#world = world;
  }

  async ask(name: OrderListName, params: unknown): Promise<OrderListOutcome> {
    if (this.#waiting.length >= WAITING_MAX) return { kind: "refused", code: "TOO_MANY_REQUESTS" };
    if (this.#underWay < this.#options.callsMax) this.#underWay++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      const first = await this.#call(name, params);
      // The token at hand may have ended unnoticed; a fresh one is worth one more try.
      return isSession(first) ? await this.#call(name, params) : first;
    } finally {
      // Whoever waits takes the place over, so that nobody who comes just now takes one more.
      const next = this.#waiting.shift();
      if (next === undefined) this.#underWay--;
      else next();
    }
  }

  async #call(name: OrderListName, params: unknown): Promise<OrderListOutcome> {
    const { session } = this.#world;
    const came = await session.token();
    if (came.kind !== "token") return { kind: "refused", code: "SERVICE_BUSY" };
    const call = { operation: name, params, id: ++this.calls, token: came.token };
    const outcome = await callBetting(call, this.#options, this.#world);
    if (outcome.kind === "result") return outcome;
    if (outcome.kind === "unanswered")
      return { kind: "refused", code: outcome.late ? "TIMEOUT_ERROR" : "SERVICE_BUSY" };
    if (isSessionCode(outcome.code)) session.refused(came.token);
    // What comes from below the API is about how it was asked.
    return { kind: "refused", code: outcome.code.startsWith("DSC-") ? "INVALID_INPUT_DATA" : outcome.code };
  }
}

function isSession(outcome: OrderListOutcome): boolean {
  return outcome.kind === "refused" && isSessionCode(outcome.code);
}
