import type { SportSubscribeRequest } from "../wire/requests.ts";
import type { Game } from "./games.ts";

/** How a user's session is written to: whole messages (JSON text, ASCII), while its socket takes them. */
export interface SportSession {
  say(message: string): void;
  readonly isClear: boolean;
}

/** What is being told to one subscription, in one message or several. No message is kept, only how far it got; at the end it knows everything up to `to`. */
export interface Pass {
  readonly kind: "image" | "resume" | "change";
  /** It knows what was said up to here; an image begins at 0. */
  readonly from: number;
  readonly to: number;
  /** Games of which there is something to tell, and the next of them. */
  readonly games: readonly Pick<Game, "since">[];
  next: number;
  /** A message of it went out already. */
  begun: boolean;
}

/** One user's wish for races or cricket. */
export class SportSubscription {
  readonly request: SportSubscribeRequest;
  readonly session: SportSession;
  /** Null: it was told everything up to `told`. */
  pass: Pass | null = null;
  told = 0;
  /** When it was last told of changes, and last said anything; monotonic milliseconds. */
  toldAt = Number.NEGATIVE_INFINITY;
  saidAt: number;
  /** The status that it was last told: 503, or null for all is well. */
  status: number | null = null;
  /** A beat is to come, for what changed within its conflateMs. */
  waits = false;
  ended = false;

  constructor(request: SportSubscribeRequest, session: SportSession, now: number) {
    this.request = request;
    this.session = session;
    this.saidAt = now;
  }
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
