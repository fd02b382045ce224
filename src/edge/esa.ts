import type { Goodbye } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Listen, Listener, ListenOptions, Socket, SocketHandler } from "../base/socket.ts";
import type { Framing, Outlet } from "../delivery/outlet.ts";
import { Traffic } from "../delivery/traffic.ts";
import { LineReader } from "../wire/lines.ts";
import type { Lobby } from "./lobby.ts";
import { type Exit, Outgoing } from "./outgoing.ts";
import { framed, type Visit } from "./visit.ts";

/** The longest line a client may send: room for a subscription that names every market there is. */
export const LINE_BYTES_MAX = 1024 * 1024;

export interface DoorOptions {
  readonly listen: Listen;
  readonly at: ListenOptions;
  readonly lobby: Lobby;
  readonly log: Log;
}

/** The exchange's own door: TCP or TLS, JSON lines ended by CRLF. A client of the exchange comes in here and notices nothing. */
export class EsaDoor {
  readonly traffic = new Traffic();
  readonly #listener: Listener;

  constructor({ listen, at, lobby, log }: DoorOptions) {
    const exit: Exit = { leaving: Outgoing.deadlines(lobby.clock), traffic: this.traffic };
    this.#listener = listen(at, (socket) =>
      lobby.hasRoom() ? new EsaConnection(new Outgoing(socket, exit), lobby, log) : null,
    );
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Takes no more connections; those there are stay. */
  stop(): void {
    this.#listener.stop();
  }
}

const CRLF: Framing = {
  overheadMax: 2,
  before: () => 0,
  after(out, at) {
    out[at] = 13;
    out[at + 1] = 10;
    return 2;
  },
};

/** What betfairlightweight reads at a time, unless told otherwise; who tells it mostly says a multiple. */
const READ_BYTES = 1024;
const SPACE_CRLF = Buffer.from(" \r\n");

/**
 * Who reads in pieces of 1,024 bytes and takes a message for complete when a piece ends in CRLF would get this write's last piece as a lone LF, and wait
 * for the next message, at worst the next heartbeat, before it looks at any of it. The exchange does that to its clients once in a thousand messages; a
 * space before the CRLF, which means nothing in JSON, spares ours.
 */
function leavesLineFeedAlone(bytes: Uint8Array): boolean {
  return bytes.length > READ_BYTES && bytes.length % READ_BYTES === 1;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The way in: bytes become lines, lines the visitor's messages. */
class EsaConnection implements SocketHandler {
  readonly #lobby: Lobby;
  readonly #log: Log;
  readonly #outlet: EsaOutlet;
  readonly #lines = new LineReader(LINE_BYTES_MAX);
  readonly #onLine = (bytes: Uint8Array, start: number, end: number) => this.#line(bytes, start, end);

  constructor(outgoing: Outgoing, lobby: Lobby, log: Log) {
    this.#lobby = lobby;
    this.#log = log;
    this.#outlet = new EsaOutlet(outgoing, lobby);
    lobby.opened();
  }

  open(): void {
    const words = framed(this.#outlet, this.#outlet.visit.greeting());
    if (this.#outlet.write(words) < words.length) this.#outlet.outgoing.drop();
  }

  data(_: Socket, bytes: Uint8Array): void {
    if (this.#outlet.outgoing.isLeaving || this.#lines.push(bytes, this.#onLine)) return;
    this.#outlet.close({ code: "MESSAGE_TOO_LARGE", message: `a line is longer than ${LINE_BYTES_MAX} bytes` });
  }

  drain(): void {
    if (this.#outlet.outgoing.drained()) this.#outlet.visit.drained();
  }

  close(socket: Socket, error?: Error): void {
    this.#outlet.outgoing.closed();
    this.#outlet.visit.end(null);
    this.#lobby.closed();
    if (error) this.#log.debug({ remote: socket.remote, error: error.message }, "an ESA connection broke");
  }

  #line(bytes: Uint8Array, start: number, end: number): void {
    if (this.#outlet.outgoing.isLeaving || start === end) return;
    let text: string;
    try {
      text = utf8.decode(bytes.subarray(start, end));
    } catch {
      return this.#outlet.close({ code: "INVALID_UTF8", message: "a line is not UTF-8" });
    }
    this.#outlet.visit.receive(text);
  }
}

/** The way out. */
class EsaOutlet implements Outlet {
  readonly outgoing: Outgoing;
  readonly visit: Visit;

  constructor(outgoing: Outgoing, lobby: Lobby) {
    this.outgoing = outgoing;
    this.visit = lobby.enter(this);
  }

  get framing(): Framing {
    return CRLF;
  }

  get extensions(): boolean {
    return false;
  }

  get traffic(): Traffic {
    return this.outgoing.traffic;
  }

  write(bytes: Uint8Array): number {
    if (!leavesLineFeedAlone(bytes)) return this.outgoing.write(bytes);
    const end = bytes.length - 2;
    const taken = this.outgoing.write(Buffer.concat([bytes.subarray(0, end), SPACE_CRLF]));
    return taken > end ? taken - 1 : taken;
  }

  close(goodbye: Goodbye): void {
    const { rest, words } = this.visit.end(goodbye);
    this.outgoing.leave(rest, framed(this, words));
  }
}
