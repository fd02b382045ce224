import type { Socket } from "../base/socket.ts";
import { LineReader } from "../wire/lines.ts";

/** What was heard of the other end, for too long or not. */
export type Heard = "messages" | "a trickle" | "too long a message" | "nothing";

/** One connection that lives, or is being made: its socket, its half line, what it did not take yet, and when it was last heard. */
export class Link {
  readonly reader: LineReader;
  socket: Socket | null = null;
  /** The last bytes, and the last whole message, by the monotonic clock. */
  heardAt = 0;
  messageAt = 0;
  #unsent: Uint8Array | null = null;

  constructor(lineBytesMax: number) {
    this.reader = new LineReader(lineBytesMax);
  }

  /** Bounded by the two requests that are ever sent. */
  send(bytes: Uint8Array): void {
    this.#unsent = this.#unsent === null ? bytes : Buffer.concat([this.#unsent, bytes]);
    this.flush();
  }

  flush(): void {
    if (this.#unsent === null || this.socket === null) return;
    const taken = this.socket.write(this.#unsent);
    this.#unsent = taken < this.#unsent.length ? this.#unsent.subarray(taken) : null;
  }

  /** What was heard until `now`, and in how many milliseconds that may change for the worse. */
  listen(now: number, silenceMs: number, messageMsMax: number): { heard: Heard; ms: number } {
    const quietMs = now - this.heardAt;
    const waitedMs = now - this.messageAt;
    if (quietMs >= silenceMs) return { heard: "nothing", ms: 0 };
    if (waitedMs >= messageMsMax) return { heard: "too long a message", ms: 0 };
    const trickles = waitedMs >= silenceMs;
    const dueMs = (trickles ? messageMsMax : silenceMs) - waitedMs;
    return { heard: trickles ? "a trickle" : "messages", ms: Math.min(silenceMs - quietMs, dueMs) };
  }
}
