import { describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Address, Dial, Socket, SocketHandler } from "../base/socket.ts";
import { Cache } from "../market/cache.ts";
import { ALL_FIELDS, FIELD, type Sink } from "../market/types.ts";
import { VirtualClock } from "../sim/clock.ts";
import { EXCHANGE_DEFAULTS, ExchangeClient, type ExchangeClientOptions } from "./client.ts";
import type { TokenOutcome } from "./identity.ts";
import { type Session, staticSession } from "./session.ts";

/** An exchange that says what the test tells it to, and remembers what it was told. */
class ScriptedExchange {
  readonly calls: Call[] = [];
  /** True: refuse at once, within `dial`. */
  refuses = false;
  readonly dial: Dial = (to, handler) => {
    const call = new Call(to, handler);
    this.calls.push(call);
    if (this.refuses) handler.close(call, new Error("ECONNREFUSED"));
    return call;
  };
  get last(): Call {
    return this.calls.at(-1) as Call;
  }
}

class Call implements Socket {
  readonly remote = "exchange";
  readonly to: Address;
  readonly handler: SocketHandler;
  destroyed = false;
  /** What `write` takes at once. */
  room = Number.POSITIVE_INFINITY;
  #received = "";
  constructor(to: Address, handler: SocketHandler) {
    this.to = to;
    this.handler = handler;
  }
  write(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.room);
    this.room -= taken;
    this.#received += new TextDecoder().decode(bytes.subarray(0, taken));
    return taken;
  }
  end(): void {
    this.destroyed = true;
  }
  destroy(): void {
    this.destroyed = true;
  }
  /** Everything asked for so far. */
  get requests(): Record<string, unknown>[] {
    return this.#received
      .split("\r\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  }
  open(): this {
    this.handler.open?.(this);
    return this;
  }
  raw(text: string): this {
    const bytes = new TextEncoder().encode(text);
    this.handler.data(this, bytes);
    bytes.fill(0); // they were the callee's for the length of the call only
    return this;
  }
  says(...messages: object[]): this {
    return this.raw(messages.map((message) => `${JSON.stringify(message)}\r\n`).join(""));
  }
  closes(error?: Error): void {
    this.handler.close(this, error);
  }
}

const hello = { op: "connection", connectionId: "002-1" };
const accepted = { op: "status", id: 1, statusCode: "SUCCESS", connectionClosed: false, connectionsAvailable: 9 };
const refused = (errorCode: string, id = 1) => ({
  op: "status",
  id,
  statusCode: "FAILURE",
  connectionClosed: errorCode !== "SUBSCRIPTION_LIMIT_EXCEEDED",
  errorCode,
  errorMessage: "x",
});
const image = {
  op: "mcm",
  id: 2,
  ct: "SUB_IMAGE",
  initialClk: "I",
  clk: "C0",
  pt: 1,
  heartbeatMs: 5000,
  mc: mc("1.1"),
};
const change = (clk: string, more: object = {}) => ({ op: "mcm", id: 2, clk, pt: 2, mc: mc("1.1"), ...more });
const heartbeat = (clk: string) => ({ op: "mcm", id: 2, ct: "HEARTBEAT", clk, pt: 3 });

function batches(heard: readonly string[]): string[] {
  return heard.filter((line) => / \[.*\]$/.test(line));
}

function mc(id: string): object[] {
  return [{ id, rc: [{ id: 7, atb: [[2.5, 10]] }] }];
}

const OPTIONS: ExchangeClientOptions = {
  ...EXCHANGE_DEFAULTS,
  name: "exchange",
  host: "stream.example",
  port: 443,
  tls: {},
  appKey: "app-key",
  filter: { eventTypeIds: ["1"] },
  fields: FIELD.EX_ALL_OFFERS | FIELD.EX_MARKET_DEF,
};

function setUp(options: Partial<ExchangeClientOptions> = {}, session: Session = staticSession("token-1")) {
  const clock = new VirtualClock();
  const exchange = new ScriptedExchange();
  const world = { dial: exchange.dial, session, clock, random: seededRandom(1), log: silentLog };
  const client = new ExchangeClient({ ...OPTIONS, ...options }, world);
  const heard: string[] = [];
  const sink: Sink = {
    batch: (batch) => heard.push(`${batch.kind} ${batch.segment} ${batch.clk} [${batch.ids}]`),
    settled: () => heard.push("settled"),
    state: (state, reason) => heard.push(`${state}: ${reason}`),
  };
  const goLive = () => exchange.last.open().says(hello).says(accepted).says(image);
  return { clock, exchange, client, heard, sink, goLive };
}

describe("the one upstream", () => {
  test("logs in, authenticates, subscribes and hands changes on, settled once a read", () => {
    const { exchange, client, heard, sink, goLive } = setUp();
    client.start(sink);
    expect(exchange.last.to).toEqual({ host: "stream.example", port: 443, tls: {} });
    goLive().says(change("C1"), change("C2")).says(heartbeat("C3"));
    expect(exchange.last.requests).toEqual([
      { op: "authentication", id: 1, appKey: "app-key", session: "token-1" },
      {
        op: "marketSubscription",
        id: 2,
        marketFilter: { eventTypeIds: ["1"] },
        marketDataFilter: { fields: ["EX_ALL_OFFERS", "EX_MARKET_DEF"], ladderLevels: 10 },
        segmentationEnabled: true,
        conflateMs: 0,
        heartbeatMs: 5000,
      },
    ]);
    expect(heard).toEqual([
      "image whole C0 [1.1]",
      "live: image complete",
      "settled",
      "update whole C1 [1.1]",
      "update whole C2 [1.1]",
      "settled",
      "heartbeat whole C3 []",
      "settled",
    ]);
    expect(client).toMatchObject({
      connects: 1,
      images: 1,
      resumes: 0,
      messages: 6,
      heartbeats: 1,
      invalidLines: 0,
      connectionId: "002-1",
      connectionsAvailable: 9,
      sourceState: "live",
      lastPublishTime: 3,
      lastMessageAt: 0,
    });
    expect(client.state.kind).toBe("live");
  });

  test("speaks plain TCP only when asked, and takes an authority of one's own", () => {
    const plain = setUp({ tls: "off" });
    plain.client.start(plain.sink);
    expect(plain.exchange.last.to.tls).toBeUndefined();
    const own = setUp({ tls: { ca: "PEM" } });
    own.client.start(own.sink);
    expect(own.exchange.last.to.tls).toEqual({ ca: "PEM" });
  });

  test("asks for every field by name", () => {
    const { exchange, client, sink } = setUp({ fields: ALL_FIELDS });
    client.start(sink);
    exchange.last.open().says(hello).says(accepted);
    expect(exchange.last.requests[1]).toMatchObject({ marketDataFilter: { fields: Object.keys(FIELD) } });
  });

  test("finishes a request that the socket took in part", () => {
    const { exchange, client, sink } = setUp();
    client.start(sink);
    exchange.last.room = 10;
    exchange.last.open().says(hello);
    exchange.last.room = 20;
    exchange.last.handler.drain?.(exchange.last);
    exchange.last.room = Number.POSITIVE_INFINITY;
    exchange.last.handler.drain?.(exchange.last);
    expect(exchange.last.requests).toMatchObject([{ op: "authentication", session: "token-1" }]);
  });

  test("passes repeated and out-of-order clks and foreign ids on", () => {
    const { client, heard, sink, goLive } = setUp();
    client.start(sink);
    goLive().says(change("C2"), change("C1"), change("C1", { id: 99 }));
    expect(heard.slice(3)).toEqual([
      "update whole C2 [1.1]",
      "update whole C1 [1.1]",
      "update whole C1 [1.1]",
      "settled",
    ]);
    expect(client.foreignIds).toBe(1);
  });

  test("survives an op it does not know, an empty line, and a second greeting", () => {
    const { client, sink, goLive } = setUp();
    client.start(sink);
    goLive().says({ op: "ocm", id: 3 }, hello).raw("\r\n");
    expect([client.state.kind, client.otherMessages, client.invalidLines]).toEqual(["live", 1, 0]);
  });
});

describe("a connection that breaks", () => {
  test("is said at once, and resumed after a wait, by both marks and the same criteria", () => {
    const { clock, exchange, client, heard, sink, goLive } = setUp();
    client.start(sink);
    goLive().says(change("C1"));
    exchange.last.closes(new Error("ECONNRESET"));
    expect(heard.at(-1)).toBe("stale: ECONNRESET");
    clock.advance(499);
    expect(exchange.calls.length).toBe(1);
    clock.advance(501);
    expect(exchange.calls.length).toBe(2);
    exchange.last.open().says(hello).says(accepted);
    const [first, second] = exchange.calls.map((call) => call.requests[1]);
    expect(second).toEqual({ ...first, initialClk: "I", clk: "C1" });
    exchange.last.says({ ...change("C2"), ct: "RESUB_DELTA" });
    expect(heard.slice(-3)).toEqual(["resume whole C2 [1.1]", "live: resumed", "settled"]);
    expect(client).toMatchObject({ connects: 2, resumes: 1, images: 1 });
  });

  test("at every byte of a conversation: never half a message, and the marks of the last whole one", () => {
    const lines = [
      hello,
      accepted,
      image,
      change("C1", { segmentType: "SEG_START" }),
      change("C2", { segmentType: "SEG_END" }),
      heartbeat("C3"),
    ];
    const text = lines.map((line) => `${JSON.stringify(line)}\r\n`).join("");
    const ends = lines.map(
      (_, at) =>
        lines
          .slice(0, at + 1)
          .map((line) => `${JSON.stringify(line)}\r\n`)
          .join("").length,
    );
    // The clk to resume by after so many whole messages; a mark within a segmented message does not count.
    const clks = [undefined, undefined, undefined, "C0", "C0", "C2", "C3"];
    for (let cut = 0; cut <= text.length; cut++) {
      const { clock, exchange, client, heard, sink } = setUp();
      client.start(sink);
      exchange.last.open();
      // Split at every byte, too.
      for (const byte of text.slice(0, cut)) exchange.last.raw(byte);
      exchange.last.closes();
      const whole = ends.filter((end) => end <= cut).length;
      // What comes in segments is handed on with the last.
      expect(batches(heard).length).toBe([0, 0, 0, 1, 1, 2, 3][whole] as number);
      clock.advance(1_000);
      exchange.last.open().says(hello).says(accepted);
      expect(exchange.last.requests[1]?.clk).toBe(clks[whole]);
      expect(client.invalidLines).toBe(0);
    }
  });

  test("within a message in segments keeps nobody waiting for the rest, and nothing is gone for it", () => {
    const { clock, exchange, client, sink } = setUp();
    const cache = new Cache({ epoch: "e", clock, retentionMs: 60_000, forgetMs: 60_000 });
    client.start({ ...sink, batch: (batch) => void cache.apply(batch) });
    exchange.last.open().says(hello).says(accepted);
    exchange.last.says({ ...image, clk: null, segmentType: "SEG_START", mc: mc("1.1") });
    expect([cache.midGroup, client.isComplete]).toEqual([true, false]);
    exchange.last.closes();
    expect([cache.midGroup, client.isComplete, cache.size]).toEqual([false, false, 1]);
    clock.advance(1_000);
    exchange.last.open().says(hello).says(accepted).says(image);
    exchange.last.says({ ...image, clk: null, segmentType: "SEG_START", mc: mc("1.2") });
    exchange.refuses = true;
    exchange.last.closes();
    expect([cache.midGroup, client.isComplete, cache.size]).toEqual([false, true, 2]);
  });

  test("by a refusal within dial does no harm, and is tried again ever more slowly", () => {
    const { clock, exchange, client, sink } = setUp();
    exchange.refuses = true;
    client.start(sink);
    expect(exchange.last.destroyed).toBe(true);
    clock.advance(10 * 60_000);
    // 1 + 2 + 4 + … up to 60 s, half of it by chance.
    expect(exchange.calls.length).toBeGreaterThan(12);
    expect(exchange.calls.length).toBeLessThan(30);
    exchange.refuses = false;
    for (const calls = exchange.calls.length; exchange.calls.length === calls; ) clock.advance(1_000);
    exchange.last.open().says(hello).says(accepted).says(image);
    expect(client.sourceState).toBe("live");
  });

  const garbage: readonly [string, string][] = [
    ["invalid JSON", '{"op":"mcm",\r\n'],
    ["not an object", "42\r\n"],
    ["no op", '{"id":2}\r\n'],
    ["wrong types", '{"op":"mcm","mc":{"id":3}}\r\n'],
    ["binary", "\u0000\u0001\u0002\r\n"],
    ["half a change, then nonsense", '{"op":"mcm","mc":[{"id":"1.9","rc":[{"id":1,"atb":[[1,x]]}]}]}\r\n'],
    ["a line beyond the bound", `{"op":"mcm","x":"${"y".repeat(5_000)}"}\r\n`],
    ["a line beyond the bound without an end", "z".repeat(5_000)],
  ];
  for (const [what, text] of garbage)
    test(`by garbage (${what}) applies none of it, reads no further, and resumes`, () => {
      const { clock, exchange, client, heard, sink, goLive } = setUp({ lineBytesMax: 4_096 });
      client.start(sink);
      goLive().says(change("C1"));
      const before = batches(heard).length;
      exchange.last.raw(`${text}${JSON.stringify(change("C9"))}\r\nmore garbage\r\n`);
      expect(batches(heard).length).toBe(before);
      expect(heard.filter((line) => line.startsWith("stale: the exchange sent what cannot be read")).length).toBe(1);
      expect([exchange.last.destroyed, client.invalidLines]).toEqual([true, 1]);
      clock.advance(1_000);
      exchange.last.open().says(hello).says(accepted);
      expect(exchange.last.requests[1]?.clk).toBe("C1");
    });

  test("cannot speak any more: late words and a late open of an old one change nothing", () => {
    const { clock, exchange, client, heard, sink, goLive } = setUp();
    client.start(sink);
    goLive();
    const old = exchange.last;
    old.raw("garbage\r\n");
    const length = heard.length;
    old.says(change("C5")).closes();
    expect(heard.length).toBe(length);
    clock.advance(1_000);
    const slow = exchange.last;
    clock.advance(32_500);
    expect([exchange.calls.length, slow.destroyed]).toEqual([3, true]);
    slow.open();
    expect(client.connects).toBe(1);
  });
});

describe("silence", () => {
  test("of 2 heartbeats is a dead connection", () => {
    const { clock, exchange, client, heard, sink, goLive } = setUp();
    client.start(sink);
    goLive();
    for (let beat = 0; beat < 100; beat++) {
      clock.advance(5_000);
      exchange.last.says(heartbeat(`H${beat}`));
    }
    clock.advance(9_999);
    expect(client.state.kind).toBe("live");
    clock.advance(1);
    expect([client.state.kind, exchange.last.destroyed]).toEqual(["waiting", true]);
    expect(heard.at(-1)).toBe("stale: no message for 2 × 5000 ms");
  });

  test("is not a message that trickles in, but stale it is, and 30 s are the most", () => {
    const { clock, exchange, client, heard, sink, goLive } = setUp();
    client.start(sink);
    goLive();
    const text = `${JSON.stringify(change("C1"))}\r\n`;
    for (let second = 0; second < 20; second++) {
      exchange.last.raw(text[second] as string);
      clock.advance(1_000);
    }
    expect(client.state.kind).toBe("live");
    expect(heard.filter((line) => line.startsWith("stale")).length).toBe(1);
    exchange.last.raw(text.slice(20));
    expect(heard.at(-2)).toBe("live: in time again");
    for (let second = 0; second < 30; second++) {
      exchange.last.raw(text[second] as string);
      clock.advance(1_000);
    }
    expect(client.state.kind).toBe("waiting");
  });

  test("is not our own sleep: a timer that fires late looks again after reading", () => {
    const { clock, exchange, client, sink, goLive } = setUp();
    client.start(sink);
    // A clock whose readings jump while nothing fires: the process was stopped for a minute.
    goLive();
    let asleep = 0;
    const monotonic = clock.monotonic.bind(clock);
    clock.monotonic = () => monotonic() + asleep;
    asleep = 60_000;
    clock.advance(10_000);
    expect(client.state.kind).toBe("live");
    exchange.last.says(heartbeat("H1"));
    clock.advance(9_000);
    expect(client.state.kind).toBe("live");
    clock.advance(1_500);
    expect(client.state.kind).toBe("waiting");
  });

  test("before the image is bounded too, at every step", () => {
    for (const steps of [0, 1, 2, 3]) {
      const { clock, exchange, client, sink } = setUp();
      client.start(sink);
      if (steps > 0) exchange.last.open();
      if (steps > 1) exchange.last.says(hello);
      if (steps > 2) exchange.last.says(accepted);
      clock.advance(29_999);
      expect(exchange.last.destroyed).toBe(false);
      clock.advance(1);
      expect([exchange.last.destroyed, client.state.kind]).toEqual([true, "waiting"]);
    }
  });

  test("a wall clock that jumps an hour changes nothing", () => {
    const { clock, exchange, client, sink, goLive } = setUp();
    client.start(sink);
    goLive();
    for (const jump of [3_600_000, -7_200_000]) {
      clock.wallOffset += jump;
      clock.advance(5_000);
      exchange.last.says(heartbeat("H"));
    }
    expect(client.state.kind).toBe("live");
  });
});

describe("a refusal", () => {
  test("of the marks drops them and comes back at once, once", () => {
    const { clock, exchange, client, sink, goLive } = setUp();
    client.start(sink);
    goLive();
    exchange.last.closes();
    clock.advance(1_000);
    exchange.last.open().says(hello).says(accepted).says(refused("INVALID_CLOCK", 2));
    expect(exchange.calls.length).toBe(3);
    exchange.last.open().says(hello).says(accepted);
    expect(exchange.last.requests[1]?.clk).toBeUndefined();
    // An exchange that says it of no marks at all gets no loop out of us.
    for (let time = 0; time < 100; time++) exchange.last.says(refused("INVALID_CLOCK", 2));
    expect([exchange.calls.length, client.state.kind]).toEqual([3, "waiting"]);
  });

  test("for good says so, closes a connection left open, and is tried again slowly", () => {
    const { clock, exchange, client, heard, sink } = setUp();
    client.start(sink);
    exchange.last.open().says(hello).says(accepted).says(refused("SUBSCRIPTION_LIMIT_EXCEEDED", 2));
    expect(heard).toEqual(["down: SUBSCRIPTION_LIMIT_EXCEEDED: x"]);
    expect([exchange.last.destroyed, client.state.kind]).toEqual([true, "failed"]);
    clock.advance(299_999);
    expect(exchange.calls.length).toBe(1);
    while (exchange.calls.length === 1) clock.advance(10_000);
    expect(clock.monotonic()).toBeLessThanOrEqual(600_000);
    expect([exchange.calls.length > 1, client.state.kind]).toEqual([true, "connecting"]);
  });

  test("of the token asks for another, and uses that", async () => {
    let atHand: string | null = "token-1";
    const session: Session = {
      current: () => atHand,
      token: () => Promise.resolve({ kind: "token", token: "token-2" }),
      refused: (token) => (atHand = token === atHand ? null : atHand),
      stop() {},
    };
    const { exchange, client, sink } = setUp({}, session);
    client.start(sink);
    exchange.last.open().says(hello).says(refused("INVALID_SESSION_INFORMATION"));
    await Promise.resolve();
    exchange.last.open().says(hello);
    expect(exchange.last.requests[0]?.session).toBe("token-2");
    expect(client.connects).toBe(2);
  });
});

describe("a stop", () => {
  test("closes, and the sink hears nothing from then on", () => {
    const { clock, exchange, client, heard, sink, goLive } = setUp();
    client.start(sink);
    goLive();
    const length = heard.length;
    client.stop();
    exchange.last.says(change("C1")).closes();
    clock.advance(3_600_000);
    expect([heard.length, exchange.calls.length, exchange.last.destroyed]).toEqual([length, 1, true]);
    expect(client.state.kind).toBe("stopped");
  });

  test("from within the sink ends the read there, and a start afterwards begins with an image", () => {
    const { exchange, client, heard, sink, goLive } = setUp();
    const batch: Sink["batch"] = (batch) => {
      sink.batch(batch);
      if (batch.clk === "C1") client.stop();
    };
    client.start({ ...sink, batch });
    goLive().says(change("C1"), change("C2"));
    expect(heard.at(-1)).toBe("update whole C1 [1.1]");
    client.start(sink);
    exchange.last.open().says(hello).says(accepted);
    expect(exchange.last.requests[1]?.clk).toBeUndefined();
    expect(() => client.start(sink)).toThrow("started already");
  });

  test("and a start from within the sink leave nothing of the old life, its timers included", () => {
    const { clock, exchange, client, sink, goLive } = setUp();
    let restarts = 0;
    const state: Sink["state"] = (state) => {
      if (state !== "stale" || restarts++ > 0) return;
      client.stop();
      client.start(sink);
    };
    client.start({ ...sink, state });
    goLive();
    exchange.last.closes();
    expect([restarts, exchange.calls.length, client.state.kind]).toEqual([1, 2, "connecting"]);
    clock.advance(30_000);
    expect(client.state.kind).toBe("waiting");
  });

  test("while a login is under way lets its answer go by, also after a new start", async () => {
    const answers: ((outcome: TokenOutcome) => void)[] = [];
    const token = () => new Promise<TokenOutcome>((resolve) => void answers.push(resolve));
    const { exchange, client, sink } = setUp({}, { ...staticSession(""), current: () => null, token });
    client.start(sink);
    client.stop();
    client.start(sink);
    answers[0]?.({ kind: "token", token: "late" });
    await Promise.resolve();
    expect([client.state.kind, exchange.calls.length]).toEqual(["loggingIn", 0]);
    answers[1]?.({ kind: "token", token: "in time" });
    await Promise.resolve();
    exchange.last.open().says(hello);
    expect(exchange.last.requests[0]?.session).toBe("in time");
  });
});
