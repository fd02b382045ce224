import { OddswireError } from "../base/errors.ts";
import type { Door } from "./dialect.ts";
import type { Venue } from "./plan.ts";
import type { MarketChoice } from "./workload.ts";

const ANSWER_MS_MAX = 30_000;
const PAGE = 1_000;
const PATHS: Readonly<Record<Door, string>> = { websocket: "/v1/ws", sse: "/v1/stream", esa: "" };
const DOOR_OF: Readonly<Record<string, Door>> = {
  ws: "websocket",
  wss: "websocket",
  sse: "sse",
  sses: "sse",
  esa: "esa",
  esas: "esa",
};
/** Values of one parameter in one request. */
const IDS_A_REQUEST = 200;

export interface VenueOptions {
  /** `http(s)://` of a gateway's page; or a door itself: `ws(s)://`, `sse://HOST:PORT`, `esa://HOST:PORT`; `sses://`, `esas://` (TLS). */
  readonly url: string;
  /** Which one behind a page's URL. */
  readonly door: Door;
  /** The ESA door behind a page's URL by TLS. */
  readonly tls: boolean;
  readonly ca?: string;
  readonly sessions: readonly string[];
  readonly appKey?: string;
  readonly markets: MarketChoice;
}

/** Where to go, as whom, and what markets there are. */
export interface Found extends Omit<Venue, "marketIds"> {
  readonly marketIds: readonly string[];
  /** All ports that the gateway said it has, and the one that was asked. */
  readonly ports: readonly number[];
  readonly version: string | null;
}

interface Info {
  readonly version?: string;
  readonly websocket?: { readonly port: number; readonly path: string };
  readonly sse?: { readonly port: number | null; readonly path: string };
  readonly esa?: { readonly port: number | null; readonly tlsPort: number | null };
  readonly demo?: { readonly session?: string; readonly appKey?: string };
}

/** Asks the gateway what there is. Throws an OddswireError where it does not answer, lets nobody in, or has no such door or markets. */
export async function findVenue(options: VenueOptions, get: typeof fetch): Promise<Found> {
  const url = new URL(options.url);
  if (!/^https?:$/.test(url.protocol)) return doorItself(url, options);
  const ask = (path: string, headers: Record<string, string> = {}) => answer(new URL(path, url), headers, get, options);
  const info = (await ask("/v1/info")) as Info;
  const sessions = options.sessions.length > 0 ? options.sessions : [info.demo?.session ?? ""];
  const appKey = options.appKey ?? info.demo?.appKey ?? "";
  if (sessions[0] === "") throw new OddswireError("NO_SESSION", NO_TOKEN);
  const known = async (query: URLSearchParams) =>
    (await ask(`/v1/markets?${query}`, { Authorization: `Bearer ${sessions[0]}` })) as MarketPage;
  const { websocket, sse, esa, version } = info;
  const ports = [Number(url.port), websocket?.port, sse?.port, esa?.port, esa?.tlsPort].filter(
    (port) => port,
  ) as number[];
  return {
    ...behind(url, info, options),
    appKey,
    sessions,
    marketIds: await marketIds(options.markets, known),
    ports,
    version: version ?? null,
  };
}

/** A door's own address says nothing of markets. */
function doorItself(url: URL, { ca, sessions, appKey = "", markets }: VenueOptions): Found {
  const scheme = url.protocol.slice(0, -1);
  const door = DOOR_OF[scheme] as Door;
  const isTls = /^(wss|sses|esas)$/.test(scheme);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port) || (isTls ? 443 : 80);
  if (sessions.length === 0) throw new OddswireError("NO_SESSION", NO_TOKEN);
  if (markets.marketIds === undefined || markets.marketIds.length === 0)
    throw new OddswireError(
      "INVALID_REQUEST",
      `${url.protocol}// names a door, which lists no markets: give markets.marketIds in a workload file, or the http(s):// address of the page`,
    );
  return {
    door,
    target: { host, port, tls: isTls ? { ca } : null },
    path: url.pathname === "/" || url.pathname === "" ? PATHS[door] : url.pathname,
    host: url.host,
    appKey,
    sessions,
    marketIds: markets.marketIds,
    ports: [port],
    version: null,
  };
}

/** A page's doors: WebSocket and SSE at ports of their own where there is no TLS; behind a proxy, which has the certificate, at the page's own. */
function behind(
  url: URL,
  { websocket, sse, esa }: Info,
  options: VenueOptions,
): Pick<Found, "door" | "target" | "path" | "host"> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (options.door === "esa") {
    const port = options.tls ? esa?.tlsPort : esa?.port;
    if (port == null)
      throw new OddswireError(
        "CONNECTION_FAILED",
        `the gateway at ${url.origin} has no ESA door on ${options.tls ? "TLS" : "plain TCP; try --tls"}`,
      );
    return {
      door: "esa",
      target: { host, port, tls: options.tls ? { ca: options.ca } : null },
      path: "",
      host: `${host}:${port}`,
    };
  }
  const { door } = options;
  const own = door === "sse" ? sse : websocket;
  if (own?.port === null) throw new OddswireError("CONNECTION_FAILED", `the gateway at ${url.origin} has no SSE door`);
  const isTls = url.protocol === "https:";
  const port = isTls ? Number(url.port) || 443 : (own?.port ?? 80);
  const target = { host, port, tls: isTls ? { ca: options.ca } : null };
  return { door, target, path: own?.path ?? PATHS[door], host: `${url.hostname}:${port}` };
}

interface MarketPage {
  readonly markets: readonly { readonly id: string; readonly status: string | null }[];
  readonly next: string | null;
}

/** Those that are not over, in the gateway's order. */
async function marketIds(
  { marketIds: ids, ...rest }: MarketChoice,
  page: (query: URLSearchParams) => Promise<MarketPage>,
): Promise<string[]> {
  const found: string[] = [];
  const parts = ids === undefined || ids.length === 0 ? [null] : chunks(ids, IDS_A_REQUEST);
  for (const part of parts) {
    const query = new URLSearchParams({ limit: String(PAGE) });
    for (const [name, values] of Object.entries({ ...rest, ...(part && { marketIds: part }) }))
      if (values !== undefined && values.length > 0) query.set(name, values.join(","));
    for (let next: string | null = ""; next !== null; ) {
      if (next !== "") query.set("cursor", next);
      const answer: MarketPage = await page(query);
      found.push(...answer.markets.filter(({ status }) => status !== "CLOSED").map(({ id }) => id));
      next = answer.next;
    }
  }
  if (found.length === 0)
    throw new OddswireError(
      "NOT_READY",
      "the gateway has no such markets that are open: is it connected to the exchange?",
    );
  return found;
}

async function answer(
  url: URL,
  headers: Record<string, string>,
  get: typeof fetch,
  { ca }: VenueOptions,
): Promise<unknown> {
  let response: Response;
  try {
    const tls = ca === undefined ? {} : { tls: { ca } };
    response = await get(url, { headers, signal: AbortSignal.timeout(ANSWER_MS_MAX), ...tls } as RequestInit);
  } catch (error) {
    const reason = (error as { code?: string }).code ?? (error as Error).message;
    throw new OddswireError(
      "CONNECTION_FAILED",
      `there is no Oddswire gateway at ${url.origin} (${reason}): is it running, and is this the address of its page?`,
    );
  }
  const body = (await response.json().catch(() => null)) as { code?: string; message?: string } | null;
  if (response.ok && body !== null) return body;
  if (response.status === 401 || response.status === 403)
    throw new OddswireError(
      "INVALID_SESSION_INFORMATION",
      `${body?.message ?? "the token is not taken"}; give --session TOKEN`,
    );
  throw new OddswireError(
    "CONNECTION_FAILED",
    `${url.origin}${url.pathname} answered ${response.status}: is this the address of an Oddswire page?`,
  );
}

function chunks<T>(list: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size));
}

const NO_TOKEN = "give --session TOKEN, or set ODDSWIRE_LOADTEST_SESSION; only a demo tells its own";
