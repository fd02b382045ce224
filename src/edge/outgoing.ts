import type { Clock } from "../base/clock.ts";
import type { Socket } from "../base/socket.ts";
import type { Traffic } from "../delivery/traffic.ts";
import { Deadlines } from "./deadlines.ts";

/** How long a peer whose socket is full may take to make room for what we say last, before it is reset. */
export const LAST_WORDS_MS_MAX = 5_000;

const NONE: Uint8Array = new Uint8Array(0);

/** What all connections of a door share of leaving. */
export interface Exit {
  readonly leaving: Deadlines<Outgoing>;
  readonly traffic: Traffic;
}

/**
 * What leaves a connection: the hub's messages; between them, control frames, for which there is always room for one; and at the end the last words.
 * A control frame or a goodbye never stands within a message of which the socket has taken a part.
 */
export class Outgoing {
  readonly #socket: Socket;
  readonly #exit: Exit;
  /** The socket has taken a part of a message; the hub holds the rest. */
  #midMessage = false;
  /** A control frame that waits, and whether the socket has taken a part of it. */
  #control = NONE;
  #controlBegun = false;
  #lastWords: Uint8Array | null = null;

  /** One for all connections of a door. */
  static deadlines(clock: Clock): Deadlines<Outgoing> {
    return new Deadlines<Outgoing>(clock, LAST_WORDS_MS_MAX, (outgoing) => outgoing.drop());
  }

  constructor(socket: Socket, exit: Exit) {
    this.#socket = socket;
    this.#exit = exit;
    exit.traffic.opened++;
  }

  get traffic(): Traffic {
    return this.#exit.traffic;
  }

  /** Ends the socket at once. */
  drop(): void {
    this.#socket.destroy();
  }

  get isLeaving(): boolean {
    return this.#lastWords !== null;
  }

  /** Whole messages, or the rest of what was not taken before. Returns how many bytes were taken. */
  write(bytes: Uint8Array): number {
    if (this.#lastWords !== null || !this.#flushControl()) return 0;
    const taken = this.#give(bytes);
    this.#midMessage = taken < bytes.length && (taken > 0 || this.#midMessage);
    this.#flushControl();
    return taken;
  }

  /** A control frame, as soon as no message is in the way. Of several that wait only the last is sent. */
  control(frame: Uint8Array): void {
    if (this.#lastWords !== null || this.#controlBegun) return;
    this.#control = frame;
    this.#flushControl();
  }

  /** Says goodbye and ends the socket. `rest` is what the hub still held of its last write. */
  leave(rest: Uint8Array | null, words: Uint8Array): void {
    if (this.#lastWords !== null) return;
    this.#lastWords = Buffer.concat([this.#controlBegun ? this.#control : NONE, rest ?? NONE, words]);
    if (this.#midMessage && rest === null) return this.drop(); // half a message and then a goodbye would be neither
    this.#exit.leaving.putOff(this);
    this.#sayLast(this.#lastWords);
  }

  /** The socket has room. True: it is the hub's turn. */
  drained(): boolean {
    if (this.#lastWords === null) return this.#flushControl();
    this.#sayLast(this.#lastWords);
    return false;
  }

  /** The connection is over; called once. */
  closed(): void {
    this.#exit.traffic.closed++;
    this.#lastWords ??= NONE;
    this.#exit.leaving.drop(this);
  }

  #give(bytes: Uint8Array): number {
    const taken = this.#socket.write(bytes);
    const { traffic } = this.#exit;
    traffic.writes++;
    traffic.bytes += taken;
    return taken;
  }

  /** False: one still waits, and the socket is full. */
  #flushControl(): boolean {
    if (this.#midMessage || this.#control.length === 0) return true;
    const taken = this.#give(this.#control);
    this.#control = this.#control.subarray(taken);
    this.#controlBegun = this.#control.length > 0 && (taken > 0 || this.#controlBegun);
    return this.#control.length === 0;
  }

  #sayLast(words: Uint8Array): void {
    const taken = this.#give(words);
    this.#lastWords = words.subarray(taken);
    if (taken < words.length) return;
    this.#exit.leaving.drop(this);
    this.#socket.end();
  }
}
