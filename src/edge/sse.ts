import { FAULTS, type Goodbye } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type Random, randomInt } from "../base/random.ts";
import type { Listener, Socket, SocketHandler } from "../base/socket.ts";
import { Wheel } from "../base/wheel.ts";
import type { Outlet } from "../delivery/outlet.ts";
import { Traffic } from "../delivery/traffic.ts";
import { asciiJson } from "../wire/text.ts";
import { Deadlines } from "./deadlines.ts";
import type { DoorOptions } from "./esa.ts";
import type { Lobby } from "./lobby.ts";
import { type Exit, Outgoing } from "./outgoing.ts";
import { Pile } from "./pile.ts";
import { HeadReader, lists, type RequestHead } from "./request-head.ts";
import { EventFraming, goodbyeEvent, HEARTBEAT } from "./sse-events.ts";
import { isEventSource, isListed, readStreamRequest, STREAM_PATH, type StreamRequest } from "./sse-request.ts";
import type { Visit } from "./visit.ts";

/** The longest body of a POST: room for a subscription that names every market there is. */
export const BODY_BYTES_MAX = 1024 * 1024;
/** How long a client may take over its request. */
export const REQUEST_MS_MAX = 10_000;
/** A silence of so much of `heartbeatMs` is broken by a comment; the hub's own heartbeat, where one is due, comes before. */
const COMMENT_AFTER = 1.1;
/** How long an EventSource waits before it comes back: from one to the other, by chance, so that all of them don't come at once. */
const RETRY_MS = { "at once": [500, 2_000], "after a pause": [2_000, 10_000] } as const;

export interface SseDoorOptions extends DoorOptions {
  readonly random: Random;
  /** Origins of pages elsewhere whose visitors' cookies count. */
  readonly origins?: readonly string[];
}

/** What all connections of the door share. */
interface Shared extends Exit {
  readonly lobby: Lobby;
  readonly log: Log;
  readonly random: Random;
  readonly origins: readonly string[];
  readonly requests: Deadlines<SseConnection>;
  readonly beats: Wheel<SseConnection>;
}

/**
 * The SSE door: `GET /v1/stream`, the exchange's messages as server-sent events, one request a stream, for who is behind a proxy that lets nothing else through,
 * and for a browser's EventSource. HTTP over plain sockets, on a port of its own: docs/decisions/0010-sse.md has the figures.
 */
export class SseDoor {
  readonly traffic = new Traffic();
  readonly #listener: Listener;

  constructor({ listen, at, lobby, log, random, origins = [] }: SseDoorOptions) {
    const { clock } = lobby;
    const shared: Shared = {
      lobby,
      log,
      traffic: this.traffic,
      random,
      origins,
      requests: new Deadlines(clock, REQUEST_MS_MAX, (connection) => connection.drop()),
      leaving: Outgoing.deadlines(clock),
      beats: new Wheel(clock, (connection) => connection.beat()),
    };
    this.#listener = listen(at, (socket) => (lobby.hasRoom() ? new SseConnection(socket, shared) : null));
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Takes no more connections; those there are stay. */
  stop(): void {
    this.#listener.stop();
  }
}

/**
 * The way in: one request, and then nothing more.
 *
 *     head ── of a POST ──> body ──┬── let in ──> open ── goodbye ──> leaving
 *       └── of a GET ──────────────┤                └── the peer goes ──> over
 *                                  └── refused ──> leaving
 */
type State =
  | { readonly kind: "head"; readonly reader: HeadReader }
  | { readonly kind: "body"; readonly head: RequestHead; readonly body: Pile; readonly length: number }
  | { readonly kind: "open"; readonly outlet: SseOutlet; readonly silenceMsMax: number }
  | { readonly kind: "over" };

const NO_BYTES = new Uint8Array(0);
const OVER: State = { kind: "over" };

class SseConnection implements SocketHandler {
  readonly #socket: Socket;
  readonly #shared: Shared;
  readonly #outgoing: Outgoing;
  #state: State = { kind: "head", reader: new HeadReader() };

  constructor(socket: Socket, shared: Shared) {
    this.#socket = socket;
    this.#shared = shared;
    this.#outgoing = new Outgoing(socket, shared);
    shared.lobby.opened();
    shared.requests.putOff(this);
  }

  // ---- the socket's side ----

  data(_: Socket, bytes: Uint8Array): void {
    if (this.#state.kind === "head") this.#readHead(this.#state.reader, bytes);
    else if (this.#state.kind === "body") this.#readBody(this.#state, bytes);
  }

  drain(): void {
    if (this.#outgoing.drained() && this.#state.kind === "open") this.#state.outlet.visit.drained();
  }

  close(socket: Socket, error?: Error): void {
    const state = this.#state;
    this.#state = OVER;
    this.#shared.requests.drop(this);
    this.#outgoing.closed();
    if (state.kind === "open") state.outlet.visit.end(null);
    this.#shared.lobby.closed();
    if (error) this.#shared.log.debug({ remote: socket.remote, error: error.message }, "an SSE connection broke");
  }

  // ---- time's side ----

  drop(): void {
    this.#socket.destroy();
  }

  /** Breaks a silence; returns when to ask again. */
  beat(): number | null {
    if (this.#state.kind !== "open" || this.#outgoing.isLeaving) return null;
    const { outlet, silenceMsMax } = this.#state;
    const rest = silenceMsMax - (this.#shared.lobby.clock.monotonic() - outlet.wroteAt);
    if (rest > 0) return rest;
    this.#outgoing.control(HEARTBEAT);
    return silenceMsMax;
  }

  // ---- the request ----

  #readHead(reader: HeadReader, bytes: Uint8Array): void {
    const read = reader.push(bytes);
    if (read.kind === "more") return;
    if (read.kind === "broken") return this.#answer("400 Bad Request", problem("INVALID_REQUEST", read.why));
    const { head, rest } = read;
    if (!head.version.startsWith("HTTP/1.")) return this.#refuse(head, invalid("only HTTP/1 is spoken here"));
    if (head.target.split("?")[0] !== STREAM_PATH)
      return this.#refuse(head, { code: "NOT_FOUND", message: `this is Oddswire's SSE door: ask for ${STREAM_PATH}` });
    if (head.method === "OPTIONS") return this.#answer("204 No Content", [], this.#preflight(head));
    if (head.method === "GET") return this.#begin(head, NO_BYTES);
    if (head.method === "POST") return this.#awaitBody(head, rest);
    this.#refuse(head, { code: "METHOD_NOT_ALLOWED", message: `${head.method} is not for ${STREAM_PATH}` });
  }

  #awaitBody(head: RequestHead, rest: Uint8Array): void {
    const length = head.headers.get("content-length");
    if (length === undefined || !/^\d{1,15}$/.test(length) || head.headers.has("transfer-encoding"))
      return this.#answer("411 Length Required", problem("INVALID_REQUEST", "say Content-Length"));
    if (Number(length) > BODY_BYTES_MAX)
      return this.#refuse(head, { code: "MESSAGE_TOO_LARGE", message: `a body has ${BODY_BYTES_MAX} bytes at most` });
    if (lists(head.headers.get("expect"), "100-continue")) this.#outgoing.write(CONTINUE);
    const state = { kind: "body", head, body: new Pile(0), length: Number(length) } as const;
    this.#state = state;
    this.#readBody(state, rest);
  }

  #readBody({ head, body, length }: State & { kind: "body" }, bytes: Uint8Array): void {
    const part = bytes.subarray(0, length - body.length);
    if (body.length + part.length < length) return body.push(part);
    this.#begin(head, body.with(part));
  }

  #begin(head: RequestHead, body: Uint8Array): void {
    const request = readStreamRequest(head, body, this.#shared.origins);
    if ("code" in request) return this.#refuse(head, request);
    const outlet = new SseOutlet(this.#outgoing, this.#shared, request);
    const refusal = outlet.visit.open(request.appKey, request.session, request.subscriptions);
    if (refusal !== null) return this.#refuse(head, refusal);
    this.#shared.requests.drop(this);
    const first = `retry: ${this.#retryMs("at once")}\n: connection ${outlet.visit.connectionId}\n\n`;
    const opening = Buffer.from(responseHead("200 OK", [...EVENT_STREAM, ...this.#cors(head)]) + first);
    if (this.#outgoing.write(opening) < opening.length) return this.drop();
    const heartbeatMs = Math.min(...request.subscriptions.map((subscription) => subscription.heartbeatMs));
    this.#state = { kind: "open", outlet, silenceMsMax: heartbeatMs * COMMENT_AFTER };
    this.#shared.beats.add(this, heartbeatMs * COMMENT_AFTER);
    outlet.begin();
  }

  // ---- refusals ----

  /** In a status and a few words; to an EventSource, which would never come back after one, in the one way that makes it come back, or stay away. */
  #refuse(head: RequestHead, goodbye: Goodbye): void {
    const { http, comeBack } = FAULTS[goodbye.code];
    const mayCome = comeBack === "at once" || comeBack === "after a pause";
    if (isEventSource(head) && mayCome) {
      const event = goodbyeEvent(goodbye, this.#retryMs(comeBack));
      return this.#leave(responseHead("200 OK", [...EVENT_STREAM, ...this.#cors(head)]), event);
    }
    if (isEventSource(head) && head.headers.has("last-event-id"))
      return this.#answer("204 No Content", [], this.#cors(head));
    const more = [
      ...this.#cors(head),
      ...(mayCome ? [`Retry-After: ${Math.ceil(this.#retryMs(comeBack) / 1000)}`] : []),
      ...(http === 401 ? ["WWW-Authenticate: Bearer"] : []),
      ...(http === 405 ? [`Allow: ${METHODS}`] : []),
    ];
    this.#answer(`${http} ${STATUS[http] ?? "Error"}`, problem(goodbye.code, goodbye.message), more);
  }

  #answer(status: string, [type, text = ""]: readonly string[], more: readonly string[] = []): void {
    const about = type === undefined ? [] : [`Content-Type: ${type}`, "Cache-Control: no-store"];
    const length = status.startsWith("204") ? [] : [`Content-Length: ${text.length}`];
    this.#leave(responseHead(status, [...about, ...length, ...more]), Buffer.from(text));
  }

  #leave(head: string, body: Uint8Array): void {
    this.#shared.requests.drop(this);
    this.#state = OVER;
    this.#outgoing.leave(null, Buffer.concat([Buffer.from(head, "latin1"), body]));
  }

  /** Any page may read what a token opens, as it must have the token; a cookie opens nothing to pages that are not listed. */
  #cors(head: RequestHead): string[] {
    const { origins } = this.#shared;
    const vary = origins.length > 0 ? ["Vary: Origin"] : [];
    if (!isListed(head, origins)) return ["Access-Control-Allow-Origin: *", ...vary];
    const origin = head.headers.get("origin");
    return [`Access-Control-Allow-Origin: ${origin}`, "Access-Control-Allow-Credentials: true", ...vary];
  }

  #preflight(head: RequestHead): string[] {
    const allowed = "Authorization, Content-Type, Last-Event-ID, X-Application";
    return [
      ...this.#cors(head),
      `Access-Control-Allow-Methods: ${METHODS}`,
      `Access-Control-Allow-Headers: ${allowed}`,
      "Access-Control-Max-Age: 86400",
    ];
  }

  #retryMs(comeBack: keyof typeof RETRY_MS): number {
    return retryMs(this.#shared.random, comeBack);
  }
}

/** The way out. Takes nothing until the response has begun: who is refused meanwhile is answered by another. */
class SseOutlet implements Outlet {
  readonly framing: EventFraming;
  readonly extensions = true;
  readonly traffic: Traffic;
  readonly visit: Visit;
  /** When something was last written, monotonic milliseconds. */
  wroteAt: number;
  readonly #outgoing: Outgoing;
  readonly #shared: Shared;
  #begun = false;

  constructor(outgoing: Outgoing, shared: Shared, { subscriptions }: StreamRequest) {
    this.#outgoing = outgoing;
    this.#shared = shared;
    this.traffic = shared.traffic;
    this.framing = new EventFraming(subscriptions);
    this.visit = shared.lobby.enter(this);
    this.wroteAt = shared.lobby.clock.monotonic();
  }

  begin(): void {
    this.#begun = true;
    this.visit.drained();
  }

  write(bytes: Uint8Array): number {
    this.framing.written(bytes.length);
    if (!this.#begun) return 0;
    this.wroteAt = this.#shared.lobby.clock.monotonic();
    return this.#outgoing.write(bytes);
  }

  close(goodbye: Goodbye): void {
    const { rest } = this.visit.end(goodbye);
    const { comeBack } = FAULTS[goodbye.code];
    const pause = comeBack === "at once" ? comeBack : "after a pause";
    this.#outgoing.leave(rest, goodbyeEvent(goodbye, retryMs(this.#shared.random, pause)));
  }
}

// ---- HTTP's words ----

const METHODS = "GET, POST, OPTIONS";
const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");
/** The end of the connection is the end of the body: understood by every proxy, HTTP/1.0 ones too, and nothing is put around each write. */
const EVENT_STREAM = [
  "Content-Type: text/event-stream; charset=utf-8",
  "Cache-Control: no-store, no-transform",
  "X-Accel-Buffering: no",
];
const STATUS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

function responseHead(status: string, lines: readonly string[]): string {
  return `${[`HTTP/1.1 ${status}`, ...lines, "X-Content-Type-Options: nosniff", "Connection: close"].join("\r\n")}\r\n\r\n`;
}

/** Type and text. */
function problem(code: string, message: string): readonly [string, string] {
  return ["application/json; charset=utf-8", asciiJson({ code, message })];
}

function invalid(message: string): Goodbye {
  return { code: "INVALID_REQUEST", message };
}

function retryMs(random: Random, comeBack: keyof typeof RETRY_MS): number {
  const [least, most] = RETRY_MS[comeBack];
  return least + randomInt(random, most - least);
}
