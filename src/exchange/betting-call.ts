import type { Clock } from "../base/clock.ts";
import type { Post } from "./identity.ts";
import type { Session } from "./session.ts";

/** Where the exchange's betting API is, and how it is called. */
export interface BettingApi {
  /** Its base URL without a slash at the end, such as https://api.betfair.com. */
  readonly apiHost: string;
  readonly appKey: string;
  /** The longest wait for one answer. */
  readonly requestMsMax: number;
}

/** What a call came to: the API's result, its error's code, or no answer that can be read, and why. */
export type CallOutcome =
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "error"; readonly code: string }
  | { readonly kind: "unanswered"; readonly reason: string; readonly late: boolean };

export interface BettingCall {
  /** Without the API's name before it: "listMarketCatalogue". */
  readonly operation: string;
  readonly params: unknown;
  readonly id: number;
  readonly token: string;
}

export interface BettingWorld {
  readonly post: Post;
  readonly clock: Clock;
  /** Where the token is from, and calls are counted. */
  readonly session: Pick<Session, "calls">;
}

/** Calls the exchange's betting API (JSON-RPC) once. `run` aborted: nobody waits for the answer any more. */
export async function callBetting(
  call: BettingCall,
  api: BettingApi,
  world: BettingWorld,
  run?: AbortSignal,
): Promise<CallOutcome> {
  const outcome = await answerTo(call, api, world, run);
  if (!run?.aborted) world.session.calls?.ended(call.operation, outcome.kind);
  return outcome;
}

async function answerTo(
  { operation, params, id, token }: BettingCall,
  { apiHost, appKey, requestMsMax }: BettingApi,
  { post, clock }: BettingWorld,
  run?: AbortSignal,
): Promise<CallOutcome> {
  const given = new AbortController();
  const timer = clock.after(requestMsMax, () => given.abort());
  const headers = {
    Accept: "application/json",
    "Content-Type": "application/json",
    "X-Application": appKey,
    "X-Authentication": token,
  };
  const body = JSON.stringify({ jsonrpc: "2.0", method: `SportsAPING/v1.0/${operation}`, params, id });
  const signal = run === undefined ? given.signal : AbortSignal.any([given.signal, run]);
  try {
    const answer = await post({ url: `${apiHost}/exchange/betting/json-rpc/v1`, headers, body, signal });
    return answer.status === 200 ? outcomeOf(answer.body) : unanswered(`HTTP ${answer.status}`);
  } catch (error) {
    if (given.signal.aborted) return unanswered(`no answer in ${requestMsMax} ms`, true);
    return unanswered(error instanceof Error ? error.message : "the request failed");
  } finally {
    timer.cancel();
  }
}

/** Whether the exchange did not take our token. */
export function isSessionCode(code: string): boolean {
  return code === "INVALID_SESSION_INFORMATION" || code === "NO_SESSION";
}

interface RpcAnswer {
  readonly result?: unknown;
  readonly error?: {
    readonly message?: unknown;
    readonly data?: { readonly APINGException?: { readonly errorCode?: unknown } };
  };
}

function outcomeOf(body: string): CallOutcome {
  let answer: RpcAnswer | null;
  try {
    answer = JSON.parse(body) as RpcAnswer | null;
  } catch {
    return unanswered("the answer is none");
  }
  if (typeof answer?.result === "object" && answer.result !== null) return { kind: "result", result: answer.result };
  const code = answer?.error?.data?.APINGException?.errorCode ?? answer?.error?.message;
  return typeof code === "string" ? { kind: "error", code } : unanswered("the answer is none");
}

function unanswered(reason: string, late = false): CallOutcome {
  return { kind: "unanswered", reason, late };
}
