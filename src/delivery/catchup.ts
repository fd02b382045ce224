import type { Book } from "../market/book.ts";
import { TextWriter } from "../wire/text.ts";
import { prefixOf } from "./flush.ts";
import type { Hub } from "./hub.ts";
import type { Session } from "./session.ts";
import { type CatchUp, goesFirst, isAnswer, type Subscription } from "./subscription.ts";

/**
 * Writes one subscription's way into step, a message at a time: image, resume, or what it missed. Markets that stopped come first; the clk comes
 * with the last message only. A pass that was disturbed, or during which prices moved on, is followed by another from where it claims.
 */
export class CatchUpWriter {
  readonly #hub: Hub;
  readonly #entries = new TextWriter();
  readonly #out = new TextWriter();
  /** What is said before the next message, and in one write with it: a system call is most of what an answer costs. */
  #lead: string | null = null;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** What `pump` writes begins with these words. Returns them where it has not written anything. */
  leading(words: string, pump: () => void): string | null {
    this.#lead = words;
    pump();
    return this.#takeLead();
  }

  #takeLead(): string | null {
    const lead = this.#lead;
    this.#lead = null;
    return lead;
  }

  /** Writes the next message. False: it must wait (the socket is full, or the source is within a group of segments). */
  step(subscription: Subscription): boolean {
    if (!subscription.session.outbox.isClear || this.#hub.cache.midGroup) return false;
    if (this.#hub.isWaiting(subscription)) return false;
    const catchUp = subscription.catchUp as CatchUp;
    if (catchUp.phase === 0 && catchUp.cursor === 0) catchUp.to = this.#hub.cache.sequence;
    const last = this.#fill(subscription, catchUp);
    if (last && catchUp.disturbed) {
      this.#again(catchUp, catchUp.from);
      if (this.#entries.length === 0) return true;
      return this.#write(subscription, catchUp, false);
    }
    if (last) return this.#finish(subscription, catchUp);
    return this.#write(subscription, catchUp, false);
  }

  /**
   * Tells somebody whose allowance is spent of markets that stopped, on credit: each with all that it missed of it and without a clk, as other markets may have
   * changed before. What finds no credit is told first when the allowance is back. False: the socket is full, and nothing was told.
   */
  overtake(session: Session, stops: readonly (readonly [Subscription, Book])[]): boolean {
    if (session.allowance === null) return true;
    if (!session.outbox.isClear) return false;
    const hub = this.#hub;
    const now = hub.clock.monotonic();
    this.#out.clear();
    for (const [subscription, book] of stops) {
      const { from } = subscription.catchUp as CatchUp;
      this.#entries.clear();
      const since = subscription.sinceFor(book, from);
      hub.encode(book, since, subscription.terms, this.#entries, since > 0);
      if (this.#entries.length === 0) continue;
      const head = hub.headText(null, hub.cache.pt, hub.status ?? subscription.said);
      const text = `${prefixOf(subscription.id)}${head},"mc":[`;
      if (!session.allowance.borrow(text.length + this.#entries.length, now)) break;
      this.#frame(subscription, text);
    }
    if (this.#out.length > 0) session.outbox.send(this.#out.bytes.subarray(0, this.#out.length));
    return true;
  }

  /** Collects entries up to a message's size; true when the pass has no more. */
  #fill(subscription: Subscription, catchUp: CatchUp): boolean {
    const { segmentationEnabled } = subscription.terms;
    const limit = segmentationEnabled ? this.#hub.segmentRoom : this.#hub.flushBytesMax;
    const entries = this.#entries;
    entries.clear();
    for (;;) {
      if (catchUp.cursor >= subscription.views.length) {
        if (catchUp.phase === 1) return true;
        catchUp.phase = 1;
        catchUp.cursor = 0;
        continue;
      }
      const { book } = subscription.views[catchUp.cursor] as { book: Book };
      const before = entries.length;
      if (goesFirst(book, catchUp.to) === (catchUp.phase === 0)) this.#entry(subscription, book, catchUp);
      if (entries.length > limit && before > 0) {
        // It opens the next message.
        entries.length = before;
        return false;
      }
      catchUp.cursor++;
    }
  }

  #entry(subscription: Subscription, book: Book, catchUp: CatchUp): void {
    const since = subscription.sinceFor(book, catchUp.from);
    if (book.last <= since) return;
    const before = this.#entries.length;
    if (before > 0) this.#entries.byte(44);
    const start = this.#entries.length;
    this.#hub.encode(book, since, subscription.terms, this.#entries, since > 0 && !isAnswer(catchUp));
    if (this.#entries.length === start) this.#entries.length = before;
  }

  /** The pass is through: in step if nothing moved meanwhile, else on from what it can claim. */
  #finish(subscription: Subscription, catchUp: CatchUp): boolean {
    const { sequence } = this.#hub.cache;
    const news = this.#entries.length > 0 || subscription.said !== this.#hub.status;
    const silent = catchUp.kind === "behind" && !catchUp.begun && !news;
    const claim = catchUp.to;
    if (sequence === claim) subscription.catchUp = null;
    subscription.told = claim;
    const room = silent || this.#write(subscription, catchUp, true);
    if (subscription.catchUp === null) return room;
    subscription.catchUp = { ...catchUp, kind: "behind", begun: false, fresh: null };
    this.#again(subscription.catchUp, claim);
    return room;
  }

  #again(catchUp: CatchUp, from: number): void {
    catchUp.from = from;
    catchUp.phase = 0;
    catchUp.cursor = 0;
    catchUp.disturbed = false;
  }

  #write(subscription: Subscription, catchUp: CatchUp, last: boolean): boolean {
    this.#out.clear();
    const lead = this.#takeLead();
    if (lead !== null) this.#hub.message(subscription.session, lead, this.#out);
    this.#frame(subscription, `${prefixOf(subscription.id)}${this.#head(subscription, catchUp, last)},"mc":[`);
    catchUp.begun = true;
    this.#hub.caughtUp(this.#out.length);
    return this.#hub.send(subscription.session, this.#out.bytes.subarray(0, this.#out.length));
  }

  /** Appends one message with the entries in it. */
  #frame(subscription: Subscription, text: string): void {
    const [entries, out] = [this.#entries, this.#out];
    const { outlet, traffic } = subscription.session;
    const { framing } = outlet;
    out.reserve(framing.overheadMax * 2 + text.length + entries.length + 2);
    out.length += framing.before(out.bytes, out.length, text.length + entries.length + 2);
    out.ascii(text);
    out.copy(entries.bytes, 0, entries.length);
    out.ascii("]}");
    out.length += framing.after(out.bytes, out.length);
    subscription.sentAt = this.#hub.clock.monotonic();
    this.#hub.messagesOut++;
    traffic.frames++;
  }

  /** A whole pass in one message, or its segments; where the client takes none, a message that begins and others that go on. */
  #head(subscription: Subscription, catchUp: CatchUp, last: boolean): string {
    const { segmentationEnabled, heartbeatMs } = subscription.terms;
    const { kind, begun } = catchUp;
    const segmented = segmentationEnabled && !(last && !begun);
    const said = segmentationEnabled || !begun;
    const ct = !isAnswer(catchUp) || !said ? "" : kind === "image" ? ',"ct":"SUB_IMAGE"' : ',"ct":"RESUB_DELTA"';
    const segment = segmented ? `,"segmentType":"${last ? "SEG_END" : begun ? "SEG" : "SEG_START"}"` : "";
    // What was altered is in force, and said, when all of it is there.
    const saysTerms = kind === "changed" ? last : isAnswer(catchUp) && !begun;
    const terms = saysTerms ? `,"conflateMs":${subscription.beat.cadence},"heartbeatMs":${heartbeatMs}` : "";
    const initial = last && kind !== "behind" ? `,"initialClk":"${this.#hub.initialClk(subscription)}"` : "";
    const pt = this.#hub.exchangeTime;
    // That all is well again is said when everything is there, not with the first part of it.
    if (last || this.#hub.status !== null) subscription.said = this.#hub.status;
    // Without segments the first part of an image replaces all that the client had: its old clk is void, and clk 0 claims nothing.
    const voids = kind === "image" && !begun && !segmentationEnabled;
    const position = last ? subscription.told : voids ? 0 : null;
    return ct + initial + this.#hub.headText(position, pt, subscription.said) + terms + segment;
  }
}
