import { describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { type HttpDoorOptions, httpDoor, type MarketQuery } from "./http.ts";

const VISITOR = { name: "a", tenant: "t", subscriptionsMax: 1, marketsMax: 1 };
let asked: MarketQuery | null = null;

function door(options: Partial<HttpDoorOptions> = {}) {
  const handle = httpDoor({
    info: () => ({ version: "1" }),
    tokens: {
      bySession: (token) => (token === "good" ? VISITOR : { code: "INVALID_SESSION_INFORMATION", message: "no" }),
    },
    isReady: () => true,
    books: {
      list(query) {
        asked = query;
        return query.cursor === "foreign" ? null : { markets: [], next: null };
      },
      book: (id) => (id === "1.5" ? '{"market":{}}' : null),
    },
    page: new Map([["/", () => new Response("<html>", { headers: { "Content-Type": "text/html" } })]]),
    ...options,
  });
  return (path: string, init: RequestInit & { token?: string | null } = {}) => {
    const { token = "good", ...rest } = init;
    return handle(
      new Request(`http://h${path}`, { ...rest, headers: token === null ? {} : { Authorization: `Bearer ${token}` } }),
    );
  };
}

function assertNever(): never {
  throw new Error("no such thing");
}

async function fault(answer: Promise<Response>): Promise<[number, string]> {
  const response = await answer;
  return [response.status, ((await response.json()) as { code: string }).code];
}

describe("the HTTP door", () => {
  test("gives the page, what it is, and how it is", async () => {
    const get = door();
    expect(await (await get("/", { token: null })).text()).toBe("<html>");
    expect(await (await get("/v1/info", { token: null })).json()).toEqual({ version: "1" });
    expect((await get("/livez", { token: null })).status).toBe(200);
    expect((await get("/readyz", { token: null })).status).toBe(200);
    expect(await fault(door({ isReady: () => false })("/readyz"))).toEqual([503, "NOT_READY"]);
  });

  test("asks for a token where there are prices", async () => {
    const get = door();
    const response = await get("/v1/markets", { token: "bad" });
    expect(response.headers.get("WWW-Authenticate")).toBe("Bearer");
    expect(await fault(Promise.resolve(response))).toEqual([401, "INVALID_SESSION_INFORMATION"]);
    expect((await get("/v1/markets/1.5", { token: null })).status).toBe(401);
  });

  test("says in its own words when it has no answer, and tells the log", async () => {
    const told: object[] = [];
    const log = { ...silentLog, error: (fields: object, message: string) => void told.push({ ...fields, message }) };
    const books = { list: () => null, book: () => assertNever() };
    expect(await fault(door({ books, log })("/v1/markets/1.5"))).toEqual([500, "UNEXPECTED_ERROR"]);
    expect(told).toEqual([{ path: "/v1/markets/1.5", error: "no such thing", message: "a request had no answer" }]);
  });

  test("speaks ASCII, whatever was asked", async () => {
    expect(await (await door()("/v1/markets/\u00e9")).text()).toContain("no market \\u00e9");
  });

  test("gives a book, and says so when there is none", async () => {
    const get = door();
    expect(await (await get("/v1/markets/1.5")).json()).toEqual({ market: {} });
    expect(await fault(get("/v1/markets/1.6"))).toEqual([404, "MARKET_NOT_FOUND"]);
    expect(await fault(get("/v1/markets/%zz"))).toEqual([404, "MARKET_NOT_FOUND"]);
  });

  test("reads filters and pages", async () => {
    const get = door();
    expect((await get("/v1/markets?eventTypeIds=1,2&status=OPEN&inPlay=true&limit=5&cursor=c")).status).toBe(200);
    expect(asked).toMatchObject({
      filter: { eventTypeIds: ["1", "2"] },
      status: ["OPEN"],
      inPlay: true,
      limit: 5,
      cursor: "c",
    });
    await get("/v1/markets");
    expect(asked).toMatchObject({ status: [], inPlay: null, limit: 100, cursor: null });
  });

  test("refuses what it cannot read, with a code", async () => {
    const get = door();
    for (const query of [
      "limit=0",
      "limit=1001",
      "limit=x",
      "inPlay=maybe",
      "colour=red",
      "cursor=foreign",
      `marketIds=${"1,".repeat(1001)}`,
    ]) {
      expect([query.slice(0, 12), ...(await fault(get(`/v1/markets?${query}`)))]).toEqual([
        query.slice(0, 12),
        400,
        "INVALID_REQUEST",
      ]);
    }
    for (const path of ["/nothing", "/v1/info/x", "/livez/x"])
      expect(await fault(get(path))).toEqual([404, "NOT_FOUND"]);
    const posted = await get("/v1/markets", { method: "POST" });
    expect(posted.headers.get("Allow")).toBe("GET, HEAD");
    expect(await fault(Promise.resolve(posted))).toEqual([405, "METHOD_NOT_ALLOWED"]);
  });

  test("answers HEAD without a body", async () => {
    const response = await door()("/livez", { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(await response.text()).toBe("");
  });
});
