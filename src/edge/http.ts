import { FAULTS, type FaultCode, type Goodbye } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { FILTER_FLAGS, FILTER_LISTS, type MarketFacts, type MarketFilter } from "../market/filter.ts";
import type { Visitor } from "../tenancy/tokens.ts";
import { asciiJson } from "../wire/text.ts";

/** A market in a list. */
export interface MarketSummary
  extends Pick<
    MarketFacts,
    "status" | "inPlay" | "version" | "eventId" | "eventTypeId" | "marketType" | "countryCode"
  > {
  readonly id: string;
  /** Where the definition carries names, as historic files and demos do. */
  readonly name: string | null;
  readonly eventName: string | null;
  readonly marketTime: string | null;
  readonly totalMatched: number | null;
  readonly runners: readonly {
    readonly id: number;
    readonly hc: number;
    readonly name: string | null;
    readonly status: string | null;
  }[];
}

export interface MarketQuery {
  readonly filter: MarketFilter;
  readonly status: readonly string[];
  readonly inPlay: boolean | null;
  readonly limit: number;
  /** Where the last page ended, as it said. */
  readonly cursor: string | null;
}

export interface MarketPage {
  readonly markets: readonly MarketSummary[];
  /** Asks for the next page; null at the end. */
  readonly next: string | null;
}

/** What the door needs to know of books. */
export interface BookReader {
  /** Null when the cursor is none of this server's. */
  list(query: MarketQuery): MarketPage | null;
  /** The whole book as JSON text, null when there is no such market. */
  book(id: string): string | null;
}

/** Who asks, as the server around the door knows it. */
export interface Caller {
  /** Without a port. Behind a proxy: the proxy's. */
  readonly address: string;
  /** The common name in the client certificate shown, where an authority of ours has signed it; else null. */
  readonly certificateName: string | null;
}

/** Answers requests, whatever server they come by. */
export type HttpHandler = (request: Request, caller: Caller) => Response | Promise<Response>;

/** One more thing that the door serves: an API of its own at its own paths, with its own words for what is wrong. */
export interface HttpRoute {
  matches(pathname: string): boolean;
  answer(request: Request, url: URL, caller: Caller): Response | Promise<Response>;
}

export interface HttpDoorOptions {
  /** What `/v1/info` says. */
  readonly info: () => object;
  readonly tokens: { bySession(session: string | null): Visitor | Goodbye };
  readonly isReady: () => boolean;
  readonly books: BookReader;
  /** Path → how to answer: the page and what it loads. */
  readonly page: ReadonlyMap<string, () => Response>;
  readonly routes?: readonly HttpRoute[];
  /** Hears of requests that nobody had an answer for. */
  readonly log?: Log;
}

export const PAGE_LIMIT = 100;
export const PAGE_LIMIT_MAX = 1000;
/** Values in one query parameter. */
const VALUES_MAX = 1000;

const NOBODY_KNOWN: Caller = { address: "", certificateName: null };

/** The HTTP door: page, REST and health. Knows nothing of sockets: give its answers to any server of web-standard requests. */
export function httpDoor(options: HttpDoorOptions): (request: Request, caller?: Caller) => Promise<Response> {
  return async (request, caller = NOBODY_KNOWN) => {
    const response = await answerOrApology(request, caller, options);
    response.headers.set("X-Content-Type-Options", "nosniff");
    return request.method === "HEAD" ? new Response(null, response) : response;
  };
}

async function answerOrApology(request: Request, caller: Caller, options: HttpDoorOptions): Promise<Response> {
  const url = new URL(request.url);
  const route = options.routes?.find((route) => route.matches(url.pathname));
  try {
    return await (route === undefined ? answer(request, url, options) : route.answer(request, url, caller));
  } catch (error) {
    const fields = { path: url.pathname, error: error instanceof Error ? error.message : String(error) };
    // Who went in the middle of a request is no news.
    if (request.signal.aborted) options.log?.debug(fields, "a request was given up");
    else options.log?.error(fields, "a request had no answer");
    return refusal("UNEXPECTED_ERROR", FAULTS.UNEXPECTED_ERROR.meaning);
  }
}

function answer(request: Request, url: URL, options: HttpDoorOptions): Response {
  const { pathname } = url;
  const known = options.page.has(pathname) || /^\/(livez|readyz|v1\/info|v1\/markets(\/[^/]+)?)$/.test(pathname);
  if (!known) return refusal("NOT_FOUND", `there is nothing at ${pathname}`);
  if (request.method !== "GET" && request.method !== "HEAD") {
    const response = refusal("METHOD_NOT_ALLOWED", `${request.method} is not for ${pathname}`);
    response.headers.set("Allow", "GET, HEAD");
    return response;
  }
  const page = options.page.get(pathname);
  if (page !== undefined) return page();
  if (pathname === "/livez") return json({ alive: true });
  if (pathname === "/readyz")
    return options.isReady() ? json({ ready: true }) : refusal("NOT_READY", FAULTS.NOT_READY.meaning);
  if (pathname === "/v1/info") return json(options.info());
  return withToken(request, options) ?? markets(url, options.books);
}

/** Null when the request carries a good token. */
function withToken(request: Request, { tokens }: HttpDoorOptions): Response | null {
  const [scheme, token = null] = (request.headers.get("Authorization") ?? "").split(" ");
  const visitor = tokens.bySession(scheme?.toLowerCase() === "bearer" ? token : null);
  if (!("code" in visitor)) return null;
  const response = refusal(visitor.code, `${visitor.message}: send Authorization: Bearer TOKEN`);
  response.headers.set("WWW-Authenticate", "Bearer");
  return response;
}

function markets(url: URL, books: BookReader): Response {
  const [, , , id] = url.pathname.split("/");
  if (id !== undefined) {
    const book = books.book(decoded(id));
    return book === null
      ? refusal("MARKET_NOT_FOUND", `no market ${decoded(id)} is known here: /v1/markets lists those that are`)
      : json(book);
  }
  const query = readQuery(url.searchParams);
  if (typeof query === "string") return refusal("INVALID_REQUEST", query);
  const page = books.list(query);
  return page === null
    ? refusal("INVALID_REQUEST", "the cursor is none of this server's: begin again without it")
    : json(page);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const FLAGS = [...FILTER_FLAGS, "inPlay"] as const;
const NAMES: readonly string[] = [...FILTER_LISTS, ...FLAGS, "status", "limit", "cursor"];

/** The query, or what is wrong with it. Lists are separated by commas. */
function readQuery(parameters: URLSearchParams): MarketQuery | string {
  const unknown = [...parameters.keys()].find((name) => !NAMES.includes(name));
  if (unknown !== undefined) return `there is no parameter ${unknown}; those there are: ${NAMES.join(", ")}`;
  const lists = [...FILTER_LISTS, "status"].map(
    (name) => [name, parameters.getAll(name).flatMap((value) => value.split(","))] as const,
  );
  const long = lists.find(([, values]) => values.length > VALUES_MAX);
  if (long !== undefined) return `${long[0]} has more than ${VALUES_MAX} values`;
  const wrong = FLAGS.find((name) => !["true", "false", null].includes(parameters.get(name)));
  if (wrong !== undefined) return `${wrong} is true or false`;
  const limit = Number(parameters.get("limit") ?? PAGE_LIMIT);
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_LIMIT_MAX)
    return `limit is a whole number from 1 to ${PAGE_LIMIT_MAX}`;
  const flag = (name: string) => (parameters.has(name) ? parameters.get(name) === "true" : undefined);
  const { status, ...sets } = Object.fromEntries(lists.filter(([, values]) => values.length > 0));
  const filter: MarketFilter = { ...sets, bspMarket: flag("bspMarket"), turnInPlayEnabled: flag("turnInPlayEnabled") };
  return { filter, status: status ?? [], inPlay: flag("inPlay") ?? null, limit, cursor: parameters.get("cursor") };
}

function json(body: object | string): Response {
  const text = typeof body === "string" ? body : asciiJson(body);
  return new Response(text, {
    headers: { "Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store" },
  });
}

/** What is wrong, in our own words. */
export function refusal(code: FaultCode, message: string): Response {
  const headers = { "Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store" };
  return new Response(asciiJson({ code, message }), { status: FAULTS[code].http, headers });
}
