import type { Clock, Timer } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { type Random, randomInt } from "../base/random.ts";
import type { Address, Dial, Listen, Listener, ListenOptions, Socket, SocketHandler } from "../base/socket.ts";

/** How long a closing end waits for the other's answer before it gives up, as an operating system does. */
const FIN_TIMEOUT_MS = 60_000;
const FIRST_FREE_PORT = 20_000;

/** What a link is like. One direction each; a reader's pace and a link's silence can be changed at any time. */
export interface Weather {
  readonly latencyMs: number;
  /** Up to so much more, by chance, chunk by chunk; order is kept. */
  readonly jitterMs: number;
  /** Bytes arrive in chunks of 1 to so many, cut anywhere. */
  readonly chunkBytesMax: number;
  /** What may be on its way in one direction: beyond it `write` takes less than it is given. */
  readonly inFlightBytesMax: number;
}

const FAIR_WEATHER: Weather = { latencyMs: 1, jitterMs: 0, chunkBytesMax: 65_536, inFlightBytesMax: 262_144 };

/** What somebody who connects to an address meets: an open door, a refusal, or nothing at all, for ever. */
export type Reachability = "open" | "refused" | "silent";

/**
 * A network in memory, on a clock and a seed given to it: `dial` and `listen` as the rooms know them, and faults to order.
 * Who dials has a name, so that one user's link can be cut; "host:port" names all links to a listener.
 * Half-open means what it means in the field: bytes and goodbyes of either end vanish, and nobody is told.
 */
export class VirtualNetwork {
  readonly dial: Dial = this.dialAs("somebody");
  readonly listen: Listen = (at, accept) => this.#listen(at, accept);
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #weather: Weather;
  readonly #listeners = new Map<string, (socket: Socket) => SocketHandler | null>();
  readonly #reachability = new Map<string, Reachability>();
  readonly #links = new Set<Link>();
  #nextPort = FIRST_FREE_PORT;

  constructor(clock: Clock, random: Random, weather: Partial<Weather> = {}) {
    this.#clock = clock;
    this.#random = random;
    this.#weather = { ...FAIR_WEATHER, ...weather };
  }

  /** A `dial` for somebody with a name, and weather of their own where it differs. */
  dialAs(name: string, weather: Partial<Weather> = {}): Dial {
    return (to, handler) => this.#dial(name, { ...this.#weather, ...weather }, to, handler);
  }

  /** Living links, all or those of a name: the dialler's, or "host:port" of the listener. */
  links(name?: string): Link[] {
    return [...this.#links].filter((link) => name === undefined || link.dialler === name || link.address === name);
  }

  /** Resets links: both ends learn of it, what was on its way is lost. Returns how many. */
  cut(name?: string): number {
    const links = this.links(name);
    for (const link of links) link.cut();
    return links.length;
  }

  /** Makes links half-open: nobody learns of it. Returns how many. */
  halfOpen(name?: string): number {
    const links = this.links(name);
    for (const link of links) link.halfOpen();
    return links.length;
  }

  /** What new connections to "host:port" meet from now on. */
  setReachability(address: string, reachability: Reachability): void {
    this.#reachability.set(address, reachability);
  }

  #listen(at: ListenOptions, accept: (socket: Socket) => SocketHandler | null): Listener {
    const port = at.port === 0 ? this.#nextPort++ : at.port;
    const address = `${at.host}:${port}`;
    if (this.#listeners.has(address)) throw new OddswireError("PORT_IN_USE", `${address} is in use`);
    this.#listeners.set(address, accept);
    return { port, stop: () => void this.#listeners.delete(address) };
  }

  #dial(name: string, weather: Weather, to: Address, handler: SocketHandler): Socket {
    const address = `${to.host}:${to.port}`;
    const link = new Link(this.#clock, this.#random, weather, name, address, `${name}:${this.#nextPort++}`);
    this.#links.add(link);
    link.onOver = () => this.#links.delete(link);
    link.near.handler = handler;
    this.#clock.after(weather.latencyMs, () => this.#arrive(link));
    return link.near;
  }

  #arrive(link: Link): void {
    const accept = this.#listeners.get(link.address);
    const reachability = this.#reachability.get(link.address) ?? "open";
    if (!link.near.isOpening || !link.far.isOpening || link.isSilent || reachability === "silent") return;
    if (accept === undefined || reachability === "refused") return link.refuse();
    link.accept(accept);
  }
}

/** One connection: two ends, and a pipe each way. */
export class Link {
  readonly dialler: string;
  readonly address: string;
  /** The end that dialled, and the end that accepted. */
  readonly near: End;
  readonly far: End;
  onOver: (() => void) | null = null;
  #silent = false;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #weather: Weather;

  constructor(clock: Clock, random: Random, weather: Weather, dialler: string, address: string, ephemeral: string) {
    this.#clock = clock;
    this.#random = random;
    this.#weather = weather;
    this.dialler = dialler;
    this.address = address;
    this.near = new End(this, clock, random, weather, address);
    this.far = new End(this, clock, random, weather, ephemeral);
    this.near.peer = this.far;
    this.far.peer = this.near;
  }

  get isSilent(): boolean {
    return this.#silent;
  }

  get isOver(): boolean {
    return this.near.isClosed && (this.far.isClosed || !this.far.isOpen);
  }

  /** Both ends see a reset, each when it hears of it; what was on its way is lost. */
  cut(): void {
    for (const end of [this.near, this.far]) {
      end.lose();
      this.#clock.after(this.#random.next() * this.#weather.latencyMs, () =>
        end.closed(new Error("ECONNRESET: connection reset")),
      );
    }
  }

  /** From now on nothing arrives at either end, bytes or goodbyes. */
  halfOpen(): void {
    this.#silent = true;
  }

  accept(accept: (socket: Socket) => SocketHandler | null): void {
    this.#clock.after(this.#weather.latencyMs, () => this.near.opened());
    const handler = accept(this.far);
    this.far.handler = handler ?? { data() {}, close() {} };
    this.far.opened();
    if (handler === null) this.far.destroy();
  }

  refuse(): void {
    this.#clock.after(this.#weather.latencyMs, () => this.near.closed(new Error("ECONNREFUSED: connection refused")));
  }
}

/** One end of a link. What it writes is on its way until the other end has read it. */
class End implements Socket {
  readonly remote: string;
  handler: SocketHandler = { data() {}, close() {} };
  peer!: End;
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #weather: Weather;
  #state: "opening" | "open" | "ending" | "destroyed" | "closed" = "opening";
  /** Chunks on their way from here to the peer, and when each is there. */
  #onTheWay: { readonly bytes: Uint8Array; readonly at: number }[] = [];
  #inFlight = 0;
  #wantsDrain = false;
  /** How quickly this end reads: Infinity at once, 0 not at all. */
  #readBytesPerMs = Number.POSITIVE_INFINITY;
  #peerReadsAgainAt = 0;
  #pump: Timer | null = null;

  constructor(link: Link, clock: Clock, random: Random, weather: Weather, remote: string) {
    this.#link = link;
    this.#clock = clock;
    this.#random = random;
    this.#weather = weather;
    this.remote = remote;
  }

  get isOpening(): boolean {
    return this.#state === "opening";
  }

  get isOpen(): boolean {
    return this.#state === "open" || this.#state === "ending";
  }

  get isClosed(): boolean {
    return this.#state === "closed";
  }

  /** Bytes written here and not yet read by the peer. */
  get inFlight(): number {
    return this.#inFlight;
  }

  write(bytes: Uint8Array): number {
    if (this.#state !== "open") return 0;
    const taken = Math.min(bytes.length, this.#weather.inFlightBytesMax - this.#inFlight);
    if (taken < bytes.length) this.#wantsDrain = true;
    // A copy of its own: a Buffer's `slice` would be a view of what the writer may fill with something else meanwhile.
    this.#send(new Uint8Array(bytes.subarray(0, taken)));
    return taken;
  }

  end(): void {
    if (this.#state === "opening") return this.destroy();
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#clock.after(FIN_TIMEOUT_MS, () =>
      this.closed(new Error("ETIMEDOUT: the other end did not answer the goodbye")),
    );
    this.#schedule();
  }

  destroy(): void {
    if (this.#state === "destroyed" || this.#state === "closed") return;
    this.#state = "destroyed";
    this.lose();
    this.#clock.after(0, () => this.closed());
    this.#tellPeer(new Error("ECONNRESET: connection reset by the other end"));
  }

  /** How quickly this end reads from now on, bytes a millisecond: Infinity at once, 0 not at all. */
  readAt(bytesPerMs: number): void {
    this.#readBytesPerMs = bytesPerMs;
    this.peer.#peerReadsAgainAt = 0;
    this.peer.#pump?.cancel();
    this.peer.#pump = null;
    this.peer.#schedule();
  }

  opened(): void {
    if (this.#state !== "opening" || this.#link.isSilent) return;
    this.#state = "open";
    this.handler.open?.(this);
  }

  closed(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.lose();
    if (this.#link.isOver) this.#link.onOver?.();
    this.handler.close(this, error);
  }

  /** What is on its way from here never arrives. */
  lose(): void {
    this.#onTheWay = [];
    this.#pump?.cancel();
    this.#pump = null;
  }

  #send(bytes: Uint8Array): void {
    const { latencyMs, jitterMs, chunkBytesMax } = this.#weather;
    this.#inFlight += bytes.length;
    for (let from = 0; from < bytes.length; ) {
      const to = Math.min(bytes.length, from + 1 + randomInt(this.#random, chunkBytesMax));
      const at = this.#clock.monotonic() + latencyMs + this.#random.next() * jitterMs;
      this.#onTheWay.push({ bytes: bytes.subarray(from, to), at: Math.max(at, this.#onTheWay.at(-1)?.at ?? 0) });
      from = to;
    }
    this.#schedule();
  }

  /** Sets the one timer for the chunk in front, or for the goodbye when there is none left. */
  #schedule(): void {
    if (this.#pump !== null || this.#link.isSilent) return;
    const head = this.#onTheWay[0];
    if (head === undefined) {
      if (this.#state === "ending") this.#goodbye();
      return;
    }
    if (this.peer.#readBytesPerMs === 0) return;
    const at = Math.max(head.at, this.#peerReadsAgainAt);
    this.#pump = this.#clock.after(at - this.#clock.monotonic(), () => this.#deliver());
  }

  #deliver(): void {
    this.#pump = null;
    if (this.#link.isSilent || this.peer.#readBytesPerMs === 0) return;
    const { bytes } = this.#onTheWay.shift() as { bytes: Uint8Array };
    this.#inFlight -= bytes.length;
    this.#peerReadsAgainAt = this.#clock.monotonic() + bytes.length / this.peer.#readBytesPerMs;
    if (this.#wantsDrain) this.#drainSoon();
    this.#schedule();
    if (!this.peer.isOpen) return;
    this.peer.handler.data(this.peer, bytes);
    // The bytes were the reader's for the length of the call: who kept them finds out here and not in production.
    bytes.fill(0xaa);
  }

  #drainSoon(): void {
    if (this.#inFlight > this.#weather.inFlightBytesMax / 2) return;
    this.#wantsDrain = false;
    this.#clock.after(this.#weather.latencyMs, () => {
      if (this.#state === "open" && !this.#link.isSilent) this.handler.drain?.(this);
    });
  }

  /** Everything has left: the peer hears that it is over, and one way back later so do we. */
  #goodbye(): void {
    this.#tellPeer();
    this.#clock.after(2 * this.#weather.latencyMs, () => {
      if (!this.#link.isSilent) this.closed();
    });
  }

  #tellPeer(error?: Error): void {
    this.#clock.after(this.#weather.latencyMs, () => {
      if (!this.#link.isSilent) this.peer.closed(error);
    });
  }
}
