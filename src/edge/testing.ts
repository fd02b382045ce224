import type { Goodbye } from "../base/errors.ts";
import type { Socket } from "../base/socket.ts";
import type { Outlet } from "../delivery/outlet.ts";
import { TokenList, type Visitor } from "../tenancy/tokens.ts";
import type { AlterRequest, SubscribeRequest } from "../wire/requests.ts";
import { framed, type HubFace, type HubSession } from "./visit.ts";

/** For the tests of this room: a socket with as much room as it is given. */
export class TightSocket implements Socket {
  readonly remote = "test:1";
  room = Number.POSITIVE_INFINITY;
  ended = false;
  destroyed = false;
  readonly #chunks: Buffer[] = [];

  write(bytes: Uint8Array): number {
    if (this.ended || this.destroyed) return 0;
    const taken = Math.min(this.room, bytes.length);
    this.room -= taken;
    this.#chunks.push(Buffer.from(bytes.subarray(0, taken)));
    return taken;
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  /** What was written since it was last asked. */
  taken(): Buffer {
    return Buffer.concat(this.#chunks.splice(0));
  }
}

/** A hub that writes what it is told to. */
export class FakeHub implements HubFace {
  readonly sessions: FakeSession[] = [];
  /** What the next subscription is answered. */
  refusal: Goodbye | null = null;

  join(outlet: Outlet, visitor: Visitor): FakeSession {
    const session = new FakeSession(this, outlet, visitor);
    this.sessions.push(session);
    return session;
  }

  closeAll(goodbye: Goodbye): void {
    for (const session of this.sessions) if (!session.gone) session.outlet.close(goodbye);
  }

  get last(): FakeSession {
    return this.sessions.at(-1) as FakeSession;
  }
}

export class FakeSession implements HubSession {
  readonly outlet: Outlet;
  readonly visitor: Visitor;
  readonly subscriptions = new Map<number, SubscribeRequest>();
  readonly alterations: AlterRequest[] = [];
  bytesPerSecond: number | null = null;
  /** What a write left over. */
  rest: Uint8Array | null = null;
  gone = false;
  drains = 0;
  readonly #hub: FakeHub;

  constructor(hub: FakeHub, outlet: Outlet, visitor: Visitor) {
    this.#hub = hub;
    this.outlet = outlet;
    this.visitor = visitor;
  }

  get isClear(): boolean {
    return this.rest === null;
  }

  say(message: string): void {
    if (!this.gone) this.send(framed(this.outlet, message));
  }

  send(bytes: Uint8Array): void {
    const waiting = this.rest ? Buffer.concat([this.rest, bytes]) : bytes;
    const taken = this.outlet.write(waiting);
    this.rest = taken < waiting.length ? waiting.slice(taken) : null;
  }

  subscribe(request: SubscribeRequest, accepted?: string): Goodbye | null {
    if (this.#hub.refusal !== null) return this.#hub.refusal;
    this.subscriptions.set(request.id, request);
    if (accepted !== undefined) this.say(accepted);
    return null;
  }

  unsubscribe(id: number): boolean {
    return this.subscriptions.delete(id);
  }

  alter(request: AlterRequest, accepted: string): Goodbye | null {
    if (this.#hub.refusal !== null) return this.#hub.refusal;
    this.alterations.push(request);
    this.say(accepted);
    return null;
  }

  limit(bytesPerSecond: number | null): number | null {
    this.bytesPerSecond = bytesPerSecond && Math.min(bytesPerSecond, 50_000);
    return this.bytesPerSecond;
  }

  drained(aside: () => void): void {
    this.drains++;
    if (this.rest !== null) this.send(new Uint8Array(0));
    if (this.rest === null) aside();
  }

  leave(): Uint8Array | null {
    this.gone = true;
    return this.rest;
  }

  /** As the hub lets go of somebody. */
  close(goodbye: Goodbye): void {
    this.leave();
    this.outlet.close(goodbye);
  }
}

export const TOKENS = new TokenList([
  { token: "token-a", name: "ann", connectionsMax: 2 },
  { token: "token-b", name: "bob" },
]);

/** A client's frame by hand: as odd as wanted. */
export interface OddFrame {
  readonly opcode: number;
  readonly payload?: Uint8Array | string;
  readonly fin?: boolean;
  readonly reserved?: number;
  readonly masked?: boolean;
  /** What the header says instead of the true length, and in how many bytes: 0 (in the second byte), 2 or 8. */
  readonly length?: bigint;
  readonly lengthBytes?: 0 | 2 | 8;
}

export function clientFrame(frame: OddFrame, mask: readonly number[] = [0x37, 0xfa, 0x21, 0x3d]): Buffer {
  const payload = Buffer.from(frame.payload ?? "");
  const length = frame.length ?? BigInt(payload.length);
  const lengthBytes = frame.lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const masked = frame.masked ?? true;
  const header = Buffer.alloc(2 + lengthBytes);
  header[0] = ((frame.fin ?? true) ? 0x80 : 0) | ((frame.reserved ?? 0) << 4) | frame.opcode;
  header[1] = (masked ? 0x80 : 0) | (lengthBytes === 0 ? Number(length) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) header.writeUInt16BE(Number(length), 2);
  if (lengthBytes === 8) header.writeBigUInt64BE(length, 2);
  if (!masked) return Buffer.concat([header, payload]);
  return Buffer.concat([header, Buffer.from(mask), payload.map((byte, i) => byte ^ (mask[i & 3] as number))]);
}

export interface ServerFrame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** Takes whole frames of a server off the front of `bytes`; asserts that they are neither masked, fragmented nor extended. */
export function serverFrames(bytes: Buffer): { readonly frames: ServerFrame[]; readonly rest: Buffer } {
  const frames: ServerFrame[] = [];
  let at = 0;
  while (bytes.length - at >= 2) {
    const short = (bytes[at + 1] as number) & 0x7f;
    const start = at + (short === 127 ? 10 : short === 126 ? 4 : 2);
    if (bytes.length < start) break;
    if (((bytes[at] as number) & 0xf0) !== 0x80 || (bytes[at + 1] as number) & 0x80) throw new Error("an odd frame");
    const length =
      short === 127 ? Number(bytes.readBigUInt64BE(at + 2)) : short === 126 ? bytes.readUInt16BE(at + 2) : short;
    if (bytes.length < start + length) break;
    frames.push({ opcode: (bytes[at] as number) & 0x0f, payload: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return { frames, rest: bytes.subarray(at) };
}
