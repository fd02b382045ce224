import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "../sim/clock.ts";
import { CATALOGUE_DEFAULTS, Catalogue } from "./catalogue.ts";
import { runnersOf } from "./catalogue-entry.ts";
import type { PostAnswer, PostRequest } from "./identity.ts";
import type { Session } from "./session.ts";

const exception = (errorCode: string) =>
  json({ error: { code: -32099, message: "ANGX-0000", data: { APINGException: { errorCode } } } });

function json(value: object, status = 200): PostAnswer {
  return { status, body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...value }) };
}

function idsOf({ body }: PostRequest): string[] {
  return JSON.parse(body).params.filter.marketIds;
}

/** An exchange with a name for every market, that answers as the test says: an answer, an error to reject with, or null for never. */
function setUp(markets: number) {
  const clock = new VirtualClock();
  const open = new Map(
    Array.from({ length: markets }, (_, i) => [`1.${i}`, { id: `1.${i}`, closedAt: null as number | null }]),
  );
  const asked: { at: number; request: PostRequest; ids: string[] }[] = [];
  const tokens = { given: 0, refused: [] as string[], outcome: null as Awaited<ReturnType<Session["token"]>> | null };
  const named = (ids: readonly string[]) =>
    json({ result: ids.map((marketId) => ({ marketId, marketName: `Name of ${marketId}` })) });
  const service = { answer: (request: PostRequest): PostAnswer | Error | null => named(idsOf(request)) };
  const logged: string[] = [];
  const note = (fields: object) => void logged.push(JSON.stringify(fields));
  const session: Session = {
    current: () => "t",
    token: async () => tokens.outcome ?? { kind: "token", token: `t${++tokens.given}` },
    refused: (token) => void tokens.refused.push(token),
    stop() {},
  };
  const catalogue = new Catalogue(
    { ...CATALOGUE_DEFAULTS, apiHost: "https://api", appKey: "key" },
    {
      clock,
      random: seededRandom(3),
      log: { debug: note, info: note, warn: note, error: note },
      session,
      markets: () => open.values(),
      post: (request) => {
        asked.push({ at: clock.monotonic(), request, ids: idsOf(request) });
        const answer = service.answer(request);
        if (answer === null)
          return new Promise((_, reject) =>
            request.signal.addEventListener("abort", () => reject(new Error("aborted"))),
          );
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    },
  );
  /** Lets time pass in steps of 100 ms or so, and promises settle in between. */
  const pass = async (ms: number) => {
    const steps = Math.min(200, Math.max(1, Math.ceil(ms / 100)));
    for (let step = 0; step < steps; step++) {
      clock.advance(ms / steps);
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    }
  };
  return { clock, open, asked, tokens, service, named, logged, catalogue, pass };
}

describe("the catalogue", () => {
  test("asks for every market once, 50 at a time, five calls a second at the most, with the stream's session", async () => {
    const { asked, catalogue, pass } = setUp(230);
    catalogue.start();
    await pass(10_000);
    expect(asked.map(({ ids }) => ids.length)).toEqual([50, 50, 50, 50, 30]);
    expect(new Set(asked.flatMap(({ ids }) => ids)).size).toBe(230);
    for (let i = 1; i < asked.length; i++)
      expect((asked[i] as { at: number }).at - (asked[i - 1] as { at: number }).at).toBeGreaterThanOrEqual(200);
    const { request } = asked[0] as { request: PostRequest };
    expect(request.url).toBe("https://api/exchange/betting/json-rpc/v1");
    expect(request.headers).toMatchObject({ "X-Application": "key", "X-Authentication": "t1" });
    expect(JSON.parse(request.body)).toMatchObject({
      method: "SportsAPING/v1.0/listMarketCatalogue",
      params: { maxResults: 50 },
    });
    expect(catalogue.get("1.7")?.marketName).toBe("Name of 1.7");
  });

  test("asks for a new market soon, for all of them when they are old, and for closed ones never", async () => {
    const { asked, catalogue, open, pass } = setUp(3);
    catalogue.start();
    await pass(2_000);
    open.set("1.new", { id: "1.new", closedAt: null });
    open.set("1.closed", { id: "1.closed", closedAt: 5 });
    await pass(1_500);
    expect(asked.map(({ ids }) => ids)).toEqual([["1.0", "1.1", "1.2"], ["1.new"]]);
    expect(catalogue.get("1.new")?.marketName).toBe("Name of 1.new");
    (open.get("1.1") as { closedAt: number | null }).closedAt = 6;
    await pass(CATALOGUE_DEFAULTS.refreshMs + 3_000);
    expect(
      asked
        .slice(2)
        .flatMap(({ ids }) => ids)
        .sort(),
    ).toEqual(["1.0", "1.2", "1.new"]);
    expect(catalogue.get("1.1")?.marketName).toBe("Name of 1.1");
  });

  test("forgets markets that are gone", async () => {
    const { catalogue, open, pass } = setUp(3);
    catalogue.start();
    await pass(2_000);
    open.delete("1.1");
    await pass(2_000);
    expect(catalogue.get("1.1")).toBeUndefined();
    expect(catalogue.get("1.2")).toBeDefined();
  });

  test("leaves missing what the exchange does not answer, and keeps what it has while the exchange is away", async () => {
    const { asked, catalogue, service, named, pass } = setUp(3);
    service.answer = () => named(["1.0", "1.99"]);
    catalogue.start();
    await pass(5_000);
    expect(asked.length).toBe(1);
    expect([catalogue.get("1.0")?.marketName, catalogue.get("1.1"), catalogue.get("1.99")]).toEqual([
      "Name of 1.0",
      undefined,
      undefined,
    ]);
    service.answer = () => new Error("ECONNREFUSED");
    await pass(CATALOGUE_DEFAULTS.refreshMs * 2);
    expect(catalogue.get("1.0")?.marketName).toBe("Name of 1.0");
  });

  const troubles: readonly [string, PostAnswer | Error | null][] = [
    ["no connection", new Error("ECONNREFUSED")],
    ["HTTP 503", { status: 503, body: "" }],
    ["no JSON", { status: 200, body: "<html>" }],
    ["JSON null", { status: 200, body: "null" }],
    ["SERVICE_BUSY", exception("SERVICE_BUSY")],
    ["no answer at all", null],
  ];
  for (const [words, answer] of troubles)
    test(`tries again ever less often after ${words}, and is well again after it`, async () => {
      const { asked, catalogue, service, named, pass, logged } = setUp(60);
      service.answer = () => answer;
      catalogue.start();
      await pass(20_000);
      await pass(300_000);
      expect(asked.length).toBeGreaterThan(4);
      expect(asked.length).toBeLessThan(60);
      expect(catalogue.failures).toBeGreaterThan(3);
      expect(logged.join()).not.toContain("t1");
      service.answer = (request) => named(idsOf(request));
      await pass(120_000);
      expect(catalogue.get("1.59")?.marketName).toBe("Name of 1.59");
    });

  test("begins with short waits again once it was well", async () => {
    const { asked, catalogue, open, service, named, pass } = setUp(1);
    service.answer = () => new Error("ECONNREFUSED");
    catalogue.start();
    await pass(300_000);
    service.answer = (request) => named(idsOf(request));
    await pass(60_000);
    expect(catalogue.named).toBe(1);
    service.answer = () => new Error("ECONNREFUSED");
    open.set("1.new", { id: "1.new", closedAt: null });
    const before = asked.length;
    await pass(5_000);
    expect(asked.length - before).toBeGreaterThanOrEqual(2);
  });

  test("asks for another session when its own is refused", async () => {
    const { asked, catalogue, service, tokens, named, pass } = setUp(3);
    service.answer = (request) =>
      request.headers["X-Authentication"] === "t1" ? exception("INVALID_SESSION_INFORMATION") : named(idsOf(request));
    catalogue.start();
    await pass(5_000);
    expect(tokens.refused).toEqual(["t1"]);
    expect(asked.length).toBe(2);
    expect(catalogue.get("1.0")).toBeDefined();
  });

  test("does not show credentials that are refused again and again", async () => {
    const { asked, catalogue, tokens, pass } = setUp(3);
    tokens.outcome = { kind: "refused", reason: "INVALID_USERNAME_OR_PASSWORD" };
    catalogue.start();
    await pass(500_000);
    expect(catalogue.failures).toBe(1);
    expect(asked).toEqual([]);
  });

  test("asks for fewer at once when it was too much, and one market that is refused keeps no other from its name", async () => {
    const { asked, catalogue, service, named, pass } = setUp(60);
    service.answer = (request) => {
      const ids = idsOf(request);
      if (ids.length > 20) return exception("TOO_MUCH_DATA");
      return ids.includes("1.0") ? exception("INVALID_INPUT_DATA") : named(ids);
    };
    catalogue.start();
    await pass(60_000);
    expect(asked.slice(0, 3).map(({ ids }) => ids.length)).toEqual([50, 25, 12]);
    expect(catalogue.get("1.59")?.marketName).toBe("Name of 1.59");
    expect(catalogue.get("1.0")).toBeUndefined();
  });

  test("ends what is under way when it is stopped, and asks nothing more", async () => {
    const { asked, catalogue, service, pass } = setUp(60);
    service.answer = () => null;
    catalogue.start();
    await pass(200);
    catalogue.stop();
    expect(asked[0]?.request.signal.aborted).toBe(true);
    await pass(60_000);
    expect(asked.length).toBe(1);
  });

  test("keeps every value of an entry, odd names included, and takes what is no entry for nothing", async () => {
    const { catalogue, service, pass } = setUp(2);
    const market = {
      marketId: "1.0",
      marketName: "Zoë \u{1f3cf}",
      event: { id: "5", name: "É", openDate: "2026-01-01T00:00:00.000Z" },
      runners: [{ selectionId: 9, runnerName: "भारत", handicap: -0.5, sortPriority: 1, metadata: { runnerId: "9" } }],
      description: { marketType: "WIN", rules: "<b>é</b>" },
    };
    service.answer = () =>
      json({ result: [null, 5, {}, { marketId: 1 }, market, { marketId: "1.1", marketName: "plain" }] });
    catalogue.start();
    await pass(1_000);
    const entry = catalogue.get("1.0");
    expect(entry).toMatchObject({
      marketName: "Zoë \u{1f3cf}",
      event: { id: "5", name: "É", countryCode: null },
      competition: null,
      description: '{"marketType":"WIN"}',
    });
    expect(JSON.parse(entry?.rules ?? "")).toBe("<b>é</b>");
    expect(runnersOf(entry as NonNullable<typeof entry>)).toEqual([
      { selectionId: 9, runnerName: "भारत", handicap: -0.5, sortPriority: 1 },
    ]);
    expect(JSON.parse(entry?.metadata ?? "")).toEqual([{ runnerId: "9" }]);
    expect(catalogue.get("1.1")).toMatchObject({ marketName: "plain", runners: "[]", metadata: null });
  });
});
