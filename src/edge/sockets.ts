import { rmSync } from "node:fs";
import { isIPv4 } from "node:net";
import type { BinaryType, Socket as BunSocket, SocketHandler as BunSocketHandler } from "bun";
import { OddswireError } from "../base/errors.ts";
import { type Random, randomInt, systemRandom } from "../base/random.ts";
import type { Dial, Listen, Listener, ListenOptions, Socket, SocketHandler } from "../base/socket.ts";

/** Port 0 means one of these. Below 32768, where Linux takes the near ends of outgoing connections from. */
export const FREE_PORT_MIN = 20_000;
export const FREE_PORT_MAX = 32_000;
/** How many ports are tried before giving up on finding a free one. */
export const FREE_PORT_TRIES_MAX = 64;
/** How long a peer may take over the TLS handshake. Bun's socket timeouts are 4 s coarse. */
export const TLS_HANDSHAKE_SECONDS_MAX = 12;
/** After `end`: how long a peer may take to read the rest and to close its side, before it is reset. */
export const LINGER_SECONDS_MAX = 8;

/** Listens by `Bun.listen`, TCP or TLS. Throws an `OddswireError` (`PORT_IN_USE`, `INVALID_CONFIG`) where it cannot. */
export const bunListen: Listen = (at, accept) => {
  const handlers = at.tls ? tlsServer : plain;
  if (at.path !== undefined) return listenOnPath(at.path, accept);
  const listenAt = (port: number) =>
    Bun.listen<Connection>({
      hostname: at.host,
      port,
      ...(at.reusePort && { reusePort: true }),
      ...(at.tls && { tls: { cert: at.tls.cert, key: at.tls.key } }),
      socket: { ...handlers, open: (raw) => accepted(raw, accept, handlers.open) },
    });
  const listener = at.port === 0 ? onFreePort(at.host, listenAt) : listenOrExplain(at, listenAt);
  return { port: listener.port, stop: () => listener.stop() };
};

function listenOnPath(path: string, accept: Parameters<Listen>[1]): Listener {
  // Whoever listened there before may have been killed, and its socket's name then stays.
  rmSync(path, { force: true });
  const open = (raw: BunSocket<Connection>) => accepted(raw, accept, plain.open);
  const listener = Bun.listen<Connection>({ unix: path, socket: { ...plain, open } });
  return { port: 0, stop: () => listener.stop() };
}

/**
 * Connects by `Bun.connect`. With `tls` the certificate and the name in it are always checked, whatever the environment says
 * (NODE_TLS_REJECT_UNAUTHORIZED included); the handler's `open` comes only after that.
 */
export const bunDial: Dial = (to, handler) => {
  const connection = new Connection(to.host, to.port);
  connection.adopt(handler);
  const { ca, cert, key, serverName } = to.tls ?? {};
  const tls = to.tls && { ca, cert, key, serverName, rejectUnauthorized: true };
  const handlers = to.tls ? tlsClient : plain;
  try {
    const where = to.path === undefined ? { hostname: to.host, port: to.port } : { unix: to.path };
    Bun.connect<Connection>({
      ...(where as { hostname: string; port: number }),
      data: connection,
      ...(tls && { tls }),
      socket: {
        ...handlers,
        open(raw) {
          connection.attach(raw);
          handlers.open(raw);
        },
        connectError: (_, error) => connection.over(error),
      },
    }).catch((error) => connection.over(error));
  } catch (error) {
    connection.overSoon(error as Error); // such as a client certificate that is not PEM
  }
  return connection;
};

/** A port nobody listens on right now, for servers that are not ours to bind (`Bun.serve`); the caller must be ready for a lost race. */
export function freePort(host: string, random: Random = systemRandom): number {
  const listener = onFreePort(host, (port) => Bun.listen({ hostname: host, port, socket: { data() {} } }), random);
  listener.stop(true);
  return listener.port;
}

type State = "opening" | "open" | "ending" | "closed";

/** One connection, seen from both sides: the rooms hold it as a `Socket`, Bun's handlers find it as `socket.data`. */
class Connection implements Socket {
  readonly #remote: number | string;
  #handler: SocketHandler | null = null;
  #raw: BunSocket<Connection> | null = null;
  #state: State = "opening";
  /** The last write took less than it was given. Bun calls `drain` at other times too. */
  #full = false;

  constructor(host: string, port: number) {
    this.#remote = packed(host, port);
  }

  get remote(): string {
    return typeof this.#remote === "string" ? this.#remote : unpacked(this.#remote);
  }

  write(bytes: Uint8Array): number {
    if (this.#state !== "open" || bytes.length === 0) return 0;
    // Bun answers -1 when the socket has gone. Over TLS, what it counts as taken is encrypted and its own to deliver, so that
    // the next bytes may be different ones (a plain SSL_write would insist on the same): sockets.test.ts holds it to that.
    const taken = Math.max(0, (this.#raw as BunSocket<Connection>).write(bytes));
    this.#full = taken < bytes.length;
    return taken;
  }

  end(): void {
    if (this.#state === "opening") return this.destroy();
    if (this.#state !== "open") return;
    this.#state = "ending";
    // Not Bun's `end`: that closes at once, and where the peer had sent bytes that nobody read the kernel then sends a reset,
    // which takes our last words with it. FIN first, then read on (to nobody) until the peer closes or the linger ends.
    (this.#raw as BunSocket<Connection>).shutdown();
    this.#raw?.timeout(LINGER_SECONDS_MAX);
  }

  destroy(): void {
    this.overSoon();
    this.#raw?.terminate();
  }

  adopt(handler: SocketHandler): void {
    this.#handler = handler;
  }

  attach(raw: BunSocket<Connection>): void {
    this.#raw = raw;
    if (this.#state === "closed") raw.terminate();
    else raw.setNoDelay(true);
  }

  opened(): void {
    if (this.#state !== "opening") return;
    this.#state = "open";
    this.#guard(() => this.#handler?.open?.(this));
  }

  received(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    try {
      this.#handler?.data(this, bytes);
    } catch (error) {
      this.broke(error as Error);
    }
  }

  drained(): void {
    if (this.#state !== "open" || !this.#full) return;
    this.#full = false;
    this.#guard(() => this.#handler?.drain?.(this));
  }

  /** It failed: reset, and say so. */
  broke(error: Error): void {
    this.over(error);
    this.#raw?.terminate();
  }

  /** It is over: tells the handler, the first time. */
  over(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#handler?.close(this, error);
  }

  /** As `over`, but not within this call: the rooms' calls must not overlap. */
  overSoon(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    queueMicrotask(() => this.#handler?.close(this, error));
  }

  /** A handler that throws costs its own connection and nobody else's. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.broke(error as Error);
    }
  }
}

/** What all of Bun's sockets do here; what differs is how they open. */
const common = {
  // Not Bun's default, a Buffer: its `slice` is a view where a Uint8Array's is a copy.
  binaryType: "uint8array" as BinaryType,
  data: (raw, bytes: Uint8Array) => raw.data.received(bytes),
  drain: (raw) => raw.data.drained(),
  // TLS records that do not decrypt, and an `accept` that throws.
  error: (raw, error) => raw.data.broke(error),
  timeout: (raw) => raw.data.broke(new Error("the peer took too long over its TLS handshake or over closing")),
  close: (raw, error) => raw.data.over(error),
} satisfies BunSocketHandler<Connection>;

const plain = {
  ...common,
  open(raw: BunSocket<Connection>) {
    // Left alone, Bun ends what it accepted when nothing came in for 120 s; who only listens has nothing to say.
    raw.timeout(0);
    raw.data.opened();
  },
};

const tlsServer = {
  ...common,
  open: handshakeBegins,
  // Whether the peer is authorized does not count here: it was asked for no certificate.
  handshake: (raw: BunSocket<Connection>, success: boolean, error: Error | null) =>
    handshakeEnds(raw, success ? null : (error ?? new Error("the TLS handshake failed"))),
};

const tlsClient = {
  ...common,
  open: handshakeBegins,
  handshake: (raw: BunSocket<Connection>, success: boolean, error: Error | null) =>
    handshakeEnds(raw, success && raw.authorized ? error : (error ?? new Error("the certificate is not trusted"))),
};

function handshakeBegins(raw: BunSocket<Connection>): void {
  raw.timeout(TLS_HANDSHAKE_SECONDS_MAX);
}

function handshakeEnds(raw: BunSocket<Connection>, refusal: Error | null): void {
  if (refusal) return raw.data.broke(refusal);
  raw.timeout(0);
  raw.data.opened();
}

/** Shows a new connection to the room, and opens it or refuses it. */
function accepted(
  raw: BunSocket<Connection>,
  accept: (socket: Socket) => SocketHandler | null,
  open: (raw: BunSocket<Connection>) => void,
): void {
  const connection = new Connection(raw.remoteAddress ?? "local", raw.remotePort ?? 0);
  raw.data = connection;
  connection.attach(raw);
  const handler = accept(connection);
  if (handler === null) return connection.destroy();
  connection.adopt(handler);
  open(raw);
}

function listenOrExplain<T>(at: ListenOptions, listenAt: (port: number) => T): T {
  try {
    return listenAt(at.port);
  } catch (error) {
    throw explained(error, at.host, at.port);
  }
}

function onFreePort<T>(host: string, listenAt: (port: number) => T, random: Random = systemRandom): T {
  for (let tries = 0; tries < FREE_PORT_TRIES_MAX; tries++) {
    const port = FREE_PORT_MIN + randomInt(random, FREE_PORT_MAX - FREE_PORT_MIN);
    try {
      return listenAt(port);
    } catch (error) {
      if (!isInUse(error)) throw explained(error, host, port);
    }
  }
  throw new OddswireError(
    "PORT_IN_USE",
    `${FREE_PORT_TRIES_MAX} ports tried at random between ${FREE_PORT_MIN} and ${FREE_PORT_MAX} on ${host} are all in use: name a free one`,
  );
}

/** Why a server cannot listen there, in words. */
export function explained(error: unknown, host: string, port: number): OddswireError {
  if (isInUse(error)) {
    const message = `port ${port} on ${host} is in use: stop the program that listens there, or choose another port`;
    return new OddswireError("PORT_IN_USE", message);
  }
  const reason = `${(error as { code?: string }).code ?? "error"}: ${(error as Error).message}`;
  return new OddswireError(
    "INVALID_CONFIG",
    `cannot listen on ${remoteName(host, port)} (${reason}): choose an address of this machine, and a port that you may use`,
  );
}

function isInUse(error: unknown): boolean {
  return (error as { code?: string }).code === "EADDRINUSE";
}

/** Where somebody is, as one number where it can be one (IPv4): the words for it would cost each connection eighty bytes, and are hardly ever read. */
function packed(host: string, port: number): number | string {
  if (!isIPv4(host)) return remoteName(host, port);
  return host.split(".").reduce((sum, part) => sum * 256 + Number(part), 0) * 65_536 + port;
}

function unpacked(remote: number): string {
  const host = Math.floor(remote / 65_536);
  return remoteName([24, 16, 8, 0].map((shift) => (host >>> shift) & 255).join("."), remote % 65_536);
}

function remoteName(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
