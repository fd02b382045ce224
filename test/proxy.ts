import { createServer, connect as dialTcp, type Server, type Socket } from "node:net";
import { type Random, seededRandom } from "../src/base/random.ts";
import { freePort } from "./ports.ts";

/** What one direction does to the bytes that pass. Each part is off until set. */
export interface Toxics {
  readonly latencyMs: number;
  /** Up to so much more, by chance, chunk by chunk; order is kept. */
  readonly jitterMs: number;
  readonly bytesPerSecond: number;
  /** Writes of at most so many bytes, each in a packet of its own; 1 splits at every byte. */
  readonly sliceBytes: number;
  /** After so many bytes of a connection, counted from its start, `limitBy` ends it. */
  readonly limitBytes: number;
  readonly limitBy: "cut" | "reset";
  /** Takes bytes and goodbyes, and passes none on. */
  readonly swallow: boolean;
}

export const NO_TOXICS: Toxics = {
  latencyMs: 0,
  jitterMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  sliceBytes: Number.POSITIVE_INFINITY,
  limitBytes: Number.POSITIVE_INFINITY,
  limitBy: "cut",
  swallow: false,
};

/** `up`: from who dialled to the target; `down`: back. */
export type Direction = "up" | "down";

/** What a direction may hold before it stops reading. */
export const HELD_BYTES_MAX = 1024 * 1024;
/** A pace is kept in steps of so much time. */
const PACE_MS = 20;

/**
 * Stands between two real sockets and does to them what networks do: the build machines have no netem.
 *
 * Toxics may change at any time and hold for what passes from then on, of old connections too. `cut`, `reset` and `halfOpen` do it to the
 * connections there are; `refuse` to those to come. Chance comes from the seed, time from the machine.
 */
export class FaultProxy {
  readonly port: number;
  readonly counts = { connections: 0, unreachable: 0, cuts: 0, resets: 0, halfOpen: 0, up: 0, down: 0 };
  readonly toxics: Record<Direction, Toxics> = { up: NO_TOXICS, down: NO_TOXICS };
  readonly random: Random;
  readonly #target: number;
  readonly #links = new Set<Link>();
  #server: Server | null = null;

  private constructor(target: number, port: number, seed: number) {
    this.#target = target;
    this.port = port;
    this.random = seededRandom(seed);
  }

  /** Listens on a free port of 127.0.0.1, and forwards to `target` there. */
  static async start(target: number, seed = 1): Promise<FaultProxy> {
    const proxy = new FaultProxy(target, await freePort(), seed);
    await proxy.refuse(false);
    return proxy;
  }

  /** Connections that are not over. */
  get open(): number {
    return this.#links.size;
  }

  /** Bytes on their way through, taken and not passed on yet. */
  get heldBytes(): number {
    return [...this.#links].reduce((sum, link) => sum + link.heldBytes, 0);
  }

  /** Adds toxics to one direction, or to both. */
  add(toxics: Partial<Toxics>, direction: Direction | "both" = "both"): void {
    for (const one of ["up", "down"] as const)
      if (direction === one || direction === "both") this.toxics[one] = { ...this.toxics[one], ...toxics };
  }

  /** No toxics any more. What was swallowed is gone. */
  clear(): void {
    this.toxics.up = this.toxics.down = NO_TOXICS;
  }

  /** Ends every connection in good manners (FIN both ways), in mid-message if it must. Returns how many. */
  cut(): number {
    return this.#each((link) => link.cut());
  }

  /** Resets every connection (RST both ways). */
  reset(): number {
    return this.#each((link) => link.reset());
  }

  /** Every connection there is goes silent for ever, and nobody is told; those to come are sound. */
  halfOpen(): number {
    return this.#each((link) => link.halfOpen());
  }

  /** True: nobody listens here from now on. False: somebody does again. */
  refuse(refuse: boolean): Promise<void> {
    if (!refuse) return this.#listen();
    this.#server?.close();
    this.#server = null;
    return Promise.resolve();
  }

  /** Resets what is left and stops listening. */
  async stop(): Promise<void> {
    await this.refuse(true);
    this.reset();
  }

  over(link: Link): void {
    this.#links.delete(link);
  }

  #listen(): Promise<void> {
    if (this.#server !== null) return Promise.resolve();
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => this.#accept(near));
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once("error", reject).listen(this.port, "127.0.0.1", resolve);
    });
  }

  #accept(near: Socket): void {
    this.counts.connections++;
    const far = dialTcp({ host: "127.0.0.1", port: this.#target, allowHalfOpen: true, noDelay: true });
    this.#links.add(new Link(this, near, far));
  }

  #each(what: (link: Link) => void): number {
    const links = [...this.#links];
    for (const link of links) what(link);
    return links.length;
  }
}

/** One connection: who dialled (`near`), the target (`far`), and a pipe each way. */
class Link {
  readonly near: Socket;
  readonly far: Socket;
  silent = false;
  readonly #proxy: FaultProxy;
  readonly #pipes: readonly Pipe[];
  #openEnds = 2;

  constructor(proxy: FaultProxy, near: Socket, far: Socket) {
    this.#proxy = proxy;
    this.near = near;
    this.far = far;
    this.#pipes = [new Pipe(proxy, this, "up", near, far), new Pipe(proxy, this, "down", far, near)];
    let reached = false;
    far.on("connect", () => {
      reached = true;
    });
    far.on("error", () => {
      if (!reached) proxy.counts.unreachable++;
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      // A reset travels on, as it does in a network.
      one.on("error", () => this.silent || other.resetAndDestroy());
      one.on("close", () => this.#closed());
    }
  }

  get heldBytes(): number {
    return this.#pipes.reduce((sum, pipe) => sum + pipe.heldBytes, 0);
  }

  cut(): void {
    this.#proxy.counts.cuts++;
    this.#stop();
    for (const end of [this.near, this.far]) end.end(() => end.destroy());
  }

  reset(): void {
    this.#proxy.counts.resets++;
    this.#stop();
    for (const end of [this.near, this.far]) end.resetAndDestroy();
  }

  halfOpen(): void {
    this.#proxy.counts.halfOpen++;
    this.silent = true;
  }

  #stop(): void {
    this.silent = true;
    for (const pipe of this.#pipes) pipe.stop();
  }

  #closed(): void {
    if (--this.#openEnds === 0) this.#proxy.over(this);
  }
}

/** What is held of one direction: bytes, or null for a goodbye, and when they are due. */
interface Held {
  bytes: Buffer | null;
  readonly dueAt: number;
}

class Pipe {
  readonly #proxy: FaultProxy;
  readonly #link: Link;
  readonly #direction: Direction;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #held: Held[] = [];
  heldBytes = 0;
  #passed = 0;
  #lastDueAt = 0;
  #paceAt = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #full = false;

  constructor(proxy: FaultProxy, link: Link, direction: Direction, from: Socket, to: Socket) {
    this.#proxy = proxy;
    this.#link = link;
    this.#direction = direction;
    this.#from = from;
    this.#to = to;
    from.on("data", (bytes: Buffer) => this.#take(bytes));
    from.on("end", () => this.#take(null));
    to.on("drain", () => {
      this.#full = false;
      this.#pump();
    });
  }

  stop(): void {
    this.#held.length = 0;
    this.heldBytes = 0;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    // Nobody may be left waiting for a reader: what comes is read, and thrown away.
    this.#from.resume();
  }

  get #toxics(): Toxics {
    return this.#proxy.toxics[this.#direction];
  }

  #take(bytes: Buffer | null): void {
    const { latencyMs, jitterMs, swallow } = this.#toxics;
    if (swallow || this.#link.silent) return;
    const dueAt = performance.now() + latencyMs + this.#proxy.random.next() * jitterMs;
    this.#lastDueAt = Math.max(this.#lastDueAt, dueAt);
    this.#held.push({ bytes, dueAt: this.#lastDueAt });
    this.heldBytes += bytes?.length ?? 0;
    if (this.heldBytes > HELD_BYTES_MAX) this.#from.pause();
    this.#pump();
  }

  /** Passes on what is due, and sets the timer for the rest. */
  #pump(): void {
    while (!this.#full && this.#timer === null) {
      const head = this.#held[0];
      if (head === undefined || this.#link.silent) return;
      const waitMs = Math.max(head.dueAt, this.#paceAt) - performance.now();
      if (waitMs > 0) return this.#pumpAfter(waitMs);
      if (head.bytes === null) {
        this.#held.shift();
        this.#to.end();
      } else this.#pass(head as { bytes: Buffer });
      if (Number.isFinite(this.#toxics.sliceBytes)) return this.#pumpAfter(0);
    }
  }

  #pass(head: { bytes: Buffer }): void {
    const { sliceBytes, bytesPerSecond, limitBytes, limitBy } = this.#toxics;
    const paced = Math.max(1, (bytesPerSecond * PACE_MS) / 1_000);
    const left = Math.max(0, limitBytes - this.#passed);
    const length = Math.min(head.bytes.length, sliceBytes, Math.floor(paced), left);
    this.#full = !this.#to.write(head.bytes.subarray(0, length));
    head.bytes = head.bytes.subarray(length);
    if (head.bytes.length === 0) this.#held.shift();
    this.#passed += length;
    this.heldBytes -= length;
    this.#proxy.counts[this.#direction] += length;
    this.#paceAt = performance.now() + (length / bytesPerSecond) * 1_000;
    if (this.heldBytes <= HELD_BYTES_MAX / 2) this.#from.resume();
    if (this.#passed >= limitBytes) this.#link[limitBy]();
  }

  #pumpAfter(ms: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#pump();
    }, ms);
  }
}
