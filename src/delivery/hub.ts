import type { Clock, Timer } from "../base/clock.ts";
import type { FaultCode, Goodbye } from "../base/errors.ts";
import { Wheel } from "../base/wheel.ts";
import { ChangeBatch } from "../market/batch.ts";
import type { Book } from "../market/book.ts";
import type { Cache } from "../market/cache.ts";
import { changesSince, type Projection } from "../market/changes.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { Follower, Position, SourceState } from "../market/types.ts";
import type { Visitor } from "../tenancy/tokens.ts";
import { writeChanges } from "../wire/changes.ts";
import type { AlterRequest, SubscribeRequest } from "../wire/requests.ts";
import { TextWriter } from "../wire/text.ts";
import { Allowance, BYTES_PER_SECOND_MIN } from "./allowance.ts";
import { type Alteration, alterationOf } from "./alteration.ts";
import { Beat } from "./beat.ts";
import { cadenceFor, SLOTS_MAX } from "./cadence.ts";
import { CatchUpWriter } from "./catchup.ts";
import { clkOf, epochOf, initialClkOf, sequenceOf, type Terms, TermsInUse } from "./contract.ts";
import { Flush, type Frames, prefixOf } from "./flush.ts";
import { HeldStops } from "./held-stops.ts";
import type { Outlet } from "./outlet.ts";
import { Roll } from "./roll.ts";
import { Session } from "./session.ts";
import { type CatchUp, isAnswer, Subscription } from "./subscription.ts";
import { type View, Watchers } from "./view.ts";

export interface HubOptions {
  readonly cache: Cache;
  readonly clock: Clock;
  /** The longest message to a user who takes segments, but for one market that is longer by itself. */
  readonly segmentBytesMax?: number;
  /** What of a user's one flush is beyond this is not written, but caught up in segments. */
  readonly flushBytesMax?: number;
  /** How long a user may be behind before it is closed as SLOW. */
  readonly behindMsMax?: number;
  /** Told which markets somebody wants, until the function that comes back is called. */
  readonly want?: (filter: MarketFilter) => () => void;
}

const SWEEP_MS = 1000;
/** Bytes with which those who are not in step are told, before others have their turn: half a millisecond of work. */
const CATCH_UP_BYTES = 64 * 1024;
/** More than messages of the exchange differ in how long they travel, less than a client calls a high latency (500 ms). */
const EXCHANGE_TIME_BEHIND_MS = 100;

/**
 * The heart: touched markets become frames, once per market and view, and frames go to users, one write each.
 *
 * It takes batches as a Sink, numbered by itself or by whom it follows. A batch is applied; its markets touch their views; cadence 0 is flushed with the batch, other cadences at
 * their beats; a market that stops goes to everybody at once, without a clk. A subscription that is not in step (new, resumed, or its socket was full) is
 * brought in step by `CatchUpWriter`. The clk of a message says that everything up to it was sent, so it is written only where that is so.
 */
export class Hub implements Follower {
  readonly cache: Cache;
  readonly clock: Clock;
  readonly flushBytesMax: number;
  /** The room that a segment has for entries. */
  readonly segmentRoom: number;
  readonly #behindMsMax: number;
  readonly #want: ((filter: MarketFilter) => () => void) | null;
  readonly sessions = new Set<Session>();
  /** 503 while the source's word cannot be relied on. */
  status: number | null = 503;

  // counters, read by ops
  encodes = 0;
  messagesOut = 0;
  images = 0;
  resumes = 0;
  catchUps = 0;
  /** How often a user's allowance was spent. */
  holds = 0;
  readonly closes = new Map<FaultCode, number>();

  readonly #beats = new Map<number, Beat[]>();
  readonly #roll: Roll;
  readonly #behind = new Set<Session>();
  /** How many sessions wait for their allowance. */
  held = 0;
  /** Who knows more than we do, as another follower told it: each with the heartbeats that it may wait for us to come as far. */
  readonly #ahead = new Map<Subscription, number>();
  #isFollowing = false;
  #isCutOff = false;
  /** One timer for everybody: of subscriptions for their heartbeats, of sessions until their allowance is back. */
  readonly #wheel: Wheel<Subscription | Session>;
  readonly #catchUp: CatchUpWriter;
  /** What is left of this turn's bytes for those who are not in step, and what begins the next turn. */
  #catchUpRoom = CATCH_UP_BYTES;
  #nextTurn: Timer | null = null;
  readonly #heldStops: HeldStops;
  /** The exchange's last word, heartbeats included: its publish time, and when it was heard (monotonic). */
  #heardPt = 0;
  #heardAt = 0;
  #sweep: Timer | null = null;
  #isStopped = false;
  #nextSlot = 0;

  // one flush's things, used again and again
  readonly #batch = new ChangeBatch();
  readonly #flushing = new Flush(this);
  readonly #terms = new TermsInUse();
  readonly #scratch = new TextWriter();
  readonly #stopped: Book[] = [];
  readonly #overdue: Beat[] = [];

  constructor(options: HubOptions) {
    this.cache = options.cache;
    this.clock = options.clock;
    this.flushBytesMax = options.flushBytesMax ?? 1024 * 1024;
    const segmentBytesMax = options.segmentBytesMax ?? 64 * 1024;
    this.segmentRoom = Math.max(segmentBytesMax - HEAD_BYTES_MAX, segmentBytesMax / 2);
    this.#behindMsMax = options.behindMsMax ?? 30_000;
    this.#want = options.want ?? null;
    this.#roll = new Roll(this.cache, {
      entered: (subscription) => this.#fallBehind(subscription),
      left: (subscription) => this.#startAnew(subscription),
    });
    this.#wheel = new Wheel(this.clock, (due) => (due instanceof Session ? this.#allow(due) : this.#heartbeat(due)));
    this.#catchUp = new CatchUpWriter(this);
    this.#heldStops = new HeldStops(this.cache, this.#catchUp);
  }

  /** Sessions that are not in step, but for those that wait for their allowance. */
  get behind(): ReadonlySet<Session> {
    return this.#behind;
  }

  // ---- the source's side ----

  batch(batch: ChangeBatch): void {
    this.#heardPt = batch.pt;
    this.#heardAt = this.clock.monotonic();
    const touched = this.cache.apply(batch);
    this.#sweepSoon();
    this.#lost();
    for (const book of touched) this.#touched(book);
    if (!this.cache.midGroup && batch.kind !== "heartbeat") this.#groupDone();
  }

  settled(): void {
    this.#writeDirty();
  }

  state(state: SourceState): void {
    const status = state === "live" ? null : 503;
    if (status === this.status) return;
    // What is pending was put together before, and who has something pending is not written to in between.
    this.#writeDirty();
    this.status = status;
    // Whoever waits for its beat misses what came since the silence began, and must not be told before it has it that its books are right.
    if (status === null) for (const beats of this.#beats.values()) for (const beat of beats) beat && this.#turn(beat);
    for (const session of this.sessions) {
      for (const subscription of session.subscriptions) this.#sayHeartbeat(subscription);
    }
  }

  /** Books come anew from whoever gives the numbers from now on. Nobody is told anything until they are whole, and then what changed; under a new epoch, everything. */
  syncing(position: Position): void {
    this.#isFollowing = true;
    this.#writeDirty();
    const isNew = position.epoch !== this.cache.epoch;
    this.cache.beginSync(position);
    if (isNew) this.#ahead.clear();
    for (const session of this.sessions) {
      for (const subscription of session.subscriptions) {
        if (!isNew) {
          this.#fallBehind(subscription);
          continue;
        }
        this.#startAnew(subscription);
      }
    }
  }

  piece(batch: ChangeBatch): void {
    this.cache.load(batch);
    for (const id of batch.ids) this.#touched(this.cache.get(id) as Book);
  }

  cutOff(): void {
    this.#isCutOff = true;
  }

  /** Whoever numbers has nothing that is not here. */
  current(): void {
    for (const [subscription, left] of this.#ahead) this.#ahead.set(subscription, left - 1);
    this.#writeDirty();
  }

  synced(): void {
    this.cache.endSync();
    this.#isCutOff = false;
    this.#lost();
    this.#groupDone();
    this.#writeDirty();
  }

  #touched(book: Book): void {
    this.#roll.touched(book);
    if (book.suspended === this.cache.sequence) this.#stopped.push(book);
    for (const view of Watchers.of(book).views) {
      // Nothing changed before, since it was told: of what was long ago, books no longer know when.
      if (view.touches === 0) view.sent = Math.max(view.sent, this.cache.sequence - 1);
      view.beat.touch(view);
    }
  }

  #lost(): void {
    for (const book of this.cache.dropped) this.#roll.lost(book);
  }

  /**
   * The exchange's time by now, milliseconds since the Unix epoch: what it said last, carried forward while it is live, since it would have told of a change.
   * It stands on what is put together here (images, resumes, merged messages): with the time of the last change on it, clients would warn of a latency
   * that there is none of. A little less than it may be, so that the next message is not older.
   */
  get exchangeTime(): number {
    if (this.cache.pt === 0) return Math.floor(this.clock.wall());
    if (this.status !== null || this.#heardPt === 0) return this.cache.pt;
    const elapsedMs = this.clock.monotonic() - this.#heardAt;
    return Math.max(this.cache.pt, Math.floor(this.#heardPt + elapsedMs - EXCHANGE_TIME_BEHIND_MS));
  }

  #groupDone(): void {
    this.#stopAtOnce();
    const now = this.#beats.get(0)?.[0];
    if (now !== undefined && now.touched.length > 0) this.#flush(now.take(), true);
    for (const beat of this.#overdue.splice(0)) this.#turn(beat);
    if (this.#flushing.isFull) this.#writeDirty();
  }

  /** Markets that stopped jump every queue: their complete delta goes out now, without a clk, as other markets may have changed before. */
  #stopAtOnce(): void {
    if (this.#stopped.length === 0) return;
    if (this.held > 0) this.#heldStops.tell(this.#stopped);
    const views: View[] = [];
    for (const book of this.#stopped) {
      for (const view of Watchers.of(book).views) if (view.beat.cadence > 0) views.push(view);
    }
    this.#stopped.length = 0;
    if (views.length > 0) this.#flush(views, false);
  }

  #turn(beat: Beat): void {
    if (this.cache.midGroup) {
      this.#overdue.push(beat);
      return;
    }
    this.#flush(beat.take(), true, this.exchangeTime);
    this.#writeDirty();
  }

  /** Encodes each view once and puts its bytes up for all its subscriptions in step. */
  #flush(views: readonly View[], withClk: boolean, pt = this.cache.pt): void {
    const { sequence } = this.cache;
    const { entries } = this.#flushing;
    const clk = withClk ? sequence : null;
    const head = this.#flushing.head(this.headText(clk, pt), pt, clk);
    for (const view of views) {
      const con = view.touches > 1 || view.book.conflated > view.sent;
      if (withClk) view.touches = 0;
      const { isFull } = this.#flushing;
      const offset = entries.length;
      if (view.hasListeners && !isFull) this.encode(view.book, view.sent, view.projection, entries, con);
      view.sent = sequence;
      if (entries.length > offset || isFull) this.#put(view, isFull ? -1 : head, offset);
    }
  }

  /** Puts the entry at `offset` down for everybody who is in step with its view; without a head, it has no room, and they fall behind. */
  #put(view: View, head: number, offset: number): void {
    const length = this.#flushing.entries.length - offset;
    for (const subscription of view.subscriptions) {
      if (!subscription.isInStep) continue;
      if (head < 0 || !this.#flushing.put(subscription, head, offset, length)) this.#fallBehind(subscription);
    }
  }

  /** One write for each user that has something pending. */
  #writeDirty(): void {
    const now = this.clock.monotonic();
    for (const session of this.#flushing.sessions) {
      session.isDirty = false;
      if (!session.gone) this.#write(session, now);
    }
    this.#flushing.clear();
    if (this.#ahead.size > 0 && !this.cache.midGroup) this.#answerAhead();
    for (const session of this.#behind) if (session.outbox.isClear) this.#pump(session);
    if (this.held > 0) this.#heldStops.sayAll();
  }

  #write(session: Session, now: number): void {
    const { subscriptions } = session;
    if (subscriptions.length === 1) return this.#writeOne(subscriptions[0] as Subscription, now);
    const out = this.#scratch;
    out.clear();
    for (const subscription of subscriptions) {
      if (!subscription.hasPending) continue;
      const before = out.length;
      const frames = this.#flushing.append(subscription, out);
      if (!this.#take(subscription, frames, out.length <= this.flushBytesMax, now)) out.length = before;
    }
    if (out.length > 0) this.send(session, out.bytes.subarray(0, out.length));
  }

  #writeOne(subscription: Subscription, now: number): void {
    if (!subscription.hasPending) return;
    const { bytes, frames } = this.#flushing.framed(subscription);
    if (this.#take(subscription, frames, bytes.length <= this.flushBytesMax, now))
      this.send(subscription.session, bytes);
  }

  /** A subscription is told what it had pending; false: there is no room for that, and it falls behind. */
  #take(subscription: Subscription, { count, told }: Frames, hasRoom: boolean, now: number): boolean {
    subscription.nothingPending();
    if (!hasRoom) {
      this.#fallBehind(subscription);
      return false;
    }
    if (told !== null) subscription.told = told;
    subscription.said = this.status;
    subscription.sentAt = now;
    subscription.session.traffic.frames += count;
    this.messagesOut += count;
    return true;
  }

  // ---- the users' side ----

  join(outlet: Outlet, visitor: Visitor): Session {
    const session = new Session(this, outlet, visitor, this.#nextSlot++ % SLOTS_MAX);
    this.sessions.add(session);
    this.limit(session, null);
    this.#sweepSoon();
    return session;
  }

  leave(session: Session): void {
    if (session.gone) return;
    session.gone = true;
    for (const subscription of session.subscriptions) this.end(subscription);
    if (session.held) this.held--;
    session.held = false;
    this.#heldStops.forget(session);
    this.sessions.delete(session);
    this.#behind.delete(session);
  }

  /** Lets go of a user and says why. */
  close(session: Session, goodbye: Goodbye): void {
    if (session.gone) return;
    this.closes.set(goodbye.code, (this.closes.get(goodbye.code) ?? 0) + 1);
    this.leave(session);
    session.outlet.close(goodbye);
  }

  closeAll(goodbye: Goodbye): void {
    for (const session of [...this.sessions]) this.close(session, goodbye);
  }

  stop(): void {
    this.#isStopped = true;
    this.#sweep?.cancel();
    this.#nextTurn?.cancel();
    this.#wheel.stop();
    for (const beats of this.#beats.values()) for (const beat of beats) beat?.stop();
  }

  say(session: Session, message: string): void {
    if (session.gone) return;
    const out = this.#scratch;
    out.clear();
    this.message(session, message, out);
    if (!session.outbox.sendControl(out.bytes.subarray(0, out.length))) this.close(session, TOO_SLOW);
    else if (!session.outbox.isClear) this.#allBehind(session);
  }

  subscribe(session: Session, request: SubscribeRequest, accepted?: string): Goodbye | null {
    const { visitor, outlet, subscriptions } = session;
    const filter = this.#known(request.filter);
    const beat = this.#beat(cadenceFor(request.conflateMs), session.slot);
    const subscription = new Subscription(session, request, filter, this.#termsOf(visitor, request), beat);
    const books = this.#roll.matching(subscription);
    // As at the exchange, which forgets closed markets sooner or later: how long they are kept must not cost anybody a subscription.
    const open = books.reduce((sum, book) => (book.facts.status === "CLOSED" ? sum : sum + 1), 0);
    const refusal = tooMany(open, visitor);
    if (refusal !== null) return refusal;
    const replaced = outlet.extensions ? session.subscription(request.id) : subscriptions[0];
    if (replaced === undefined && subscriptions.length >= visitor.subscriptionsMax) {
      return {
        code: "SUBSCRIPTION_LIMIT_EXCEEDED",
        message: `${subscriptions.length} subscriptions are open, the limit is ${visitor.subscriptionsMax}`,
      };
    }
    const refusesIds = tooManyNamed(namedBy(session, replaced) + idsIn(filter));
    if (refusesIds !== null) return refusesIds;
    if (replaced !== undefined) this.end(replaced);
    session.subscriptions = [...session.subscriptions, subscription];
    this.#wish(subscription);
    this.#roll.enter(subscription, books);
    this.#answer(subscription);
    if (this.#isAhead(subscription)) this.#ahead.set(subscription, AHEAD_HEARTBEATS);
    else subscription.asked = null;
    this.#wheel.add(subscription, request.heartbeatMs);
    this.#pumpSoon(session, accepted);
    return null;
  }

  alter(session: Session, asked: AlterRequest, accepted: string): Goodbye | null {
    const subscription = session.subscription(asked.subscription);
    if (subscription === undefined) {
      return { code: "INVALID_REQUEST", message: `there is no market subscription ${asked.subscription}` };
    }
    const alteration = alterationOf(subscription, asked);
    if ("code" in alteration) return alteration;
    const refusal = this.#refusesMore(subscription, alteration);
    if (refusal !== null) return refusal;
    this.#alter(subscription, alteration);
    this.#pumpSoon(session, accepted);
    return null;
  }

  /** The bounds of a subscription, for one that is to have more markets. */
  #refusesMore(subscription: Subscription, { filter, added }: Alteration): Goodbye | null {
    if (added.length === 0) return null;
    const { session, views } = subscription;
    const isOpen = (book: Book | undefined) => book !== undefined && book.facts.status !== "CLOSED";
    const more = added.filter((id) => isOpen(this.cache.get(id))).length;
    const open = views.filter(({ book }) => isOpen(book)).length + more;
    return tooMany(open, session.visitor) ?? tooManyNamed(namedBy(session, subscription) + idsIn(filter));
  }

  /** Its views move, and what it missed or what is new follows. The contract of what it is now has another initialClk; cadence is no part of it. */
  #alter(subscription: Subscription, { filter, terms: asked, added, removed }: Alteration): void {
    const { terms: before, beat, session } = subscription;
    const terms = this.#terms.of(asked);
    const isOther = terms.fields !== before.fields || terms.ladderLevels !== before.ladderLevels;
    const hasOthers = added.length + removed.length > 0;
    const next = this.#beat(cadenceFor(terms.conflateMs), session.slot);
    const named = hasOthers ? this.#known(filter) : filter;
    const become = () => subscription.become(named, terms, next);
    let fresh: Book[] = [];
    if (hasOthers) {
      this.#roll.drop(subscription, removed);
      become();
      fresh = this.#roll.add(subscription, added);
      this.#wish(subscription);
    } else if (isOther || next !== beat) {
      const books = subscription.views.map(({ book }) => book);
      this.#roll.leave(subscription);
      become();
      this.#roll.enter(subscription, books);
    } else return become();
    this.#tellAltered(subscription, isOther, hasOthers, fresh);
  }

  /** Of other fields everything is new, and nothing of what its user has may stay. Who still waits for an answer gets it of what it asks for by now. */
  #tellAltered(subscription: Subscription, isOther: boolean, hasOthers: boolean, fresh: readonly Book[]): void {
    const { catchUp } = subscription;
    const isAwaited = catchUp !== null && isAnswer(catchUp);
    if (isOther || (isAwaited && hasOthers)) return this.#startAnew(subscription);
    if (isAwaited) subscription.begin(catchUp.kind, catchUp.from, this.cache.sequence);
    else subscription.changed(fresh, this.cache.sequence);
    this.#markBehind(subscription.session);
  }

  /** Says which markets it wants, before it takes back what it wanted so far. */
  #wish(subscription: Subscription): void {
    const { unwant } = subscription;
    if (this.#want !== null) subscription.unwant = this.#want(subscription.filter);
    unwant?.();
  }

  /** So many bytes of prices a second at most, not more than its visitor may have; null: no limit of its own. Returns what is in force. */
  limit(session: Session, asked: number | null): number | null {
    const most = session.visitor.bytesPerSecondMax ?? null;
    const wanted = asked === null ? most : Math.max(BYTES_PER_SECOND_MIN, asked);
    const limit = wanted === null ? null : Math.min(wanted, most ?? wanted);
    const now = this.clock.monotonic();
    if (limit === null) session.allowance = null;
    else if (session.allowance === null) session.allowance = new Allowance(limit, now);
    else session.allowance.change(limit, now);
    if (limit === null) this.#release(session);
    return limit;
  }

  end(subscription: Subscription): void {
    subscription.ended = true;
    subscription.nothingPending();
    subscription.unwant?.();
    this.#roll.leave(subscription);
    const { session } = subscription;
    session.subscriptions = session.subscriptions.filter((other) => other !== subscription);
  }

  drained(session: Session): void {
    if (session.gone || !session.outbox.drained()) return;
    if (session.held) this.#heldStops.say(session);
    else this.#pump(session);
  }

  // ---- being behind, and coming back in step ----

  /** It is to be told nothing yet: it, or others whom it may come from, may have seen more than we can tell. */
  isWaiting(subscription: Subscription): boolean {
    const { catchUp } = subscription;
    const isNew = catchUp !== null && isAnswer(catchUp) && !catchUp.begun;
    return (this.#isCutOff && isNew) || this.#ahead.has(subscription);
  }

  #answer(subscription: Subscription): void {
    const resumed = this.#resumable(subscription);
    subscription.begin(resumed === null ? "image" : "resume", resumed ?? 0, this.cache.sequence);
    if (resumed === null) this.images++;
    else this.resumes++;
  }

  /**
   * Its clk is of a time that has not come here yet: an image would take it back, also one of another contract. Where nobody else gives clks, it is just not one of ours; but as long as the
   * books are those of before a restart, a clk that we cannot tell to be older than they are may be younger.
   */
  #isAhead({ asked }: Subscription): boolean {
    const { cache } = this;
    if (asked === null) return false;
    const { initialClk, clk } = asked;
    if (initialClk === null || epochOf(initialClk) !== cache.epoch) return !cache.isConfirmed;
    const since = (sequenceOf(clk) ?? 0) + cache.base;
    return cache.isBeyond(since) || (this.#isFollowing && since > cache.sequence);
  }

  /** Answers those who were ahead and are no longer, or have waited for long enough to show that their clk is nobody's. */
  #answerAhead(): void {
    for (const [subscription, left] of this.#ahead) {
      if (!subscription.ended && left > 0 && this.#isAhead(subscription)) continue;
      this.#ahead.delete(subscription);
      if (subscription.ended) continue;
      this.#answer(subscription);
      subscription.asked = null;
      this.#markBehind(subscription.session);
    }
  }

  /** The sequence from which to resume, null when only an image will do. */
  #resumable(subscription: Subscription): number | null {
    const { asked } = subscription;
    if (asked === null || asked.initialClk !== this.initialClk(subscription)) return null;
    const said = sequenceOf(asked.clk);
    // 0 stands on the first part of an image that comes in several messages: what was held before is void, and only an image says what is not there.
    if (said === null || said === 0) return null;
    const since = said + this.cache.base;
    if (since > this.cache.sequence || !this.cache.isInReach(since)) return null;
    return this.#roll.leftSince(subscription, since) ? null : since;
  }

  /** What a clk of it is good for by now. */
  initialClk({ terms, filter }: Subscription): string {
    return initialClkOf(this.cache.epoch, terms, filter);
  }

  #startAnew(subscription: Subscription): void {
    this.images++;
    subscription.begin("image", 0, this.cache.sequence);
    this.#markBehind(subscription.session);
  }

  #fallBehind(subscription: Subscription): void {
    if (subscription.catchUp !== null) return;
    this.catchUps++;
    subscription.begin("behind", subscription.told, this.cache.sequence);
    this.#markBehind(subscription.session);
  }

  /** The socket is full: nothing more is written but what each subscription missed, once there is room. */
  #allBehind(session: Session): void {
    for (const subscription of session.subscriptions) this.#fallBehind(subscription);
    this.#markBehind(session);
  }

  #markBehind(session: Session): void {
    if (session.held || this.#behind.has(session)) return;
    session.behindSince = this.clock.monotonic();
    this.#behind.add(session);
  }

  /** Brings a session's subscriptions in step, as far as its socket takes it. Not within a group: a clk could not be given. */
  #pump(session: Session): void {
    if (session.held) return;
    for (const subscription of session.subscriptions) {
      while (subscription.catchUp !== null) {
        if (this.#catchUpRoom <= 0 && mayPause(subscription.catchUp)) return;
        if (!this.#catchUp.step(subscription)) return this.#heldStops.say(session);
      }
    }
    session.behindSince = null;
    this.#behind.delete(session);
  }

  /** Somebody who is not in step was told so much. A crowd that comes, or comes back, must not keep prices from those who are here. */
  caughtUp(bytes: number): void {
    this.#catchUpRoom -= bytes;
    this.#nextTurn ??= this.clock.after(0, () => {
      this.#nextTurn = null;
      this.#catchUpRoom = CATCH_UP_BYTES;
      for (const waiting of this.#behind) {
        if (this.#catchUpRoom <= 0) break;
        if (waiting.outbox.isClear) this.#pump(waiting);
      }
    });
  }

  /**
   * Brings it in step as far as can be done at once; `words` come before anything else. In one write with it, but not to clients of the exchange:
   * betfairlightweight takes one read for one message until its first prices.
   */
  #pumpSoon(session: Session, words?: string): void {
    const isTogether = words !== undefined && session.outlet.extensions;
    if (words !== undefined && !isTogether) this.say(session, words);
    if (session.gone) return;
    this.#markBehind(session);
    const pump = () => {
      if (session.outbox.isClear) this.#pump(session);
    };
    if (!isTogether) return pump();
    const unsaid = this.#catchUp.leading(words, pump);
    if (unsaid !== null) this.say(session, unsaid);
  }

  // ---- an allowance that is spent, and is back ----

  /** Tells a user nothing more but stops until its allowance is back, and then once what it missed: its cadence is stretched. That is not being slow. */
  #hold(session: Session): void {
    if (session.held) return;
    this.holds++;
    this.held++;
    session.held = true;
    this.#heldStops.begin(session);
    session.behindSince = null;
    this.#behind.delete(session);
    if (session.isOnWheel) return;
    session.isOnWheel = true;
    this.#wheel.add(session, this.#waitMs(session));
  }

  #release(session: Session): void {
    if (!session.held) return;
    this.held--;
    session.held = false;
    this.#heldStops.forget(session);
    this.#pumpSoon(session);
  }

  /** The wheel asks: returns when to ask again. */
  #allow(session: Session): number | null {
    const waitMs = session.held ? this.#waitMs(session) : 0;
    if (waitMs > 0) return waitMs;
    session.isOnWheel = false;
    this.#release(session);
    return null;
  }

  /** Asked again before long, as the limit may be raised meanwhile. */
  #waitMs(session: Session): number {
    return Math.min(HOLD_MS_MAX, session.allowance?.waitMs(this.clock.monotonic()) ?? 0);
  }

  /** Every second from the first batch or user on: markets close, and memory is wanted back, whether or not anybody is there. */
  #sweepSoon(): void {
    if (!this.#isStopped) this.#sweep ??= this.clock.after(SWEEP_MS, () => this.#sweepNow());
  }

  #sweepNow(): void {
    this.#sweep = null;
    this.#sweepSoon();
    const limit = this.clock.monotonic() - this.#behindMsMax;
    for (const session of [...this.#behind]) {
      // One with a clear outbox waits for us: for the rest of a group whose source may be gone.
      if (session.outbox.isClear) this.#pump(session);
      else if (session.behindSince !== null && session.behindSince < limit) this.close(session, TOO_SLOW);
    }
    for (const book of this.cache.sweep()) this.#roll.forgotten(book);
  }

  // ---- heartbeats ----

  /** The wheel asks: returns when to ask again. */
  #heartbeat(subscription: Subscription): number | null {
    if (subscription.ended) return null;
    const { heartbeatMs } = subscription.terms;
    const rest = heartbeatMs - (this.clock.monotonic() - subscription.sentAt);
    if (rest > 100) return rest;
    this.#sayHeartbeat(subscription);
    return heartbeatMs;
  }

  #sayHeartbeat(subscription: Subscription): void {
    const { session, isInStep } = subscription;
    if (!session.outbox.isClear || subscription.hasPending) return;
    if (!isInStep && !session.held) return;
    if (isInStep && subscription.beat.touched.length === 0 && !this.cache.midGroup)
      subscription.told = this.cache.sequence;
    // Who waits for its allowance hears that we are there, but neither a clk nor that all is well again.
    const said = isInStep ? this.status : (this.status ?? subscription.said);
    const out = this.#scratch;
    out.clear();
    const head = this.headText(isInStep ? subscription.told : null, Math.floor(this.clock.wall()), said);
    this.message(session, `${prefixOf(subscription.id)}${head},"ct":"HEARTBEAT"}`, out);
    subscription.said = said;
    subscription.sentAt = this.clock.monotonic();
    this.messagesOut++;
    // Not counted against an allowance: heartbeats would eat up a low one.
    if (!session.outbox.send(out.bytes.subarray(0, out.length))) this.#allBehind(session);
  }

  // ---- bytes ----

  /** What follows a message's prefix: clk, publish time, status. */
  headText(sequence: number | null, pt: number, said = this.status): string {
    const clk = sequence === null ? "" : `,"clk":"${clkOf(Math.max(0, sequence - this.cache.base))}"`;
    const status = said === null ? "" : `,"status":${said}`;
    return `${clk},"pt":${pt}${status}`;
  }

  /** Appends the `mc` entry of what changed in a book; nothing when nothing did. */
  encode(book: Book, since: number, projection: Projection, out: TextWriter, con: boolean): void {
    this.#batch.clear();
    this.encodes++;
    if (changesSince(book, since, projection, this.#batch, con)) writeChanges(this.#batch, out);
  }

  /** Appends one framed message. */
  message({ outlet: { framing }, traffic }: Session, text: string, out: TextWriter): void {
    traffic.frames++;
    out.reserve(framing.overheadMax + text.length);
    out.length += framing.before(out.bytes, out.length, text.length);
    out.ascii(text);
    out.reserve(framing.overheadMax);
    out.length += framing.after(out.bytes, out.length);
  }

  /** Writes prices to a user whose outbox is clear; one whose socket is full then, or whose allowance is spent, falls behind. True: there is room for more. */
  send(session: Session, bytes: Buffer): boolean {
    const isTaken = session.outbox.send(bytes);
    const isSpent = session.allowance !== null && !session.allowance.spend(bytes.length, this.clock.monotonic());
    if (isSpent) this.#hold(session);
    if (isTaken && !isSpent) return true;
    this.#allBehind(session);
    return false;
  }

  #termsOf({ tenant }: Visitor, request: SubscribeRequest): Terms {
    const { fields, ladderLevels, conflateMs, heartbeatMs, segmentationEnabled } = request;
    const asked = { fields, ladderLevels, conflateMs, heartbeatMs, segmentationEnabled };
    return this.#terms.of({ tenant, entitlements: 0, policy: 0, ...asked });
  }

  /** The filter with the ids of markets that are known as their books have them: text that is there anyway. */
  #known(filter: MarketFilter): MarketFilter {
    if (filter.marketIds === undefined) return filter;
    const marketIds = filter.marketIds.map((id) => this.cache.get(id)?.id ?? id);
    return Object.keys(filter).length > 1 ? { ...filter, marketIds } : { marketIds };
  }

  #beat(cadence: number, slot: number): Beat {
    let beats = this.#beats.get(cadence);
    if (beats === undefined) this.#beats.set(cadence, (beats = []));
    const index = cadence === 0 ? 0 : slot;
    return (beats[index] ??= new Beat(cadence, index, this.clock, (beat) => this.#turn(beat)));
  }
}

/** Who missed something is told it in one go where its socket has room: what changes in a pause would be told twice. */
function mayPause(catchUp: CatchUp): boolean {
  return isAnswer(catchUp) || (catchUp.phase === 0 && catchUp.cursor === 0);
}

/** One may be on its way while another follower tells what comes after it. */
const AHEAD_HEARTBEATS = 2;
/** Market ids that all subscriptions of a connection may name: those that are not known are waited for, and cost memory whether or not they ever come. */
const IDS_MAX = 40_000;
/** How long a limit that was raised may wait to be noticed. */
const HOLD_MS_MAX = 1000;
/** More than stands around the entries of a message: its head, its framing. */
const HEAD_BYTES_MAX = 512;
const TOO_SLOW: Goodbye = { code: "SLOW", message: "you were behind for too long; come back with your last clk" };

function tooMany(open: number, { marketsMax }: Visitor): Goodbye | null {
  if (open <= marketsMax) return null;
  const message = `trying to subscribe to ${open} markets, the limit is ${marketsMax}`;
  return { code: "SUBSCRIPTION_LIMIT_EXCEEDED", message };
}

function tooManyNamed(named: number): Goodbye | null {
  if (named <= IDS_MAX) return null;
  const message = `the connection's subscriptions name ${named} markets by id, the limit is ${IDS_MAX}`;
  return { code: "SUBSCRIPTION_LIMIT_EXCEEDED", message };
}

function idsIn({ marketIds }: MarketFilter): number {
  return marketIds?.length ?? 0;
}

/** How many market ids a session's subscriptions name, but for one of them. */
function namedBy({ subscriptions }: Session, but: Subscription | undefined): number {
  let named = 0;
  for (const subscription of subscriptions) if (subscription !== but) named += idsIn(subscription.filter);
  return named;
}
