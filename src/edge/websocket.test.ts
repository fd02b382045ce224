import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../base/clock.ts";
import { FAULTS, type FaultCode } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Dial, Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "../sim/clock.ts";
import { VirtualNetwork, type Weather } from "../sim/network.ts";
import { TEXT_FRAMES } from "./frames.ts";
import { Lobby } from "./lobby.ts";
import { LAST_WORDS_MS_MAX } from "./outgoing.ts";
import { bunDial, bunListen } from "./sockets.ts";
import { clientFrame, FakeHub, type OddFrame, type ServerFrame, serverFrames, TOKENS } from "./testing.ts";
import { framed } from "./visit.ts";
import { HANDSHAKE_MS_MAX, PONG_MS_MAX, QUIET_MS_MAX, WebSocketDoor } from "./websocket.ts";

const UPGRADE =
  "GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const LOGIN = { op: "authentication", id: 1, appKey: "k", session: "token-b" };
const subscribe = (id: number) => ({ op: "marketSubscription", id, marketFilter: { marketIds: [`1.${id}`] } });

/** A client of raw frames. */
class Client implements SocketHandler {
  closes = 0;
  error: Error | undefined;
  readonly socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(dial: Dial, port: number) {
    this.socket = dial({ host: "127.0.0.1", port }, this);
  }
  data(_: Socket, bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
  }
  close(_: Socket, error?: Error): void {
    this.closes++;
    this.error = error;
  }
  send(what: string | OddFrame): void {
    this.socket.write(typeof what === "string" ? Buffer.from(what, "latin1") : clientFrame(what));
  }
  say(message: object): void {
    this.send({ opcode: 1, payload: JSON.stringify(message) });
  }
  /** What came before the frames since last asked. */
  head(): string {
    const end = this.#bytes.indexOf("\r\n\r\n") + 4;
    const head = this.#bytes.toString("latin1", 0, end);
    this.#bytes = this.#bytes.subarray(end);
    return head;
  }
  frames(): ServerFrame[] {
    const { frames, rest } = serverFrames(this.#bytes);
    this.#bytes = rest;
    return frames;
  }
  messages(): Record<string, unknown>[] {
    return this.frames().map(({ opcode, payload }) => {
      expect(opcode).toBe(1);
      return JSON.parse(payload.toString());
    });
  }
}

function scene(weather: Partial<Weather> = {}) {
  const clock = new VirtualClock();
  const network = new VirtualNetwork(clock, seededRandom(1), weather);
  const hub = new FakeHub();
  const lobby = new Lobby({ hub, tokens: TOKENS, clock, connectionsMax: 10 });
  const door = new WebSocketDoor({
    listen: network.listen,
    at: { host: "127.0.0.1", port: 80 },
    lobby,
    log: silentLog,
  });
  const knock = (request: string) => {
    const client = new Client(network.dial, door.port);
    clock.advance(10);
    client.send(request);
    clock.advance(10);
    return client;
  };
  /** Somebody upgraded, authenticated and subscribed. */
  const enter = () => {
    const client = knock(UPGRADE);
    client.head();
    client.say(LOGIN);
    client.say(subscribe(2));
    clock.advance(10);
    expect(client.messages()).toHaveLength(3);
    return client;
  };
  return { clock, network, hub, lobby, door, knock, enter };
}

describe("at the door", () => {
  test("an upgrade is answered and greeted; a refusal is answered and closed", () => {
    const { knock, lobby } = scene();
    const good = knock(UPGRADE);
    expect(good.head()).toStartWith("HTTP/1.1 101 ");
    expect(good.messages()).toMatchObject([{ op: "connection" }]);
    const bad = knock(UPGRADE.replace("/v1/ws", "/"));
    expect(bad.head()).toStartWith("HTTP/1.1 404 ");
    expect([bad.closes, bad.error, lobby.connections]).toEqual([1, undefined, 1]);
  });

  test("who takes too long over the request is dropped, however busily", () => {
    const { knock, clock, lobby } = scene();
    const slow = knock("GET /v1/ws HTTP/1.1\r\n");
    for (let waited = 0; waited < HANDSHAKE_MS_MAX; waited += 1000) {
      slow.send("X: y\r\n");
      clock.advance(1000);
    }
    clock.advance(HANDSHAKE_MS_MAX / 20 + 10);
    expect([slow.closes, lobby.connections]).toEqual([1, 0]);
  });
});

describe("a conversation", () => {
  test("carries several subscriptions, each with its own id, and ends one alone", () => {
    const { enter, hub, clock } = scene();
    const client = enter();
    client.say(subscribe(3));
    client.say({ op: "unsubscribe", id: 4, subscription: 2 });
    client.say({ op: "marketSubscription", id: 5, conflateMs: "x" });
    clock.advance(10);
    expect(client.messages()).toMatchObject([
      { id: 3, statusCode: "SUCCESS" },
      { id: 4, statusCode: "SUCCESS" },
      { id: 5, statusCode: "FAILURE", connectionClosed: false },
    ]);
    expect([...hub.last.subscriptions.keys()]).toEqual([3]);
    expect(client.closes).toBe(0);
  });

  test("frames a message of any length so that the length says so", () => {
    const { enter, hub, clock } = scene();
    const client = enter();
    for (const length of [2, 125, 126, 65_535, 65_536, 200_000]) {
      hub.last.say(`"${"x".repeat(length - 2)}"`);
      clock.advance(10);
      expect(client.frames().map(({ payload }) => payload.length)).toEqual([length]);
    }
    expect(TEXT_FRAMES.before(Buffer.alloc(10), 0, 2 ** 40)).toBe(TEXT_FRAMES.overheadMax);
  });

  test("answers a ping behind the message of which the socket has taken a part", () => {
    const { enter, hub, clock, network } = scene({ inFlightBytesMax: 1000 });
    const client = enter();
    network.links()[0]?.near.readAt(0);
    hub.last.say(JSON.stringify("m".repeat(1500)));
    for (const payload of ["first", "second"]) client.send({ opcode: 9, payload });
    clock.advance(10);
    network.links()[0]?.near.readAt(Number.POSITIVE_INFINITY);
    clock.advance(100);
    hub.last.say('"next"');
    clock.advance(10);
    expect(client.frames().map(({ opcode, payload }) => [opcode, payload.length])).toEqual([
      [1, 1502],
      [10, "second".length],
      [1, 6],
    ]);
  });
});

describe("a peer", () => {
  test("that is quiet is pinged, and stays as long as it answers", () => {
    const { enter, clock } = scene();
    const client = enter();
    for (let i = 0; i < 5; i++) {
      clock.advance(QUIET_MS_MAX + PONG_MS_MAX / 2);
      expect(new Set(client.frames().map(({ opcode }) => opcode))).toEqual(new Set([9]));
      client.send({ opcode: 10 });
      clock.advance(10);
    }
    expect(client.closes).toBe(0);
  });

  test("that is dead is noticed and dropped, though nobody says so", () => {
    const { enter, clock, network, lobby, hub } = scene();
    enter();
    network.halfOpen();
    clock.advance(QUIET_MS_MAX);
    expect(lobby.connections).toBe(1);
    clock.advance((PONG_MS_MAX + QUIET_MS_MAX) * 1.05);
    expect([lobby.connections, hub.last.gone]).toEqual([0, true]);
  });

  test("that breaks off leaves the hub", () => {
    const { enter, clock, network, lobby, hub } = scene();
    enter();
    network.cut();
    clock.advance(10);
    expect([lobby.connections, hub.last.gone]).toEqual([0, true]);
    clock.advance(100_000);
  });
});

describe("a goodbye", () => {
  for (const code of ["SLOW", "GOING_AWAY", "UNEXPECTED_ERROR"] satisfies FaultCode[]) {
    test(`of the hub, ${code}, is a status, a close frame with the table's code and the reason, and the end`, () => {
      const { enter, hub, clock } = scene();
      const client = enter();
      hub.last.close({ code, message: "that is why" });
      clock.advance(50);
      const [status, close] = client.frames() as [ServerFrame, ServerFrame];
      expect(JSON.parse(status.payload.toString())).toMatchObject({
        errorCode: FAULTS[code].esa,
        errorMessage: "that is why",
      });
      expect([close.opcode, close.payload.readUInt16BE(0)]).toEqual([8, FAULTS[code].close]);
      expect(close.payload.toString("utf8", 2)).toBe("that is why");
      expect([client.closes, client.error]).toEqual([1, undefined]);
    });
  }

  test("comes after the rest of a message begun, and a reason too long is cut at a character", () => {
    const { enter, hub, clock, network } = scene({ inFlightBytesMax: 1000 });
    const client = enter();
    network.links()[0]?.near.readAt(0);
    hub.last.send(framed({ framing: TEXT_FRAMES }, JSON.stringify("m".repeat(3000))));
    hub.last.close({ code: "SLOW", message: "é".repeat(100) });
    network.links()[0]?.near.readAt(1000);
    clock.advance(100);
    const frames = client.frames();
    expect(frames.map(({ opcode }) => opcode)).toEqual([1, 1, 8]);
    expect(frames[2]?.payload.toString("utf8", 2)).toBe("é".repeat(61));
    expect([client.closes, client.error]).toEqual([1, undefined]);
  });

  test("that is not read is given up after a grace", () => {
    const { enter, hub, clock, network, lobby } = scene({ inFlightBytesMax: 1000 });
    enter();
    network.links()[0]?.near.readAt(0);
    hub.last.say(JSON.stringify("m".repeat(3000)));
    hub.last.close({ code: "SLOW", message: "too slow" });
    clock.advance(LAST_WORDS_MS_MAX * 1.05 + 10);
    expect(lobby.connections).toBe(0);
  });

  test("after a refused request: nothing of what follows in the same read is done", () => {
    const { enter, hub, clock } = scene();
    const client = enter();
    client.socket.write(
      Buffer.concat([
        clientFrame({ opcode: 1, payload: "nonsense" }),
        clientFrame({ opcode: 1, payload: JSON.stringify(subscribe(9)) }),
      ]),
    );
    clock.advance(50);
    expect(client.frames().at(-1)?.payload.readUInt16BE(0)).toBe(FAULTS.INVALID_INPUT.close);
    expect(hub.last.subscriptions.has(9)).toBe(false);
  });
});

describe("Bun's own WebSocket client", () => {
  const doors: WebSocketDoor[] = [];
  const sockets: WebSocket[] = [];
  afterEach(() => {
    for (const door of doors.splice(0)) door.stop();
    for (const socket of sockets.splice(0)) socket.close();
  });

  async function connect() {
    const hub = new FakeHub();
    const lobby = new Lobby({ hub, tokens: TOKENS, clock: systemClock, connectionsMax: 10 });
    const door = new WebSocketDoor({ listen: bunListen, at: { host: "127.0.0.1", port: 0 }, lobby, log: silentLog });
    doors.push(door);
    const socket = new WebSocket(`ws://127.0.0.1:${door.port}/v1/ws`);
    sockets.push(socket);
    const messages: Record<string, unknown>[] = [];
    const ends: CloseEvent[] = [];
    socket.onmessage = (event) => messages.push(JSON.parse(event.data as string));
    socket.onclose = (event) => ends.push(event);
    await until(() => messages.length === 1);
    socket.send(JSON.stringify(LOGIN));
    socket.send(JSON.stringify(subscribe(2)));
    await until(() => messages.length === 3);
    return { hub, lobby, socket, messages, ends };
  }

  test("gets in, and hears large and small messages", async () => {
    const { hub, messages } = await connect();
    for (const length of [1, 200, 100_000]) hub.last.say(JSON.stringify({ op: "mcm", x: "y".repeat(length) }));
    await until(() => messages.length === 6);
    expect(messages.slice(3).map(({ x }) => (x as string).length)).toEqual([1, 200, 100_000]);
  });

  test("is told the code and the reason of a goodbye", async () => {
    const { lobby, messages, ends } = await connect();
    lobby.closeAll({ code: "GOING_AWAY", message: "restarting" });
    await until(() => ends.length === 1);
    expect([ends[0]?.code, ends[0]?.reason, ends[0]?.wasClean]).toEqual([1001, "restarting", true]);
    expect(messages.at(-1)).toMatchObject({ errorMessage: "restarting" });
    await until(() => lobby.connections === 0);
  });

  test("closes with a code of its own and hears it back", async () => {
    const { socket, lobby, ends, hub } = await connect();
    socket.close(4321, "enough");
    await until(() => ends.length === 1 && lobby.connections === 0);
    expect([ends[0]?.code, ends[0]?.wasClean, hub.last.gone]).toEqual([4321, true, true]);
  });

  test("has its pings answered, and answers ours", async () => {
    const { socket } = await connect();
    const pongs: unknown[] = [];
    socket.addEventListener("pong" as "message", (event) => pongs.push(event.data));
    (socket as unknown as { ping(payload: string): void }).ping("are you there");
    await until(() => pongs.length === 1);
  });

  test("that is sent more than its socket takes gets it all, in order", async () => {
    const { hub, messages } = await connect();
    for (let i = 0; i < 200; i++) hub.last.say(JSON.stringify({ op: "mcm", i, x: "y".repeat(50_000) }));
    await until(() => messages.length === 203);
    expect(messages.slice(3).map(({ i }) => i)).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });
});

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 3000) throw new Error(`in vain for ${condition}`);
    await Bun.sleep(1);
  }
}

test("all of it on real sockets, refused and dropped too", async () => {
  const lobby = new Lobby({ hub: new FakeHub(), tokens: TOKENS, clock: systemClock, connectionsMax: 10 });
  const door = new WebSocketDoor({ listen: bunListen, at: { host: "127.0.0.1", port: 0 }, lobby, log: silentLog });
  const response = await fetch(`http://127.0.0.1:${door.port}/v1/ws`);
  expect([response.status, await response.text()]).toEqual([
    426,
    expect.stringContaining("connect a WebSocket client"),
  ]);
  expect((await fetch(`http://127.0.0.1:${door.port}/`)).status).toBe(404);
  const client = new Client(bunDial, door.port);
  await until(() => lobby.connections === 1);
  client.socket.destroy();
  await until(() => lobby.connections === 0);
  door.stop();
});
