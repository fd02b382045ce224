import type { Goodbye } from "../base/errors.ts";
import type { Socket } from "../base/socket.ts";
import type { Outlet } from "../delivery/outlet.ts";
import { TokenList, type Visitor } from "../tenancy/tokens.ts";
import type { SubscribeRequest } from "../wire/requests.ts";
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

  get last(): FakeSession {
    return this.sessions.at(-1) as FakeSession;
  }
}

export class FakeSession implements HubSession {
  readonly outlet: Outlet;
  readonly visitor: Visitor;
  readonly subscriptions = new Map<number, SubscribeRequest>();
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

  say(message: string): void {
    if (!this.gone) this.send(framed(this.outlet, message));
  }

  send(bytes: Uint8Array): void {
    const waiting = this.rest ? Buffer.concat([this.rest, bytes]) : bytes;
    const taken = this.outlet.write(waiting);
    this.rest = taken < waiting.length ? waiting.slice(taken) : null;
  }

  subscribe(request: SubscribeRequest): Goodbye | null {
    if (this.#hub.refusal === null) this.subscriptions.set(request.id, request);
    return this.#hub.refusal;
  }

  unsubscribe(id: number): boolean {
    return this.subscriptions.delete(id);
  }

  drained(): void {
    this.drains++;
    if (this.rest !== null) this.send(new Uint8Array(0));
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
