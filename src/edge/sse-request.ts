import type { FaultCode, Goodbye } from "../base/errors.ts";
import { FILTER_FLAGS, FILTER_LISTS } from "../market/filter.ts";
import { parseRequest, type SubscribeRequest } from "../wire/requests.ts";
import type { RequestHead } from "./request-head.ts";
import { resumedBy } from "./sse-events.ts";

/** Where the SSE door is. */
export const STREAM_PATH = "/v1/stream";
/** Subscriptions of one stream, whatever the visitor may have: every event's id has a few bytes for each. */
export const SUBSCRIPTIONS_MAX = 100;
/** The cookie that carries a session token for who can set no header: an EventSource. */
export const SESSION_COOKIE = "oddswire_session";

/** What somebody asks who opens a stream. */
export interface StreamRequest {
  readonly appKey: string | null;
  readonly session: string | null;
  readonly subscriptions: readonly SubscribeRequest[];
}

/** Those of a subscription that stand beside its filter. */
const TERMS = ["conflateMs", "heartbeatMs", "segmentationEnabled"];
const DATA = ["fields", "ladderLevels"];
const SIMPLE: readonly string[] = [...FILTER_LISTS, ...FILTER_FLAGS, ...TERMS, ...DATA];
const ANYWAY = ["appKey", "lastEventId"];

/** The request, or what is wrong with it. `origins` are those of pages that may use their visitors' cookie from elsewhere. */
export function readStreamRequest(
  head: RequestHead,
  body: Uint8Array,
  origins: readonly string[],
): StreamRequest | Goodbye {
  const { searchParams } = new URL(head.target, "http://stream");
  const messages = head.method === "POST" ? ofBody(body, searchParams) : ofQuery(searchParams);
  if (!Array.isArray(messages)) return messages as Goodbye;
  const subscriptions = subscriptionsOf(messages);
  if ("code" in subscriptions) return subscriptions;
  const lastEventId = head.headers.get("last-event-id") ?? searchParams.get("lastEventId");
  return {
    appKey: head.headers.get("x-application") ?? searchParams.get("appKey"),
    session: sessionOf(head, origins),
    subscriptions: resumedBy(lastEventId, subscriptions),
  };
}

/** A native EventSource: it can read no status and no body, comes back by itself after a 200 that ends, and after nothing else. */
export function isEventSource({ headers }: RequestHead): boolean {
  return (headers.get("accept") ?? "").includes("text/event-stream") && !headers.has("authorization");
}

/** The page that asks is one of those listed: its visitors' cookies count. */
export function isListed({ headers }: RequestHead, origins: readonly string[]): boolean {
  const origin = headers.get("origin");
  return origin !== undefined && origins.includes(origin);
}

/** A browser sends a cookie along with whatever page asks, so it counts only for our own pages and for those listed. */
function sessionOf(head: RequestHead, origins: readonly string[]): string | null {
  const { headers } = head;
  const [scheme, token] = (headers.get("authorization") ?? "").split(" ");
  if (scheme !== "") return scheme?.toLowerCase() === "bearer" ? (token ?? null) : null;
  const origin = headers.get("origin");
  const isOwn = origin === undefined || origin.replace(/^https?:\/\//, "") === headers.get("host");
  if (!isOwn && !isListed(head, origins)) return null;
  const cookies = (headers.get("cookie") ?? "").split(/[;,] */);
  const ours = cookies.find((cookie) => cookie.startsWith(`${SESSION_COOKIE}=`));
  return ours?.slice(SESSION_COOKIE.length + 1) ?? null;
}

function ofBody(body: Uint8Array, parameters: URLSearchParams): unknown[] | Goodbye {
  const surplus = [...parameters.keys()].find((name) => !ANYWAY.includes(name));
  if (surplus !== undefined) return wrong(`a POST says what it wants in its body, not by the parameter ${surplus}`);
  const value = jsonOf(Buffer.from(body).toString());
  return Array.isArray(value) ? value : [value];
}

function ofQuery(parameters: URLSearchParams): unknown[] | Goodbye {
  const given = [...new Set(parameters.keys())].filter((name) => !ANYWAY.includes(name));
  const unknown = given.find((name) => name !== "subscribe" && !SIMPLE.includes(name));
  if (unknown !== undefined) {
    const all = ["subscribe", ...SIMPLE, ...ANYWAY].join(", ");
    return wrong(`there is no parameter ${unknown.slice(0, 40)}; those there are: ${all}`);
  }
  if (!given.includes("subscribe")) return [simpleMessage(parameters)];
  const beside = given.find((name) => name !== "subscribe");
  if (beside !== undefined) return wrong(`${beside} stands beside subscribe: say it within`);
  return parameters.getAll("subscribe").map(jsonOf);
}

/** One subscription by plain parameters; lists by commas or by repetition, as for `/v1/markets`. */
function simpleMessage(parameters: URLSearchParams): object {
  const lists = (names: readonly string[]) =>
    names
      .filter((name) => parameters.has(name))
      .map((name) => [name, parameters.getAll(name).flatMap((value) => value.split(","))] as const);
  const values = (names: readonly string[]) =>
    names.filter((name) => parameters.has(name)).map((name) => [name, plain(parameters.get(name) as string)] as const);
  return {
    ...Object.fromEntries(values(TERMS)),
    marketFilter: Object.fromEntries([...lists(FILTER_LISTS), ...values(FILTER_FLAGS)]),
    marketDataFilter: Object.fromEntries([...lists(["fields"]), ...values(["ladderLevels"])]),
  };
}

/** What is no number and no flag stays a word, and is refused where a message is read. */
function plain(text: string): number | boolean | string {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
}

/** Undefined where it is none; JSON has no such value. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function subscriptionsOf(messages: readonly unknown[]): readonly SubscribeRequest[] | Goodbye {
  if (messages.length === 0) return wrong("a stream carries one subscription at least");
  if (messages.length > SUBSCRIPTIONS_MAX)
    return wrong(`a stream carries ${SUBSCRIPTIONS_MAX} subscriptions at most`, "SUBSCRIPTION_LIMIT_EXCEEDED");
  const requests: SubscribeRequest[] = [];
  for (const [index, message] of messages.entries()) {
    const request = subscriptionOf(message, index + 1);
    const at = messages.length === 1 ? "" : `subscription ${index + 1}: `;
    if ("code" in request) return { ...request, message: `${at}${request.message}` };
    if (requests.some(({ id }) => id === request.id)) return wrong(`${at}another one has the id ${request.id} too`);
    requests.push(request);
  }
  return requests;
}

/** A marketSubscription; its op may be left out, and its id, which is its place then. */
function subscriptionOf(message: unknown, place: number): SubscribeRequest | Goodbye {
  if (typeof message !== "object" || message === null || Array.isArray(message))
    return wrong("not a JSON object", "INVALID_INPUT");
  const { op = null, id = null } = message as { op?: unknown; id?: unknown };
  const whole = { ...message, op: op ?? "marketSubscription", id: id ?? place };
  const request = parseRequest(JSON.stringify(whole), true);
  if (request.kind === "invalid") return { code: request.code, message: request.message };
  return request.kind === "marketSubscription" ? request.request : wrong("a stream carries marketSubscriptions only");
}

function wrong(message: string, code: FaultCode = "INVALID_REQUEST"): Goodbye {
  return { code, message };
}
