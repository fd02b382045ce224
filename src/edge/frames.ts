import type { FaultCode, Goodbye } from "../base/errors.ts";
import type { Framing } from "../delivery/outlet.ts";
import { Pile } from "./pile.ts";
import { Utf8Checker } from "./utf8.ts";

/** What a client's frames say. Calls come during `push`; payloads are the callee's only for the length of the call. */
export interface FrameSink {
  text(message: string): void;
  pinged(payload: Uint8Array): void;
  /** `code` is null where the close frame was empty. Nothing follows. */
  closing(code: number | null): void;
}

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const FIN = 0x80;
const RESERVED_BITS = 0x70;
const MASK = 0x80;
const HEADER_BYTES_MAX = 14;
const CONTROL_BYTES_MAX = 125;
const FIRST_BYTES = 1024;
const NOT_UTF8: Goodbye = { code: "INVALID_UTF8", message: "a text message is not UTF-8" };

/** Writes a server's text frames; whole messages, never masked. */
export const TEXT_FRAMES: Framing = {
  overheadMax: 10,
  before: (out, at, length) => writeHeader(out, at, OPCODE.text, length),
  after: () => 0,
};

/** A whole control frame of the server. */
export function controlFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(2 + payload.length);
  frame.set(payload, writeHeader(frame, 0, opcode, payload.length));
  return frame;
}

/** A close frame with a code and as much of the reason as a control frame holds (123 bytes; not cut within a character). */
export function closeFrame(code: number, reason: string): Uint8Array {
  const payload = new Uint8Array(CONTROL_BYTES_MAX);
  new DataView(payload.buffer).setUint16(0, code);
  const { written } = new TextEncoder().encodeInto(reason, payload.subarray(2));
  return controlFrame(OPCODE.close, payload.subarray(0, 2 + written));
}

/**
 * Reads a client's frames (RFC 6455, no extensions) from a stream cut anywhere. A header is checked as soon as it is complete, so a frame that is
 * too large or out of order is refused before any of its payload is kept, and text that is not UTF-8 at its first wrong byte.
 * A message in one frame and one read is decoded where it lies.
 */
export class FrameReader {
  readonly #messageBytesMax: number;
  readonly #header = new Uint8Array(HEADER_BYTES_MAX);
  #headerLength = 0;
  #headerWanted = 2;

  // the frame whose payload is being read
  #opcode = 0;
  #fin = false;
  #length = 0;
  /** How much of its payload was unmasked. */
  #done = 0;

  /** The data frames so far of a message begun, and the payload so far of a control frame. */
  readonly #message = new Pile(FIRST_BYTES);
  readonly #control = new Pile(0);
  /** Looks at what is put on the pile; what comes last, or all at once, is looked at by being decoded. */
  readonly #text = new Utf8Checker();
  #inMessage = false;
  #over = false;

  constructor(messageBytesMax: number) {
    this.#messageBytesMax = messageBytesMax;
  }

  /** Nothing of a frame or a message is kept: another stream's next bytes would be read as well. */
  get isBetween(): boolean {
    return this.#headerLength === 0 && !this.#inMessage && !this.#over;
  }

  /** Takes the next bytes (and unmasks them where they lie). A goodbye: the framing is broken, the stream is of no more use. */
  push(bytes: Uint8Array, sink: FrameSink): Goodbye | null {
    for (let at = 0; at < bytes.length && !this.#over; ) {
      if (this.#headerLength < this.#headerWanted) {
        this.#header[this.#headerLength++] = bytes[at++] as number;
        if (this.#headerLength < this.#headerWanted) continue;
        const fault = this.#headerLength === 2 ? this.#begin() : this.#measure();
        if (fault) return this.#refuse(fault);
        if (this.#headerLength < this.#headerWanted || this.#length > 0) continue;
      }
      const part = bytes.subarray(at, at + this.#length - this.#done);
      at += part.length;
      this.#unmask(part);
      const fault = this.#done === this.#length ? this.#finish(part, sink) : this.#keep(part);
      if (fault) return this.#refuse(fault);
    }
    return null;
  }

  /** The first two bytes are there: checks them and says how long the header is. */
  #begin(): Goodbye | null {
    const first = this.#header[0] as number;
    const second = this.#header[1] as number;
    const short = second & 0x7f;
    this.#fin = (first & FIN) !== 0;
    this.#opcode = first & 0x0f;
    this.#headerWanted = (short === 127 ? 10 : short === 126 ? 4 : 2) + 4;
    if (first & RESERVED_BITS) return broken("a reserved bit is set");
    if (!(second & MASK)) return broken("a client's frames must be masked");
    if (this.#opcode >= 8) return this.#beginControl(short);
    if (this.#opcode === OPCODE.binary) return goodbye("UNSUPPORTED_DATA", "only text messages are spoken here");
    if (this.#opcode > OPCODE.binary) return broken(`there is no opcode ${this.#opcode}`);
    if (this.#inMessage && this.#opcode !== OPCODE.continuation) return broken("a message begins within another");
    if (!this.#inMessage && this.#opcode === OPCODE.continuation) return broken("there is no message to continue");
    return null;
  }

  #beginControl(length: number): Goodbye | null {
    if (this.#opcode > OPCODE.pong) return broken(`there is no opcode ${this.#opcode}`);
    if (!this.#fin) return broken("a control frame is fragmented");
    return length > CONTROL_BYTES_MAX ? broken("a control frame is longer than 125 bytes") : null;
  }

  /** The header is complete: checks the length before anything is kept for it. */
  #measure(): Goodbye | null {
    const view = new DataView(this.#header.buffer);
    if (this.#headerWanted === 14 && this.#header[2]! >= 0x80) return broken("a length has its highest bit set");
    if (this.#headerWanted === 14) this.#length = view.getUint32(2) * 2 ** 32 + view.getUint32(6);
    else this.#length = this.#headerWanted === 8 ? view.getUint16(2) : this.#header[1]! & 0x7f;
    this.#done = 0;
    if (this.#opcode < 8 && this.#message.length + this.#length > this.#messageBytesMax) {
      return goodbye("MESSAGE_TOO_LARGE", `a message is longer than ${this.#messageBytesMax} bytes`);
    }
    return null;
  }

  #unmask(part: Uint8Array): void {
    const mask = this.#headerWanted - 4;
    for (let i = 0, j = this.#done; i < part.length; i++, j++) {
      part[i] = (part[i] as number) ^ (this.#header[mask + (j & 3)] as number);
    }
    this.#done += part.length;
  }

  #keep(part: Uint8Array): Goodbye | null {
    if (this.#opcode < 8) return this.#keepText(part);
    this.#control.push(part);
    return null;
  }

  #keepText(part: Uint8Array): Goodbye | null {
    this.#message.push(part);
    return this.#text.push(part) ? null : NOT_UTF8;
  }

  /** The frame is complete: `part` is its end, or all of it. */
  #finish(part: Uint8Array, sink: FrameSink): Goodbye | null {
    this.#headerLength = 0;
    this.#headerWanted = 2;
    const pile = this.#opcode < 8 ? this.#message : this.#control;
    if (this.#opcode < 8 && !this.#fin) {
      this.#inMessage = true;
      return this.#keepText(part);
    }
    const payload = pile.length === 0 ? part : pile.with(part);
    pile.clear();
    if (this.#opcode >= 8) return this.#controlDone(payload, sink);
    this.#inMessage = false;
    this.#text.reset();
    const text = decoded(payload);
    if (text === null) return NOT_UTF8;
    sink.text(text);
    return null;
  }

  #controlDone(payload: Uint8Array, sink: FrameSink): Goodbye | null {
    if (this.#opcode === OPCODE.ping) sink.pinged(payload);
    return this.#opcode === OPCODE.close ? this.#closing(payload, sink) : null;
  }

  #closing(payload: Uint8Array, sink: FrameSink): Goodbye | null {
    const code = payload.length < 2 ? null : (payload[0]! << 8) | payload[1]!;
    if (payload.length === 1) return broken("a close frame of one byte");
    if (code !== null && !mayBeSent(code)) return broken(`${code} is not a close code that can be sent`);
    if (decoded(payload.subarray(2)) === null)
      return goodbye("INVALID_UTF8", "the reason of a close frame is not UTF-8");
    this.#over = true;
    sink.closing(code);
    return null;
  }

  #refuse(fault: Goodbye): Goodbye {
    this.#over = true;
    return fault;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decoded(payload: Uint8Array): string | null {
  try {
    return utf8.decode(payload);
  } catch {
    return null;
  }
}

/** 1004 to 1006 and 1015 are never on the wire; below 1000 and up to 2999 the rest is nobody's. */
function mayBeSent(code: number): boolean {
  return (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);
}

function writeHeader(out: Uint8Array, at: number, opcode: number, length: number): number {
  out[at] = FIN | opcode;
  if (length < 126) {
    out[at + 1] = length;
    return 2;
  }
  const bytes = length < 65_536 ? 2 : 8;
  out[at + 1] = bytes === 2 ? 126 : 127;
  for (let i = bytes - 1, rest = length; i >= 0; i--, rest = Math.floor(rest / 256)) out[at + 2 + i] = rest % 256;
  return 2 + bytes;
}

function broken(message: string): Goodbye {
  return goodbye("PROTOCOL_ERROR", message);
}

function goodbye(code: FaultCode, message: string): Goodbye {
  return { code, message };
}
