import type { Goodbye } from "../base/errors.ts";
import type { Visitor } from "../tenancy/tokens.ts";
import type { AlterRequest, SubscribeRequest } from "../wire/requests.ts";
import type { Allowance } from "./allowance.ts";
import type { Hub } from "./hub.ts";
import { Outbox } from "./outbox.ts";
import type { Outlet } from "./outlet.ts";
import type { Subscription } from "./subscription.ts";
import { Traffic } from "./traffic.ts";

const NONE: readonly Subscription[] = [];
/** Of doors that do not count. */
const UNCOUNTED = new Traffic();

/** One user's connection, as the hub sees it; what its door calls. */
export class Session {
  readonly outlet: Outlet;
  readonly visitor: Visitor;
  readonly outbox: Outbox;
  /** The one slot of all its cadences. */
  readonly slot: number;
  /** Few: an array takes a third of a map's room. */
  subscriptions: readonly Subscription[] = NONE;
  /** One of its subscriptions has something pending for the next write. */
  isDirty = false;
  /** Since when it has been behind, monotonic milliseconds; null in step. */
  behindSince: number | null = null;
  /** How many bytes of prices a second it may have; null: any number. */
  allowance: Allowance | null = null;
  /** Its allowance is spent: its subscriptions are told of nothing but stops until it is back. */
  held = false;
  /** The wheel will ask for it. */
  isOnWheel = false;
  gone = false;

  readonly #hub: Hub;

  constructor(hub: Hub, outlet: Outlet, visitor: Visitor, slot: number) {
    this.#hub = hub;
    this.outlet = outlet;
    this.visitor = visitor;
    this.slot = slot;
    this.outbox = new Outbox(outlet);
  }

  get traffic(): Traffic {
    return this.outlet.traffic ?? UNCOUNTED;
  }

  /** Its subscription of that id. */
  subscription(id: number): Subscription | undefined {
    return this.subscriptions.find((subscription) => subscription.id === id);
  }

  /** One control message (JSON text, ASCII), in order with everything else. */
  say(message: string): void {
    this.#hub.say(this, message);
  }

  /** The socket takes more: what is said now is not held against its bounds. */
  get isClear(): boolean {
    return this.outbox.isClear && !this.gone;
  }

  /** Null: done; `accepted` (JSON text, ASCII) was said, and the image or what changed follows by itself. Otherwise why not; nothing has changed then. */
  subscribe(request: SubscribeRequest, accepted?: string): Goodbye | null {
    return this.#hub.subscribe(this, request, accepted);
  }

  /** Alters a subscription. Null: done; `accepted` was said, and what it brings follows by itself. Otherwise why not; nothing has changed then. */
  alter(request: AlterRequest, accepted: string): Goodbye | null {
    return this.#hub.alter(this, request, accepted);
  }

  /** Wants so many bytes of prices a second at most (null: as many as its visitor may have); returns what is in force. */
  limit(bytesPerSecond: number | null): number | null {
    return this.#hub.limit(this, bytesPerSecond);
  }

  /** False: there is no such subscription. */
  unsubscribe(id: number): boolean {
    const subscription = this.subscription(id);
    if (subscription === undefined) return false;
    this.#hub.end(subscription);
    return true;
  }

  /** The socket has room again; `aside` is called before prices take it. */
  drained(aside?: () => void): void {
    if (this.gone || !this.outbox.drained()) return;
    aside?.();
    this.#hub.drained(this);
  }

  /** The user is gone; the outlet is not called any more. Returns what its socket has not taken yet of messages begun. */
  leave(): Uint8Array | null {
    this.#hub.leave(this);
    return this.outbox.rest;
  }
}
