import { type Difference, differenceWords, hashAt, type ShadowBook } from "./shadow-book.ts";
import type { Move } from "./shadow-stream.ts";

/**
 * One market on both sides, compared as it moves.
 *
 * Each side's book goes through a sequence of states; a state is known by the hash of its content. The two sequences arrive at different times, and
 * **each state that comes through must be one of the direct side's, at or after the last one matched**. So the direct side's states wait in a line until
 * they have come through, and what came through before the direct side had it is early and waits the other way round. A state found in the other's line
 * is a match: everything before it in both lines is explained or is a finding, and the time between is a latency (negative where we were quicker).
 *
 * - A direct state passed over is fine where the change that came says that it is merged (`con`, or an image), or within one interval of a conflated
 *   subscription. Else a delta was **dropped**.
 * - A state that came and never was on the direct side, when its time (`lateMs`) is over and the direct stream has gone past its publish time, is judged by
 *   where the two books differed when it came. Values that it set and the direct side has not said since the last match are **wrong**, or **back in time**
 *   if the direct side said them before; where all it set is right and others are old, a delta was **dropped** earlier.
 *   Where the direct side says that it merged changes itself, nobody can know what was in between: such states count as unjudged.
 * - A match later than `lateMs` is **late**: one finding until one is in time again.
 * - Nothing comes through while the direct side moved `staleMs` ago: **stale**, or dropped where it was a single change.
 * - One side has the market and the other has not, for `graceMs`: **missing** or **extra**. A closed one may be forgotten by either.
 *
 * One fault is one finding: afterwards the through side's book is made equal to the direct one (values are absolute, so what is still on its way does no
 * harm) and both are aligned anew. Aligning also begins a comparison, and follows a pause. It waits until everything from before has arrived; then the
 * first state that is to be found exactly once on the other side, or two equal books at rest, say where both stand.
 *
 *     alone <──> aligning ──> following ──stands still──> standing ──moves──> aligning
 *                   ^────────finding────────┘
 */
export class Pair {
  readonly market: string;
  direct: ShadowBook | null = null;
  through: ShadowBook | null = null;
  /** It was followed at some time. */
  compared = false;
  /** When either side last moved, by the monotonic clock. */
  movedAt = 0;
  readonly #court: Court;
  #state: State = { kind: "paused" };
  /** The direct side's states that have not come through, oldest first. */
  #waiting: Waiting[] = [];
  /** States that came through and that the direct side has not had, oldest first. */
  #early: Early[] = [];
  /** The direct side's states that were matched or passed over, the last one matched at the end. */
  #past: Past[] = [];
  /** A match was of merged changes, and a later state looks the same: which it was is not known until all is matched. */
  #isAmbiguous = false;
  #isLate = false;

  constructor(market: string, court: Court) {
    this.market = market;
    this.#court = court;
  }

  /** States held. */
  get held(): number {
    return this.#waiting.length + this.#early.length;
  }

  /** Either side is down or unreliable: nothing is compared until `begin`. */
  pause(): void {
    this.#rest({ kind: "paused" });
  }

  /** Both sides are there, or one has just come or gone. */
  begin(now: number): void {
    if (this.direct !== null && this.through !== null) this.#align(now);
    else this.#rest({ kind: "alone", since: now, told: false });
  }

  /** Too much is held: starts over, and says that it did not judge. */
  giveUp(now: number): void {
    this.#court.unjudged(this.held);
    this.begin(now);
  }

  directMoved(move: Move): void {
    this.movedAt = move.at;
    const { kind } = this.#state;
    if (kind !== "aligning" && kind !== "following") return;
    const state = { ...move, hash: (this.direct as ShadowBook).hash };
    if (kind === "aligning") this.#directAligns(this.#state, state);
    else this.#directFollows(state);
    this.#bound(move.at);
  }

  throughMoved(move: Move): void {
    this.movedAt = move.at;
    const { kind } = this.#state;
    if (kind === "standing") return this.#heal(move.at);
    if (kind !== "aligning" && kind !== "following") return;
    const state = { ...move, hash: (this.through as ShadowBook).hash };
    if (kind === "aligning") this.#throughAligns(this.#state, state);
    else this.#throughFollows(state);
    this.#bound(move.at);
  }

  /** What time brings; to be called a few times a second. */
  due(now: number): void {
    const state = this.#state;
    if (state.kind === "alone") this.#aloneDue(state, now);
    else if (state.kind === "aligning") this.#aligningDue(state, now);
    else if (state.kind === "following") this.#followingDue(now);
  }

  // ---- aligning ----

  #align(now: number): void {
    this.#rest({ kind: "aligning", since: now, merged: false, throughMoved: false });
    const [direct, through] = [(this.direct as ShadowBook).hash, (this.through as ShadowBook).hash];
    const seed = { at: now, pt: 0, merged: false, same: false };
    this.#waiting = [{ ...seed, hash: direct, said: null }];
    if (through !== direct) this.#early = [{ ...seed, hash: through, evidence: [] }];
  }

  #directAligns(aligning: Aligning, state: Waiting): void {
    aligning.merged ||= state.merged;
    if (state.same) return;
    this.#waiting.push(state);
    if (!this.#isSettled(aligning, state.at) || !isOnce(this.#waiting, state.hash)) return;
    if (isOnce(this.#early, state.hash)) this.#follow(state.hash);
  }

  #throughAligns(aligning: Aligning, state: Through): void {
    aligning.throughMoved = true;
    if (state.same) return;
    this.#early.push({ ...state, evidence: [] });
    if (!this.#isSettled(aligning, state.at) || !isOnce(this.#early, state.hash)) return;
    if (isOnce(this.#waiting, state.hash)) this.#follow(state.hash);
  }

  /** Everything from before has arrived. */
  #isSettled({ since }: Aligning, now: number): boolean {
    return now - since >= this.#lateMs;
  }

  /** Both were in the same state: what comes after it in either line stays. */
  #follow(hash: number): void {
    const after = <S extends { readonly hash: number }>(states: S[]) =>
      states.slice(states.findIndex((state) => state.hash === hash) + 1);
    this.#waiting = after(this.#waiting);
    this.#early = after(this.#early).map((state) => ({ ...state, evidence: this.#evidence(null) }));
    this.#past = [{ hash, said: null }];
    this.#state = { kind: "following" };
    this.compared = true;
    this.#shareDefinition();
  }

  /** Equal texts become one in memory: with 20,000 markets that is 40 MB less. */
  #shareDefinition(): void {
    const [direct, through] = [this.direct as ShadowBook, this.through as ShadowBook];
    if (through.definition === direct.definition) through.definition = direct.definition;
  }

  #aligningDue(aligning: Aligning, now: number): void {
    if (!this.#isSettled(aligning, now)) return;
    const [direct, through] = [this.direct as ShadowBook, this.through as ShadowBook];
    const atRest = now - this.movedAt >= this.#lateMs;
    if (atRest && direct.hash === through.hash) {
      this.#waiting = [];
      this.#early = [];
      return this.#follow(direct.hash);
    }
    if (now - aligning.since < this.#lateMs + this.#court.terms.graceMs) return;
    if (direct.hash === through.hash || (aligning.merged && !atRest)) return this.giveUp(now);
    const seconds = ((now - aligning.since) / 1000).toFixed(1);
    if (!aligning.throughMoved && this.#waiting.length > 1) return this.#stale(`does not move for ${seconds} s`);
    this.#found("wrong", `${this.#difference()}; the two books did not meet in ${seconds} s`);
    this.#heal(now);
  }

  // ---- following ----

  #directFollows(state: Waiting): void {
    const i = this.#early.findIndex(({ hash }) => hash === state.hash);
    if (i < 0) return void this.#waiting.push(state);
    const came = this.#early[i] as Early;
    const [passed, unknown] = [this.#waiting, this.#early.slice(0, i)];
    this.#waiting = [];
    this.#early = this.#early.slice(i + 1);
    this.#match(state, came, passed, unknown);
  }

  #throughFollows(state: Waiting): void {
    // Merged changes that made nothing: it may have been elsewhere and come back.
    if (state.same) this.#mayBeLater(state);
    if (state.same) return;
    const i = this.#waiting.findIndex(({ hash }) => hash === state.hash);
    if (i < 0) return void this.#early.push({ ...state, evidence: this.#evidence(state.said) });
    const [passed, unknown] = [this.#waiting.slice(0, i), this.#early];
    const direct = this.#waiting[i] as Waiting;
    this.#waiting = this.#waiting.slice(i + 1);
    this.#early = [];
    this.#match(direct, state, passed, unknown);
  }

  #match(direct: Waiting, through: Through, passed: readonly Waiting[], unknown: readonly Early[]): void {
    const latencyMs = through.at - direct.at;
    this.#court.matched(latencyMs);
    this.#mayBeLater(through);
    if (unknown.length === 0) this.#passOver(direct, through, passed);
    else if ([...passed, direct].some(({ merged }) => merged)) this.#court.unjudged(unknown.length);
    else this.#judge(unknown[0] as Early, [...passed, direct]);
    if (!this.#isAmbiguous) this.#timely(latencyMs);
    if (this.#waiting.length === 0) this.#isAmbiguous = false;
    this.#remember([...passed, direct]);
  }

  /** Merged changes led to a state; a later one that waits may be the one that was meant. */
  #mayBeLater({ merged, hash }: Through): void {
    this.#isAmbiguous ||= merged && this.#waiting.some((state) => state.hash === hash);
  }

  #passOver(direct: Waiting, through: Through, passed: readonly Waiting[]): void {
    const [first] = passed;
    if (first === undefined) return;
    const { conflateMs } = this.#court.terms;
    const inInterval = conflateMs > 0 && direct.at - first.at <= this.#lateMs;
    if (through.merged || inInterval || this.#isAmbiguous) this.#court.conflated(passed.length);
    else this.#dropped(passed.length);
  }

  #dropped(states: number): void {
    this.#found(
      "dropped",
      `${states === 1 ? "a state" : `${states} states`} of the direct side never came, and no con says so; the book is right again`,
    );
  }

  #timely(latencyMs: number): void {
    const isLate = latencyMs > this.#lateMs;
    if (isLate && !this.#isLate) this.#found("late", `${Math.round(latencyMs)} ms behind the direct side`);
    this.#isLate = isLate;
  }

  #remember(states: readonly Past[]): void {
    for (const { hash, said } of states)
      this.#past.push({ hash, said: (said?.length ?? 0) > PAST_SAID_MAX ? null : said });
    if (this.#past.length > PAST_MAX) this.#past = this.#past.slice(-PAST_MAX);
  }

  #followingDue(now: number): void {
    const { terms } = this.#court;
    const [early, waiting] = [this.#early[0], this.#waiting[0]];
    if (early !== undefined) {
      // As long as the direct stream has not come so far, it may still say the same.
      if (now - early.at <= this.#lateMs || this.#court.directPt() <= early.pt) return;
      if (this.#waiting.some(({ merged }) => merged)) return this.giveUp(now);
      this.#judge(early, this.#waiting);
      this.#heal(now);
    } else if (waiting !== undefined && now - waiting.at > terms.staleMs + terms.conflateMs) this.#stands(now);
  }

  /** Nothing came through for too long. */
  #stands(now: number): void {
    const { terms } = this.#court;
    const { hash } = this.through as ShadowBook;
    const i = this.#waiting.findLastIndex((state) => state.hash === hash);
    if (i >= 0) return this.#cameBack(i, this.#isAmbiguous || terms.conflateMs > 0);
    const seconds = ((now - (this.#waiting[0] as Waiting).at) / 1000).toFixed(1);
    const { length } = this.#waiting;
    if (length > 1) return this.#stale(`stands still for ${seconds} s, ${length} states behind`);
    this.#found("dropped", `the last change of the direct side never came: ${this.#difference()}`);
    this.#heal(now);
  }

  #stale(words: string): void {
    this.#found("stale", `${words}; ${this.#difference()}`);
    this.#rest({ kind: "standing" });
  }

  /** The direct side moved and came back to what the through side shows all the time. */
  #cameBack(i: number, isConflated: boolean): void {
    const passed = this.#waiting.slice(0, i + 1);
    this.#waiting = this.#waiting.slice(i + 1);
    const { hash } = passed[i] as Waiting;
    const others = passed.filter((state) => state.hash !== hash).length;
    if (isConflated) this.#court.conflated(others);
    else if (others > 0) this.#dropped(others);
    this.#remember(passed);
  }

  /** Lines that grow too long: while aligning the oldest states say least, and else it is no use to go on. */
  #bound(now: number): void {
    if (this.#waiting.length <= WAITING_MAX && this.#early.length <= EARLY_MAX) return;
    if (this.#state.kind === "following") return this.giveUp(now);
    this.#waiting = this.#waiting.slice(-WAITING_MAX);
    this.#early = this.#early.slice(-EARLY_MAX);
  }

  // ---- findings ----

  /** Where the books differ now that a state has come which the direct side has not had. `said`: what it set; null: everything. */
  #evidence(said: readonly number[] | null): Evidence[] {
    const set = said && new Set(said);
    const evidence: Evidence[] = [];
    let old = 0;
    for (const difference of (this.direct as ShadowBook).differences(this.through as ShadowBook)) {
      const hash = hashAt(difference.place, difference.there);
      const isSet = set?.has(hash) ?? true;
      if (isSet || ++old <= OLD_EVIDENCE_MAX) evidence.push({ ...difference, hash, isSet });
      if (evidence.length === EVIDENCE_MAX) break;
    }
    return evidence;
  }

  /** A state came that never was; `since`: what the direct side went through since the last match. */
  #judge({ hash, evidence }: Early, since: readonly Waiting[]): void {
    const said = new Set(since.flatMap((state) => state.said ?? []));
    const unsaid = evidence.filter((value) => value.isSet && !said.has(value.hash) && !this.#holds(value));
    const [first] = unsaid;
    if (first !== undefined) {
      const earlier = new Set(this.#past.flatMap((state) => state.said ?? []));
      const wasOnce =
        this.#past.some((state) => state.hash === hash) || unsaid.every((value) => earlier.has(value.hash));
      return this.#found(wasOnce ? "back in time" : "wrong", differenceWords(first));
    }
    const old = evidence.filter((value) => !value.isSet);
    const lasting = old.find(
      (value) => (this.through as ShadowBook).valueAt(value.place) === value.there && !this.#holds(value),
    );
    const where = lasting ?? old[0] ?? evidence[0];
    this.#found(
      "dropped",
      `a change of the direct side never came${where === undefined ? "" : `: ${differenceWords(where)}`}`,
    );
  }

  /** The direct side has the value that came. */
  #holds({ place, there }: Difference): boolean {
    return (this.direct as ShadowBook).valueAt(place) === there;
  }

  #aloneDue(alone: Alone, now: number): void {
    const book = this.direct ?? this.through;
    if (alone.told || now - alone.since < this.#court.terms.graceMs || book === null || book.status === "CLOSED")
      return;
    alone.told = true;
    const seconds = ((now - alone.since) / 1000).toFixed(1);
    if (this.direct !== null) this.#found("missing", `on the direct side for ${seconds} s, and not through Oddswire`);
    else this.#found("extra", `through Oddswire for ${seconds} s, and not on the direct side`);
  }

  #found(kind: FindingKind, what: string): void {
    this.#court.found(this.market, kind, what);
  }

  #difference(): string {
    const [first] = (this.direct as ShadowBook).differences(this.through as ShadowBook);
    return first === undefined ? "the books are equal" : differenceWords(first);
  }

  #heal(now: number): void {
    (this.through as ShadowBook).copy(this.direct as ShadowBook);
    this.#align(now);
  }

  #rest(state: State): void {
    this.#state = state;
    this.#waiting = [];
    this.#early = [];
    this.#past = [];
    this.#isAmbiguous = this.#isLate = false;
  }

  /** How much later a state may come: conflated, so much more. */
  get #lateMs(): number {
    return this.#court.terms.lateMs + this.#court.terms.conflateMs;
  }
}

export const FINDING_KINDS = ["dropped", "late", "wrong", "stale", "missing", "extra", "back in time"] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

/** What a pair is held to, milliseconds. */
export interface Terms {
  /** In force on the through side. */
  readonly conflateMs: number;
  readonly lateMs: number;
  readonly staleMs: number;
  readonly graceMs: number;
}

/** Who takes down what pairs see. */
export interface Court {
  readonly terms: Terms;
  /** The publish time up to which the direct stream has come. */
  directPt(): number;
  found(market: string, kind: FindingKind, what: string): void;
  matched(latencyMs: number): void;
  /** So many direct states were rightly passed over. */
  conflated(states: number): void;
  /** So many states could not be judged. */
  unjudged(states: number): void;
}

/** More states of a market than come within the time until it counts as stale, ten a second; a busier one is aligned anew. */
const WAITING_MAX = 512;
const EARLY_MAX = 64;
/** How far back "back in time" is told from "wrong". */
const PAST_MAX = 32;
/** Of what a state so far back said, larger changes are let go. */
const PAST_SAID_MAX = 256;
/** Places where two books differ that are looked at; of those that nothing set, which say little, a few. */
const EVIDENCE_MAX = 1_024;
const OLD_EVIDENCE_MAX = 16;

interface Waiting extends Move {
  readonly hash: number;
}

type Through = Omit<Waiting, "said">;

interface Early extends Through {
  readonly evidence: readonly Evidence[];
}

type Past = Pick<Waiting, "hash" | "said">;

interface Evidence extends Difference {
  /** Of the value that came, at its place. */
  readonly hash: number;
  /** It was set by the change that made the state, and not before. */
  readonly isSet: boolean;
}

interface Alone {
  readonly kind: "alone";
  readonly since: number;
  told: boolean;
}

interface Aligning {
  readonly kind: "aligning";
  readonly since: number;
  /** The direct side merged changes meanwhile. */
  merged: boolean;
  throughMoved: boolean;
}

type State =
  | { readonly kind: "paused" }
  | Alone
  | Aligning
  | { readonly kind: "following" }
  | { readonly kind: "standing" };

function isOnce(states: readonly { readonly hash: number }[], hash: number): boolean {
  return (
    states.findIndex((state) => state.hash === hash) === states.findLastIndex((state) => state.hash === hash) &&
    states.some((state) => state.hash === hash)
  );
}
