import type { Clock } from "../base/clock.ts";
import type { Goodbye } from "../base/errors.ts";
import type { Account } from "../tenancy/tokens.ts";
import { asciiJson } from "../wire/text.ts";
import { type BettingFault, exception, isExceptionCode, restFault, rpcError, rpcId } from "./betting-faults.ts";
import {
  type BookQuery,
  type CatalogueFilter,
  type CatalogueQuery,
  readBookQuery,
  readCatalogueQuery,
  readFilter,
} from "./betting-requests.ts";
import type { HttpRoute } from "./http.ts";

/** What the door needs to know of markets: each gives the result as JSON text (ASCII), or why not. */
export interface BettingReader {
  listMarketBook(query: BookQuery): string | BettingFault;
  listMarketCatalogue(query: CatalogueQuery): string | BettingFault;
  listEventTypes(filter: CatalogueFilter): string | BettingFault;
  listEvents(filter: CatalogueFilter): string | BettingFault;
}

/** Orders as the exchange lists them: its result, or its error's code. */
export interface OrderListReader {
  ask(
    name: "listCurrentOrders" | "listClearedOrders",
    params: unknown,
  ): Promise<
    { readonly kind: "result"; readonly result: unknown } | { readonly kind: "refused"; readonly code: string }
  >;
}

/** Who asks, as far as it matters here. */
type Asker = Pick<Account, "name" | "orders">;

export interface BettingDoorOptions {
  readonly tokens: { authenticate(appKey: string | null, session: string | null): Asker | Goodbye };
  readonly reader: BettingReader;
  /** For those who have orders here; null where the account's are not carried. */
  readonly orders: OrderListReader | null;
  /** Before, nothing is known, and an empty answer would read as "there are none". */
  readonly isReady: () => boolean;
  readonly clock: Pick<Clock, "monotonic">;
  /** Calls of one visitor in a second; a batch counts as what is in it, and a call that looks through all markets as ten. */
  readonly callsPerSecondMax: number;
}

/** A filter of 20,000 market ids is 300 KB. */
export const BODY_BYTES_MAX = 1024 * 1024;
/** Calls in one JSON-RPC batch. */
export const BATCH_MAX = 50;

const RPC_PATH = /^\/exchange\/betting\/json-rpc\/v1\/?$/;
const REST_PATH = /^\/exchange\/betting\/rest\/v1(?:\.0)?\/([^/]*)\/?$/;
const RPC_PREFIX = "SportsAPING/v1.0/";
const HEADERS = { "Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store" };
const SECOND_MS = 1_000;
/** Looking through 20,000 markets takes 5 ms and more, ten times what 40 books take. */
const LOOK_THROUGH_CALLS = 10;

type Json = Readonly<Record<string, unknown>>;
type Answer = string | BettingFault;
type Readers = Pick<BettingDoorOptions, "reader" | "orders">;
type Operation = (params: Json, readers: Readers, asker: Asker) => Answer | Promise<Answer>;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  listMarketBook: (params, { reader }) => asked(readBookQuery(params), (query) => reader.listMarketBook(query)),
  listMarketCatalogue: (params, { reader }) =>
    asked(readCatalogueQuery(params), (query) => reader.listMarketCatalogue(query)),
  listEventTypes: (params, { reader }) => asked(readFilter(params), (filter) => reader.listEventTypes(filter)),
  listEvents: (params, { reader }) => asked(readFilter(params), (filter) => reader.listEvents(filter)),
  // Frameworks ask for these about every market that closes, whether or not they ever bet.
  listCurrentOrders: (params, { orders }, asker) => orderList("listCurrentOrders", params, orders, asker),
  listClearedOrders: (params, { orders }, asker) => orderList("listClearedOrders", params, orders, asker),
};

/**
 * The exchange's betting API, as far as it tells about markets: JSON-RPC, alone or in a batch, and the REST form. Knows the two dialects and who may
 * ask; what is asked goes to the reader.
 */
export class BettingDoor implements HttpRoute {
  readonly #options: BettingDoorOptions;
  /** Calls in the second at hand, by visitor; who did not call in it is not there. */
  readonly #calls = new Map<string, number>();
  #second = Number.NEGATIVE_INFINITY;
  #requests = 0;

  constructor(options: BettingDoorOptions) {
    this.#options = options;
  }

  matches(pathname: string): boolean {
    return RPC_PATH.test(pathname) || REST_PATH.test(pathname);
  }

  async answer(request: Request, { pathname }: URL): Promise<Response> {
    const operation = REST_PATH.exec(pathname)?.[1] ?? null;
    if (request.method !== "POST") return notPost(request.method);
    const text = await bodyText(request);
    return operation === null ? this.#rpc(request, text) : await this.#rest(request, operation, text);
  }

  async #rpc(request: Request, text: string | null): Promise<Response> {
    if (text === null) return this.#rpcRefusal(tooLarge());
    const call = parsed(text);
    if (call === undefined) return this.#rpcRefusal({ kind: "framework", code: "DSC-0008", details: "not JSON" });
    if (!Array.isArray(call)) return reply(await this.#rpcAnswer(call, this.#mayAsk(request, rpcCost(call))));
    if (call.length === 0)
      return this.#rpcRefusal({ kind: "framework", code: "DSC-0024", details: "the batch is empty" });
    if (call.length > BATCH_MAX) return this.#rpcRefusal(tooLarge());
    const cost = call.reduce((sum, one) => sum + rpcCost(one), 0);
    const asker = this.#mayAsk(request, cost);
    const answers: string[] = [];
    for (const one of call) answers.push(await this.#rpcAnswer(one, asker));
    return reply(`[${answers.join(",")}]`);
  }

  /** One call's answer, as JSON text; its id comes back as it was given. */
  async #rpcAnswer(call: unknown, asker: Asker | BettingFault): Promise<string> {
    if (!isObject(call)) return this.#rpcFault({ kind: "framework", code: "DSC-0024", details: "not an object" }, null);
    const { method, params, id } = call;
    const result = await this.#call(asker, nameOf(method), params ?? {});
    if (typeof result !== "string") return this.#rpcFault(result, id);
    return `{"jsonrpc":"2.0","result":${result}${idMember(id)}}`;
  }

  #rpcRefusal(fault: BettingFault): Response {
    return reply(this.#rpcFault(fault, undefined), 400);
  }

  #rpcFault(fault: BettingFault, id: unknown): string {
    return `{"jsonrpc":"2.0","error":${asciiJson(rpcError(fault, this.#requestUuid()))}${idMember(id)}}`;
  }

  async #rest(request: Request, operation: string, text: string | null): Promise<Response> {
    const result = await this.#restResult(request, operation, text);
    if (typeof result === "string") return reply(result);
    const { status, body } = restFault(result, this.#requestUuid());
    return reply(asciiJson(body), status);
  }

  #restResult(request: Request, operation: string, text: string | null): Answer | Promise<Answer> {
    if (text === null) return tooLarge();
    const params = text.trim() === "" ? {} : parsed(text);
    if (params === undefined) return { kind: "framework", code: "DSC-0008", details: "not JSON" };
    return this.#call(this.#mayAsk(request, costOf(operation, params)), operation, params);
  }

  #call(asker: Asker | BettingFault, name: string | null, params: unknown): Answer | Promise<Answer> {
    if ("kind" in asker) return asker;
    const operation = name !== null && Object.hasOwn(OPERATIONS, name) ? OPERATIONS[name] : undefined;
    const served = Object.keys(OPERATIONS).join(", ");
    if (operation === undefined)
      return { kind: "framework", code: "DSC-0021", details: `not served here; what is: ${served}` };
    if (!isObject(params)) return { kind: "framework", code: "DSC-0009", details: "the parameters must be an object" };
    if (!this.#options.isReady()) return exception("SERVICE_BUSY", "no prices yet: the exchange has not answered");
    return operation(params, this.#options, asker);
  }

  /** Who it is, or why not. */
  #mayAsk({ headers }: Request, cost: number): Asker | BettingFault {
    const visitor = this.#options.tokens.authenticate(headers.get("X-Application"), headers.get("X-Authentication"));
    if ("code" in visitor)
      return exception(isExceptionCode(visitor.code) ? visitor.code : "ACCESS_DENIED", visitor.message);
    return this.#count(visitor.name, cost) ?? visitor;
  }

  #count(visitor: string, cost: number): BettingFault | null {
    const second = Math.floor(this.#options.clock.monotonic() / SECOND_MS);
    if (second !== this.#second) this.#calls.clear();
    this.#second = second;
    const sum = (this.#calls.get(visitor) ?? 0) + cost;
    this.#calls.set(visitor, sum);
    const max = this.#options.callsPerSecondMax;
    return sum > max ? exception("TOO_MANY_REQUESTS", `more than ${max} calls a second`) : null;
  }

  #requestUuid(): string {
    return `oddswire-${(++this.#requests).toString(36).padStart(8, "0")}`;
  }
}

function rpcCost(call: unknown): number {
  const { method, params } = isObject(call) ? call : {};
  return costOf(nameOf(method), params);
}

/** How many calls it counts as. */
function costOf(operation: string | null, params: unknown): number {
  if (operation === null || operation === "listMarketBook" || !Object.hasOwn(OPERATIONS, operation)) return 1;
  const filter = isObject(params) ? params.filter : null;
  const ids = isObject(filter) ? filter.marketIds : null;
  return Array.isArray(ids) && ids.length > 0 ? 1 : LOOK_THROUGH_CALLS;
}

function asked<Query extends object>(
  query: Query | BettingFault,
  ask: (query: Query) => string | BettingFault,
): string | BettingFault {
  return "kind" in query ? query : ask(query as Query);
}

/** Who may see no orders has none here, and that is an answer. Whoever may see some is answered by the exchange, of what is theirs. */
async function orderList(
  name: "listCurrentOrders" | "listClearedOrders",
  params: Json,
  orders: OrderListReader | null,
  asker: Asker,
): Promise<Answer> {
  const key = name === "listCurrentOrders" ? "currentOrders" : "clearedOrders";
  if (asker.orders === undefined) return `{"${key}":[],"moreAvailable":false}`;
  if (orders === null) return exception("ACCESS_DENIED", "the account's orders are not carried here");
  const refusal = asker.orders === "account" ? null : notTheirs(params, asker.orders.refPrefix);
  if (refusal !== null) return refusal;
  const outcome = await orders.ask(name, params);
  if (outcome.kind === "result") return asciiJson(outcome.result);
  return exception(
    isExceptionCode(outcome.code) ? outcome.code : "UNEXPECTED_ERROR",
    `the exchange says ${outcome.code}`,
  );
}

/** A list without references, or with others' among them, would hold others' orders. */
function notTheirs({ customerStrategyRefs: refs }: Json, prefix: string): BettingFault | null {
  const isTheirs = (ref: unknown) => typeof ref === "string" && ref.startsWith(prefix);
  if (Array.isArray(refs) && refs.length > 0 && refs.every(isTheirs)) return null;
  return exception("ACCESS_DENIED", `give customerStrategyRefs, each beginning with ${JSON.stringify(prefix)}`);
}

/** The operation's name without the API's; null where the method is another API's, or none at all. */
function nameOf(method: unknown): string | null {
  return typeof method === "string" && method.startsWith(RPC_PREFIX) ? method.slice(RPC_PREFIX.length) : null;
}

function idMember(id: unknown): string {
  return id === undefined ? "" : `,"id":${asciiJson(rpcId(id))}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function tooLarge(): BettingFault {
  const words = `at most ${BATCH_MAX} calls and ${BODY_BYTES_MAX} bytes in one request`;
  return exception("REQUEST_SIZE_EXCEEDS_LIMIT", words);
}

function notPost(method: string): Response {
  const fault: BettingFault = { kind: "framework", code: "DSC-0021", details: `POST, not ${method}` };
  const response = reply(asciiJson(restFault(fault, "").body), 405);
  response.headers.set("Allow", "POST");
  return response;
}

function reply(text: string, status = 200): Response {
  return new Response(text, { status, headers: HEADERS });
}

/** The body as text; null when it is larger than it may be. */
async function bodyText(request: Request): Promise<string | null> {
  if (Number(request.headers.get("Content-Length") ?? 0) > BODY_BYTES_MAX) return null;
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of request.body ?? []) {
    length += piece.length;
    if (length > BODY_BYTES_MAX) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}
