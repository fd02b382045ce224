import type { Clock } from "../base/clock.ts";

/** What an operation gives: its result, or what becomes an APINGException, or what the framework below refuses ("DSC-0018": something is missing). */
export type BettingOutcome =
  | { readonly kind: "result"; readonly result: unknown }
  | { readonly kind: "exception"; readonly errorCode: BettingErrorCode; readonly errorDetails: string }
  | { readonly kind: "invalid"; readonly fault: "DSC-0009" | "DSC-0018" };

/** Answers an operation ("listMarketBook", without what stands before it) for an account; null where it knows none of that name. */
export type BettingMethods = (operation: string, params: unknown, account: string) => BettingOutcome | null;

/** The place of each in the exchange's interface definition is its number, ANGX-0001 and so on. */
const ERROR_CODES = [
  "TOO_MUCH_DATA",
  "INVALID_INPUT_DATA",
  "INVALID_SESSION_INFORMATION",
  "NO_APP_KEY",
  "NO_SESSION",
  "UNEXPECTED_ERROR",
  "INVALID_APP_KEY",
  "TOO_MANY_REQUESTS",
  "SERVICE_BUSY",
] as const;
export type BettingErrorCode = (typeof ERROR_CODES)[number];

export interface SimBettingOptions {
  readonly clock: Clock;
  /** The identity service. */
  readonly sessions: { accountOf(token: string): string | null };
  readonly appKeys: readonly string[];
  /** Asked one after the other until one knows the operation. */
  readonly methods: readonly BettingMethods[];
}

export interface BettingKnobs {
  /** Answers every request with this HTTP status and no JSON. */
  httpStatus: number | null;
  /** Answers so much later. */
  slowMs: number;
  /** Answers every call with this exception. */
  error: BettingErrorCode | null;
}

const RPC_PATH = /^\/exchange\/betting\/json-rpc\/v1\/?$/;
const REST_PATH = /^\/exchange\/betting\/rest\/v1\.0\/([A-Za-z]+)\/?$/;
const PREFIX = "SportsAPING/v1.0/";
/** Calls in one request. */
const BATCH_MAX = 100;

type Json = Readonly<Record<string, unknown>>;

/** The exchange's betting API over HTTP (exchange-protocol.md §6), in both of its forms. What it can do is what its methods can. */
export class SimBetting {
  readonly knobs: BettingKnobs = { httpStatus: null, slowMs: 0, error: null };
  /** Calls answered with a result, by operation; and those refused. */
  readonly calls = new Map<string, number>();
  refused = 0;
  readonly #options: SimBettingOptions;

  constructor(options: SimBettingOptions) {
    this.#options = options;
  }

  /** Whether a request is for this service. */
  matches({ url }: Request): boolean {
    const { pathname } = new URL(url);
    return RPC_PATH.test(pathname) || REST_PATH.test(pathname);
  }

  /** The service itself: a request's answer. */
  readonly handle = async (request: Request): Promise<Response> => {
    const { httpStatus, slowMs } = this.knobs;
    if (slowMs > 0) await new Promise<void>((resolve) => this.#options.clock.after(slowMs, resolve));
    if (httpStatus !== null) return new Response("Service Unavailable", { status: httpStatus });
    if (!this.matches(request)) return new Response("Not Found", { status: 404 });
    if (request.method !== "POST") return new Response("Method Not Allowed", { status: 405 });
    const operation = REST_PATH.exec(new URL(request.url).pathname)?.[1];
    const body = await request.json().catch(() => undefined);
    return operation === undefined ? this.#rpc(request.headers, body) : this.#rest(request.headers, operation, body);
  };

  #rpc(headers: Headers, body: unknown): Response {
    if (body === undefined) return Response.json({ jsonrpc: "2.0", error: { code: -32700, message: "DSC-0008" } });
    if (!Array.isArray(body)) return Response.json(this.#rpcAnswer(headers, body));
    if (body.length > BATCH_MAX) return Response.json({ jsonrpc: "2.0", error: { code: -32600, message: "DSC-0024" } });
    return Response.json(body.map((call) => this.#rpcAnswer(headers, call)));
  }

  #rpcAnswer(headers: Headers, call: unknown): Json {
    const { method, params, id = null } = isObject(call) ? call : {};
    const known = typeof method === "string" && method.startsWith(PREFIX) ? method.slice(PREFIX.length) : "";
    const outcome = this.#outcome(headers, known, params);
    if (outcome?.kind === "result") return { jsonrpc: "2.0", result: outcome.result, id };
    return { jsonrpc: "2.0", error: rpcError(outcome), id };
  }

  #rest(headers: Headers, operation: string, body: unknown): Response {
    const outcome = this.#outcome(headers, operation, body);
    if (outcome?.kind === "result") return Response.json(outcome.result);
    const { message, data = {} } = rpcError(outcome);
    const fault = { faultcode: "Client", faultstring: message, detail: data };
    return Response.json(fault, { status: outcome === null ? 404 : 400 });
  }

  #outcome(headers: Headers, operation: string, params: unknown): BettingOutcome | null {
    const outcome = this.#decide(headers, operation, params);
    if (outcome?.kind === "result") this.calls.set(operation, (this.calls.get(operation) ?? 0) + 1);
    else this.refused++;
    return outcome;
  }

  #decide(headers: Headers, operation: string, params: unknown): BettingOutcome | null {
    const { appKeys, sessions, methods } = this.#options;
    const [appKey, token] = [headers.get("X-Application"), headers.get("X-Authentication")];
    if (this.knobs.error !== null) return exception(this.knobs.error);
    if (!appKey) return exception("NO_APP_KEY");
    if (!appKeys.includes(appKey)) return exception("INVALID_APP_KEY");
    if (!token) return exception("NO_SESSION");
    const account = sessions.accountOf(token);
    if (account === null) return exception("INVALID_SESSION_INFORMATION");
    for (const answer of methods) {
      const outcome = answer(operation, params, account);
      if (outcome !== null) return outcome;
    }
    return null;
  }
}

function exception(errorCode: BettingErrorCode): BettingOutcome {
  return { kind: "exception", errorCode, errorDetails: "" };
}

/** The error of an outcome that is no result; null: there is no such operation. */
function rpcError(outcome: Exclude<BettingOutcome, { kind: "result" }> | null): {
  code: number;
  message: string;
  data?: Json;
} {
  if (outcome === null) return { code: -32601, message: "DSC-0021" };
  if (outcome.kind === "invalid") return { code: -32602, message: outcome.fault };
  const { errorCode, errorDetails } = outcome;
  const number = String(ERROR_CODES.indexOf(errorCode) + 1).padStart(4, "0");
  const APINGException = { requestUUID: "simulated", errorCode, errorDetails };
  return { code: -32099, message: `ANGX-${number}`, data: { APINGException, exceptionname: "APINGException" } };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
