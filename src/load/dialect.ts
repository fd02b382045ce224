import { createHash, randomBytes } from "node:crypto";

/** What comes off a connection. The bytes are the callee's only for the length of the call. */
export interface MessageSink {
  /** The first answer was right: messages may be sent. */
  greeted(): void;
  message(bytes: Uint8Array, from: number, to: number): void;
  /** What the whole stream, up to here, can be resumed by; told by streams of events only. */
  identified?(bytes: Uint8Array, from: number, to: number): void;
  pinged(payload: Uint8Array): void;
  /** The other end says goodbye, with a close code where its protocol has any; it says nothing more. */
  closing(code: number | null, reason: string): void;
}

export const DOORS = ["websocket", "sse", "esa"] as const;
export type Door = (typeof DOORS)[number];

/** Who somebody is, and what it wants: what a door is told at once where there is no conversation. */
export interface Ask {
  readonly session: string;
  readonly appKey: string;
  /** A marketSubscription, JSON. */
  readonly subscription: string;
  /** What was last `identified`; empty: nothing yet. */
  readonly lastEventId: string;
}

/** How messages are wrapped at a door, seen from a client: as little work and as few objects as can be. */
export interface Dialect {
  /** What a client says first; null: it listens. */
  readonly hello: Uint8Array | null;
  /** Instead of a hello and of what follows it: all that is asked. Null: there is a conversation. */
  readonly request: ((ask: Ask) => Uint8Array) | null;
  wrap(message: string): Uint8Array;
  pong(payload: Uint8Array): Uint8Array;
  /** Unwraps what lies between; returns where something begins that is not whole yet. `isGreeted`: the first answer is behind. */
  unwrap(bytes: Buffer, from: number, to: number, isGreeted: boolean, sink: MessageSink): number;
}

const CR = 13;
const LF = 10;

/** The exchange's own: a line a message. */
export const LINES: Dialect = {
  hello: null,
  request: null,
  wrap: (message) => Buffer.from(`${message}\r\n`, "latin1"),
  pong: () => new Uint8Array(0),
  unwrap(bytes, from, to, isGreeted, sink) {
    if (!isGreeted) sink.greeted();
    let at = from;
    for (let end = bytes.indexOf(LF, at); end !== -1 && end < to; end = bytes.indexOf(LF, at)) {
      const last = bytes[end - 1] === CR ? end - 1 : end;
      if (last > at) sink.message(bytes, at, last);
      at = end + 1;
    }
    return at;
  },
};

const FIN = 0x80;
const MASKED = 0x80;
const OPCODE = { continuation: 0, text: 1, close: 8, ping: 9, pong: 10 } as const;
const MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** More is no head of an answer of ours. */
const HEAD_BYTES_MAX = 16 * 1024;

/** WebSocket frames of a client (RFC 6455), one key and one mask for all connections of a process: they keep nothing secret here. */
export function webSocketDialect(host: string, path: string): Dialect {
  const key = randomBytes(16).toString("base64");
  const mask = randomBytes(4);
  const accept = createHash("sha1").update(`${key}${MAGIC}`).digest("base64");
  const lines = [`GET ${path} HTTP/1.1`, `Host: ${host}`, "Upgrade: websocket", "Connection: Upgrade"];
  const request = [...lines, `Sec-WebSocket-Key: ${key}`, "Sec-WebSocket-Version: 13", "", ""].join("\r\n");
  return {
    hello: Buffer.from(request, "latin1"),
    request: null,
    wrap: (message) => masked(OPCODE.text, Buffer.from(message, "latin1"), mask),
    pong: (payload) => masked(OPCODE.pong, payload, mask),
    unwrap(bytes, from, to, isGreeted, sink) {
      if (isGreeted) return unframe(bytes, from, to, sink);
      const end = bytes.indexOf("\r\n\r\n", from);
      if (end === -1 || end >= to) {
        if (to - from > HEAD_BYTES_MAX) sink.closing(null, "the answer to the upgrade has no end");
        return from;
      }
      const head = bytes.toString("latin1", from, end);
      const wrong = refusal(head, accept);
      if (wrong === null) sink.greeted();
      else sink.closing(null, wrong);
      return wrong === null ? unframe(bytes, end + 4, to, sink) : to;
    },
  };
}

function refusal(head: string, accept: string): string | null {
  const [status = ""] = head.split("\r\n");
  if (status.split(" ")[1] !== "101") return `the upgrade was answered "${status}"`;
  const given = /^sec-websocket-accept:\s*(\S+)/im.exec(head)?.[1];
  return given === accept ? null : "the upgrade was answered with a wrong Sec-WebSocket-Accept";
}

function unframe(bytes: Buffer, from: number, to: number, sink: MessageSink): number {
  let at = from;
  while (to - at >= 2) {
    const first = bytes[at] as number;
    const short = bytes[at + 1] as number;
    const wide = short < 126 ? 0 : short === 126 ? 2 : 8;
    const payload = at + 2 + wide;
    if (payload > to) break;
    const length = wide === 0 ? short : wide === 2 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    const end = payload + length;
    if (end > to) break;
    if (short & MASKED) return broken(sink, "a server's frame is masked", to);
    const opcode = first & 15;
    if (opcode === OPCODE.text && first & FIN) sink.message(bytes, payload, end);
    else if (opcode === OPCODE.text) {
      const whole = joined(bytes, at, to);
      if (whole === null) return at;
      sink.message(whole.message, 0, whole.message.length);
      at = whole.end;
      continue;
    } else if (opcode === OPCODE.ping) sink.pinged(bytes.subarray(payload, end));
    else if (opcode === OPCODE.close) {
      sink.closing(length < 2 ? null : bytes.readUInt16BE(payload), bytes.toString("utf8", payload + 2, end));
      return to;
    } else if (opcode !== OPCODE.pong) return broken(sink, `a frame has the opcode ${opcode}`, to);
    at = end;
  }
  return at;
}

/** A message that somebody on the way has cut into frames; null while its last one is not there. Control frames between them are passed over. */
function joined(bytes: Buffer, from: number, to: number): { message: Buffer; end: number } | null {
  const parts: Buffer[] = [];
  let at = from;
  while (to - at >= 2) {
    const first = bytes[at] as number;
    const short = bytes[at + 1] as number;
    const wide = short < 126 ? 0 : short === 126 ? 2 : 8;
    if (at + 2 + wide > to) return null;
    const length = wide === 0 ? short : wide === 2 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    const end = at + 2 + wide + length;
    if (end > to) return null;
    if ((first & 15) < OPCODE.close) {
      parts.push(bytes.subarray(at + 2 + wide, end));
      if (first & FIN) return { message: Buffer.concat(parts), end };
    }
    at = end;
  }
  return null;
}

function broken(sink: MessageSink, reason: string, to: number): number {
  sink.closing(1002, reason);
  return to;
}

function masked(opcode: number, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const { length } = payload;
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10;
  const frame = Buffer.alloc(head + 4 + length);
  frame[0] = FIN | opcode;
  frame[1] = MASKED | (head === 2 ? length : head === 4 ? 126 : 127);
  if (head === 4) frame.writeUInt16BE(length, 2);
  if (head === 10) frame.writeBigUInt64BE(BigInt(length), 2);
  frame.set(mask, head);
  for (let i = 0; i < length; i++) frame[head + 4 + i] = (payload[i] as number) ^ (mask[i & 3] as number);
  return frame;
}
