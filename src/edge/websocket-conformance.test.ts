import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Dial, Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "../sim/clock.ts";
import { VirtualNetwork } from "../sim/network.ts";
import { Lobby } from "./lobby.ts";
import { bunDial, bunListen } from "./sockets.ts";
import { clientFrame, FakeHub, serverFrames, TOKENS } from "./testing.ts";
import { MESSAGE_BYTES_MAX, WebSocketDoor } from "./websocket.ts";
import { CASES, type Case, type Chop, DEVIATIONS, hex, ping, text } from "./websocket-cases.ts";

const HOST = "127.0.0.1";
const UPGRADE =
  "GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const LOGIN = clientFrame(text('{"op":"authentication","id":0,"appKey":"k","session":"token-b"}'));
const SENTINEL = "that is all";
/** Comes first: upgrade and login; and last: a ping, whose answer says that everything before it was answered. */
const BEFORE = Buffer.concat([Buffer.from(UPGRADE), LOGIN]);
const AFTER = clientFrame(ping(SENTINEL));
/** A pause in which a server that waits for more says nothing. */
const WAIT_MS = 15;
/** By when a server has said what it has to say. */
const ANSWER_MS_MAX = 4_000;

/** One connection of a case: sends what it is given and turns what comes into words. */
class Client implements SocketHandler {
  readonly socket: Socket;
  over = false;
  error: Error | undefined;
  /** What came after the greeting and the answer to the login. */
  readonly words: string[] = [];
  #bytes = Buffer.alloc(0);
  #upgraded = false;
  #toSkip = ["ok undefined", "ok 0"];
  #waiting = Buffer.alloc(0);

  constructor(dial: Dial, port: number) {
    this.socket = dial({ host: HOST, port }, this);
  }

  send(bytes: Uint8Array): void {
    this.#waiting = this.#waiting.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#waiting, bytes]);
    this.drain();
  }

  /** Everything has left, or never will. */
  get isClear(): boolean {
    return this.#waiting.length === 0 || this.over;
  }

  open(): void {
    this.drain();
  }
  drain(): void {
    if (this.#waiting.length > 0) this.#waiting = this.#waiting.subarray(this.socket.write(this.#waiting));
  }
  data(_: Socket, bytes: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    if (!this.#upgraded && !this.#upgrade()) return;
    const { frames, rest } = serverFrames(this.#bytes);
    this.#bytes = Buffer.from(rest);
    for (const frame of frames) this.#say(wordOf(frame.opcode, frame.payload));
  }
  close(_: Socket, error?: Error): void {
    this.over = true;
    this.error = error;
    expect(this.#bytes).toHaveLength(0);
  }

  #upgrade(): boolean {
    const end = this.#bytes.indexOf("\r\n\r\n");
    if (end < 0) return false;
    expect(this.#bytes.toString("latin1", 0, 12)).toBe("HTTP/1.1 101");
    this.#bytes = this.#bytes.subarray(end + 4);
    this.#upgraded = true;
    return true;
  }

  #say(word: string): void {
    const skipped = this.#toSkip.shift();
    if (skipped !== undefined) return expect(word).toBe(skipped);
    this.words.push(word);
    if (word === `pong ${hex(SENTINEL)}`) this.socket.end();
  }
}

function wordOf(opcode: number, payload: Buffer): string {
  if (opcode === 10) return `pong ${hex(payload)}`;
  if (opcode === 8) return payload.length < 2 ? "close" : `close ${payload.readUInt16BE(0)}`;
  const message = JSON.parse(payload.toString());
  if (message.statusCode !== "FAILURE") return `ok ${message.id}`;
  const [, echo] = /^unknown op (".*")$/s.exec(message.errorMessage) ?? [];
  return echo === undefined ? `failed ${message.errorCode}` : `echo ${JSON.parse(echo)}`;
}

const isOver = ({ answer }: Case) => answer.some((word) => word.startsWith("close"));
const said = (one: Case) => (isOver(one) ? one.answer : [...one.answer, `pong ${hex(SENTINEL)}`]);

/** Sends a case over a real socket, a turn of the event loop for each chop. */
async function play(client: Client, one: Case): Promise<void> {
  client.send(BEFORE);
  for (const chop of one.send()) {
    await (typeof chop === "string" ? pause(client, chop) : deliver(client, chop));
    if (client.over) return;
  }
  await deliver(client, AFTER);
  await until(client, () => client.over);
}

async function deliver(client: Client, bytes: Uint8Array): Promise<void> {
  client.send(bytes);
  do await new Promise((resolve) => setImmediate(resolve));
  while (!client.isClear);
}

async function pause(client: Client, chop: Exclude<Chop, Uint8Array>): Promise<void> {
  const before = client.words.length;
  if (chop === "await answer") return until(client, () => client.words.length > before || client.over);
  if (chop === "await close") return until(client, () => client.over);
  await Bun.sleep(WAIT_MS);
  client.words.push(client.over ? "over" : "open");
}

async function until(client: Client, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + ANSWER_MS_MAX;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${ANSWER_MS_MAX} ms, after: ${client.words}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("on real sockets", () => {
  const lobby = new Lobby({ hub: new FakeHub(), tokens: TOKENS, clock: systemClock, connectionsMax: 100 });
  let door: WebSocketDoor;
  beforeAll(() => {
    door = new WebSocketDoor({ listen: bunListen, at: { host: HOST, port: 0 }, lobby, log: silentLog });
  });
  afterAll(() => door.stop());

  for (const one of CASES) {
    test(`${one.id} ${one.what}`, async () => {
      for (let n = 0; n < (one.connections ?? 1); n++) {
        const client = new Client(bunDial, door.port);
        await play(client, one);
        expect(client.words).toEqual([...said(one)]);
      }
    });
  }

  test("nobody is left behind", async () => {
    const deadline = performance.now() + ANSWER_MS_MAX;
    while (lobby.connections > 0 && performance.now() < deadline) await Bun.sleep(1);
    expect([lobby.connections, lobby.visits]).toEqual([0, 0]);
  });
});

test("the same when the network cuts the bytes anywhere", () => {
  const clock = new VirtualClock();
  for (const [seed, one] of CASES.filter(({ id }) => !id.startsWith("9.")).entries()) {
    const bytes = Buffer.concat([...one.send()].filter((chop) => typeof chop !== "string"));
    const chunkBytesMax = bytes.length > 5000 ? 5000 : 3;
    const weather = { chunkBytesMax, inFlightBytesMax: 4 * MESSAGE_BYTES_MAX };
    const network = new VirtualNetwork(clock, seededRandom(seed), weather);
    const lobby = new Lobby({ hub: new FakeHub(), tokens: TOKENS, clock, connectionsMax: 1 });
    const at = { host: HOST, port: 80 };
    const door = new WebSocketDoor({ listen: network.listen, at, lobby, log: silentLog });
    const client = new Client(network.dial, door.port);
    client.send(Buffer.concat([BEFORE, bytes, AFTER]));
    clock.advance(50);
    expect([one.id, ...client.words]).toEqual([one.id, ...said(one).filter((word) => word !== "open")]);
    expect([client.over, client.error, lobby.connections]).toEqual([true, undefined, 0]);
  }
});

test("the table is whole: every case of the Autobahn suite's parts 1 to 7, 9 and 10, once", () => {
  const numbered = CASES.map(({ id }) => id).filter((id) => !id.startsWith("ours"));
  const parts = Object.groupBy(numbered, (id) => id.split(".")[0] as string);
  expect(Object.fromEntries(Object.entries(parts).map(([part, ids]) => [part, ids?.length]))).toEqual({
    1: 16,
    2: 11,
    3: 7,
    4: 10,
    5: 20,
    6: 145,
    7: 37,
    9: 54,
    10: 1,
  });
  expect(new Set(CASES.map(({ id }) => id)).size).toBe(CASES.length);
});

test("where a good message is not answered as an echo server would, the reason stands in the list, and every reason is needed", () => {
  const reasons = (id: string) => DEVIATIONS.filter(({ cases }) => cases.test(id)).length;
  const refused = CASES.filter(({ answer }) => answer.some((word) => /^(close (1003|1009|4100)|failed)/.test(word)));
  const unexplained = refused.filter(({ id }) => !/^(ours|7\.7\.)/.test(id) && reasons(id) !== 1);
  expect(unexplained.map(({ id }) => id)).toEqual([]);
  for (const { cases } of DEVIATIONS) expect(CASES.some(({ id }) => cases.test(id))).toBe(true);
});
