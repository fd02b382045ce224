import type { OpenWire, WireHandlers } from "../../client/wire.ts";
import { type Random, randomInt } from "../base/random.ts";
import type { Address, Dial, Socket } from "../base/socket.ts";

const TEXT = 1;
const CONTINUATION = 0;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const FIN = 0x80;
const MASKED = 0x80;
/** Requests that wait for room; more means that the other end does not read. */
const OUT_BYTES_MAX = 1 << 20;
/** The WebSocket's word for an end without a goodbye. */
const ABNORMAL = 1006;

/** The client library's wire as a WebSocket over any Dial: what a browser does, where there is no browser. */
export function websocketWire(dial: Dial, to: Address, path: string, random: Random): OpenWire {
  return (handlers) => {
    const client = new WebSocketClient(dial, to, path, random, handlers);
    return { send: (text) => client.send(text), close: () => client.close() };
  };
}

class WebSocketClient {
  readonly #socket: Socket;
  readonly #random: Random;
  readonly #handlers: WireHandlers;
  #state: "handshake" | "open" | "closed" = "handshake";
  #received = Buffer.alloc(0);
  #unsent = Buffer.alloc(0);
  /** Pieces of a message that is not whole yet. */
  #pieces: Buffer[] = [];

  constructor(dial: Dial, to: Address, path: string, random: Random, handlers: WireHandlers) {
    this.#random = random;
    this.#handlers = handlers;
    const key = Buffer.from(Array.from({ length: 16 }, () => randomInt(random, 256))).toString("base64");
    const lines = [`GET ${path} HTTP/1.1`, `Host: ${to.host}:${to.port}`, "Upgrade: websocket", "Connection: Upgrade"];
    const request = [...lines, `Sec-WebSocket-Key: ${key}`, "Sec-WebSocket-Version: 13", "", ""].join("\r\n");
    this.#socket = dial(to, {
      open: () => this.#write(Buffer.from(request)),
      data: (_, bytes) => this.#data(bytes),
      drain: () => this.#flush(),
      close: (_, error) => this.#over(ABNORMAL, error?.message ?? "the other end closed"),
    });
  }

  send(text: string): void {
    this.#frame(TEXT, Buffer.from(text));
  }

  close(): void {
    this.#state = "closed";
    this.#socket.destroy();
  }

  #data(bytes: Uint8Array): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    if (this.#state === "handshake" && !this.#shake()) return;
    while (this.#state === "open" && this.#readFrame());
  }

  /** True when the answer to the upgrade is here. */
  #shake(): boolean {
    const end = this.#received.indexOf("\r\n\r\n");
    if (end === -1) return false;
    const status = this.#received.toString("latin1", 0, this.#received.indexOf("\r\n"));
    this.#received = this.#received.subarray(end + 4);
    if (status.split(" ")[1] !== "101") {
      this.#socket.destroy();
      this.#over(ABNORMAL, `refused: ${status}`);
      return false;
    }
    this.#state = "open";
    this.#handlers.open();
    return true;
  }

  /** Takes one frame off what was received; false when it is not whole yet. */
  #readFrame(): boolean {
    const bytes = this.#received;
    if (bytes.length < 2) return false;
    const [first, second] = [bytes[0] as number, bytes[1] as number];
    const wide = second === 126 ? 2 : second === 127 ? 8 : 0;
    if (bytes.length < 2 + wide) return false;
    const length = wide === 0 ? second : wide === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    const end = 2 + wide + length;
    if (bytes.length < end) return false;
    this.#received = bytes.subarray(end);
    this.#opened(first & 15, (first & FIN) !== 0, bytes.subarray(2 + wide, end));
    return true;
  }

  #opened(opcode: number, fin: boolean, payload: Buffer): void {
    switch (opcode) {
      case PING:
        return this.#frame(PONG, payload);
      case CLOSE: {
        this.#frame(CLOSE, payload.subarray(0, 2));
        this.#socket.end();
        return this.#over(payload.length >= 2 ? payload.readUInt16BE(0) : 1005, payload.toString("utf8", 2));
      }
      case TEXT:
      case CONTINUATION: {
        this.#pieces.push(payload);
        if (!fin) return;
        const text = Buffer.concat(this.#pieces).toString();
        this.#pieces = [];
        return this.#handlers.message(text);
      }
    }
  }

  /** A client's frames are masked. */
  #frame(opcode: number, payload: Uint8Array): void {
    const head = [FIN | opcode];
    if (payload.length < 126) head.push(MASKED | payload.length);
    else if (payload.length < 65_536) head.push(MASKED | 126, payload.length >> 8, payload.length & 255);
    else throw new Error("a request of 64 KB is none of ours");
    const mask = Array.from({ length: 4 }, () => randomInt(this.#random, 256));
    const masked = Uint8Array.from(payload, (byte, i) => byte ^ (mask[i & 3] as number));
    this.#write(Buffer.concat([Buffer.from([...head, ...mask]), masked]));
  }

  #write(bytes: Uint8Array): void {
    this.#unsent = Buffer.concat([this.#unsent, bytes]);
    if (this.#unsent.length > OUT_BYTES_MAX) throw new Error("the other end does not read");
    this.#flush();
  }

  #flush(): void {
    this.#unsent = this.#unsent.subarray(this.#socket.write(this.#unsent));
  }

  #over(code: number, reason: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#handlers.close(code, reason);
  }
}
