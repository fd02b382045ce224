import { describe, expect, test } from "bun:test";
import { EventReader } from "../../test/events.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Dial, Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "../sim/clock.ts";
import { VirtualNetwork, type Weather } from "../sim/network.ts";
import { Lobby } from "./lobby.ts";
import { LAST_WORDS_MS_MAX } from "./outgoing.ts";
import { BODY_BYTES_MAX, REQUEST_MS_MAX, SseDoor } from "./sse.ts";
import { FakeHub, type FakeSession, TOKENS } from "./testing.ts";
import { framed } from "./visit.ts";

const AT = { host: "127.0.0.1", port: 80 };
const BEARER = { Authorization: "Bearer token-b" };
const EVENT_SOURCE = { Accept: "text/event-stream", Cookie: "oddswire_session=token-b" };

/** A client of raw HTTP that reads events. */
class Client implements SocketHandler {
  readonly socket: Socket;
  readonly reader = new EventReader();
  closes = 0;
  error: Error | undefined;
  #text = "";

  constructor(dial: Dial) {
    this.socket = dial(AT, this);
  }
  send(text: string): void {
    this.socket.write(Buffer.from(text));
  }
  data(_: Socket, bytes: Uint8Array): void {
    this.#text += Buffer.from(bytes).toString("latin1");
    if (this.status === 200) this.reader.push(this.body.slice(this.#read));
    if (this.status === 200) this.#read = this.body.length;
  }
  #read = 0;
  close(_: Socket, error?: Error): void {
    this.closes++;
    this.error = error;
  }
  get isHeadThere(): boolean {
    return this.#text.includes("\r\n\r\n");
  }
  get status(): number | null {
    return this.isHeadThere ? Number(this.#text.split(" ")[1]) : null;
  }
  get head(): string {
    return this.#text.slice(0, this.#text.indexOf("\r\n\r\n") + 4);
  }
  get body(): string {
    return this.#text.slice(this.head.length);
  }
  header(name: string): string | null {
    return new RegExp(`^${name}: (.*)\r$`, "im").exec(this.head)?.[1] ?? null;
  }
  get messages(): Record<string, unknown>[] {
    return this.reader.events.filter(({ event }) => event === "message").map(({ data }) => JSON.parse(data));
  }
}

const ask = (target = "", headers: Record<string, string> = BEARER, method = "GET", body = "") =>
  `${method} /v1/stream${target} HTTP/1.1\r\nHost: here\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("")}${method === "POST" ? `Content-Length: ${Buffer.byteLength(body)}\r\n` : ""}\r\n${body}`;

function scene(weather: Partial<Weather> = {}, connectionsMax = 10, origins: string[] = []) {
  const clock = new VirtualClock();
  const network = new VirtualNetwork(clock, seededRandom(1), weather);
  const hub = new FakeHub();
  const lobby = new Lobby({ hub, tokens: TOKENS, clock, connectionsMax });
  const { listen } = network;
  const door = new SseDoor({ listen, at: AT, lobby, log: silentLog, random: seededRandom(2), origins });
  const open = (text: string) => {
    const client = new Client(network.dial);
    clock.advance(5);
    client.send(text);
    clock.advance(20);
    return client;
  };
  return { clock, network, hub, lobby, door, open };
}
const tell = (session: FakeSession, message: object) => session.send(framed(session.outlet, JSON.stringify(message)));

describe("a stream", () => {
  test("begins with its headers, when to come back and who it is, and carries messages as events", () => {
    const { clock, hub, open, lobby } = scene();
    const client = open(ask("?marketIds=1.1,1.2&conflateMs=100"));
    expect(client.status).toBe(200);
    expect(client.header("Content-Type")).toBe("text/event-stream; charset=utf-8");
    expect(client.header("Cache-Control")).toBe("no-store, no-transform");
    expect(client.header("X-Accel-Buffering")).toBe("no");
    expect(client.header("Access-Control-Allow-Origin")).toBe("*");
    expect(client.header("Content-Encoding")).toBeNull();
    expect(client.reader.retryMs).toBeGreaterThanOrEqual(500);
    expect(client.reader.comments).toEqual([expect.stringMatching(/^connection 001-\d+-1$/)]);
    expect(hub.last.visitor.name).toBe("bob");
    expect([...hub.last.subscriptions.values()].map(({ filter }) => filter)).toEqual([{ marketIds: ["1.1", "1.2"] }]);
    tell(hub.last, { op: "mcm", id: 1, ct: "SUB_IMAGE", initialClk: "e.A", clk: "1", mc: [{ id: "1.1" }] });
    clock.advance(5);
    expect(client.messages).toEqual([
      { op: "mcm", id: 1, ct: "SUB_IMAGE", initialClk: "e.A", clk: "1", mc: [{ id: "1.1" }] },
    ]);
    expect(client.reader.lastEventId).toBe("e.A!~1");
    expect([lobby.connections, lobby.visits]).toEqual([1, 1]);
  });

  test("waits differently long to come back from client to client", () => {
    const { open } = scene();
    const waits = Array.from({ length: 8 }, () => open(ask()).reader.retryMs as number);
    expect(new Set(waits).size).toBeGreaterThan(4);
  });

  test("is asked for by a POST too, cut anywhere", () => {
    const { clock, hub, open } = scene({ chunkBytesMax: 3 });
    const body = JSON.stringify([{ id: 4 }, { id: 2, marketFilter: { venues: ["São Paulo"] } }]);
    const client = open(ask("", BEARER, "POST", body));
    clock.advance(50);
    expect(client.status).toBe(200);
    expect([...hub.last.subscriptions.keys()]).toEqual([4, 2]);
    expect(hub.last.subscriptions.get(2)?.filter).toEqual({ venues: ["São Paulo"] });
  });

  test("goes on where Last-Event-ID says", () => {
    const { hub, open } = scene();
    open(ask("", { ...BEARER, "Last-Event-ID": "e.A!~1z" }));
    expect(hub.last.subscriptions.get(1)).toMatchObject({ initialClk: "e.A", clk: "1z" });
  });

  test("takes what HTTP/1.0 proxies ask", () => {
    const { open } = scene();
    expect(open("GET /v1/stream HTTP/1.0\r\nAuthorization: Bearer token-b\r\n\r\n").status).toBe(200);
  });

  test("ends for its session when its client goes, at once", () => {
    const { clock, hub, open, lobby } = scene();
    const client = open(ask());
    client.socket.destroy();
    clock.advance(5);
    expect(hub.last.gone).toBe(true);
    expect([lobby.connections, lobby.visits, lobby.ends.get("LEFT")]).toEqual([0, 0, 1]);
  });

  test("does not listen any more to what its client says", () => {
    const { clock, open } = scene();
    const client = open(ask());
    client.send(ask());
    clock.advance(5);
    expect([client.closes, client.body.split("retry").length]).toEqual([0, 2]);
  });
});

describe("silence", () => {
  test("is broken by a comment a little after the heartbeat that the hub did not send", () => {
    const { clock, hub, open } = scene();
    const client = open(ask("?heartbeatMs=1000"));
    clock.advance(10_000);
    const beats = client.reader.comments.filter((comment) => comment === "hb").length;
    expect(beats).toBeGreaterThanOrEqual(8);
    expect(beats).toBeLessThanOrEqual(10);
    for (let second = 0; second < 10; second++) {
      tell(hub.last, { op: "mcm", id: 1, ct: "HEARTBEAT", clk: "1" });
      clock.advance(1000);
    }
    expect(client.reader.comments.filter((comment) => comment === "hb").length).toBe(beats);
  });

  test("of somebody who does not read piles nothing up: of several comments one waits", () => {
    const { clock, hub, network, open } = scene({ inFlightBytesMax: 1024 });
    const client = open(ask("?heartbeatMs=500"));
    network.links()[0]?.near.readAt(0);
    tell(hub.last, { op: "mcm", id: 1, clk: "1", mc: [{ id: "x".repeat(2000) }] });
    clock.advance(60_000);
    network.links()[0]?.near.readAt(Number.POSITIVE_INFINITY);
    clock.advance(400);
    expect(client.messages).toHaveLength(1);
    expect(client.reader.comments.filter((comment) => comment === "hb")).toHaveLength(1);
  });
});

describe("pressure", () => {
  test("reaches the hub: it hears what was taken, and when there is room again", () => {
    const { clock, hub, network, open } = scene({ inFlightBytesMax: 1024 });
    const client = open(ask());
    network.links()[0]?.near.readAt(0);
    tell(hub.last, { op: "mcm", id: 1, clk: "1", mc: [{ id: "x".repeat(3000) }] });
    expect(hub.last.isClear).toBe(false);
    const { drains } = hub.last;
    clock.advance(1000);
    expect(hub.last.drains).toBe(drains);
    network.links()[0]?.near.readAt(Number.POSITIVE_INFINITY);
    clock.advance(100);
    expect(hub.last.drains).toBeGreaterThan(drains);
    expect(hub.last.isClear).toBe(true);
    expect(client.messages).toHaveLength(1);
  });
});

describe("a goodbye", () => {
  test("is the last event, says why, and the response ends", () => {
    const { clock, hub, open, lobby } = scene();
    const client = open(ask());
    hub.last.close({ code: "SLOW", message: "too slow" });
    clock.advance(20);
    const last = client.reader.events.at(-1);
    expect(last?.event).toBe("goodbye");
    expect(JSON.parse(last?.data as string)).toMatchObject({ code: "SLOW", close: 4005, comeBack: "after a pause" });
    expect(client.reader.retryMs).toBeGreaterThanOrEqual(2000);
    expect([client.closes, client.error, lobby.connections, lobby.ends.get("SLOW")]).toEqual([1, undefined, 0, 1]);
  });

  test("comes behind the rest of what was begun, and is not waited for for ever", () => {
    const { clock, hub, network, open } = scene({ inFlightBytesMax: 1024 });
    const client = open(ask());
    network.links()[0]?.near.readAt(0);
    tell(hub.last, { op: "mcm", id: 1, clk: "1", mc: [{ id: "x".repeat(3000) }] });
    hub.last.close({ code: "SLOW", message: "too slow" });
    clock.advance(LAST_WORDS_MS_MAX / 2);
    network.links()[0]?.near.readAt(Number.POSITIVE_INFINITY);
    clock.advance(100);
    expect(client.reader.events.map(({ event }) => event)).toEqual(["message", "goodbye"]);

    const deaf = open(ask());
    network.links()[0]?.near.readAt(0);
    tell(hub.last, { op: "mcm", id: 1, clk: "1", mc: [{ id: "x".repeat(3000) }] });
    hub.last.close({ code: "SLOW", message: "too slow" });
    clock.advance(LAST_WORDS_MS_MAX * 1.2);
    expect([deaf.closes, deaf.error !== undefined]).toEqual([1, true]);
  });

  test("is said to everybody when the house closes", () => {
    const { clock, open, lobby } = scene();
    const clients = [open(ask()), open(ask())];
    lobby.closeAll({ code: "GOING_AWAY", message: "closing" });
    clock.advance(20);
    for (const { reader } of clients) expect(JSON.parse(reader.events.at(-1)?.data as string).code).toBe("GOING_AWAY");
    expect(lobby.connections).toBe(0);
  });
});

describe("who is refused", () => {
  const cases: readonly (readonly [string, string, number, string])[] = [
    ["without a token", ask("", {}), 401, "NO_SESSION"],
    ["with a wrong token", ask("", { Authorization: "Bearer nobody" }), 401, "INVALID_SESSION_INFORMATION"],
    ["with a token in the address", ask("?token=token-b", {}), 400, "INVALID_REQUEST"],
    ["for what is no subscription", ask("?ladderLevels=x"), 400, "INVALID_REQUEST"],
    ["at another path", "GET /v1/streams HTTP/1.1\r\n\r\n", 404, "NOT_FOUND"],
    ["by another method", "PUT /v1/stream HTTP/1.1\r\n\r\n", 405, "METHOD_NOT_ALLOWED"],
    ["with another protocol", "GET /v1/stream HTTP/2\r\n\r\n", 400, "INVALID_REQUEST"],
    ["with what is no HTTP", "\x16\x03\x01", 400, "INVALID_REQUEST"],
    ["with a body of unknown length", "POST /v1/stream HTTP/1.1\r\n\r\n", 411, "INVALID_REQUEST"],
    [
      "with chunks",
      "POST /v1/stream HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
      411,
      "INVALID_REQUEST",
    ],
    [
      "with too large a body",
      `POST /v1/stream HTTP/1.1\r\nContent-Length: ${BODY_BYTES_MAX + 1}\r\n\r\n`,
      413,
      "MESSAGE_TOO_LARGE",
    ],
  ];
  for (const [what, text, status, code] of cases)
    test(`${what}: ${status} ${code}, and nothing is left`, () => {
      const { clock, lobby, open } = scene();
      const client = open(text);
      clock.advance(20);
      expect([client.status, JSON.parse(client.body).code]).toEqual([status, code]);
      expect(client.header("Content-Length")).toBe(String(client.body.length));
      expect([client.closes, client.error, lobby.connections, lobby.visits]).toEqual([1, undefined, 0, 0]);
    });

  test("by the hub hears it by a status, whichever of its subscriptions it was, and has none then", () => {
    const { hub, lobby, open } = scene();
    hub.refusal = { code: "SUBSCRIPTION_LIMIT_EXCEEDED", message: "too many" };
    const client = open(ask());
    expect([client.status, JSON.parse(client.body)]).toEqual([400, hub.refusal]);
    expect([hub.last.gone, lobby.visits]).toEqual([true, 0]);
  });

  test("for one connection too many may come back after a while", () => {
    const { open } = scene();
    const ann = { Authorization: "Bearer token-a" };
    for (let n = 0; n < 2; n++) expect(open(ask("", ann)).status).toBe(200);
    const third = open(ask("", ann));
    expect([third.status, JSON.parse(third.body).code]).toEqual([503, "MAX_CONNECTION_LIMIT_EXCEEDED"]);
    expect(Number(third.header("Retry-After"))).toBeGreaterThanOrEqual(2);
  });

  test("is not even listened to where the house is full", () => {
    const { open } = scene({}, 1);
    open(ask());
    const second = open(ask());
    expect([second.closes, second.status]).toEqual([1, null]);
  });

  test("takes too long over its request is dropped", () => {
    const { clock, lobby, open } = scene();
    const half = [open("GET /v1/str"), open(`POST /v1/stream HTTP/1.1\r\nContent-Length: 10\r\n\r\n[`)];
    clock.advance(REQUEST_MS_MAX * 1.2);
    expect([...half.map(({ closes }) => closes), lobby.connections]).toEqual([1, 1, 0]);
  });
});

describe("an EventSource, which can read no status", () => {
  test("is let in by its cookie", () => {
    const { open, hub } = scene();
    expect(open(ask("", EVENT_SOURCE)).status).toBe(200);
    expect(hub.last.visitor.name).toBe("bob");
  });

  test("is sent away by a stream that says when to come back, where it may", () => {
    const { open } = scene();
    const ann = { ...EVENT_SOURCE, Cookie: "oddswire_session=token-a" };
    for (let n = 0; n < 2; n++) open(ask("", ann));
    const third = open(ask("", ann));
    expect([third.status, third.closes]).toEqual([200, 1]);
    expect(third.header("Content-Type")).toStartWith("text/event-stream");
    expect(JSON.parse(third.reader.events[0]?.data as string).code).toBe("MAX_CONNECTION_LIMIT_EXCEEDED");
    expect(third.reader.retryMs).toBeGreaterThanOrEqual(2000);
  });

  test("hears 204 when it comes back and should not: it gives up", () => {
    const { open } = scene();
    const again = { ...EVENT_SOURCE, Cookie: "oddswire_session=gone", "Last-Event-ID": "e.A!~1" };
    const client = open(ask("", again));
    expect([client.status, client.body, client.closes]).toEqual([204, "", 1]);
    expect(open(ask("", { ...again, "Last-Event-ID": "" })).status).toBe(204);
    const { Cookie, "Last-Event-ID": _, ...first } = again;
    expect(open(ask("", { ...first, Cookie })).status).toBe(401);
  });
});

describe("pages elsewhere", () => {
  const elsewhere = { ...BEARER, Origin: "https://app.example" };

  test("may ask with a token, and are told so before", () => {
    const { open } = scene();
    const asked = open(ask("", { Origin: "https://app.example" }, "OPTIONS"));
    expect(asked.status).toBe(204);
    expect(asked.header("Access-Control-Allow-Headers")).toContain("Authorization");
    expect(asked.header("Access-Control-Allow-Methods")).toBe("GET, POST, OPTIONS");
    const client = open(ask("", elsewhere));
    expect([client.status, client.header("Access-Control-Allow-Origin")]).toEqual([200, "*"]);
    expect(client.header("Access-Control-Allow-Credentials")).toBeNull();
  });

  test("may bring their visitors' cookie where they are listed, and not otherwise", () => {
    const { open } = scene({}, 10, ["https://app.example"]);
    const listed = open(ask("", { ...EVENT_SOURCE, Origin: "https://app.example" }));
    expect([listed.status, listed.header("Access-Control-Allow-Origin")]).toEqual([200, "https://app.example"]);
    expect([listed.header("Access-Control-Allow-Credentials"), listed.header("Vary")]).toEqual(["true", "Origin"]);
    const other = open(ask("", { ...EVENT_SOURCE, Origin: "https://evil.example" }));
    expect([other.status, other.header("Access-Control-Allow-Origin")]).toEqual([401, "*"]);
  });
});

test("who waits to be told to go on with its body is told so", () => {
  const { clock, open } = scene();
  const body = "[{}]";
  const client = open(
    `POST /v1/stream HTTP/1.1\r\nAuthorization: Bearer token-b\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  expect(client.status).toBe(100);
  client.send(body);
  clock.advance(20);
  expect(client.body).toStartWith("HTTP/1.1 200 OK\r\n");
});

test("a thousand streams opened and closed leave nothing", () => {
  const { clock, hub, lobby, network, open } = scene({}, 1000);
  for (let n = 0; n < 1000; n++) {
    const client = open(ask());
    if (n % 3 === 0) client.socket.destroy();
    else if (n % 3 === 1) client.socket.end();
    else hub.last.close({ code: "SLOW", message: "too slow" });
    hub.sessions.length = 1;
  }
  clock.advance(20_000);
  expect([lobby.connections, lobby.visits, lobby.idle.size, network.links().length]).toEqual([0, 0, 0, 0]);
});
