import type { Clock } from "../base/clock.ts";
import type { Post } from "./identity.ts";
import type { Session } from "./session.ts";

export interface OrderListsOptions {
  /** The API's base URL without a slash at the end. */
  readonly apiHost: string;
  readonly appKey: string;
  /** The longest wait for one answer. */
  readonly requestMsMax: number;
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
    if (this.#underWay >= this.#options.callsMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#underWay++;
    try {
      const first = await this.#call(name, params);
      // The token at hand may have ended unnoticed; a fresh one is worth one more try.
      return isSession(first) ? await this.#call(name, params) : first;
    } finally {
      this.#underWay--;
      this.#waiting.shift()?.();
    }
  }

  async #call(name: OrderListName, params: unknown): Promise<OrderListOutcome> {
    const { session } = this.#world;
    const came = await session.token();
    if (came.kind !== "token") return { kind: "refused", code: "SERVICE_BUSY" };
    const call = { jsonrpc: "2.0", method: `SportsAPING/v1.0/${name}`, params, id: ++this.calls };
    const outcome = await this.#post(JSON.stringify(call), came.token);
    if (isSession(outcome)) session.refused(came.token);
    return outcome;
  }

  async #post(body: string, token: string): Promise<OrderListOutcome> {
    const { apiHost, appKey, requestMsMax } = this.#options;
    const given = new AbortController();
    const timer = this.#world.clock.after(requestMsMax, () => given.abort());
    const headers = {
      Accept: "application/json",
      "Content-Type": "application/json",
      "X-Application": appKey,
      "X-Authentication": token,
    };
    try {
      const url = `${apiHost}/exchange/betting/json-rpc/v1`;
      return outcomeOf((await this.#world.post({ url, headers, body, signal: given.signal })).body);
    } catch {
      return { kind: "refused", code: given.signal.aborted ? "TIMEOUT_ERROR" : "SERVICE_BUSY" };
    } finally {
      timer.cancel();
    }
  }
}

function isSession(outcome: OrderListOutcome): boolean {
  return (
    outcome.kind === "refused" && (outcome.code === "INVALID_SESSION_INFORMATION" || outcome.code === "NO_SESSION")
  );
}

interface RpcAnswer {
  readonly result?: unknown;
  readonly error?: { readonly data?: { readonly APINGException?: { readonly errorCode?: unknown } } };
}

function outcomeOf(body: string): OrderListOutcome {
  let answer: RpcAnswer | null;
  try {
    answer = JSON.parse(body) as RpcAnswer | null;
  } catch {
    return { kind: "refused", code: "UNEXPECTED_ERROR" };
  }
  if (typeof answer?.result === "object" && answer.result !== null) return { kind: "result", result: answer.result };
  const code = answer?.error?.data?.APINGException?.errorCode;
  return { kind: "refused", code: typeof code === "string" ? code : "INVALID_INPUT_DATA" };
}
