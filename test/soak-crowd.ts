/**
 * Users for `prove -- soak` in a process of their own, which may be killed: `bun test/soak-crowd.ts PORT SESSION HEARTBEAT_MS MARKET…`. Takes a line of standard input at a time and says `done` when it is:
 *
 *     come N     N more connect, log in, subscribe to five markets each, and have their images
 *     flit N     N more connect, stay for a word or two, and go: after the upgrade, after the login, before their image, amid a frame
 *     leave      all go, by a close frame, by FIN, by a reset, in turn
 */
import { createInterface } from "node:readline";
import type { Socket } from "bun";

const MARKETS_EACH = 5;
/** Who says nothing for 30 s is pinged; we say something before that. */
const WORD_MS = 15_000;
/** Handshakes at a time. */
const HANDSHAKES_MAX = 200;
/** Addresses to come from, for one has some 28,000 ports to one place, and those that were closed rest for a minute. */
const ADDRESSES = 20;
/** What an image begins with; five markets are one message. */
const IMAGE = Buffer.from('"ct":"SUB_IMAGE"');
const [TEXT, CLOSE, PONG] = [0x81, 0x88, 0x8a];
const UPGRADE = [
  "GET /v1/ws HTTP/1.1",
  "Host: soak",
  "Upgrade: websocket",
  "Connection: Upgrade",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "\r\n",
].join("\r\n");

const [port = "", session = "", heartbeatMs = "", ...markets] = process.argv.slice(2);
const users = new Set<User>();
let lastNumber = 0;

async function main(): Promise<void> {
  setInterval(() => {
    for (const user of users) user.pong();
  }, WORD_MS);
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, count] = line.split(" ");
    if (word === "come") await crowd(Number(count), come);
    else if (word === "flit") await crowd(Number(count), flit);
    else await leave();
    console.log("done");
  }
}

async function crowd(count: number, visit: () => Promise<void>): Promise<void> {
  for (let left = count; left > 0; left -= HANDSHAKES_MAX)
    await Promise.all(Array.from({ length: Math.min(left, HANDSHAKES_MAX) }, visit));
}

/** Arrives, and stays. */
async function come(): Promise<void> {
  const user = new User();
  users.add(user);
  await user.connect();
  user.login();
  user.subscribe();
  await user.image;
}

/** Goes at one moment or another. */
async function flit(): Promise<void> {
  const user = new User();
  await user.connect();
  const stage = user.number % 4;
  if (stage > 0) user.login();
  if (stage > 1) user.subscribe();
  if (stage > 2) user.half();
  await user.leave();
}

async function leave(): Promise<void> {
  await Promise.all([...users].map((user) => user.leave()));
  users.clear();
}

class User {
  readonly number = ++lastNumber;
  readonly image: Promise<void>;
  #isImaged = false;
  readonly #gone = Promise.withResolvers<void>();
  #imaged: () => void = () => {};
  #socket: Socket<User> | null = null;

  constructor() {
    this.image = new Promise((resolve) => {
      this.#imaged = () => {
        this.#isImaged = true;
        resolve();
      };
    });
  }

  async connect(): Promise<void> {
    this.#socket = await Bun.connect<User>({
      hostname: "127.0.0.1",
      port: Number(port),
      // Bun's types do not know it.
      ...{ localAddress: `127.0.0.${2 + (this.number % ADDRESSES)}` },
      data: this,
      socket: HANDLERS,
    });
    this.#socket.write(UPGRADE);
  }

  login(): void {
    this.#say({ op: "authentication", id: 1, session });
  }

  subscribe(): void {
    const first = this.number * MARKETS_EACH;
    const marketIds = Array.from({ length: MARKETS_EACH }, (_, i) => markets[(first + i) % markets.length]);
    const marketDataFilter = { fields: ["EX_ALL_OFFERS", "EX_LTP", "EX_MARKET_DEF"] };
    this.#say({
      op: "marketSubscription",
      id: 2,
      heartbeatMs: Number(heartbeatMs),
      marketFilter: { marketIds },
      marketDataFilter,
    });
  }

  pong(): void {
    this.#socket?.write(frame(PONG, ""));
  }

  /** The first bytes of a frame that never comes. */
  half(): void {
    this.#socket?.write(frame(TEXT, '{"op":"heartbeat","id":3}').subarray(0, 10));
  }

  /** A third each: with a close frame, with FIN only, with a reset. */
  leave(): Promise<void> {
    const way = this.number % 3;
    if (way === 0) this.#socket?.write(frame(CLOSE, ""));
    else if (way === 1) this.#socket?.shutdown();
    else this.#socket?.terminate();
    return this.#gone.promise;
  }

  received(bytes: Buffer): void {
    if (!this.#isImaged && bytes.includes(IMAGE)) this.#imaged();
  }

  gone(): void {
    this.#gone.resolve();
    this.#imaged();
  }

  #say(message: object): void {
    this.#socket?.write(frame(TEXT, JSON.stringify(message)));
  }
}

const HANDLERS = {
  data: (socket: Socket<User>, bytes: Buffer) => socket.data.received(bytes),
  close: (socket: Socket<User>) => socket.data.gone(),
  end: (socket: Socket<User>) => void socket.end(),
  error: (_: Socket<User>, error: Error) => {
    throw error;
  },
};

/** A whole frame; the mask's key is 0, which changes nothing. */
function frame(first: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const length = payload.length < 126 ? [0x80 | payload.length] : [0xfe, payload.length >> 8, payload.length & 0xff];
  return Buffer.concat([Buffer.from([first, ...length, 0, 0, 0, 0]), payload]);
}

// Last, as the classes and constants above must be there.
await main();
process.exit(0);
