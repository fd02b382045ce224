import type { OrderSubscribeRequest } from "../wire/requests.ts";
import type { MarketOrders } from "./ledger.ts";
import type { Scope } from "./scope.ts";

/** How a user's session is written to: whole messages (JSON text, ASCII), while its socket takes them. */
export interface OrderSession {
  say(message: string): void;
  readonly isClear: boolean;
}

/**
 * A subscription being told what it does not know yet: an image, the answer to a resume, or what changed. No messages are kept, only how far it got;
 * at its end it knows everything up to `to`.
 */
export interface Pass {
  readonly kind: "image" | "resume" | "change";
  readonly from: number;
  readonly to: number;
  /** What is still to be looked through, and entries found that are still to be said. */
  readonly markets: Iterator<MarketOrders>;
  readonly entries: string[];
  /** A message of it went out already. */
  begun: boolean;
}

/** One user's wish for orders. */
export class OrderSubscription {
  readonly request: OrderSubscribeRequest;
  readonly scope: Scope;
  readonly session: OrderSession;
  /** Null: it was told everything up to `told`. */
  pass: Pass | null = null;
  told = 0;
  /** The epoch of what it was told; null before its first image. */
  epoch: string | null = null;
  /** When it was last told of changes, and last said anything; monotonic milliseconds. */
  toldAt = Number.NEGATIVE_INFINITY;
  saidAt: number;
  /** The status that it was last told: 503, or null for all is well. */
  status: number | null = null;
  /** A beat is to come, for what changed within its conflateMs. */
  waits = false;
  ended = false;

  constructor(request: OrderSubscribeRequest, scope: Scope, session: OrderSession, now: number) {
    this.request = request;
    this.scope = scope;
    this.session = session;
    this.saidAt = now;
  }
}

/** `initialClk`: who numbers, and for what scope; another of either is answered by an image. Opaque on the wire. */
export function initialClkOf(epoch: string, scope: Scope): string {
  return `${epoch}.${scope.key}`;
}

/** `clk`: how far it was told. Opaque on the wire. */
export function clkOf(sequence: number): string {
  return sequence.toString(36);
}

/** The sequence of a clk, null when it is none of ours. */
export function sequenceOf(clk: string): number | null {
  if (!/^[0-9a-z]{1,10}$/.test(clk)) return null;
  const sequence = Number.parseInt(clk, 36);
  return clkOf(sequence) === clk ? sequence : null;
}
