import type { Clock } from "../base/clock.ts";
import type { FaultCode, Goodbye } from "../base/errors.ts";
import type { Outlet } from "../delivery/outlet.ts";
import type { Account } from "../tenancy/tokens.ts";
import { type ConnectionCounts, keyOf, OwnCounts } from "./connection-counts.ts";
import { Deadlines } from "./deadlines.ts";
import { type HubFace, type SideStreams, Visit, type VisitHost } from "./visit.ts";

/** A connection that has neither subscribed nor asked anything for so long is closed; the exchange's own figure. */
export const IDLE_MS_MAX = 15_000;

export interface LobbyOptions {
  readonly hub: HubFace;
  readonly tokens: Pick<VisitHost, "authenticate">;
  readonly clock: Clock;
  /** Streams beside the market stream; those left out are refused. */
  readonly sides?: SideStreams;
  /** Connections at all doors together; below the process's limit of open files. */
  readonly connectionsMax: number;
  /** Absent: this process counts alone. */
  readonly counts?: ConnectionCounts;
  /** Three digits that tell this node's connection ids from another's. */
  readonly node?: string;
}

/** Connections are numbered up to this, and from 1 again. */
const NUMBERS = 1_000_000;

/** Everybody who is in, whichever door they came by: who may come in, how many there are, and who has been standing around for too long. */
export class Lobby implements VisitHost {
  readonly hub: HubFace;
  readonly clock: Clock;
  readonly sides: SideStreams;
  readonly idle: Deadlines<Visit>;

  // counters, read by ops
  /** Connections that a door has open, in a handshake or further. */
  connections = 0;
  readonly ends = new Map<FaultCode | "LEFT", number>();

  readonly #options: LobbyOptions;
  /** Conversations that are not over. */
  visits = 0;
  readonly #counts: ConnectionCounts;
  #lastNumber = 0;
  /** What everybody was told; who comes later, out of a handshake, is told the same. */
  #goodbye: Goodbye | null = null;

  constructor(options: LobbyOptions) {
    this.#options = options;
    this.hub = options.hub;
    this.clock = options.clock;
    this.sides = options.sides ?? {};
    this.#counts = options.counts ?? new OwnCounts();
    this.idle = new Deadlines(options.clock, IDLE_MS_MAX, (visit) => visit.idled());
  }

  /** A door asks before it takes a connection, and calls `closed` once for each it took. */
  hasRoom(): boolean {
    return this.connections < this.#options.connectionsMax;
  }

  opened(): void {
    this.connections++;
  }

  closed(): void {
    this.connections--;
  }

  /** Begins a conversation; the door calls `greet` when the outlet can take it. */
  enter(outlet: Outlet): Visit {
    this.visits++;
    return new Visit(this, outlet, this.#nextConnection());
  }

  /** Says goodbye to everybody, and lets nobody in from now on. */
  closeAll(goodbye: Goodbye): void {
    this.#goodbye = goodbye;
    // Who is not in yet, or has not subscribed, waits here; the others the hub has.
    for (const visit of this.idle.items()) visit.close(goodbye);
    this.hub.closeAll(goodbye);
  }

  authenticate(appKey: string | null, session: string | null): Account | Goodbye {
    return this.#goodbye ?? this.#options.tokens.authenticate(appKey, session);
  }

  admit(account: Account): number | Goodbye {
    const open = this.#counts.add(keyOf(account), 1);
    if (open > account.connectionsMax) {
      this.#counts.add(keyOf(account), -1);
      const message = `You have exceeded your max connection limit which is: ${account.connectionsMax} connection(s)`;
      return { code: "MAX_CONNECTION_LIMIT_EXCEEDED", message };
    }
    return Math.min(account.connectionsMax - open, Math.max(0, this.#options.connectionsMax - this.connections));
  }

  departed(account: Account | null, goodbye: Goodbye | null): void {
    this.visits--;
    const why = goodbye?.code ?? "LEFT";
    this.ends.set(why, (this.ends.get(why) ?? 0) + 1);
    if (account !== null) this.#counts.add(keyOf(account), -1);
  }

  /** In the exchange's form: node, UTC time, running number. */
  connectionId(connection: number): string {
    const [seconds, number] = [Math.floor(connection / NUMBERS), connection % NUMBERS];
    const time = new Date(seconds * 1000).toISOString().replace(/\D/g, "").slice(2, 14);
    return `${this.#options.node ?? "001"}-${time}-${number}`;
  }

  /** The second and a running number in one: as text, every user would keep it for a word that is said once. */
  #nextConnection(): number {
    this.#lastNumber = (this.#lastNumber % (NUMBERS - 1)) + 1;
    return Math.floor(this.clock.wall() / 1000) * NUMBERS + this.#lastNumber;
  }
}
