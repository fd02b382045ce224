import { Buffer } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import type { Dial, Socket, SocketHandler } from "../base/socket.ts";
import type { MarketChange, PriceSize, RunnerChange } from "./naive.ts";

/** What can go wrong with one market on its way. */
export type Spoil =
  /** Its next change is lost. */
  | { readonly kind: "drop"; readonly market: string }
  /** Its changes are held back for so long, and then come in their order. */
  | { readonly kind: "delay"; readonly market: string; readonly ms: number }
  /** The next change of an offer of its says twice the size. */
  | { readonly kind: "size"; readonly market: string }
  /** The next change of an offer of its stands at another price. */
  | { readonly kind: "price"; readonly market: string }
  /** Nothing more of it comes. */
  | { readonly kind: "freeze"; readonly market: string }
  /** It is not there, in no image and no change. */
  | { readonly kind: "remove"; readonly market: string }
  /** What a change says of an offer comes once more after the next one, if that has changed the offer again. */
  | { readonly kind: "repeat"; readonly market: string }
  /** An image of it comes under another id as well. */
  | { readonly kind: "double"; readonly market: string };

type Kind = Spoil["kind"];

interface Message {
  readonly op: string;
  readonly ct?: string;
  readonly mc?: readonly MarketChange[];
}

/**
 * Sits on the line between a gateway and its client, and does to one market what it is told to: the planted mistakes that whoever watches must find.
 * Lines with nothing planted pass as they are, to the byte.
 */
export class Spoiler {
  /** How often each was done. */
  readonly done = new Map<Kind, number>();
  /** What is planted; a lasting one stays. */
  #planted: Spoil[] = [];
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  plant(spoil: Spoil): void {
    this.#planted.push(spoil);
  }

  /** A `dial` whose incoming lines pass by here. */
  spoil(dial: Dial): Dial {
    return (to, handler) => {
      const line = new SpoiltLine(this, this.#clock, handler);
      return dial(to, {
        ...handler,
        data: (socket, bytes) => line.take(socket, bytes),
        close: (socket, error) => line.close(socket, error),
      });
    };
  }

  planted(kind: Kind, market: string): Spoil | undefined {
    return this.#planted.find((spoil) => spoil.kind === kind && spoil.market === market);
  }

  concerns(line: string): boolean {
    return this.#planted.some(({ market }) => line.includes(`"${market}"`));
  }

  did(spoil: Spoil, isOver: boolean): void {
    this.done.set(spoil.kind, (this.done.get(spoil.kind) ?? 0) + 1);
    if (isOver) this.#planted = this.#planted.filter((planted) => planted !== spoil);
  }
}

/** One connection's lines. */
class SpoiltLine {
  readonly #spoiler: Spoiler;
  readonly #clock: Clock;
  readonly #handler: SocketHandler;
  #partial = Buffer.alloc(0);
  /** By market: offers to be said once more. */
  readonly #repeats = new Map<string, RunnerChange>();
  /** By market: until when its changes are held back. */
  readonly #heldUntil = new Map<string, number>();
  #closed = false;

  constructor(spoiler: Spoiler, clock: Clock, handler: SocketHandler) {
    this.#spoiler = spoiler;
    this.#clock = clock;
    this.#handler = handler;
  }

  take(socket: Socket, bytes: Uint8Array): void {
    const all = Buffer.concat([this.#partial, bytes]);
    const end = all.lastIndexOf(10) + 1;
    this.#partial = all.subarray(end);
    if (end === 0) return;
    const lines = all.toString("utf8", 0, end).trimEnd().split("\r\n");
    const passing = lines.map((line) => (this.#concerns(line) ? this.#spoilt(socket, line) : line));
    this.#handler.data(socket, Buffer.from(`${passing.join("\r\n")}\r\n`));
  }

  close(socket: Socket, error?: Error): void {
    this.#closed = true;
    this.#handler.close(socket, error);
  }

  #concerns(line: string): boolean {
    return (
      this.#spoiler.concerns(line) ||
      [...this.#repeats.keys(), ...this.#heldUntil.keys()].some((id) => line.includes(`"${id}"`))
    );
  }

  #spoilt(socket: Socket, line: string): string {
    const message = JSON.parse(line) as Message;
    if (message.op !== "mcm" || message.mc === undefined) return line;
    return JSON.stringify({ ...message, mc: message.mc.flatMap((change) => this.#change(socket, message, change)) });
  }

  #change(socket: Socket, message: Message, change: MarketChange): MarketChange[] {
    const { id } = change;
    for (const kind of ["remove", "freeze", "drop"] as const)
      if (this.#does(kind, id, kind === "drop", change)) return [];
    const delay = this.#spoiler.planted("delay", id);
    if (delay?.kind === "delay") {
      this.#spoiler.did(delay, true);
      this.#heldUntil.set(id, this.#clock.monotonic() + delay.ms);
    }
    if (this.#heldUntil.has(id)) return this.#hold(socket, message, change);
    if (change.img && this.#does("double", id, true, change)) return [change, { ...change, id: `${id}9` }];
    return this.#repeated(this.#altered(change));
  }

  /** Whether it was planted, and is done now. Images are spared by what is about a change. */
  #does(kind: Kind, market: string, once: boolean, change: MarketChange): boolean {
    const spoil = this.#spoiler.planted(kind, market);
    if (spoil === undefined || (once && change.img && kind !== "double")) return false;
    this.#spoiler.did(spoil, once);
    return true;
  }

  #hold(socket: Socket, message: Message, change: MarketChange): MarketChange[] {
    const ms = (this.#heldUntil.get(change.id) as number) - this.#clock.monotonic();
    if (ms < 0) {
      this.#heldUntil.delete(change.id);
      return [change];
    }
    // Without its clk, which the messages in between have overtaken.
    const late = { ...message, clk: undefined, mc: [change] };
    this.#clock.after(ms, () => {
      if (!this.#closed) this.#handler.data(socket, Buffer.from(`${JSON.stringify(late)}\r\n`));
    });
    return [];
  }

  #repeated(change: MarketChange): MarketChange[] {
    const { id, rc } = change;
    const before = this.#repeats.get(id);
    if (before !== undefined && rc?.some((runner) => changesOffer(runner, before))) {
      this.#repeats.delete(id);
      return [change, { id, rc: [before] }];
    }
    const runner = rc?.find((runner) => offers(runner) !== null);
    // Of the latest change, so that what comes again is not long ago.
    const isWanted = before !== undefined || this.#does("repeat", id, true, change);
    if (runner !== undefined && isWanted) this.#repeats.set(id, onlyOffer(runner));
    return [change];
  }

  #altered(change: MarketChange): MarketChange {
    const at = change.rc?.findIndex((runner) => offers(runner) !== null) ?? -1;
    if (at < 0) return change;
    for (const kind of ["size", "price"] as const)
      if (this.#does(kind, change.id, true, change))
        return { ...change, rc: change.rc?.map((runner, i) => (i === at ? altered(runner, kind) : runner)) ?? [] };
    return change;
  }
}

/** The name of a ladder of the change in which an offer is set; null where there is none. */
function offers(runner: RunnerChange): "atb" | "atl" | null {
  return (["atb", "atl"] as const).find((name) => runner[name]?.some(([, size]) => size > 0)) ?? null;
}

/** One offer that the change sets. */
function onlyOffer(runner: RunnerChange): RunnerChange {
  const name = offers(runner) as "atb" | "atl";
  return { id: runner.id, hc: runner.hc ?? 0, [name]: runner[name]?.filter(([, size]) => size > 0).slice(0, 1) };
}

function changesOffer(runner: RunnerChange, before: RunnerChange): boolean {
  const name = offers(before) as "atb" | "atl";
  const [[price, size]] = before[name] as readonly [PriceSize];
  const isSame = runner.id === before.id && (runner.hc ?? 0) === before.hc;
  return isSame && (runner[name]?.some((row) => row[0] === price && row[1] !== size) ?? false);
}

function altered(runner: RunnerChange, kind: "size" | "price"): RunnerChange {
  const name = offers(runner) as "atb" | "atl";
  const ladder = runner[name] as readonly PriceSize[];
  const at = ladder.findIndex(([, size]) => size > 0);
  const spoilt = ([price, size]: PriceSize): PriceSize => (kind === "size" ? [price, size * 2] : [price + 990, size]);
  return { ...runner, [name]: ladder.map((row, i) => (i === at ? spoilt(row) : row)) };
}
