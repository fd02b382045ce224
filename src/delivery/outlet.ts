import type { Goodbye } from "../base/errors.ts";
import type { Traffic } from "./traffic.ts";

/**
 * How one message becomes bytes on a wire: what stands before and after it. Called for each message of a user in the order of its bytes; what was framed may not be
 * written after all (a flush that is too large), and what comes next then stands in its place.
 */
export interface Framing {
  /** The most bytes `before` and `after` take together. */
  readonly overheadMax: number;
  /** Writes what precedes a payload of `length` bytes at `out[at]`; returns how many bytes that were. */
  before(out: Uint8Array, at: number, length: number): number;
  /** Writes what follows the payload at `out[at]`; returns how many bytes that were. */
  after(out: Uint8Array, at: number): number;
}

/** What the hub needs of a user's connection: bytes and manners. A door gives one for each connection. */
export interface Outlet {
  readonly framing: Framing;
  /** True where the door's extensions may be spoken (WebSocket, SSE); a plain ESA client never sees them. */
  readonly extensions: boolean;
  /** What the door counts; absent where nobody asks. */
  readonly traffic?: Traffic;
  /** Hands bytes over; returns how many were taken. Fewer than given: the door calls `Session.drained` when there is room. */
  write(bytes: Uint8Array): number;
  /** Says goodbye in the door's dialect and closes. The hub has let go of the session already. */
  close(goodbye: Goodbye): void;
}
