import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Dial, Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "../sim/clock.ts";
import { VirtualNetwork } from "../sim/network.ts";
import { Lobby } from "./lobby.ts";
import { bunDial, bunListen } from "./sockets.ts";
import { clientFrame, FakeHub, type OddFrame, serverFrames, TOKENS } from "./testing.ts";
import { MESSAGE_BYTES_MAX, WebSocketDoor } from "./websocket.ts";

/**
 * RFC 6455 as a table, numbered after the cases of the Autobahn test suite; ours is no echo server, so a message that came through whole shows by
 * the answer to the heartbeat request that it is. What is answered is written as words: "ok 1" is the SUCCESS of request 1, "failed X" a FAILURE,
 * "pong hex", "close code".
 */
interface Case {
  readonly id: string;
  readonly what: string;
  readonly send: readonly (OddFrame | Uint8Array)[];
  readonly answer: readonly string[];
}

const TEXT = 1;
const MORE = 0;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const cases: Case[] = [];
const add = (id: string, what: string, send: readonly (OddFrame | Uint8Array)[], ...answer: string[]) =>
  cases.push({ id, what, send, answer });
const hex = (bytes: Uint8Array | string) => Buffer.from(bytes).toString("hex");

/** A heartbeat request of `size` bytes, or with text in it. */
const request = (id: number, size = 0) => Buffer.from(`{"op":"heartbeat","id":${id}}`.padEnd(size, " "));
const holding = (...text: readonly (string | Uint8Array)[]) =>
  Buffer.concat(['{"op":"heartbeat","id":1,"x":"', ...text, '"}'].map((part) => Buffer.from(part)));
const text = (payload: Uint8Array | string): OddFrame => ({ opcode: TEXT, payload });
/** A message in pieces, cut at these places. */
const pieces = (message: Uint8Array, ...cuts: number[]): OddFrame[] =>
  [0, ...cuts].map((from, i) => ({
    opcode: i === 0 ? TEXT : MORE,
    fin: i === cuts.length,
    payload: message.subarray(from, cuts[i] ?? message.length),
  }));
const octets = (message: Uint8Array) => pieces(message, ...Array.from({ length: message.length - 1 }, (_, i) => i + 1));
const ping = (payload: Uint8Array | string = ""): OddFrame => ({ opcode: PING, payload });
const close = (code: number, reason: Uint8Array | string = ""): OddFrame => ({
  opcode: CLOSE,
  payload: Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]),
});

// 1 framing
add("1.1.1", "an empty message is no JSON", [text("")], "failed INVALID_INPUT", "close 4100");
for (const [n, size] of [125, 126, 127, 128, 65_535, 65_536, 65_537].entries()) {
  add(`1.1.${n + 2}`, `a message of ${size} bytes`, [text(request(1, size))], "ok 1");
}
add("1.1.9", "a length in more bytes than it needs", [{ ...text(request(1)), lengthBytes: 8 }], "ok 1");
for (const [n, size] of [0, 125, 126, 65_536].entries()) {
  add(
    `1.2.${n + 1}`,
    `a binary message of ${size} bytes`,
    [{ opcode: BINARY, payload: Buffer.alloc(size) }],
    "close 1003",
  );
}
add("1.3.1", "a frame that is not masked", [{ ...text(request(1)), masked: false }], "close 1002");
add("1.3.2", "a ping that is not masked", [{ ...ping(), masked: false }], "close 1002");

// 2 pings and pongs
add("2.1", "a ping", [ping()], "pong ");
add("2.2", "a ping with text", [ping("Hello, world!")], `pong ${hex("Hello, world!")}`);
const binary = Buffer.from([0, 255, 254, 253, 252, 251, 0, 255]);
add("2.3", "a ping with bytes", [ping(binary)], `pong ${hex(binary)}`);
add("2.4", "a ping of 125 bytes", [ping(Buffer.alloc(125, 254))], `pong ${"fe".repeat(125)}`);
add("2.5", "a ping of 126 bytes", [ping(Buffer.alloc(126, 254))], "close 1002");
add("2.7", "a pong nobody asked for", [{ opcode: PONG }]);
add("2.8", "a pong nobody asked for, with payload", [{ opcode: PONG, payload: "unsolicited" }]);
add(
  "2.9",
  "a pong, then a ping",
  [{ opcode: PONG, payload: "unsolicited" }, ping("payload")],
  `pong ${hex("payload")}`,
);
const ten = Array.from({ length: 10 }, (_, i) => `payload-${i}`);
add("2.10", "ten pings", ten.map(ping), ...ten.map((payload) => `pong ${hex(payload)}`));
add("2.12", "a pong of 126 bytes", [{ opcode: PONG, payload: Buffer.alloc(126) }], "close 1002");

// 3 reserved bits
add("3.1", "a message with reserved bit 3", [{ ...text(request(1)), reserved: 1 }], "close 1002");
add(
  "3.2",
  "a good message, one with bit 2, a ping",
  [text(request(1)), { ...text(request(2)), reserved: 2 }, ping()],
  "ok 1",
  "close 1002",
);
add("3.3", "bits 2 and 3", [text(request(1)), { ...text(request(2)), reserved: 3 }, ping()], "ok 1", "close 1002");
add("3.4", "bit 1, as of a compressed message", [{ ...text(request(1)), reserved: 4 }], "close 1002");
add("3.5", "a binary message with bits", [{ opcode: BINARY, payload: binary, reserved: 5 }], "close 1002");
add("3.6", "a ping with bits", [{ ...ping("x"), reserved: 6 }], "close 1002");
add("3.7", "a close with bits", [{ ...close(1000), reserved: 7 }], "close 1002");

// 4 opcodes
for (const [n, opcode] of [3, 4, 5, 6, 7].entries()) {
  add(
    `4.1.${n + 1}`,
    `the reserved data opcode ${opcode}`,
    [text(request(1)), { opcode, payload: "x" }, ping()],
    "ok 1",
    "close 1002",
  );
}
for (const [n, opcode] of [11, 12, 13, 14, 15].entries()) {
  add(
    `4.2.${n + 1}`,
    `the reserved control opcode ${opcode}`,
    [text(request(1)), { opcode }, ping()],
    "ok 1",
    "close 1002",
  );
}

// 5 fragmentation
add(
  "5.1",
  "a ping in two fragments",
  [
    { ...ping("a"), fin: false },
    { opcode: MORE, payload: "b" },
  ],
  "close 1002",
);
add("5.2", "a pong in two fragments", [{ opcode: PONG, payload: "a", fin: false }, { opcode: MORE }], "close 1002");
add("5.3", "a message in two fragments", pieces(request(1), 9), "ok 1");
add("5.5", "a message octet by octet", octets(request(1)), "ok 1");
const [first, second] = pieces(request(1), 9) as [OddFrame, OddFrame];
add("5.6", "a ping between fragments", [first, ping("mid"), second], `pong ${hex("mid")}`, "ok 1");
add("5.8", "a pong between fragments", [first, { opcode: PONG, payload: "mid" }, second], "ok 1");
for (const [n, fin] of [true, false].entries()) {
  add(
    `5.${9 + 3 * n}`,
    `nothing to continue, fin ${fin}`,
    [{ opcode: MORE, payload: "x", fin }, text(request(1))],
    "close 1002",
  );
  add(
    `5.${10 + 3 * n}`,
    `nothing any more to continue, fin ${fin}`,
    [text(request(1)), { opcode: MORE, fin }, text(request(2))],
    "ok 1",
    "close 1002",
  );
}
add(
  "5.15",
  "a fragment after the last one",
  [first, second, { opcode: MORE, fin: false }, text(request(2))],
  "ok 1",
  "close 1002",
);
add(
  "5.16",
  "a continuation, fin false, and a message, over again",
  [{ opcode: MORE, fin: false }, text(request(1))],
  "close 1002",
);
add("5.18", "a message within another", [first, text(request(2))], "close 1002");
add(
  "5.19",
  "five fragments with pings between",
  pieces(request(1), 5, 9, 12, 15).flatMap((piece, i) => (i === 0 ? [piece] : [ping(`${i}`), piece])),
  ...["1", "2", "3", "4"].map((i) => `pong ${hex(i)}`),
  "ok 1",
);
add("5.21", "two messages in fragments", [...pieces(request(1), 4), ...pieces(request(2), 8)], "ok 1", "ok 2");
add("5.22", "a binary message within another", [first, { opcode: BINARY }], "close 1003");

// 6 UTF-8
add(
  "6.1.1",
  "three empty fragments",
  [{ opcode: TEXT, fin: false }, { opcode: MORE, fin: false }, { opcode: MORE }],
  "failed INVALID_INPUT",
  "close 4100",
);
add(
  "6.1.3",
  "an empty fragment before and after",
  [{ opcode: TEXT, fin: false }, { opcode: MORE, fin: false, payload: request(1) }, { opcode: MORE }],
  "ok 1",
);
const greek = "Hello-µ@ßöäüàá-UTF-8!!";
add("6.2.1", "characters of two bytes", [text(holding(greek))], "ok 1");
add("6.2.2", "cut between characters", pieces(holding(greek), 36), "ok 1");
add("6.2.3", "cut within every character", octets(holding(greek)), "ok 1");
add("6.2.4", "a word octet by octet", octets(holding("κόσμε")), "ok 1");
const utf8 = (id: string, what: string, bytes: readonly number[], good: boolean) => {
  const answer = good ? "ok 1" : "close 1007";
  add(id, what, [text(holding(Uint8Array.from(bytes)))], answer);
  add(`${id} octets`, `${what}, octet by octet`, octets(holding(Uint8Array.from(bytes))), answer);
};
utf8("6.3.1", "a word and then a surrogate", [0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xed, 0xa0, 0x80], false);
utf8("6.4.1", "a code past the last one", [0xce, 0xba, 0xf4, 0x90, 0x80, 0x80, 0x65], false);
utf8("6.5.1", "characters of one to four bytes", [0x24, 0xc2, 0xa2, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80], true);
utf8("6.6.1", "a character cut short", [0xce], false);
utf8("6.6.6", "a character of three cut short", [0xe1, 0xbd], false);
utf8("6.6.11", "a character of four cut short", [0xf0, 0x9f, 0x98], false);
utf8("6.7.2", "the first of two bytes", [0xc2, 0x80], true);
utf8("6.7.3", "the first of three bytes", [0xe0, 0xa0, 0x80], true);
utf8("6.7.4", "the first of four bytes", [0xf0, 0x90, 0x80, 0x80], true);
utf8("6.8.1", "the first of five bytes", [0xf8, 0x88, 0x80, 0x80, 0x80], false);
utf8("6.8.2", "the first of six bytes", [0xfc, 0x84, 0x80, 0x80, 0x80, 0x80], false);
utf8("6.9.2", "the last of two bytes", [0xdf, 0xbf], true);
utf8("6.9.3", "the last of three bytes", [0xef, 0xbf, 0xbf], true);
utf8("6.9.4", "the last of all", [0xf4, 0x8f, 0xbf, 0xbf], true);
utf8("6.10.1", "more than four bytes allow", [0xf7, 0xbf, 0xbf, 0xbf], false);
utf8("6.11.1", "the last before the surrogates", [0xed, 0x9f, 0xbf], true);
utf8("6.11.2", "the first after the surrogates", [0xee, 0x80, 0x80], true);
utf8("6.12.1", "a continuation byte alone", [0x80], false);
utf8("6.12.4", "continuation bytes alone", [0x80, 0xbf, 0x80], false);
utf8("6.13.1", "a lead byte alone", [0xc0, 0x20], false);
utf8("6.14.1", "an unfinished character, then another", [0xce, 0xce, 0xba], false);
utf8("6.15.1", "bytes that never stand", [0xfe, 0xff], false);
utf8("6.16.1", "an overlong slash of two bytes", [0xc0, 0xaf], false);
utf8("6.16.2", "an overlong slash of three bytes", [0xe0, 0x80, 0xaf], false);
utf8("6.17.1", "an overlong last of one byte", [0xc1, 0xbf], false);
utf8("6.18.1", "an overlong NUL", [0xc0, 0x80], false);
utf8("6.20.1", "the first surrogate", [0xed, 0xa0, 0x80], false);
utf8("6.20.7", "the last surrogate", [0xed, 0xbf, 0xbf], false);
utf8("6.21.1", "a pair of surrogates", [0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80], false);
utf8("6.22.1", "a non-character", [0xef, 0xbf, 0xbe], true);
utf8("6.23.1", "the replacement character", [0xef, 0xbf, 0xbd], true);

// 7 closing
add("7.1.1", "a message, then a close", [text(request(1)), close(1000)], "ok 1", "close 1000");
add("7.1.2", "two closes", [close(1000), close(1001)], "close 1000");
add("7.1.3", "a ping after the close", [close(1000), ping()], "close 1000");
add("7.1.4", "a message after the close", [close(1000), text(request(1))], "close 1000");
add("7.1.5", "a close within a message", [first, close(1000), second], "close 1000");
add(
  "7.1.6",
  "a large message, a close, a ping",
  [text(request(1, 262_144)), close(1000), ping()],
  "ok 1",
  "close 1000",
);
add("7.3.1", "an empty close", [{ opcode: CLOSE }], "close");
add("7.3.2", "a close of one byte", [{ opcode: CLOSE, payload: "a" }], "close 1002");
add("7.3.3", "a close with a code", [close(1000)], "close 1000");
add("7.3.4", "a close with a reason", [close(1000, "Hello World!")], "close 1000");
add("7.3.5", "a close with the longest reason", [close(1000, "*".repeat(123))], "close 1000");
add("7.3.6", "a close with too long a reason", [close(1000, "*".repeat(124))], "close 1002");
add(
  "7.5.1",
  "a reason that is not UTF-8",
  [close(1000, Uint8Array.from([0xce, 0xba, 0xed, 0xa0, 0x80]))],
  "close 1007",
);
for (const [n, code] of [
  1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
].entries()) {
  add(`7.7.${n + 1}`, `the close code ${code}`, [close(code)], `close ${code}`);
}
for (const [n, code] of [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].entries()) {
  add(`7.9.${n + 1}`, `the close code ${code}, which nobody may send`, [close(code)], "close 1002");
}

// 9 limits
add("9.1.1", "the largest message", [text(request(1, MESSAGE_BYTES_MAX))], "ok 1");
add("9.1.2", "the largest message in fragments", pieces(request(1, MESSAGE_BYTES_MAX), 4096, 500_000), "ok 1");
add("9.1.3", "one byte more", [text(request(1, MESSAGE_BYTES_MAX + 1))], "close 1009");
add(
  "9.1.4",
  "one byte more, in the last fragment",
  pieces(request(1, MESSAGE_BYTES_MAX + 1), 4096, MESSAGE_BYTES_MAX),
  "close 1009",
);
for (const [n, length] of [BigInt(MESSAGE_BYTES_MAX + 1), 2n ** 32n, 2n ** 40n, 2n ** 53n, 2n ** 63n - 1n].entries()) {
  add(
    `9.2.${n + 1}`,
    `a header that announces ${length} bytes, and no more`,
    [{ ...text(""), length, lengthBytes: 8 }],
    "close 1009",
  );
}
add("9.2.6", "a length of 2^63", [{ ...text(""), length: 2n ** 63n, lengthBytes: 8 }], "close 1002");
add("9.2.7", "a length of 2^64 - 1", [{ ...text(""), length: 2n ** 64n - 1n, lengthBytes: 8 }], "close 1002");
add("9.2.8", "a ping that announces 2^40 bytes", [{ ...ping(), length: 2n ** 40n, lengthBytes: 8 }], "close 1002");
add(
  "10.1.1",
  "a large message in many fragments",
  pieces(request(1, 65_536), ...Array.from({ length: 50 }, (_, i) => (i + 1) * 1300)),
  "ok 1",
);

const UPGRADE =
  "GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const LOGIN = text('{"op":"authentication","id":0,"appKey":"k","session":"token-b"}');
const SENTINEL = "that is all";

/** Sends one case over a fresh connection, with upgrade and login before and a ping after it; reads until that is answered or the connection is over. */
class Client implements SocketHandler {
  #bytes = Buffer.alloc(0);
  #waiting = Buffer.alloc(0);
  over = false;
  error: Error | undefined;
  readonly socket: Socket;

  constructor(dial: Dial, port: number, frames: Case["send"]) {
    const all = [LOGIN, ...frames, ping(SENTINEL)];
    const bytes = all.map((frame) => (frame instanceof Uint8Array ? frame : clientFrame(frame)));
    this.#waiting = Buffer.concat([Buffer.from(UPGRADE), ...bytes]);
    this.socket = dial({ host: "127.0.0.1", port }, this);
  }

  open(): void {
    this.drain();
  }
  drain(): void {
    this.#waiting = this.#waiting.subarray(this.socket.write(this.#waiting));
  }
  data(_: Socket, bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    if (this.#bytes.includes(SENTINEL)) this.socket.end();
  }
  close(_: Socket, error?: Error): void {
    this.over = true;
    this.error = error;
  }

  /** What came after the greeting and the login. */
  answer(): string[] {
    const head = this.#bytes.indexOf("\r\n\r\n") + 4;
    expect(this.#bytes.toString("latin1", 0, 12)).toBe("HTTP/1.1 101");
    const { frames, rest } = serverFrames(this.#bytes.subarray(head));
    expect(rest).toHaveLength(0);
    const words = frames.map(({ opcode, payload }) => {
      if (opcode === PONG) return `pong ${hex(payload)}`;
      if (opcode === CLOSE) return payload.length < 2 ? "close" : `close ${payload.readUInt16BE(0)}`;
      const message = JSON.parse(payload.toString());
      return message.statusCode === "FAILURE" ? `failed ${message.errorCode}` : `ok ${message.id}`;
    });
    expect(words.slice(0, 2)).toEqual(["ok undefined", "ok 0"]);
    return words.slice(2);
  }
}

const said = ({ answer }: Case) =>
  answer.some((word) => word.startsWith("close")) ? answer : [...answer, `pong ${hex(SENTINEL)}`];

describe("on real sockets", () => {
  const lobby = new Lobby({ hub: new FakeHub(), tokens: TOKENS, clock: systemClock, connectionsMax: 100 });
  let door: WebSocketDoor;
  beforeAll(() => {
    door = new WebSocketDoor({ listen: bunListen, at: { host: "127.0.0.1", port: 0 }, lobby, log: silentLog });
  });
  afterAll(() => door.stop());

  for (const one of cases) {
    test(`${one.id} ${one.what}`, async () => {
      const client = new Client(bunDial, door.port, one.send);
      for (let tries = 0; !client.over; tries++) {
        if (tries > 3000) throw new Error(`no end after: ${client.answer()}`);
        await Bun.sleep(1);
      }
      expect(client.answer()).toEqual([...said(one)]);
      expect(client.error).toBeUndefined();
    });
  }
});

test("the same when the network cuts the bytes anywhere", () => {
  const clock = new VirtualClock();
  for (const [seed, one] of cases.entries()) {
    const bytes = Buffer.concat(one.send.map((frame) => (frame instanceof Uint8Array ? frame : clientFrame(frame))));
    const chunkBytesMax = bytes.length > 5000 ? 5000 : 3;
    const weather = { chunkBytesMax, inFlightBytesMax: 4 * MESSAGE_BYTES_MAX };
    const network = new VirtualNetwork(clock, seededRandom(seed), weather);
    const lobby = new Lobby({ hub: new FakeHub(), tokens: TOKENS, clock, connectionsMax: 1 });
    const door = new WebSocketDoor({
      listen: network.listen,
      at: { host: "127.0.0.1", port: 80 },
      lobby,
      log: silentLog,
    });
    const client = new Client(network.dial, door.port, one.send);
    clock.advance(50);
    expect([one.id, ...client.answer()]).toEqual([one.id, ...said(one)]);
    expect([client.over, client.error, lobby.connections]).toEqual([true, undefined, 0]);
  }
});
