import { pick, type Random } from "../base/random.ts";
import { sequenceOf } from "../delivery/contract.ts";
import { type Place, Reading, type Said, type Tamper } from "./differential-reading.ts";
import { FIELD_FLAGS, type FieldFlag } from "./exchange-fields.ts";
import {
  factsOf,
  type MarketFacts,
  type MarketFilter,
  type MarketTest,
  marketTest,
  NO_FACTS,
  sameFacts,
} from "./exchange-filter.ts";
import { type LevelPriceSize, type MarketChange, NaiveBook, type RunnerChange } from "./naive.ts";
import { differenceOf, wholeText } from "./oracle.ts";
import { withBestOffers } from "./shown.ts";
import { DOORS, type DoorName, type TwoDoors } from "./two-doors.ts";

/** A market as the exchange published it. */
class TrueMarket {
  readonly book: NaiveBook;
  facts: MarketFacts = NO_FACTS;
  /** The message of the exchange's that brought it, and the last one that changed its facts. */
  readonly bornAt: number;
  factsAt: number;

  constructor(id: string, message: number) {
    this.book = new NaiveBook(id);
    this.bornAt = this.factsAt = message;
  }

  apply(change: MarketChange, message: number): void {
    this.book.apply(change);
    if (change.marketDefinition == null) return;
    const facts = factsOf(change.marketDefinition);
    if (!sameFacts(facts, this.facts)) this.factsAt = message;
    this.facts = facts;
  }
}

/** All that the exchange published. */
export class Truth {
  readonly markets = new Map<string, TrueMarket>();
  messages = 0;

  publish(changes: readonly MarketChange[]): void {
    this.messages++;
    for (const change of changes) {
      let market = this.markets.get(change.id);
      if (market === undefined) this.markets.set(change.id, (market = new TrueMarket(change.id, this.messages)));
      market.apply(change, this.messages);
    }
  }

  /** The ids of the markets that pass. */
  members(test: MarketTest | null): Set<string> {
    const members = new Set<string>();
    for (const [id, { facts }] of this.markets) if (test?.(id, facts)) members.add(id);
    return members;
  }

  /** A market of that time does not pass, and may have passed then. */
  mayHaveLeft(test: MarketTest, since: number): boolean {
    for (const [id, { facts, factsAt, bornAt }] of this.markets)
      if (factsAt > since && bornAt <= since && !test(id, facts)) return true;
    return false;
  }
}

/** What a subscription is about: as long as it is the same, a clk is good. */
export interface Criteria {
  readonly marketFilter: MarketFilter;
  readonly marketDataFilter: { readonly fields?: readonly FieldFlag[]; readonly ladderLevels?: number };
}

/** What the clks of a subscription are, or why they are none. */
export const CLOCKS = ["none", "mine", "mine", "mine", "old", "other", "garbage", "half", "future"] as const;
export type Clocks = (typeof CLOCKS)[number];

/** Where a client stood at both doors when all was quiet. */
interface Moment {
  readonly criteria: string;
  /** How many messages the exchange had published when our clk was given. */
  readonly messages: number;
  readonly places: Readonly<Record<DoorName, Place>>;
}
const MOMENTS_MAX = 30;

/** The same client twice, once at each door. */
export class Pair {
  readonly name: string;
  readonly readings: Readonly<Record<DoorName, Reading>>;
  criteria: Criteria | null = null;
  readonly #doors: TwoDoors;
  #test: MarketTest | null = null;
  #lastId = 0;
  readonly #moments: Moment[] = [];
  /** How many messages of the exchange's our last clk stands for, and what subscription it was given to. */
  #messages = 0;
  #askedBefore: Criteria | null = null;
  /** Since it was quiet last, a market came into the filter that was there before, or left it. */
  #moved = false;
  #left = false;
  /** Markets that stood more than once in a message, since it was quiet last. */
  readonly #doubled = new Set<string>();

  constructor(doors: TwoDoors, name: string, tamper?: Tamper) {
    this.#doors = doors;
    this.name = name;
    this.readings = {
      exchange: new Reading(doors, "exchange", name),
      oddswire: new Reading(doors, "oddswire", name, tamper),
    };
  }

  get isHere(): boolean {
    return DOORS.every((door) => this.readings[door].isOpen);
  }

  connect(): void {
    for (const door of DOORS) this.readings[door].connect();
  }

  cut(): void {
    this.#doors.network.cut(this.name);
  }

  ask(request: Record<string, unknown>): void {
    const id = ++this.#lastId;
    for (const door of DOORS) this.readings[door].send({ id, ...request });
  }

  subscribe(random: Random, criteria: Criteria, terms: Record<string, unknown>, clocks: Clocks): void {
    const id = ++this.#lastId;
    const key = keyOf(criteria);
    const fits = ({ criteria }: Moment) => (criteria === key) === (clocks === "old");
    const candidates = clocks === "old" || clocks === "other" ? this.#moments.filter(fits) : [];
    const moment = candidates.length > 0 ? pick(random, candidates) : null;
    if (clocks === "old" && moment !== null) this.#goBackTo(moment);
    this.#askedBefore = this.criteria;
    this.criteria = criteria;
    this.#test = marketTest(criteria.marketFilter);
    for (const door of DOORS) {
      const place = moment?.places[door] ?? this.readings[door].place;
      const said = { op: "marketSubscription", id, ...criteria, ...terms, ...clocksOf(clocks, door, place) };
      this.readings[door].send(said);
    }
  }

  #goBackTo(moment: Moment): void {
    this.#messages = moment.messages;
    for (const door of DOORS) this.readings[door].restore(moment.places[door]);
  }

  /** The ids of the markets that it is to be told of. */
  members(truth: Truth): Set<string> {
    return truth.members(this.#test);
  }

  /** A message was published: `before`, what passed the filter, of the markets there were (`known`). */
  published(
    changes: readonly MarketChange[],
    truth: Truth,
    before: ReadonlySet<string>,
    known: ReadonlySet<string>,
  ): void {
    const after = this.members(truth);
    for (const [i, { id }] of changes.entries())
      if (changes.findIndex((each) => each.id === id) < i) this.#doubled.add(id);
    for (const id of after) if (!before.has(id) && known.has(id)) this.#moved = true;
    for (const id of before) if (!after.has(id)) this.#left = this.#moved = true;
  }

  /** What the two doors said since it was quiet last, compared; both are quiet now. */
  *compare(truth: Truth): Generator<string> {
    const [there, here] = [this.readings.exchange.take(), this.readings.oddswire.take()];
    for (const [door, said] of [
      ["exchange", there],
      ["oddswire", here],
    ] as const)
      for (const each of said) if (each.kind === "broken") yield `${door} says ${each.words}`;
    yield* this.#compareAnswers(there.filter(isAnswer), here.filter(isAnswer), truth);
    if (here.some(({ kind }) => kind === "again") && !this.#left) yield "an image of ours that nobody asked for";
    if (there.some(({ kind }) => kind === "again")) yield "an image of the exchange's that nobody asked for";
    yield* this.#compareBooks(truth);
    // Of what was on its way when both were cut off, each may have got another part.
    if (this.isHere && !this.#moved && !this.#derives)
      yield* this.#compareChanges(there.filter(isChange), here.filter(isChange));
    this.#rest(truth);
  }

  /** Whoever names all fields, or none, asks for the same at the exchange; with us, who names them is shown levels that are computed. */
  get #isAnotherToUs(): boolean {
    const counts = [this.#askedBefore, this.criteria].map((asked) => asked?.marketDataFilter.fields?.length ?? 0);
    return counts.includes(0) && counts.includes(FIELD_FLAGS.length);
  }

  /** The exchange publishes no levels for some runners, and we compute them for whoever asks for them by name. */
  get #derives(): boolean {
    return this.criteria?.marketDataFilter.fields?.includes("EX_BEST_OFFERS") ?? false;
  }

  *#compareAnswers(there: readonly Answer[], here: readonly Answer[], truth: Truth): Generator<string> {
    for (let i = 0; i < Math.max(there.length, here.length); i++) {
      const [right, said] = [there[i], here[i]];
      if (right?.kind === "answer" && said?.kind === "answer") yield* this.#compareAnswer(right, said, truth);
      else if (JSON.stringify(right) !== JSON.stringify(said))
        yield `the exchange says ${JSON.stringify(right)}, and we say ${JSON.stringify(said)}`;
    }
  }

  *#compareAnswer(right: AnswerOf<"answer">, said: AnswerOf<"answer">, truth: Truth): Generator<string> {
    if (right.terms !== said.terms) yield `in force is ${right.terms} at the exchange, ${said.terms} with us`;
    const isAnew = right.ct === "RESUB_DELTA" && said.ct === "SUB_IMAGE";
    const mayBeAnew = truth.mayHaveLeft(this.#test as MarketTest, this.#messages) || this.#isAnotherToUs;
    if (right.ct !== said.ct && !(isAnew && mayBeAnew))
      yield `the exchange answers by a ${right.ct}, and we by a ${said.ct}`;
    if (right.ct === "SUB_IMAGE" && right.markets !== said.markets)
      yield `the exchange's image has ${right.markets}, and ours ${said.markets}`;
  }

  *#compareChanges(there: readonly AnswerOf<"change">[], here: readonly AnswerOf<"change">[]): Generator<string> {
    for (let i = 0; i < Math.max(there.length, here.length); i++) {
      const [right, said] = [this.#textOf(there[i]), this.#textOf(here[i])];
      if (right !== said) yield `change ${i + 1}: ${differenceOf(said, right)}`;
    }
  }

  #textOf(change: AnswerOf<"change"> | undefined): string {
    if (change === undefined) return "nothing";
    const markets = [...change.markets].map(([id, { text, img, con }]) => {
      return `${id} img ${img} con ${this.#doubled.has(id) ? "?" : con}\n${text}`;
    });
    return [change.head, ...markets].join("\n");
  }

  *#compareBooks(truth: Truth): Generator<string> {
    const { exchange, oddswire } = this.readings;
    if (!exchange.isSubscribed || !oddswire.isSubscribed) return;
    for (const id of this.members(truth)) {
      const [theirs, ours] = [exchange.books.get(id), oddswire.books.get(id)];
      if (theirs === undefined || ours === undefined) {
        if (theirs !== ours) yield `${id} is only ${ours === undefined ? "at the exchange" : "with us"}`;
        continue;
      }
      const right = wholeText(this.#derives ? this.#withLevels(theirs, truth) : theirs);
      if (right !== wholeText(ours)) yield `${id} ${differenceOf(wholeText(ours), right)}`;
    }
  }

  /** The exchange's book as we show it: with levels, on each side of each runner where it publishes none. */
  #withLevels(book: NaiveBook, truth: Truth): NaiveBook {
    const published = (truth.markets.get(book.market) as TrueMarket).book.image();
    const depth = depthOf(this.criteria?.marketDataFilter.ladderLevels ?? 10);
    const shallow = (levels?: readonly LevelPriceSize[] | null) => levels?.filter(([level]) => level < depth);
    const best = withBestOffers(published).rc ?? [];
    const copy = new NaiveBook(book.market);
    copy.apply(book.image());
    const rc = (published.rc ?? []).map(({ id, hc, batb, batl }, i): RunnerChange => {
      const added: Record<string, unknown> & { id: number } = { id, hc };
      if (batb == null) added.batb = shallow(best[i]?.batb);
      if (batl == null) added.batl = shallow(best[i]?.batl);
      return added;
    });
    copy.apply({ id: book.market, rc });
    return copy;
  }

  #rest({ messages }: Truth): void {
    this.#moved = this.#left = false;
    this.#doubled.clear();
    const { exchange, oddswire } = this.readings;
    if (!exchange.isSubscribed || !oddswire.isSubscribed) return;
    const [theirs, ours] = [exchange.place, oddswire.place];
    if (theirs === null || ours === null) return;
    this.#messages = (sequenceOf(ours.clk) as number) - this.#doors.gateway.hub.cache.sequence + messages;
    this.#moments.push({
      criteria: keyOf(this.criteria as Criteria),
      messages: this.#messages,
      places: { exchange: theirs, oddswire: ours },
    });
    if (this.#moments.length > MOMENTS_MAX) this.#moments.shift();
  }
}

/** The same for criteria that mean the same. */
function keyOf({ marketFilter, marketDataFilter: { fields = [], ladderLevels = 10 } }: Criteria): string {
  return JSON.stringify([marketFilter, fields, depthOf(ladderLevels)]);
}

function depthOf(ladderLevels: number): number {
  return Math.max(1, Math.min(10, ladderLevels));
}

type Answer = Exclude<Said, { kind: "change" | "again" | "broken" }>;
type AnswerOf<Kind> = Extract<Said, { kind: Kind }>;

function isAnswer(said: Said): said is Answer {
  return said.kind === "status" || said.kind === "answer" || said.kind === "closed";
}

function isChange(said: Said): said is AnswerOf<"change"> {
  return said.kind === "change";
}

function clocksOf(
  clocks: Clocks,
  door: DoorName,
  place: Place | null,
): { initialClk?: string | null; clk?: string | null } {
  if (clocks === "none" || place === null) return { initialClk: null, clk: null };
  const { initialClk, clk } = place;
  switch (clocks) {
    case "mine":
    case "old":
    case "other":
      return { initialClk, clk };
    case "garbage":
      return { initialClk, clk: "no clk of anybody's" };
    case "half":
      return { initialClk: null, clk };
    case "future":
      return { initialClk, clk: door === "exchange" ? "AAzzzzzz" : "zzzzzz" };
  }
}
