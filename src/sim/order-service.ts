import type { Methods } from "./order-methods.ts";

export interface ServiceOptions {
  readonly appKeys: readonly string[];
  readonly sessions: { accountOf(token: string): string | null };
  /** Asked one after the other until one knows the method. */
  readonly methods: readonly Methods[];
}

const PATH = "/exchange/betting/json-rpc/v1";
const METHOD_PREFIX = "SportsAPING/v1.0/";
/** Calls in one request. */
const BATCH_MAX = 100;

/** The exchange's numbers for what goes wrong. */
const CODES = {
  INVALID_INPUT_DATA: "ANGX-0002",
  INVALID_SESSION_INFORMATION: "ANGX-0003",
  UNEXPECTED_ERROR: "ANGX-0004",
  INVALID_APP_KEY: "ANGX-0005",
  NO_APP_KEY: "ANGX-0007",
  NO_SESSION: "ANGX-0008",
} as const;
type Code = keyof typeof CODES;
type Json = Readonly<Record<string, unknown>>;

/** The betting API over HTTP, JSON-RPC form: one call or a list of calls a POST. Null for any other path. */
export function bettingService(options: ServiceOptions): (request: Request) => Promise<Response | null> {
  return async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.replace(/\/$/, "") !== PATH) return null;
    if (request.method !== "POST") return new Response("Method Not Allowed", { status: 405 });
    const calls = await request.json().catch(() => undefined);
    if (calls === undefined) return Response.json(rpcError(null, -32700, "DSC-0008"));
    const asker = askerOf(options, request.headers);
    if (!Array.isArray(calls)) return Response.json(answer(options, asker, calls));
    if (calls.length > BATCH_MAX) return Response.json(rpcError(null, -32600, "DSC-0009"));
    return Response.json(calls.map((call) => answer(options, asker, call)));
  };
}

type Asker = { readonly account: string } | { readonly code: Code };

function askerOf({ appKeys, sessions }: ServiceOptions, headers: Headers): Asker {
  const appKey = headers.get("X-Application");
  const token = headers.get("X-Authentication");
  if (!appKey) return { code: "NO_APP_KEY" };
  if (!appKeys.includes(appKey)) return { code: "INVALID_APP_KEY" };
  if (!token) return { code: "NO_SESSION" };
  const account = sessions.accountOf(token);
  return account === null ? { code: "INVALID_SESSION_INFORMATION" } : { account };
}

function answer({ methods }: ServiceOptions, asker: Asker, call: unknown): Json {
  const { id = null, method, params } = isObject(call) ? call : {};
  if (typeof method !== "string") return rpcError(id, -32600, "DSC-0009");
  if ("code" in asker) return exception(id, asker.code, "");
  const name = method.startsWith(METHOD_PREFIX) ? method.slice(METHOD_PREFIX.length) : "";
  for (const run of methods) {
    const outcome = run(name, params, asker.account);
    if (outcome === null) continue;
    if (outcome.kind === "result") return { jsonrpc: "2.0", result: outcome.result, id };
    return exception(id, outcome.errorCode, outcome.errorDetails);
  }
  return rpcError(id, -32601, "DSC-0021");
}

function exception(id: unknown, errorCode: Code, errorDetails: string): Json {
  const data = { exceptionname: "APINGException", APINGException: { errorCode, errorDetails, requestUUID: "" } };
  return { jsonrpc: "2.0", error: { code: -32099, message: CODES[errorCode], data }, id };
}

function rpcError(id: unknown, code: number, message: string): Json {
  return { jsonrpc: "2.0", error: { code, message }, id };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
