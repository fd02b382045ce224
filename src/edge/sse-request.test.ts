import { describe, expect, test } from "bun:test";
import { FIELD } from "../market/types.ts";
import type { RequestHead } from "./request-head.ts";
import { isEventSource, readStreamRequest, type StreamRequest, SUBSCRIPTIONS_MAX } from "./sse-request.ts";

const head = (method: string, target: string, headers: Record<string, string> = {}): RequestHead => ({
  method,
  target: `/v1/stream${target}`,
  version: "HTTP/1.1",
  headers: new Map(Object.entries(headers)),
});
const read = (target: string, headers: Record<string, string> = {}, origins: string[] = []) =>
  readStreamRequest(head("GET", target, headers), new Uint8Array(0), origins);
const post = (body: unknown, target = "") =>
  readStreamRequest(head("POST", target), Buffer.from(typeof body === "string" ? body : JSON.stringify(body)), []);
const good = (request: ReturnType<typeof read>): StreamRequest => {
  if ("code" in request) throw new Error(`${request.code}: ${request.message}`);
  return request;
};
const wrong = (request: ReturnType<typeof read>): string => {
  if (!("code" in request)) throw new Error("it was taken");
  return `${request.code} ${request.message}`;
};
const encoded = (...messages: unknown[]) =>
  `?${messages.map((message) => `subscribe=${encodeURIComponent(JSON.stringify(message))}`).join("&")}`;

describe("plain parameters", () => {
  test("are one subscription; lists by commas or by repetition", () => {
    const query =
      "?marketTypes=MATCH_ODDS,WIN&eventTypeIds=1&eventTypeIds=7&turnInPlayEnabled=true&fields=EX_LTP,EX_MARKET_DEF&ladderLevels=3&conflateMs=500&heartbeatMs=1000&segmentationEnabled=true";
    expect(good(read(query)).subscriptions).toEqual([
      {
        id: 1,
        filter: { marketTypes: ["MATCH_ODDS", "WIN"], eventTypeIds: ["1", "7"], turnInPlayEnabled: true },
        fields: FIELD.EX_LTP | FIELD.EX_MARKET_DEF,
        ladderLevels: 3,
        conflateMs: 500,
        heartbeatMs: 1000,
        segmentationEnabled: true,
        initialClk: null,
        clk: null,
      },
    ]);
  });

  test("may all be left out: every market", () => {
    expect(good(read("")).subscriptions).toHaveLength(1);
    expect(good(read("")).subscriptions[0]?.filter).toEqual({});
  });

  test("are refused in the protocol's words", () => {
    expect(wrong(read("?ladderLevels=deep"))).toBe(
      "INVALID_REQUEST marketDataFilter.ladderLevels must be an integer of 32 bits",
    );
    expect(wrong(read("?fields=EX_ALL"))).toBe('INVALID_REQUEST unknown field "EX_ALL" in marketDataFilter.fields');
    expect(wrong(read("?bspMarket=perhaps"))).toBe("INVALID_REQUEST marketFilter.bspMarket must be true or false");
    expect(wrong(read("?token=abc"))).toStartWith(
      "INVALID_REQUEST there is no parameter token; those there are: subscribe,",
    );
  });
});

describe("several subscriptions", () => {
  const two = [
    { id: 5, marketFilter: { marketIds: ["1.1"] } },
    { op: "marketSubscription", id: 9, conflateMs: 250, marketDataFilter: { fields: ["EX_LTP"] } },
  ];

  test("by subscribe= and by POST are the same messages as on every door", () => {
    const [first, second] = good(read(encoded(...two))).subscriptions;
    expect([first?.id, first?.filter, second?.id, second?.conflateMs]).toEqual([5, { marketIds: ["1.1"] }, 9, 250]);
    expect(good(post(two)).subscriptions).toEqual(good(read(encoded(...two))).subscriptions);
    expect(good(post(two[0])).subscriptions).toHaveLength(1);
  });

  test("may leave their ids out, which are their places then", () => {
    expect(good(post([{}, { id: null }, {}])).subscriptions.map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  test("are refused for what is wrong with one of them, named by its place", () => {
    expect(wrong(post([{}, { id: "x" }]))).toBe("INVALID_REQUEST subscription 2: id must be an integer of 32 bits");
    expect(wrong(post([{ id: 2 }, {}]))).toBe("INVALID_REQUEST subscription 2: another one has the id 2 too");
    expect(wrong(post([{}, { op: "orderSubscription" }]))).toBe(
      "INVALID_REQUEST subscription 2: a stream carries marketSubscriptions only",
    );
    expect(wrong(post([[], {}]))).toBe("INVALID_INPUT subscription 1: not a JSON object");
    expect(wrong(post([]))).toBe("INVALID_REQUEST a stream carries one subscription at least");
    expect(wrong(post("{"))).toBe("INVALID_INPUT not a JSON object");
    expect(wrong(read("?subscribe={"))).toBe("INVALID_INPUT not a JSON object");
    expect(wrong(read(`${encoded({})}&conflateMs=5`))).toBe(
      "INVALID_REQUEST conflateMs stands beside subscribe: say it within",
    );
    expect(wrong(post({}, "?conflateMs=5"))).toBe(
      "INVALID_REQUEST a POST says what it wants in its body, not by the parameter conflateMs",
    );
    const many = Array.from({ length: SUBSCRIPTIONS_MAX + 1 }, () => ({}));
    expect(wrong(post(many))).toBe(
      `SUBSCRIPTION_LIMIT_EXCEEDED a stream carries ${SUBSCRIPTIONS_MAX} subscriptions at most`,
    );
  });
});

describe("a resume", () => {
  const clocks = (request: StreamRequest) => request.subscriptions.map(({ initialClk, clk }) => [initialClk, clk]);

  test("is by Last-Event-ID, by the parameter of who cannot set it, or in the messages; in this order", () => {
    const own = { initialClk: "e.own", clk: "1" };
    expect(clocks(good(read("?lastEventId=e.A!~2", { "last-event-id": "e.A!~3" })))).toEqual([["e.A", "3"]]);
    expect(clocks(good(read("?lastEventId=e.A!~2")))).toEqual([["e.A", "2"]]);
    expect(clocks(good(post([own])))).toEqual([["e.own", "1"]]);
    expect(clocks(good(post([own], "?lastEventId=e.A!~2")))).toEqual([["e.A", "2"]]);
    expect(clocks(good(read("", { "last-event-id": "of another server" })))).toEqual([[null, null]]);
  });
});

describe("who it is", () => {
  const session = (headers: Record<string, string>, origins: string[] = []) => good(read("", headers, origins)).session;
  const cookie = "a=1; oddswire_session=abc=; b=2";

  test("is said by Authorization, never by the address", () => {
    expect(session({ authorization: "Bearer abc=" })).toBe("abc=");
    expect(session({ authorization: "bearer abc=" })).toBe("abc=");
    expect(session({ authorization: "Basic abc=", cookie })).toBeNull();
    expect(session({})).toBeNull();
  });

  test("is said by a cookie where the page is ours or listed, and by no other page's visitors", () => {
    expect(session({ cookie })).toBe("abc=");
    expect(session({ cookie, host: "odds.example", origin: "https://odds.example" })).toBe("abc=");
    expect(session({ cookie, host: "odds.example", origin: "https://evil.example" })).toBeNull();
    expect(session({ cookie, host: "odds.example", origin: "null" })).toBeNull();
    expect(session({ cookie, host: "odds.example", origin: "https://app.example" }, ["https://app.example"])).toBe(
      "abc=",
    );
  });

  test("may need an app key, by its header or as a parameter, as it is no secret", () => {
    expect(good(read("", { "x-application": "k" })).appKey).toBe("k");
    expect(good(read("?appKey=k")).appKey).toBe("k");
  });
});

test("an EventSource is known by what it accepts and by the header that it cannot send", () => {
  expect(isEventSource(head("GET", "", { accept: "text/event-stream" }))).toBe(true);
  expect(isEventSource(head("GET", "", { accept: "text/event-stream", authorization: "Bearer x" }))).toBe(false);
  expect(isEventSource(head("GET", "", { accept: "*/*" }))).toBe(false);
});
