import { FIELD_FLAGS, type FieldFlag } from "./exchange-fields.ts";
import { factsOf, type MarketFacts, type MarketFilter, marketTest, NO_FACTS, sameFacts } from "./exchange-filter.ts";
import {
  LEVEL_LADDERS,
  type LevelPriceSize,
  type MarketChange,
  type MarketDefinition,
  NaiveBook,
  PRICE_LADDERS,
  RUNNER_SCALARS,
  type RunnerChange,
} from "./naive.ts";
import { withBestOffers } from "./shown.ts";

/** What somebody asked for; `fields` empty: all. */
export interface Wish {
  readonly filter: MarketFilter;
  readonly fields: readonly FieldFlag[];
  readonly ladderLevels: number;
}

export type Guarantee =
  | "G1 same book"
  | "G2 never back in time"
  | "G3 no silent gap"
  | "G4 bounded"
  | "G5 suspends win";

/** A guarantee that was broken: which, when (virtual milliseconds), and how. */
export interface Violation {
  readonly guarantee: Guarantee;
  readonly at: number;
  readonly words: string;
}

/**
 * Who knows everything that the exchange ever published, and judges by it what users show. It has a decoder (JSON.parse) and books of its own,
 * and shares nothing with what it judges: a mistake in both would pass unseen.
 *
 * A market's history is a row of states, one for each message of the exchange that touched it. Whatever a user shows at any moment must be one of them,
 * as it looks in the fields and depth that the user asked for, and never one from before the last one shown.
 */
export class Oracle {
  readonly histories = new Map<string, History>();
  readonly violations: Violation[] = [];
  /** Told of each message that somebody gets. */
  told: ((who: string, text: string) => void) | null = null;
  readonly now: () => number;
  readonly #forgetMs: number;
  readonly #lenses = new Map<string, Lens>();

  /** `forgetMs`: a market that has been closed for so long may be forgotten by whoever passes it on. */
  constructor(now: () => number, forgetMs: number) {
    this.now = now;
    this.#forgetMs = forgetMs;
  }

  /** It may be known no more, to anybody. */
  mayBeForgotten(history: History): boolean {
    return history.closed && this.now() - (history.at[history.stops.at(-1) as number] as number) >= this.#forgetMs;
  }

  /** One message of the exchange. */
  published(changes: readonly MarketChange[]): void {
    const touched = new Set<History>();
    for (const change of changes) {
      let history = this.histories.get(change.id);
      if (history === undefined) this.histories.set(change.id, (history = new History(change.id, this.now())));
      history.apply(change, this.now());
      touched.add(history);
    }
    for (const history of touched) history.close(this.now(), this.#lenses.values());
  }

  /** How states look to somebody with this wish. To be asked for before anything is published. */
  lens(wish: Wish): Lens {
    const lens = new Lens(wish);
    const known = this.#lenses.get(lens.key);
    if (known !== undefined) return known;
    if (this.histories.size > 0) throw new Error("a new lens after the first message: earlier states are gone");
    this.#lenses.set(lens.key, lens);
    return lens;
  }

  accuse(guarantee: Guarantee, words: string): void {
    this.violations.push({ guarantee, at: this.now(), words });
  }
}

/** One market's states, as they look through each lens. */
export class History {
  readonly id: string;
  readonly book: NaiveBook;
  /** When each state was published. */
  readonly at: number[] = [];
  /** The states in which it had just stopped (SUSPENDED or CLOSED). */
  readonly stops: number[] = [];
  /** The last facts ever said, which filters go by, and when they last changed. */
  facts: MarketFacts = NO_FACTS;
  factsAt: number;
  readonly #looks = new Map<Lens, Look>();
  #status: string | null = null;

  constructor(id: string, now: number) {
    this.id = id;
    this.book = new NaiveBook(id);
    this.factsAt = now;
  }

  get closed(): boolean {
    return this.book.definition?.status === "CLOSED";
  }

  /** It stands still: SUSPENDED or CLOSED. */
  get stopped(): boolean {
    return this.closed || this.book.definition?.status === "SUSPENDED";
  }

  /** The number of the last state. */
  get last(): number {
    return this.at.length - 1;
  }

  look(lens: Lens): Look {
    return this.#looks.get(lens) as Look;
  }

  /** The last state published at or before `moment`, -1 when there was none. */
  stateAt(moment: number): number {
    let state = this.last;
    while (state >= 0 && (this.at[state] as number) > moment) state--;
    return state;
  }

  /** The last stop published at or before `moment`, -1 when there was none. */
  stopAt(moment: number): number {
    return this.stops.findLast((state) => (this.at[state] as number) <= moment) ?? -1;
  }

  apply(change: MarketChange, now: number): void {
    this.book.apply(change);
    if (change.marketDefinition == null) return;
    const facts = factsOf(change.marketDefinition);
    if (!sameFacts(facts, this.facts)) this.factsAt = now;
    this.facts = facts;
  }

  /** The message is whole: what the book is now is the next state. */
  close(now: number, lenses: Iterable<Lens>): void {
    this.at.push(now);
    const status = this.book.definition?.status ?? null;
    if (status !== this.#status && (status === "SUSPENDED" || status === "CLOSED")) this.stops.push(this.last);
    this.#status = status;
    const image = this.book.image();
    const [asSent, withBest] = [piecesOf(image), piecesOf(withBestOffers(image))];
    for (const lens of lenses) {
      let look = this.#looks.get(lens);
      if (look === undefined) this.#looks.set(lens, (look = new Look()));
      look.add(lens.textOf(lens.asSent ? asSent : withBest));
    }
  }
}

/** A market's states through one lens: the text of each, and where each text occurs. */
export class Look {
  readonly texts: string[] = [];
  readonly places = new Map<string, number[]>();

  add(text: string): void {
    const places = this.places.get(text);
    if (places === undefined) this.places.set(text, [this.texts.length]);
    else places.push(this.texts.length);
    this.texts.push(text);
  }

  /** From a state that looks like `before`, not one earlier than `state`, to one that looks like `after`: how often did what one sees change, at least? */
  fewestChanges(before: string, state: number, after: string): number {
    const starts = (this.places.get(before) ?? []).filter((place) => place >= state);
    const ends = (this.places.get(after) ?? []).filter((place) => place > state);
    let fewest = Number.POSITIVE_INFINITY;
    for (const end of ends) {
      const start = starts.findLast((place) => place < end);
      if (start !== undefined) fewest = Math.min(fewest, this.#changesBetween(start, end));
    }
    return fewest;
  }

  #changesBetween(from: number, to: number): number {
    let changes = 0;
    for (let state = from + 1; state <= to; state++) if (this.texts[state] !== this.texts[state - 1]) changes++;
    return changes;
  }
}

/** A piece of a book that one field flag lets through or not; of level ladders, as much as is asked for. */
interface Piece {
  readonly flag: number;
  readonly name: string;
  readonly text: string;
  readonly levels: readonly LevelPriceSize[] | null;
}

const ALL = 511;
const FLAG = Object.fromEntries(FIELD_FLAGS.map((flag, i) => [flag, 1 << i])) as Record<FieldFlag, number>;
const RUNNER_FLAG: Readonly<Record<string, number>> = {
  ...{ atb: FLAG.EX_ALL_OFFERS, atl: FLAG.EX_ALL_OFFERS, trd: FLAG.EX_TRADED, tv: FLAG.EX_TRADED_VOL },
  ...{ batb: FLAG.EX_BEST_OFFERS, batl: FLAG.EX_BEST_OFFERS, ltp: FLAG.EX_LTP },
  ...{ bdatb: FLAG.EX_BEST_OFFERS_DISP, bdatl: FLAG.EX_BEST_OFFERS_DISP },
  ...{ spb: FLAG.SP_TRADED, spl: FLAG.SP_TRADED, spn: FLAG.SP_PROJECTED, spf: FLAG.SP_PROJECTED },
};
const PLAIN_NAMES = [...RUNNER_SCALARS, ...PRICE_LADDERS];

/** What is to be seen of a book with certain fields and depth, as text: two books look the same when their texts are. */
export class Lens {
  readonly key: string;
  /** Who names no fields sees all that the exchange sends, and nothing computed from it. */
  readonly asSent: boolean;
  readonly #flags: number;
  readonly #levels: number;

  constructor({ fields, ladderLevels }: Omit<Wish, "filter">) {
    this.asSent = fields.length === 0;
    this.#flags = this.asSent ? ALL : fields.reduce((flags, flag) => flags | FLAG[flag], 0);
    this.#levels = ladderLevels;
    this.key = `${this.asSent ? "as sent" : this.#flags}/${ladderLevels}`;
  }

  get hasDefinition(): boolean {
    return (this.#flags & FLAG.EX_MARKET_DEF) !== 0;
  }

  textOf(pieces: readonly Piece[]): string {
    let text = "";
    for (const { flag, name, text: value, levels } of pieces) {
      if ((flag & this.#flags) === 0) continue;
      const shallow = levels === null ? value : shallowText(levels, this.#levels);
      if (shallow !== "") text += `${name} ${shallow}\n`;
    }
    return text;
  }
}

const EVERYTHING = new Lens({ fields: [], ladderLevels: 100 });

/** All of a book: what a user holds must look, whole, as the exchange's book does through its lens. */
export function wholeText(book: NaiveBook): string {
  return EVERYTHING.textOf(piecesOf(book.image()));
}

/** Where two texts part, in words. */
export function differenceOf(shown: string, right: string): string {
  const [here, there] = [new Set(shown.split("\n")), new Set(right.split("\n"))];
  const only = (mine: Set<string>, other: Set<string>) => [...mine].filter((line) => !other.has(line)).map(shorten);
  return `shows { ${only(here, there).join("; ")} } instead of { ${only(there, here).join("; ")} }`;
}

function shorten(line: string): string {
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

function piecesOf({ tv, marketDefinition, rc }: MarketChange): Piece[] {
  const pieces: Piece[] = [];
  if (tv != null) pieces.push({ flag: FLAG.EX_TRADED_VOL, name: "tv", text: String(tv), levels: null });
  if (marketDefinition != null)
    pieces.push({ flag: FLAG.EX_MARKET_DEF, name: "def", text: definitionText(marketDefinition), levels: null });
  const runners = [...(rc as readonly RunnerChange[])].sort((a, b) => a.id - b.id || (a.hc ?? 0) - (b.hc ?? 0));
  for (const runner of runners) addRunner(pieces, runner);
  return pieces;
}

function addRunner(pieces: Piece[], runner: RunnerChange): void {
  const who = `${runner.id}/${runner.hc ?? 0}`;
  for (const name of PLAIN_NAMES) {
    const value = runner[name];
    if (value == null) continue;
    pieces.push({
      flag: RUNNER_FLAG[name] as number,
      name: `${who} ${name}`,
      text: JSON.stringify(value),
      levels: null,
    });
  }
  for (const name of LEVEL_LADDERS) {
    const levels = runner[name];
    if (levels != null) pieces.push({ flag: RUNNER_FLAG[name] as number, name: `${who} ${name}`, text: "", levels });
  }
}

function shallowText(levels: readonly LevelPriceSize[], depth: number): string {
  const shallow = levels.filter(([level]) => level < depth);
  return shallow.length === 0 ? "" : JSON.stringify(shallow);
}

const definitionTexts = new WeakMap<MarketDefinition, string>();

function definitionText(definition: MarketDefinition): string {
  let text = definitionTexts.get(definition);
  if (text === undefined) definitionTexts.set(definition, (text = JSON.stringify(definition)));
  return text;
}

/** A change message as a user gets it. */
interface Message {
  readonly op: string;
  readonly ct?: string;
  readonly segmentType?: string;
  readonly clk?: string;
  readonly initialClk?: string;
  readonly conflateMs?: number;
  readonly status?: number;
  readonly mc?: readonly MarketChange[];
}

/** How a client takes an image: the library empties its cache by it, plain ESA clients go by each market's `img` alone. */
export type Manners = "library" | "plain";

function matchesOf({ filter }: Wish): (history: History) => boolean {
  const test = marketTest(filter);
  return ({ id, facts }) => test(id, facts);
}

interface Shown {
  readonly text: string;
  /** The first state, not before the one shown earlier, that looks like this. */
  readonly state: number;
}

/** Somebody at a user's elbow: reads the messages the user gets, keeps the books the user must have, and compares with the oracle. */
export class Witness {
  readonly books = new Map<string, NaiveBook>();
  initialClk: string | null = null;
  clk: string | null = null;
  /** In force, as the server echoes it. */
  conflateMs = 0;
  /** The last message said 503. */
  unreliable = false;
  lens: Lens;
  readonly name: string;
  readonly #oracle: Oracle;
  readonly #manners: Manners;
  #matches: (history: History) => boolean;
  /** Markets that its user had taken out of the subscription. */
  readonly #removed = new Set<string>();
  #alteredAt = Number.NEGATIVE_INFINITY;
  readonly #shown = new Map<string, Shown>();
  /** Markets of the image that is coming in; null when none is. */
  #image: Set<string> | null = null;
  #segmented = false;
  /** The answer to a subscription is coming in: it merges what it likes without saying so. */
  #answer = false;
  #answered = false;
  #groupInitialClk: string | null = null;

  constructor(oracle: Oracle, name: string, wish: Wish, manners: Manners) {
    this.#oracle = oracle;
    this.name = name;
    this.lens = oracle.lens(wish);
    this.#manners = manners;
    this.#matches = matchesOf(wish);
  }

  /**
   * The subscription is another from here on: the server has said so before anything that follows, or the next request will ask for it. Books of markets that the
   * server has taken out are gone. What was shown of the others is remembered as the states that it was.
   */
  altered(wish: Wish, removed: readonly string[]): void {
    const lens = this.#oracle.lens(wish);
    for (const [id, { state }] of this.#shown) {
      const { texts } = (this.#oracle.histories.get(id) as History).look(lens);
      this.#shown.set(id, { text: texts[state] as string, state });
    }
    this.lens = lens;
    this.#matches = matchesOf(wish);
    for (const id of removed) {
      this.books.delete(id);
      this.#removed.add(id);
    }
    for (const id of wish.filter.marketIds ?? []) this.#removed.delete(id);
    this.#alteredAt = this.#oracle.now();
  }

  /** The answer to the subscription is here, whole. */
  get isAnswered(): boolean {
    return this.#answered;
  }

  /** One message of the user's subscription, as text. */
  receive(text: string): void {
    this.#oracle.told?.(this.name, text);
    const message = JSON.parse(text) as Message;
    this.#begin(message);
    const touched = new Map<string, boolean>();
    for (const change of message.mc ?? []) {
      this.#apply(change);
      const says = change.con === true || change.img === true || touched.get(change.id) === true;
      touched.set(change.id, says);
    }
    for (const [id, saysMerged] of touched) this.#judge(id, saysMerged || this.#answer);
    this.#end(message);
  }

  /** The connection is gone; books stand, a message half in is none. */
  lost(): void {
    this.#image = null;
    this.#segmented = this.#answer = this.#answered = false;
    this.#groupInitialClk = null;
  }

  /** Another run of the client: it knows no clk and no books, but whoever watches it remembers what it showed. */
  startAnew(): void {
    this.lost();
    this.books.clear();
    this.initialClk = this.clk = null;
  }

  /** G1: what the user shows is what the exchange has, no less and no more. */
  compare(): void {
    for (const history of this.#oracle.histories.values()) {
      const book = this.books.get(history.id);
      if (this.#manners === "plain" && this.#oracle.mayBeForgotten(history)) continue;
      if (book !== undefined) {
        const shown = wholeText(book);
        const right = history.look(this.lens).texts[history.last] as string;
        if (this.#matches(history) && shown !== right)
          this.#accuse("G1 same book", `${history.id} ${differenceOf(shown, right)}`);
        else if (!this.#matches(history) && this.#manners === "library")
          this.#accuse("G1 same book", `still shows ${history.id}, which is not in its filter`);
      } else if (!history.closed && this.#matches(history)) this.#accuse("G1 same book", `lacks ${history.id}`);
    }
  }

  /**
   * G3 and G5: at `now` everything from before `since` must be there, and every stop from before `stopsSince`. Markets that were born or came into the filter
   * later are let be. Prices may be later still by `cappedMs`, where somebody is told no faster; and so may stops that were over before they could be told.
   */
  keepsUp(promptSince: number, stopsSince: number, cappedMs = 0): void {
    const since = promptSince - cappedMs;
    for (const history of this.#oracle.histories.values()) {
      if (!this.#matches(history)) continue;
      if (this.#manners === "plain" && this.#oracle.mayBeForgotten(history)) continue;
      const shown = this.#latest(history);
      const due = this.#isSettled(history, since) ? history.stateAt(since) : -1;
      const stop = cappedMs === 0 || history.stopped ? this.#stopDue(history, since, promptSince, stopsSince) : -1;
      if (shown < due && !(shown === -1 && history.closed))
        this.#accuse("G3 no silent gap", `looks live, and is at state ${shown} of ${history.id}, ${due} is due`);
      else if (shown < stop && !history.closed)
        this.#accuse("G5 suspends win", `is at state ${shown} of ${history.id}, which stopped in state ${stop}`);
    }
  }

  /** The market was there and in the filter by then, and the subscription was what it is. */
  #isSettled({ at, factsAt }: History, since: number): boolean {
    return factsAt <= since && (at[0] as number) <= since && this.#alteredAt <= since;
  }

  /** The last stop that must be known, -1 when there is none: one that came after the market was in the filter, to a subscription as it is now. */
  #stopDue(history: History, since: number, promptSince: number, stopsSince: number): number {
    const { at, factsAt } = history;
    const stop = this.lens.hasDefinition ? history.stopAt(stopsSince) : -1;
    const bornAt = at[0] as number;
    const hasBeenIn = bornAt <= promptSince && (factsAt === bornAt || factsAt <= since);
    const isOfNow = this.#alteredAt <= since || (at[stop] as number) > this.#alteredAt;
    return hasBeenIn && isOfNow ? stop : -1;
  }

  /** The last state that looks as what is shown of the market, -1 when nothing is. */
  #latest(history: History): number {
    const shown = this.books.has(history.id) ? this.#shown.get(history.id) : undefined;
    return shown === undefined ? -1 : (history.look(this.lens).places.get(shown.text)?.at(-1) ?? -1);
  }

  #begin(message: Message): void {
    this.unreliable = message.status === 503;
    this.conflateMs = message.conflateMs ?? this.conflateMs;
    const starts = message.segmentType === undefined || message.segmentType === "SEG_START";
    if (starts && message.ct === "SUB_IMAGE") this.#image = new Set();
    if (starts && (message.ct === "SUB_IMAGE" || message.ct === "RESUB_DELTA")) {
      this.#answer = true;
      this.#answered = false;
    }
    if (message.segmentType === "SEG_START") {
      this.#segmented = true;
      if (message.ct !== "SUB_IMAGE") this.#image = null;
    }
    this.#groupInitialClk = message.initialClk ?? this.#groupInitialClk;
  }

  #apply(change: MarketChange): void {
    const replaces = this.#manners === "library" && this.#image !== null && !this.#image.has(change.id);
    this.#image?.add(change.id);
    let book = this.books.get(change.id);
    if (book === undefined) this.books.set(change.id, (book = new NaiveBook(change.id)));
    book.apply(replaces ? { ...change, img: true } : change);
  }

  /** A whole message between two segments is none of theirs, and its clk does not count. */
  #end(message: Message): void {
    const within = this.#segmented && message.segmentType === undefined && message.ct !== "SUB_IMAGE";
    const open = message.segmentType === "SEG_START" || message.segmentType === "SEG" || within;
    if (open) return;
    this.#segmented = false;
    if (this.#image !== null && this.#manners === "library") this.#removeAllBut(this.#image);
    this.#image = null;
    this.initialClk = this.#groupInitialClk ?? this.initialClk;
    this.#groupInitialClk = null;
    this.clk = message.clk ?? this.clk;
    // Without segments an answer comes in messages of which only the last has the initialClk.
    if (message.initialClk === undefined) return;
    this.#answered = true;
    this.#answer = false;
  }

  #removeAllBut(kept: ReadonlySet<string>): void {
    for (const id of [...this.books.keys()]) if (!kept.has(id)) this.books.delete(id);
  }

  /** What is shown after a message is a state that was (G1), not an earlier one than before (G2), nor a later one than the next unless that is said (G3). */
  #judge(id: string, mayMerge: boolean): void {
    const history = this.#oracle.histories.get(id);
    if (this.#removed.has(id)) return this.#accuse("G1 same book", `is told of ${id}, which was taken out`);
    if (history === undefined) return this.#accuse("G1 same book", `shows ${id}, which never was`);
    const look = history.look(this.lens);
    const text = wholeText(this.books.get(id) as NaiveBook);
    const before = this.#shown.get(id);
    const places = look.places.get(text);
    if (places === undefined) return this.#accuse("G1 same book", this.#neverWas(history, text));
    const state = places.find((place) => place >= (before?.state ?? 0));
    if (state === undefined) {
      const words = `${id} goes back from state ${before?.state} to ${places.at(-1)}`;
      return this.#accuse("G2 never back in time", words);
    }
    this.#shown.set(id, { text, state });
    if (mayMerge || before === undefined || before.text === text) return;
    const changes = look.fewestChanges(before.text, before.state, text);
    if (changes > 1) this.#accuse("G3 no silent gap", `${id} comes ${changes} changes further, and no con says so`);
  }

  /** A state that never was, told by the state it is nearest to. */
  #neverWas(history: History, text: string): string {
    const { texts } = history.look(this.lens);
    const lines = new Set(text.split("\n"));
    let best = { state: -1, alike: -1 };
    for (let state = texts.length - 1; state >= 0; state--) {
      const alike = (texts[state] as string).split("\n").filter((line) => lines.has(line)).length;
      if (alike > best.alike) best = { state, alike };
    }
    const nearest = texts[best.state] as string;
    return `${history.id} shows no state that ever was; nearest is ${best.state} of ${history.last}: it ${differenceOf(text, nearest)}`;
  }

  #accuse(guarantee: Guarantee, words: string): void {
    this.#oracle.accuse(guarantee, `${this.name}: ${words}`);
  }
}
