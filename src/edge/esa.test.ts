import { describe, expect, test } from "bun:test";
import { connect as connectTcp, createServer } from "node:net";
import { connect as connectTls } from "node:tls";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Dial, Listen, Socket, SocketHandler } from "../base/socket.ts";
import { loopbackCertificate } from "../sim/certificate.ts";
import { VirtualClock } from "../sim/clock.ts";
import { VirtualNetwork, type Weather } from "../sim/network.ts";
import { EsaDoor, LINE_BYTES_MAX } from "./esa.ts";
import { Lobby } from "./lobby.ts";
import { LAST_WORDS_MS_MAX } from "./outgoing.ts";
import { bunDial, bunListen, freePort } from "./sockets.ts";
import { FakeHub, TOKENS } from "./testing.ts";

/** A client that keeps what each read brought. */
class Client implements SocketHandler {
  readonly reads: string[] = [];
  closes = 0;
  error: Error | undefined;
  readonly socket: Socket;

  constructor(dial: Dial, port: number) {
    this.socket = dial({ host: "127.0.0.1", port }, this);
  }
  data(_: Socket, bytes: Uint8Array): void {
    this.reads.push(Buffer.from(bytes).toString("latin1"));
  }
  close(_: Socket, error?: Error): void {
    this.closes++;
    this.error = error;
  }
  send(text: string): void {
    this.socket.write(Buffer.from(text));
  }
  /** The messages since last asked. */
  heard(): Record<string, unknown>[] {
    const text = this.reads.splice(0).join("");
    expect(text === "" || text.endsWith("\r\n")).toBe(true);
    return text
      .split("\r\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  }
}

function scene(weather: Partial<Weather> = {}, connectionsMax = 10) {
  const clock = new VirtualClock();
  const network = new VirtualNetwork(clock, seededRandom(1), weather);
  const hub = new FakeHub();
  const lobby = new Lobby({ hub, tokens: TOKENS, clock, connectionsMax });
  const door = new EsaDoor({ listen: network.listen, at: { host: "127.0.0.1", port: 443 }, lobby, log: silentLog });
  const enter = () => {
    const client = new Client(network.dial, door.port);
    clock.advance(20);
    return client;
  };
  const ask = (client: Client, text: string) => {
    client.send(text);
    clock.advance(20);
    return client.heard();
  };
  return { clock, network, hub, lobby, door, enter, ask };
}

const LOGIN = '{"op":"authentication","id":1,"appKey":"k","session":"token-b"}\r\n';
const SUBSCRIBE = '{"op":"marketSubscription","id":2}\r\n';
const HEARTBEAT = '{"op":"heartbeat","id":3}';
const OK = (id: number) => ({ op: "status", id, statusCode: "SUCCESS", connectionClosed: false });

describe("lines", () => {
  test("one message a line, ended by CRLF in the same write, each answer a read of its own until subscribed", () => {
    const { enter, clock } = scene();
    const client = enter();
    client.send(LOGIN);
    clock.advance(20);
    client.send(SUBSCRIBE);
    clock.advance(20);
    expect(client.reads).toHaveLength(3);
    for (const read of client.reads) expect(read).toMatch(/^\{[ -~]*\}\r\n$/);
    expect(client.heard().map(({ op }) => op)).toEqual(["connection", "status", "status"]);
  });

  test("come in however the network cuts and joins them; a bare LF and empty lines are tolerated", () => {
    const { enter, ask } = scene({ chunkBytesMax: 3 });
    const client = enter();
    client.heard();
    const answers = ask(client, `${LOGIN}\r\n\n${HEARTBEAT}\n${HEARTBEAT}\r\n${SUBSCRIBE}`);
    expect(answers).toEqual([{ ...OK(1), connectionsAvailable: 9 }, OK(3), OK(3), OK(2)]);
  });

  test("after the goodbye are not heard, in the same read neither", () => {
    const { enter, ask, hub } = scene();
    const client = enter();
    client.heard();
    const answers = ask(client, `${LOGIN}nonsense\r\n${SUBSCRIBE}`);
    expect(answers).toMatchObject([OK(1), { errorCode: "INVALID_INPUT", connectionClosed: true }]);
    expect(hub.last.subscriptions.size).toBe(0);
    expect([client.closes, client.error]).toEqual([1, undefined]);
  });

  test("that are too long, or not UTF-8, are answered and end the connection", () => {
    for (const [bytes, message] of [
      [Buffer.alloc(LINE_BYTES_MAX + 1, "x"), `a line is longer than ${LINE_BYTES_MAX} bytes`],
      [Buffer.from([0x22, 0xc3, 0x28, 0x22, 10]), "a line is not UTF-8"],
    ] as const) {
      const { enter, clock } = scene({ inFlightBytesMax: 2 * LINE_BYTES_MAX });
      const client = enter();
      client.heard();
      client.socket.write(bytes);
      clock.advance(20);
      expect(client.heard()).toMatchObject([{ errorCode: "INVALID_INPUT", errorMessage: message }]);
      expect(client.closes).toBe(1);
    }
  });
});

describe("a connection", () => {
  test("past the doors' bound is refused, and let in when another has gone", () => {
    const { enter, lobby } = scene({}, 1);
    const first = enter();
    const second = enter();
    expect([second.reads, second.closes]).toEqual([[], 1]);
    first.socket.end();
    const third = enter();
    expect(third.heard()).toHaveLength(1);
    expect(lobby.connections).toBe(1);
  });

  test("that breaks or just goes leaves the hub, however far it had come", () => {
    for (const leave of ["cut", "end"] as const) {
      const { enter, ask, hub, lobby, network, clock } = scene();
      const clients = [enter(), enter()];
      ask(clients[0] as Client, LOGIN + SUBSCRIBE);
      for (const client of clients) leave === "end" ? client.socket.end() : network.cut();
      clock.advance(50);
      expect(hub.last.gone).toBe(true);
      expect(lobby.connections).toBe(0);
      expect(lobby.idle.size).toBe(0);
    }
  });

  test("let go by the hub hears why, after the rest of what it was being told", () => {
    const { enter, ask, hub, clock, network } = scene({ inFlightBytesMax: 1000 });
    const client = enter();
    ask(client, LOGIN + SUBSCRIBE);
    network.links()[0]?.near.readAt(0);
    const message = `{"op":"mcm","x":"${"y".repeat(5000)}"}\r\n`;
    hub.last.send(Buffer.from(message));
    expect(hub.last.rest?.length).toBeGreaterThan(0);
    hub.last.close({ code: "SLOW", message: "too slow" });
    network.links()[0]?.near.readAt(1000);
    clock.advance(100);
    expect(client.heard()).toMatchObject([{ op: "mcm" }, { errorCode: "CONNECTION_FAILED", errorMessage: "too slow" }]);
    expect([client.closes, client.error]).toEqual([1, undefined]);
  });

  test("that never reads its goodbye is reset after a grace", () => {
    const { enter, ask, hub, clock, network, lobby } = scene({ inFlightBytesMax: 1000 });
    const client = enter();
    ask(client, LOGIN + SUBSCRIBE);
    network.links()[0]?.near.readAt(0);
    hub.last.send(Buffer.alloc(5000));
    hub.last.close({ code: "SLOW", message: "too slow" });
    clock.advance(LAST_WORDS_MS_MAX - 1);
    expect(lobby.connections).toBe(1);
    clock.advance(LAST_WORDS_MS_MAX);
    expect(lobby.connections).toBe(0);
  });

  test("is told that the server stops, and no new one is taken", () => {
    const { enter, door, lobby, clock } = scene();
    const client = enter();
    client.heard();
    door.stop();
    lobby.closeAll({ code: "GOING_AWAY", message: "come back soon" });
    clock.advance(50);
    expect(client.heard()).toMatchObject([{ errorCode: "CONNECTION_FAILED", errorMessage: "come back soon" }]);
    expect(enter().reads).toEqual([]);
  });
});

/** Enters a door by a socket that takes so much of each write. */
function enterBy(roomBytes: number) {
  const written: Buffer[] = [];
  const socket: Socket = {
    remote: "somebody",
    write(bytes) {
      const taken = Math.min(bytes.length, roomBytes);
      written.push(Buffer.from(bytes.subarray(0, taken)));
      return taken;
    },
    end() {},
    destroy() {},
  };
  const hub = new FakeHub();
  let accepting: ((socket: Socket) => SocketHandler | null) | null = null;
  const listen: Listen = (_, accept) => {
    accepting = accept;
    return { port: 443, stop() {} };
  };
  const lobby = new Lobby({ hub, tokens: TOKENS, clock: new VirtualClock(), connectionsMax: 1 });
  new EsaDoor({ listen, at: { host: "h", port: 443 }, lobby, log: silentLog });
  const visit = (accepting as unknown as (socket: Socket) => SocketHandler)(socket);
  visit.open?.(socket);
  visit.data(socket, Buffer.from(LOGIN + SUBSCRIBE));
  return { written, hub, drain: () => visit.drain?.(socket) };
}

test("no write leaves a lone LF to who reads 1,024 bytes at a time, and none loses a byte by that", () => {
  for (const roomBytes of [Number.POSITIVE_INFINITY, 2_052, 2_051, 2_050, 2_049, 2_048, 700]) {
    const { written, hub, drain } = enterBy(roomBytes);
    for (let length = 2_040; length < 2_060; length++) {
      written.length = 0;
      const message = `{"op":"mcm","x":"${"y".repeat(length - 21)}"}\r\n`;
      expect(message.length).toBe(length);
      hub.last.send(Buffer.from(message));
      while (hub.last.rest !== null) drain();
      if (roomBytes > 2_060) expect([length, written.map((each) => each.length % 1_024)]).not.toEqual([length, [1]]);
      const text = Buffer.concat(written).toString();
      expect([length, text.endsWith("\r\n"), JSON.parse(text)]).toEqual([length, true, JSON.parse(message)]);
    }
  }
});

test("all of it on real sockets", async () => {
  const hub = new FakeHub();
  const lobby = new Lobby({ hub, tokens: TOKENS, clock: systemClock, connectionsMax: 10 });
  const door = new EsaDoor({ listen: bunListen, at: { host: "127.0.0.1", port: 0 }, lobby, log: silentLog });
  const client = new Client(bunDial, door.port);
  const until = async (condition: () => boolean) => {
    for (let tries = 0; !condition(); tries++) {
      if (tries > 2000) throw new Error(`in vain for ${condition}`);
      await Bun.sleep(1);
    }
  };
  await until(() => client.reads.length === 1);
  client.send(LOGIN);
  await until(() => client.reads.length === 2);
  client.send(SUBSCRIBE);
  await until(() => client.reads.length === 3);
  lobby.closeAll({ code: "GOING_AWAY", message: "come back soon" });
  await until(() => client.closes === 1);
  expect(client.error).toBeUndefined();
  expect(client.heard().map(({ op, statusCode }) => statusCode ?? op)).toEqual([
    "connection",
    "SUCCESS",
    "SUCCESS",
    "FAILURE",
  ]);
  door.stop();
});

/** Between a TLS client and a door: how many records of data the door sent. */
async function recordCounter(doorPort: number) {
  const counter = { records: 0, port: 0, close: () => {} };
  const server = createServer((client) => {
    const upstream = connectTcp(doorPort, "127.0.0.1");
    let rest = Buffer.alloc(0);
    client.pipe(upstream).on("data", (bytes) => {
      rest = Buffer.concat([rest, bytes as Buffer]);
      while (rest.length >= 5 && rest.length >= 5 + rest.readUInt16BE(3)) {
        if (rest[0] === 23) counter.records++;
        rest = rest.subarray(5 + rest.readUInt16BE(3));
      }
      client.write(bytes);
    });
    for (const socket of [client, upstream]) socket.on("error", () => {});
    client.on("close", () => upstream.destroy());
  });
  counter.port = freePort("127.0.0.1");
  await new Promise<void>((resolve) => server.listen(counter.port, "127.0.0.1", resolve));
  counter.close = () => void server.close();
  return counter;
}

test("over TLS each message is a record of its own, also where a client asks everything in one write", async () => {
  const lobby = new Lobby({ hub: new FakeHub(), tokens: TOKENS, clock: systemClock, connectionsMax: 10 });
  const { cert, key } = await loopbackCertificate();
  const at = { host: "127.0.0.1", port: 0, tls: { cert, key } };
  const door = new EsaDoor({ listen: bunListen, at, lobby, log: silentLog });
  const counter = await recordCounter(door.port);
  const socket = connectTls({ port: counter.port, host: "127.0.0.1", rejectUnauthorized: false });
  let said = "";
  socket.on("data", (bytes) => {
    said += bytes;
  });
  const until = async (messages: number) => {
    for (let tries = 0; said.split("\r\n").length <= messages; tries++) {
      if (tries > 2000) throw new Error(`in vain for ${messages} messages: ${said}`);
      await Bun.sleep(1);
    }
  };
  await until(1);
  const handshake = counter.records - 1; // in TLS 1.3 some of it looks like data
  socket.write(`${LOGIN}${SUBSCRIBE}${HEARTBEAT}\r\n`);
  await until(4);
  expect(counter.records - handshake).toBe(4);
  expect(said.split("\r\n").map((line) => line.slice(0, 20))).toHaveLength(5);
  socket.destroy();
  counter.close();
  door.stop();
});
