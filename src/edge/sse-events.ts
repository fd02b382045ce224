import { FAULTS, type Goodbye } from "../base/errors.ts";
import type { Framing } from "../delivery/outlet.ts";
import type { SubscribeRequest } from "../wire/requests.ts";
import { asciiJson } from "../wire/text.ts";

/** What a client may resume by, as far as it is known: the last `initialClk` and `clk` that it was sent. */
interface Clocks {
  readonly initialClk: string | null;
  readonly clk: string | null;
}

/** The longest tokens that an id is made of; ours are a third of that. */
const INITIAL_CLK_BYTES_MAX = 64;
const CLK_BYTES_MAX = 16;
/** How far into a message its clks stand at most: before its `mc`, among numbers and short words. */
const HEAD_BYTES_MAX = 320;

const DATA = Buffer.from("data: ");
const ID = "\nid: ";
const END = "\n\n";

/** A comment: nothing to clients, a sign of life to what stands between. */
export const HEARTBEAT = Buffer.from(": hb\n\n");

/**
 * Each message as an event, and behind it what the whole stream can be resumed by:
 *
 *     data: {"op":"mcm","id":2,"clk":"1z",…}
 *     id: epoch.ABCDEFGHIJKL!~1z
 *
 * A browser keeps the last id that came with a whole event and brings it back as `Last-Event-ID`. There is one for the stream, so it has the clks of all
 * subscriptions in it, and to write it the messages' heads are looked at as they pass. An event whose message has no clk has no id: what the client holds
 * stays good. What was framed and then not written (the hub thinks better of a flush that is too large) does not count: it is known by its place.
 */
export class EventFraming implements Framing {
  readonly overheadMax: number;
  readonly #order: ReadonlyMap<number, number>;
  readonly #clocks: Clocks[];
  /** What the messages framed since the last write have changed, and where they end. */
  readonly #unwritten: { readonly end: number; readonly index: number; readonly before: Clocks }[] = [];
  #start = 0;

  constructor(requests: readonly SubscribeRequest[]) {
    this.#order = new Map(requests.map(({ id }, index) => [id, index]));
    this.#clocks = requests.map(({ initialClk, clk }) => ({ initialClk, clk }));
    const each = INITIAL_CLK_BYTES_MAX + CLK_BYTES_MAX + 2;
    this.overheadMax = DATA.length + ID.length + END.length + INITIAL_CLK_BYTES_MAX + requests.length * each;
  }

  before(out: Uint8Array, at: number): number {
    this.#forget(at);
    out.set(DATA, at);
    this.#start = at + DATA.length;
    return DATA.length;
  }

  after(out: Uint8Array, at: number): number {
    const end = this.#note(out, at) ? `${ID}${eventId(this.#clocks)}${END}` : END;
    return Buffer.from(out.buffer, out.byteOffset, out.length).write(end, at, "latin1");
  }

  /** So many bytes, from the first that was framed, have gone to be written. */
  written(length: number): void {
    this.#forget(length);
    this.#unwritten.length = 0;
  }

  /** Messages that end beyond were never written. */
  #forget(length: number): void {
    while ((this.#unwritten.at(-1)?.end ?? 0) > length) {
      const { index, before } = this.#unwritten.pop() as { index: number; before: Clocks };
      this.#clocks[index] = before;
    }
  }

  /** Whether the message that ends at `end` had a clk. */
  #note(out: Uint8Array, end: number): boolean {
    const to = Math.min(end, this.#start + HEAD_BYTES_MAX);
    const text = Buffer.from(out.buffer, out.byteOffset, out.length).toString("latin1", this.#start, to);
    const body = text.indexOf('"mc":[');
    const head = body < 0 ? text : text.slice(0, body);
    const clk = /"clk":"([^"]*)"/.exec(head)?.[1];
    const index = this.#order.get(Number(/"id":(-?\d+)/.exec(head)?.[1]));
    if (clk === undefined || index === undefined) return false;
    const before = this.#clocks[index] as Clocks;
    this.#unwritten.push({ end, index, before });
    this.#clocks[index] = { initialClk: /"initialClk":"([^"]*)"/.exec(head)?.[1] ?? before.initialClk, clk };
    return true;
  }
}

/**
 * `PREFIX!REST~CLK!…`: an entry for each subscription in the order of the request, its initialClk without what they all begin with; an empty entry is one
 * of which nothing is known yet. The tokens are not looked into.
 */
function eventId(clocks: readonly Clocks[]): string {
  const known = clocks.filter(isKnown);
  const prefix = commonPrefix(known.map(({ initialClk }) => initialClk));
  const entries = clocks.map((one) => (isKnown(one) ? `${one.initialClk.slice(prefix.length)}~${one.clk}` : ""));
  return `${prefix}!${entries.join("!")}`;
}

/** The requests with the clks that an id of ours holds for them; as they were where it is none, or one of a stream with other subscriptions. */
export function resumedBy(id: string | null, requests: readonly SubscribeRequest[]): readonly SubscribeRequest[] {
  const [prefix = "", ...entries] = id?.split("!") ?? [];
  if (id === null || !/^[!-~]*$/.test(id) || entries.length !== requests.length) return requests;
  return requests.map((request, index) => {
    const [rest, clk, ...more] = (entries[index] as string).split("~") as [string, ...string[]];
    const initialClk = prefix + rest;
    if (!clk || more.length > 0 || initialClk.length > INITIAL_CLK_BYTES_MAX || clk.length > CLK_BYTES_MAX)
      return { ...request, initialClk: null, clk: null };
    return { ...request, initialClk, clk };
  });
}

/** The last event, with why it ends and when to come back. */
export function goodbyeEvent({ code, message }: Goodbye, retryMs: number): Buffer {
  const { close, comeBack } = FAULTS[code];
  const data = asciiJson({ code, message, close, comeBack });
  return Buffer.from(`event: goodbye\nretry: ${retryMs}\ndata: ${data}${END}`);
}

function isKnown(clocks: Clocks): clocks is { initialClk: string; clk: string } {
  const { initialClk, clk } = clocks;
  if (initialClk === null || clk === null) return false;
  return initialClk.length <= INITIAL_CLK_BYTES_MAX && clk.length <= CLK_BYTES_MAX;
}

function commonPrefix(texts: readonly string[]): string {
  const [first = "", ...others] = texts;
  let length = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, length))) length--;
  return first.slice(0, length);
}
