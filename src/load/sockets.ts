import { dlopen, ptr } from "bun:ffi";
import { isIPv4 } from "node:net";
import type { Socket, SocketHandler } from "bun";
import { OddswireError } from "../base/errors.ts";
import type { Line, Owner } from "./user.ts";

/** Where everybody connects to. `ca`: PEM certificates to trust instead of the system's. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly ca?: string; readonly serverName?: string } | null;
}

/**
 * Connects a user by Bun's own socket, which it then holds in its hands: tens of thousands of them, so nothing stands between. `from`: the address of this machine
 * to come from, as one address has some 28,000 ports to one place.
 */
export function connectUser(owner: Owner, to: Target, from: string | null): void {
  connect(owner, to, { hostname: to.host, port: to.port, ...(from !== null && { localAddress: from }) });
}

/** A 32-bit hash of bytes. */
export function hashOf(bytes: Uint8Array): number {
  return Bun.hash.xxHash32(bytes);
}

/**
 * Connects somebody who is going to be slow, over a socket with little room, as a phone's is: on a machine's own loopback the kernel would take
 * megabytes for it before the server noticed anything. Linux only, elsewhere a plain one. `host` must be an IPv4 address there.
 */
export function connectLaggard(owner: Owner, to: Target, from: string | null): () => void {
  const libc = kernel();
  if (libc === null || !isIPv4(to.host)) {
    connectUser(owner, to, from);
    return () => {};
  }
  const fd = libc.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new OddswireError("CONNECTION_FAILED", "this process may open no more sockets");
  setOption(fd, IPPROTO_TCP, TCP_MAXSEG, new Int32Array([SEGMENT_BYTES]));
  setOption(fd, SOL_SOCKET, SO_RCVBUF, new Int32Array([RECEIVE_BYTES]));
  if (from !== null) libc.bind(fd, ptr(address(from, 0)), ADDRESS_BYTES);
  libc.connect(fd, ptr(address(to.host, to.port)), ADDRESS_BYTES);
  connect(owner, to, { fd });
  return () => stopAcknowledging(fd);
}

/** Whether a laggard can be made to stop acknowledging on this machine. */
export function canStopAcknowledging(): boolean {
  return kernel() !== null;
}

function connect(owner: Owner, { tls, host }: Target, how: object): void {
  const secure = tls && {
    ...(tls.ca !== undefined && { ca: tls.ca }),
    serverName: tls.serverName ?? host,
    rejectUnauthorized: true,
  };
  const options = { ...how, data: owner, ...(secure && { tls: secure }), socket: secure ? SECURE : PLAIN };
  Bun.connect<Owner>(options as unknown as Parameters<typeof Bun.connect<Owner>>[0]).catch((error) =>
    owner.closed(error as Error),
  );
}

const COMMON = {
  binaryType: "buffer",
  data: (socket, bytes: Buffer) => socket.data.data(bytes),
  drain: (socket) => socket.data.drained(),
  error: (_, error) => {
    throw error; // a mistake of ours
  },
  close: (socket, error) => socket.data.closed(error),
  connectError: (socket, error) => socket.data.closed(error),
} satisfies SocketHandler<Owner>;

const PLAIN: SocketHandler<Owner> = {
  ...COMMON,
  open: begin,
};

const SECURE: SocketHandler<Owner> = {
  ...COMMON,
  handshake(socket, success, error) {
    if (success && socket.authorized) return begin(socket);
    socket.data.closed(error ?? new Error("the certificate is not trusted"));
    socket.terminate();
  },
};

function begin(socket: Socket<Owner>): void {
  socket.setNoDelay(true);
  socket.data.opened(socket satisfies Line);
}

// ---- what only the kernel can do ----

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const IPPROTO_TCP = 6;
const TCP_MAXSEG = 2;
const ADDRESS_BYTES = 16;
/** An Ethernet's, and a window of a few of them. */
const SEGMENT_BYTES = 1_448;
const RECEIVE_BYTES = 4_096;

interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: number, length: number): number;
  connect(fd: number, address: number, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: number, length: number): number;
}

let opened: Libc | null | undefined;

/** Opened when it is asked for the first time: only laggards need it. */
function kernel(): Libc | null {
  return (opened ??= process.platform === "linux" ? open() : null);
}

function open(): Libc | null {
  for (const name of ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]) {
    try {
      return dlopen(name, {
        socket: { args: ["int", "int", "int"], returns: "int" },
        bind: { args: ["int", "ptr", "u32"], returns: "int" },
        connect: { args: ["int", "ptr", "u32"], returns: "int" },
        setsockopt: { args: ["int", "int", "int", "ptr", "u32"], returns: "int" },
      }).symbols as unknown as Libc;
    } catch {
      // the other one, then
    }
  }
  return null;
}

function setOption(fd: number, level: number, name: number, value: Int32Array | DataView): void {
  kernel()?.setsockopt(fd, level, name, ptr(value), value.byteLength);
}

/** A filter that lets nothing in: the kernel drops every packet for this socket before it could acknowledge it. */
function stopAcknowledging(fd: number): void {
  const filter = new Uint8Array([0x06, 0, 0, 0, 0, 0, 0, 0]); // BPF_RET, 0 bytes
  const program = new DataView(new ArrayBuffer(16)); // struct sock_fprog: how many instructions, and where they are
  program.setUint16(0, 1, true);
  program.setBigUint64(8, BigInt(ptr(filter)), true);
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, program);
}

/** struct sockaddr_in. */
function address(host: string, port: number): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  bytes[0] = AF_INET;
  bytes[2] = port >> 8;
  bytes[3] = port & 255;
  bytes.set(host.split(".").map(Number), 4);
  return bytes;
}
