import { FAULTS, type Goodbye } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Listener, Socket, SocketHandler } from "../base/socket.ts";
import { Wheel } from "../base/wheel.ts";
import type { Framing, Outlet } from "../delivery/outlet.ts";
import { Traffic } from "../delivery/traffic.ts";
import { Deadlines } from "./deadlines.ts";
import type { DoorOptions } from "./esa.ts";
import { closeFrame, controlFrame, FrameReader, type FrameSink, OPCODE, TEXT_FRAMES } from "./frames.ts";
import { HandshakeReader } from "./handshake.ts";
import type { Lobby } from "./lobby.ts";
import { type Exit, Outgoing } from "./outgoing.ts";
import { framed, type Visit } from "./visit.ts";

/** The longest message a client may send: room for a subscription that names every market there is. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;
/** How long a client may take over the upgrade request. */
export const HANDSHAKE_MS_MAX = 10_000;
/** A peer that has not sent a byte for so long is pinged, every few seconds. */
export const QUIET_MS_MAX = 30_000;
/** One that then sends none for so long is dead, and dropped. */
export const PONG_MS_MAX = 15_000;

/** What all connections of the door share. */
interface Shared extends Exit {
  readonly lobby: Lobby;
  readonly log: Log;
  readonly handshakes: Deadlines<WebSocketConnection>;
  readonly quiet: Wheel<WebSocketConnection>;
  /** A reader that is between frames: most reads hold whole ones, and one reader will do for all connections that have nothing begun. */
  spare: FrameReader | null;
}

/**
 * The WebSocket door: the exchange's messages, one a text frame, with our extensions. It listens on a port of its own and answers nothing but an upgrade
 * to `/v1/ws`. Framing is ours over plain sockets, as one shared write a user is what counts (design.md §7); no compression.
 */
export class WebSocketDoor {
  readonly traffic = new Traffic();
  readonly #listener: Listener;

  constructor({ listen, at, lobby, log }: DoorOptions) {
    const { clock } = lobby;
    const shared: Shared = {
      lobby,
      log,
      traffic: this.traffic,
      handshakes: new Deadlines(clock, HANDSHAKE_MS_MAX, (connection) => connection.drop()),
      quiet: new Wheel(clock, (connection) => connection.askIfQuiet()),
      leaving: Outgoing.deadlines(clock),
      spare: null,
    };
    this.#listener = listen(at, (socket) => (lobby.hasRoom() ? new WebSocketConnection(socket, shared) : null));
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Takes no more connections; those there are stay. */
  stop(): void {
    this.#listener.stop();
  }
}

const NO_BYTES = new Uint8Array(0);
const OVER = -1;
const PING = controlFrame(OPCODE.ping, NO_BYTES);

/**
 * The way in: first an upgrade request, then frames.
 *
 *     handshake ── upgrade ──> open ── close frame, goodbye or broken framing ──> leaving
 *         └── refused ──> leaving        └── silent for too long ──> dropped
 */
class WebSocketConnection implements SocketHandler, FrameSink {
  readonly #shared: Shared;
  readonly #outgoing: Outgoing;
  #handshake: HandshakeReader | null = new HandshakeReader();
  /** What has read a part of a frame or a message; null between them, and so nearly always. */
  #frames: FrameReader | null = null;
  #outlet: WebSocketOutlet | null = null;
  /** When its peer last sent anything, monotonic milliseconds. */
  #heardAt = 0;

  constructor(socket: Socket, shared: Shared) {
    this.#shared = shared;
    this.#outgoing = new Outgoing(socket, shared);
    shared.lobby.opened();
    shared.handshakes.putOff(this);
  }

  // ---- the socket's side ----

  data(_: Socket, bytes: Uint8Array): void {
    if (this.#outgoing.isLeaving) return;
    if (this.#handshake !== null) return this.#shake(this.#handshake, bytes);
    this.#heardAt = this.#shared.lobby.clock.monotonic();
    this.#read(bytes);
  }

  drain(): void {
    if (this.#outgoing.drained()) this.#outlet?.visit.drained();
  }

  close(socket: Socket, error?: Error): void {
    const { handshakes, lobby, log } = this.#shared;
    handshakes.drop(this);
    this.#heardAt = OVER;
    this.#outgoing.closed();
    this.#outlet?.visit.end(null);
    lobby.closed();
    if (error) log.debug({ remote: socket.remote, error: error.message }, "a WebSocket connection broke");
  }

  // ---- time's side ----

  /** The wheel asks: pings a peer that is quiet, and drops one that stays so. Returns when to ask again. */
  askIfQuiet(): number | null {
    if (this.#heardAt === OVER) return null;
    const quietMs = this.#shared.lobby.clock.monotonic() - this.#heardAt;
    if (quietMs < QUIET_MS_MAX) return QUIET_MS_MAX - quietMs;
    if (quietMs >= QUIET_MS_MAX + PONG_MS_MAX) {
      this.drop();
      return null;
    }
    this.#outgoing.control(PING);
    return QUIET_MS_MAX + PONG_MS_MAX - quietMs;
  }

  drop(): void {
    this.#outgoing.drop();
  }

  // ---- the frames' side ----

  text(message: string): void {
    this.#outlet?.visit.receive(message);
  }

  pinged(payload: Uint8Array): void {
    this.#outgoing.control(controlFrame(OPCODE.pong, payload));
  }

  /** The visitor says goodbye: the same back, and out. */
  closing(code: number | null): void {
    const frame = code === null ? controlFrame(OPCODE.close, NO_BYTES) : closeFrame(code, "");
    this.#outgoing.leave(this.#outlet?.visit.end(null).rest ?? null, frame);
  }

  #shake(handshake: HandshakeReader, bytes: Uint8Array): void {
    const answer = handshake.push(bytes);
    if (answer.kind === "more") return;
    this.#handshake = null;
    this.#shared.handshakes.drop(this);
    const response = Buffer.from(answer.response, "latin1");
    if (answer.kind === "refused") return this.#outgoing.leave(null, response);
    this.#outlet = new WebSocketOutlet(this.#outgoing, this.#shared);
    const opening = Buffer.concat([response, framed(this.#outlet, this.#outlet.visit.greeting())]);
    if (this.#outgoing.write(opening) < opening.length) return this.drop();
    this.#heardAt = this.#shared.lobby.clock.monotonic();
    this.#shared.quiet.add(this, QUIET_MS_MAX);
    this.#read(answer.rest);
  }

  /** Where the framing is broken, a close frame is all that is said. */
  #read(bytes: Uint8Array): void {
    const shared = this.#shared;
    const frames = this.#frames ?? shared.spare ?? new FrameReader(MESSAGE_BYTES_MAX);
    if (frames === shared.spare) shared.spare = null;
    const fault = frames.push(bytes, this);
    this.#frames = frames.isBetween ? null : frames;
    if (frames.isBetween) shared.spare = frames;
    if (fault === null) return;
    const rest = this.#outlet?.visit.end(fault).rest ?? null;
    this.#outgoing.leave(rest, closeFrame(FAULTS[fault.code].close, fault.message));
  }
}

/** The way out. */
class WebSocketOutlet implements Outlet {
  readonly visit: Visit;
  readonly #outgoing: Outgoing;

  constructor(outgoing: Outgoing, { lobby }: Shared) {
    this.#outgoing = outgoing;
    this.visit = lobby.enter(this);
  }

  get framing(): Framing {
    return TEXT_FRAMES;
  }

  get extensions(): boolean {
    return true;
  }

  get traffic(): Traffic {
    return this.#outgoing.traffic;
  }

  write(bytes: Uint8Array): number {
    return this.#outgoing.write(bytes);
  }

  /** The dialect's status message first, as some clients look at messages only; then the close frame with the table's code. */
  close(goodbye: Goodbye): void {
    const { rest, words } = this.visit.end(goodbye);
    const close = closeFrame(FAULTS[goodbye.code].close, goodbye.message);
    this.#outgoing.leave(rest, Buffer.concat([framed(this, words), close]));
  }
}
