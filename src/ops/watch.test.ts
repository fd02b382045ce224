import { describe, expect, test } from "bun:test";
import { FakeClock, FakeServer } from "../../client/testing/fake.ts";
import { findDoor, type WatchOptions, watch } from "./watch.ts";
import { askNames } from "./watch-names.ts";

describe("watching a market", () => {
  test("draws in place, at most ten times a second, and ends on Ctrl-C with the cursor back", async () => {
    const { server, clock, out, stop, code, image, say } = start({}, { isTTY: true });
    server.wire.accept();
    image();
    clock.pass(100);
    const before = out.writes.length;
    for (let n = 0; n < 50; n++) {
      say({ mc: [{ id: "1.1", tv: n }] });
      clock.pass(10);
    }
    expect(out.writes.length - before).toBeWithin(4, 7);
    expect(Bun.stripANSI(out.writes.at(-1)!)).toContain("Arsenal");
    expect(out.writes.at(-1)).toStartWith("\x1b[6A");
    stop();
    expect(await code).toBe(0);
    expect([out.writes.at(-1), server.wire.closedByClient, clock.waiting]).toEqual(["\x1b[?25h", true, 0]);
  });

  test("draws the age of the last message though nothing comes", async () => {
    const { server, clock, out, stop, image } = start({}, { isTTY: true });
    server.wire.accept();
    image();
    clock.pass(3_100);
    expect(out.writes.at(-1)).toContain("last message 3.1 s ago");
    stop();
  });

  test("begins on a clear screen when the terminal has another width", async () => {
    const { server, clock, out, stop, image } = start({}, { isTTY: true });
    server.wire.accept();
    image();
    clock.pass(200);
    expect(out.writes.at(-1)).not.toContain("\x1b[2J");
    out.columns = 60;
    clock.pass(200);
    expect(out.writes.filter((text) => text.startsWith("\x1b[2J"))).toHaveLength(1);
    stop();
  });

  test("without a terminal prints a line a change, and none twice", async () => {
    const { server, clock, out, stop, image, say } = start();
    server.wire.accept();
    image();
    say({ mc: [{ id: "1.1", tv: 5 }] });
    say({ mc: [{ id: "1.1", tv: 5 }] });
    server.wire.cut();
    clock.next();
    stop();
    expect(out.writes.map((text) => text.split(" | ")[2] ?? text)).toEqual([
      "- matched",
      "5 matched",
      expect.stringContaining("closed with 1006, trying again"),
    ]);
  });

  test("once prints the book and ends well; an unknown market is said to be unknown, with exit code 1", async () => {
    const known = start({ once: true });
    known.server.wire.accept();
    known.image();
    expect(await known.code).toBe(0);
    expect(known.out.writes).toEqual([expect.stringContaining("Arsenal")]);
    expect(known.clock.waiting).toBe(0);

    const unknown = start({ once: true });
    unknown.server.wire.accept();
    unknown.say({ ct: "SUB_IMAGE", mc: [] });
    expect(await unknown.code).toBe(1);
    expect(unknown.out.writes).toEqual([expect.stringContaining("No market 1.1 here")]);
  });

  test("once does not wait for ever", async () => {
    const { clock, code, out } = start({ once: true });
    clock.pass(60_000);
    expect(await code).toBe(1);
    expect(out.writes.at(-1)).toContain("no book within 20 s");
  });

  test("a refusal is said and is exit code 1", async () => {
    const { server, code, out } = start();
    server.wire.say({ op: "connection" });
    const id = server.wire.asked("authentication")?.id;
    server.wire.say({ op: "status", id, statusCode: "FAILURE", errorCode: "NO_SESSION", errorMessage: "no token" });
    expect(await code).toBe(1);
    expect(out.writes).toEqual(["no token: give yours with --session TOKEN\n"]);
  });
});

describe("names", () => {
  const known = { name: "Match Odds", eventName: "Ars v Che", runners: new Map([["1/0", "The Gunners"]]) };

  test("come from the gateway's list, once it has them", async () => {
    const answers = [null, null, known];
    const { server, clock, out, stop, code, image } = start(
      { names: async () => answers.shift() ?? null },
      { isTTY: true },
    );
    await settled();
    server.wire.accept();
    image();
    for (let n = 0; n < 3; n++) {
      clock.pass(2_100);
      await settled();
    }
    clock.pass(200);
    expect(Bun.stripANSI(out.writes.at(-1) as string)).toContain("Ars v Che · Match Odds · 1.1");
    expect(Bun.stripANSI(out.writes.at(-1) as string)).toContain("The Gunners");
    expect(answers).toEqual([]);
    stop();
    expect([await code, clock.waiting]).toEqual([0, 0]);
  });

  test("are asked for with the session, and nothing is said where there are none", async () => {
    let asked: unknown[] = [];
    const get = (answer: unknown, status = 200) =>
      (async (url: URL, init: RequestInit) => {
        asked = [url.href, new Headers(init.headers).get("Authorization")];
        if (answer instanceof Error) throw answer;
        return Response.json(answer, { status });
      }) as unknown as typeof fetch;
    const runners = [
      { id: 1, hc: -0.5, name: "The Gunners" },
      { id: 2, hc: 0, name: null },
    ];
    const market = { name: "Match Odds", eventName: null, runners };
    expect(await askNames("http://h/#1.1", "s", "1.1", get({ markets: [market] }))).toEqual({
      name: "Match Odds",
      eventName: null,
      runners: new Map([["1/-0.5", "The Gunners"]]),
    });
    expect(asked).toEqual(["http://h/v1/markets?marketIds=1.1", "Bearer s"]);
    for (const answer of [{ markets: [] }, { markets: [{ ...market, name: null }] }, {}, new Error("gone")])
      expect(await askNames("http://h/", "s", "1.1", get(answer))).toBeNull();
    expect(await askNames("http://h/", "s", "1.1", get({}, 401))).toBeNull();
  });
});

describe("where the door is", () => {
  test("a WebSocket address is the door itself", async () => {
    expect(await findDoor("wss://h/x")).toEqual({ url: "wss://h/x" });
  });

  test("the page's address is asked, and a demo says how to get in", async () => {
    const get = (info: object, status = 200) =>
      (async () => Response.json(info, { status })) as unknown as typeof fetch;
    const demo = { session: "s", appKey: "k" };
    expect(await findDoor("http://h:1/#1.2", get({ websocket: { port: 2, path: "/ws" }, demo }))).toEqual({
      url: "ws://h:2/ws",
      ...demo,
    });
    expect(await findDoor("https://h/", get({ websocket: { url: "wss://other/ws" } }))).toEqual({
      url: "wss://other/ws",
    });
    const why = (url: string, info: object, status = 200) =>
      findDoor(url, get(info, status)).then(String, (error: Error) => error.message);
    expect(await why("http://h/", {}, 404)).toContain("no Oddswire gateway at http://h/ (it answered 404)");
    expect(await why("http://h/", { hello: 1 })).toContain("no Oddswire gateway at http://h/:");
    expect(await why("http://h/", { role: "ingest" })).toContain("serves no users (its role is ingest)");
  });

  test("a gateway that does not answer, or an address that is none, is said in words", async () => {
    const fails = (async () => {
      throw Object.assign(new Error("Unable to connect"), { code: "ECONNREFUSED" });
    }) as unknown as typeof fetch;
    expect(findDoor("http://h/", fails)).rejects.toThrow("(ECONNREFUSED): is it running");
    for (const url of ["nonsense", "ftp://h/", ""]) expect(findDoor(url)).rejects.toThrow("is no address of a gateway");
  });
});

async function settled(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
}

class Paper {
  readonly writes: string[] = [];
  readonly isTTY: boolean;
  columns = 80;
  readonly rows = 24;

  constructor(isTTY: boolean) {
    this.isTTY = isTTY;
  }

  write(text: string): void {
    this.writes.push(text);
  }
}

function start(options: Partial<WatchOptions> = {}, { isTTY = false } = {}) {
  const [server, clock, out, abort] = [new FakeServer(), new FakeClock(), new Paper(isTTY), new AbortController()];
  const code = watch({
    url: "",
    wire: server.open,
    market: "1.1",
    session: "t",
    out,
    clock,
    signal: abort.signal,
    ...options,
  });
  const say = (message: object) =>
    server.wire.say({ op: "mcm", id: server.wire.asked("marketSubscription")?.id, pt: 1, ...message });
  const runners = [{ id: 1, name: "Arsenal", status: "ACTIVE" }];
  const image = () =>
    say({ ct: "SUB_IMAGE", mc: [{ id: "1.1", img: true, marketDefinition: { status: "OPEN", runners } }] });
  return { server, clock, out, code, say, image, stop: () => abort.abort() };
}
