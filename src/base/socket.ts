/**
 * The small part of a byte stream that the rooms need, so that they run over TCP, TLS and the simulator's virtual network alike.
 * Nothing here queues: what `write` does not take stays with the caller, who waits for `drain`.
 */
export interface Socket {
  /** Who is at the other end, for logs: "127.0.0.1:41234". */
  readonly remote: string;
  /** Hands bytes over; returns how many were taken. Fewer than given means full: wait for `drain`. 0 after a close. */
  write(bytes: Uint8Array): number;
  /** Closes once everything that was taken has left. */
  end(): void;
  /** Closes at once; what was taken may be lost. */
  destroy(): void;
}

/** What happens at a socket. Calls never overlap; after `close` there are none. */
export interface SocketHandler {
  /** The connection is made (for TLS: the handshake is done and the certificate checked). */
  open?(socket: Socket): void;
  /** Bytes came in; they are the callee's only for the length of the call. */
  data(socket: Socket, bytes: Uint8Array): void;
  /** There is room again after a `write` that took less than it was given. */
  drain?(socket: Socket): void;
  /** It is over: by the peer, by us, or (with `error`) because it broke or was never made. */
  close(socket: Socket, error?: Error): void;
}

export interface TlsClientOptions {
  /** PEM certificates to trust instead of the system's. */
  readonly ca?: string;
  /** The name the certificate must carry, where it differs from the host. */
  readonly serverName?: string;
  /** PEM client certificate and key, for servers that ask for one. */
  readonly cert?: string;
  readonly key?: string;
}

export interface Address {
  readonly host: string;
  readonly port: number;
  /** Absent: plain TCP. Present: TLS with certificate verification, always. */
  readonly tls?: TlsClientOptions;
  /** A socket of this machine's file system instead of host and port. */
  readonly path?: string;
}

/** Starts a connection; the outcome comes as `open` or `close`. `write` before `open` takes nothing. */
export type Dial = (to: Address, handler: SocketHandler) => Socket;

export interface Listener {
  /** The port listened on (useful when 0 was asked for). */
  readonly port: number;
  /** Stops accepting; connections already made go on. */
  stop(): void;
}

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** PEM certificate chain and key; absent: plain TCP. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Other processes may listen at the same port: each connection goes to one of them. */
  readonly reusePort?: boolean;
  /** A socket of this machine's file system instead of host and port. */
  readonly path?: string;
}

/** Listens; `accept` gives each new connection its handler, or null to refuse it (it is then closed at once). */
export type Listen = (at: ListenOptions, accept: (socket: Socket) => SocketHandler | null) => Listener;
