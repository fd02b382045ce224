import type { Outlet } from "./outlet.ts";

/**
 * Between the hub and one user's socket. It never queues messages: what a write left over is kept as it is (at most one flush), and until the
 * socket has taken it nothing else is written but control messages, for which there is headroom.
 */
export class Outbox {
  /** Headroom for control messages while bytes wait. */
  static readonly controlBytesMax = 16 * 1024;

  readonly #outlet: Outlet;
  #rest: Buffer | null = null;
  #controlBytes = 0;

  constructor(outlet: Outlet) {
    this.#outlet = outlet;
  }

  /** Nothing waits. */
  get isClear(): boolean {
    return this.#rest === null;
  }

  /** What waits for the socket: the end of the last write. */
  get rest(): Uint8Array | null {
    return this.#rest;
  }

  get bytesWaiting(): number {
    return this.#rest?.length ?? 0;
  }

  /** Writes whole messages; only when clear. False: the socket is full, and the rest waits for `drained`. */
  send(bytes: Buffer): boolean {
    if (this.#rest !== null) throw new Error("a write past what still waits");
    const taken = Math.max(0, this.#outlet.write(bytes));
    if (taken >= bytes.length) return true;
    this.#rest = Buffer.from(bytes.subarray(taken));
    return false;
  }

  /** Writes a control message, behind whatever waits. False: the headroom is used up. */
  sendControl(bytes: Buffer): boolean {
    if (this.#rest === null) {
      this.send(bytes);
      return true;
    }
    if (this.#controlBytes + bytes.length > Outbox.controlBytesMax) return false;
    this.#controlBytes += bytes.length;
    this.#rest = Buffer.concat([this.#rest, bytes]);
    return true;
  }

  /** The socket has room: writes what waits. True: nothing waits any more. */
  drained(): boolean {
    if (this.#rest === null) return true;
    const taken = Math.max(0, this.#outlet.write(this.#rest));
    this.#rest = taken >= this.#rest.length ? null : this.#rest.subarray(taken);
    if (this.#rest === null) this.#controlBytes = 0;
    return this.#rest === null;
  }
}
