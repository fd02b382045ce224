import type { Goodbye } from "../base/errors.ts";
import type { Visitor } from "../tenancy/tokens.ts";
import { asciiJson } from "../wire/text.ts";
import { rpcId } from "./betting-faults.ts";
import type { HttpRoute } from "./http.ts";

export interface AccountDoorOptions {
  readonly tokens: { authenticate(appKey: string | null, session: string | null): Visitor | Goodbye };
}

/** Calls have no parameters worth the name. */
export const ACCOUNT_BYTES_MAX = 8 * 1024;
/** Calls in one JSON-RPC batch. */
const BATCH_MAX = 10;

const RPC_PATH = /^\/exchange\/account\/json-rpc\/v1\/?$/;
const REST_PATH = /^\/exchange\/account\/rest\/v1(?:\.0)?\/([^/]*)\/?$/;
const PREFIX = "AccountAPING/v1.0/";

/** What is asked before anything else by clients that start. A visitor's purse is empty: what the exchange's account holds is nobody else's to see or spend. */
const OPERATIONS: Readonly<Record<string, (visitor: Visitor) => object>> = {
  getAccountDetails: ({ name, tenant }) => ({
    // What the stream's own sizes are in.
    currencyCode: "GBP",
    firstName: name,
    lastName: tenant,
    localeCode: "en",
    region: "GBR",
    timezone: "GMT",
    discountRate: 0,
    pointsBalance: 0,
    countryCode: "GB",
  }),
  getAccountFunds: () => ({
    availableToBetBalance: 0,
    exposure: 0,
    retainedCommission: 0,
    exposureLimit: 0,
    discountRate: 0,
    pointsBalance: 0,
    wallet: "UK",
  }),
};

interface Fault {
  readonly rpc: number;
  readonly http: number;
  readonly word: string;
  readonly detail: object;
}

/**
 * As much of the exchange's account API as a trading framework asks before it streams: who am I, and what have I. JSON-RPC, alone or in a batch, and the
 * REST form.
 */
export function accountRoute({ tokens }: AccountDoorOptions): HttpRoute {
  const visitorOf = ({ headers }: Request) =>
    tokens.authenticate(headers.get("X-Application"), headers.get("X-Authentication"));
  return {
    matches: (pathname) => RPC_PATH.test(pathname) || REST_PATH.test(pathname),
    async answer(request, { pathname }) {
      if (request.method !== "POST") return reply({}, 405, { Allow: "POST" });
      const visitor = visitorOf(request);
      const operation = REST_PATH.exec(pathname)?.[1];
      if (operation !== undefined) return rest(result(operation, visitor));
      const call = await body(request);
      if (!Array.isArray(call)) return reply(rpc(call, visitor));
      return reply(call.slice(0, BATCH_MAX).map((one) => rpc(one, visitor)));
    },
  };
}

function result(operation: string, visitor: Visitor | Goodbye): object | Fault {
  if ("code" in visitor) return exception(visitor);
  const run = Object.hasOwn(OPERATIONS, operation) ? OPERATIONS[operation] : undefined;
  return run === undefined ? NOT_SERVED : run(visitor);
}

function rpc(call: unknown, visitor: Visitor | Goodbye): object {
  const { method, id } = (typeof call === "object" && call !== null ? call : {}) as { method?: unknown; id?: unknown };
  const known = typeof method === "string" && method.startsWith(PREFIX);
  const outcome = known ? result(method.slice(PREFIX.length), visitor) : NOT_SERVED;
  if (!isFault(outcome)) return { jsonrpc: "2.0", result: outcome, id: rpcId(id) };
  return { jsonrpc: "2.0", error: { code: outcome.rpc, message: outcome.word, data: outcome.detail }, id: rpcId(id) };
}

function rest(outcome: object | Fault): Response {
  if (!isFault(outcome)) return reply(outcome);
  return reply({ faultcode: "Client", faultstring: outcome.word, detail: outcome.detail }, outcome.http);
}

function isFault(outcome: object | Fault): outcome is Fault {
  return "rpc" in outcome;
}

const NOT_SERVED: Fault = {
  rpc: -32601,
  http: 404,
  word: "DSC-0021",
  detail: { message: `not served here; what is: ${Object.keys(OPERATIONS).join(", ")}` },
};

/** The exchange's own exception; it has one word for each of the two things that can be wrong with a caller. */
function exception({ code, message }: Goodbye): Fault {
  const aboutKey = code === "NO_APP_KEY" || code === "INVALID_APP_KEY";
  const errorCode = aboutKey ? "INVALID_APP_KEY" : "INVALID_SESSION_INFORMATION";
  const AccountAPINGException = { requestUUID: "", errorCode, errorDetails: message };
  const detail = { AccountAPINGException, exceptionname: "AccountAPINGException" };
  return { rpc: -32099, http: 400, word: aboutKey ? "AANGX-0004" : "AANGX-0002", detail };
}

/** What was asked, or null where it cannot be read. */
async function body(request: Request): Promise<unknown> {
  if (Number(request.headers.get("Content-Length") ?? 0) > ACCOUNT_BYTES_MAX) return null;
  const text = await request.text();
  try {
    return text.length > ACCOUNT_BYTES_MAX ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

function reply(content: object, status = 200, more: Record<string, string> = {}): Response {
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store", ...more };
  return new Response(asciiJson(content), { status, headers });
}
