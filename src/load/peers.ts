import { marketNumber } from "./head.ts";

/** How long after the first of its peers somebody may be told of a change, before it counts as lost. */
export const SETTLE_MS = 10_000;
/** Changes of one market that are kept to be compared with; more at a time are judged early. */
const RECORDS_MAX = 8_192;
/** How far back a change is looked for that is not the one expected. */
const SEARCH_MAX = 512;
/** What is told of mistakes; all are counted. */
export const SAMPLES_MAX = 20;
/** What is kept of a change's text, to be shown where another one came for it. */
const TEXT_BYTES_MAX = 512;
/** What is shown of two texts: so much from where they part, and a little before. */
const SHOWN_MAX = 120;

/** One change of one market, as everybody should have been sent it. */
interface Record {
  /** Its message's clk, by hash. */
  readonly clk: number;
  /** Its own bytes, by hash; what most were sent once there are `others`. */
  readonly hash: number;
  /** How its text begins. */
  readonly text: string;
  readonly at: number;
  isMerged: boolean;
  seen: number;
  /** Those who skipped it with good reason: they had fallen behind, and what they got next was merged. */
  excused: number;
  /** What came under the same clk and is not the same. */
  others: { readonly hash: number; readonly text: string; readonly isMerged: false; seen: number }[] | null;
}

/** A market as the crowd of one process sees it. */
interface MarketLine {
  readonly id: string;
  readonly records: Record[];
  /** The ordinal of the first of them: those before were judged. */
  first: number;
  /** Changes from this ordinal on are judged, to this one. */
  judgedFrom: number;
  judgedTo: number;
  /** Steady users of the market, from the beginning of the judgement on. */
  members: number;
  /** Of those, how many have fallen behind and were not told anything that others were, since. */
  adrift: number;
}

export interface Verdict {
  /** Market changes that steady users were due, and got. */
  readonly due: number;
  readonly got: number;
  /** Changes that some were not sent. */
  readonly lost: number;
  /** Changes that were not what the others were sent. */
  readonly strays: number;
  /** Changes that somebody skipped who was behind, and got merged with later ones. */
  readonly merged: number;
  readonly samples: readonly string[];
}

/** A user's place in a line: the ordinal of the last change it was told of. */
const NOWHERE = -1;

/**
 * Users who ask for the same are sent the same. Each market change is known by its clk and held, by its hash, against what others were sent under that clk; at the end
 * every steady user must have had every one. Whoever falls behind gets merged changes instead (`con`), and is excused until it is told what the others are told again.
 */
export class Peers {
  readonly #lines = new Map<number, MarketLine>();
  readonly #hash: (bytes: Uint8Array) => number;
  readonly #each: number;
  /** For each user and each of its markets: the line, the place in it, and whether it is adrift and a member. */
  readonly #ownLines: (MarketLine | undefined)[];
  readonly #places: Int32Array;
  readonly #adrift: Uint8Array;
  readonly #members: Uint8Array;
  #due = 0;
  #got = 0;
  #lost = 0;
  #strays = 0;
  #merged = 0;
  readonly #samples: string[] = [];

  /** `each`: markets of one user. Throws where two ids look alike as numbers. */
  constructor(marketIds: readonly string[], users: number, each: number, hash: (bytes: Uint8Array) => number) {
    this.#hash = hash;
    this.#each = each;
    this.#ownLines = new Array<MarketLine | undefined>(users * each);
    this.#places = new Int32Array(users * each).fill(NOWHERE);
    this.#adrift = new Uint8Array(users * each);
    this.#members = new Uint8Array(users * each);
    for (const id of marketIds) {
      const number = marketNumber(Buffer.from(`${id}"`), 0);
      const other = this.#lines.get(number);
      if (other !== undefined) throw new Error(`the markets ${other.id} and ${id} cannot be told apart`);
      const infinity = Number.POSITIVE_INFINITY;
      const line = { id, records: [], first: 0, judgedFrom: infinity, judgedTo: infinity, members: 0, adrift: 0 };
      this.#lines.set(number, line);
    }
  }

  /** Puts a user down for its markets. */
  enter(user: number, marketIds: readonly string[]): void {
    marketIds.forEach((id, i) => {
      this.#ownLines[user * this.#each + i] = this.#lines.get(marketNumber(Buffer.from(`${id}"`), 0));
    });
  }

  /** It begins anew, with an image: where it stands will be seen by what comes. */
  startAnew(user: number): void {
    for (let own = user * this.#each; own < (user + 1) * this.#each; own++) {
      if (this.#members[own]) this.#drift(own);
      else this.#places[own] = NOWHERE;
    }
  }

  /** From now on, what comes is judged; these users are steady, and due everything. */
  begin(steady: Iterable<number>): void {
    for (const line of this.#lines.values()) line.judgedFrom = line.first + line.records.length;
    for (const user of steady) {
      for (let own = user * this.#each; own < (user + 1) * this.#each; own++) {
        const line = this.#ownLines[own];
        if (line === undefined) continue;
        this.#members[own] = 1;
        line.members++;
      }
    }
  }

  /** A steady user is gone: it is due nothing any more, nor what others were told of and it was not. */
  leave(user: number): void {
    for (let own = user * this.#each; own < (user + 1) * this.#each; own++) {
      const line = this.#ownLines[own];
      if (line === undefined || !this.#members[own]) continue;
      if (!this.#adrift[own]) this.#drift(own);
    }
  }

  /** One entry of `mc`, which a user in step was sent; `clk` is its message's, by hash. Its id begins at `idFrom`. */
  told(user: number, bytes: Buffer, from: number, to: number, idFrom: number, clk: number, now: number): void {
    const line = this.#lines.get(marketNumber(bytes, idFrom));
    const own = line === undefined ? -1 : this.#ownOf(user, line);
    if (line === undefined || own === -1) {
      this.#stray(
        `a user was sent ${bytes.toString("latin1", from, Math.min(to, from + 40))}…, which it had not asked for`,
      );
      return;
    }
    const entry = bytes.subarray(from, to);
    const place = this.#places[own] as number;
    const ordinal = this.#find(line, clk, place);
    if (ordinal !== -1) this.#match(line, own, ordinal, entry, isMerged(bytes, idFrom));
    else this.#append(line, own, clk, entry, isMerged(bytes, idFrom), now);
  }

  /** Judges what everybody has had the time to be told. */
  settle(now: number): void {
    for (const line of this.#lines.values()) this.#settle(line, now - SETTLE_MS, RECORDS_MAX);
  }

  /** What comes from now on is not judged any more. */
  end(): void {
    for (const line of this.#lines.values()) line.judgedTo = line.first + line.records.length;
  }

  /** Everything that is to be judged has come. */
  get isComplete(): boolean {
    for (const line of this.#lines.values())
      for (const [i, record] of line.records.entries())
        if (this.#isJudged(line, line.first + i) && missing(line, record) > line.adrift) return false;
    return true;
  }

  /** The end: judges everything. */
  verdict(): Verdict {
    for (const line of this.#lines.values()) this.#settle(line, Number.POSITIVE_INFINITY, 0);
    const samples = this.#samples;
    return { due: this.#due, got: this.#got, lost: this.#lost, strays: this.#strays, merged: this.#merged, samples };
  }

  #ownOf(user: number, line: MarketLine): number {
    const end = (user + 1) * this.#each;
    for (let own = end - this.#each; own < end; own++) if (this.#ownLines[own] === line) return own;
    return -1;
  }

  /** The ordinal of the change with this clk: the next one, if nothing is wrong. -1: nobody was told of it yet. */
  #find(line: MarketLine, clk: number, place: number): number {
    const { records, first } = line;
    const next = place + 1 - first;
    if (place !== NOWHERE && records[next]?.clk === clk) return place + 1;
    const least = Math.max(0, records.length - SEARCH_MAX);
    for (let i = records.length - 1; i >= least; i--) if ((records[i] as Record).clk === clk) return first + i;
    return -1;
  }

  #match(line: MarketLine, own: number, ordinal: number, entry: Buffer, merged: boolean): void {
    const hash = this.#hash(entry);
    const record = line.records[ordinal - line.first] as Record;
    if (record.hash === hash) {
      this.#count(record, own);
      return this.#arrive(line, own, ordinal, false);
    }
    // It fell behind, and is told what changed since: a change under a clk that others know with less.
    if (merged) return this.#drift(own);
    const variant = record.others?.find((other) => other.hash === hash);
    if (variant !== undefined) this.#count(variant, own);
    else (record.others ??= []).push({ hash, text: beginningOf(entry), isMerged: false, seen: this.#weight(own) });
    this.#arrive(line, own, ordinal, false);
  }

  #append(line: MarketLine, own: number, clk: number, entry: Buffer, merged: boolean, now: number): void {
    const [hash, text, seen] = [this.#hash(entry), beginningOf(entry), this.#weight(own)];
    line.records.push({ clk, hash, text, at: now, isMerged: merged, seen, excused: 0, others: null });
    if (line.records.length > RECORDS_MAX) this.#settle(line, Number.NEGATIVE_INFINITY, RECORDS_MAX / 2);
    this.#arrive(line, own, line.first + line.records.length - 1, merged);
  }

  /** Only those who are due are counted. */
  #count(what: { seen: number }, own: number): void {
    what.seen += this.#weight(own);
  }

  #weight(own: number): number {
    return this.#members[own] as number;
  }

  /** It is told what others are told: in step. What it skipped is excused if it was adrift. */
  #arrive(line: MarketLine, own: number, ordinal: number, merged: boolean): void {
    const place = this.#places[own] as number;
    this.#places[own] = ordinal;
    const wasAdrift = this.#adrift[own] === 1;
    if (wasAdrift) {
      this.#adrift[own] = 0;
      line.adrift--;
    }
    if (!this.#members[own] || place >= ordinal || !(wasAdrift || merged)) return;
    for (let skipped = Math.max(place + 1, line.first); skipped < ordinal; skipped++)
      (line.records[skipped - line.first] as Record).excused++;
  }

  #drift(own: number): void {
    if (this.#adrift[own] || !this.#members[own]) return;
    this.#adrift[own] = 1;
    (this.#ownLines[own] as MarketLine).adrift++;
  }

  #isJudged(line: MarketLine, ordinal: number): boolean {
    return ordinal >= line.judgedFrom && ordinal < line.judgedTo;
  }

  #settle(line: MarketLine, before: number, keepMax: number): void {
    const { records } = line;
    let settled = 0;
    while (
      settled < records.length &&
      ((records[settled] as Record).at <= before || records.length - settled > keepMax)
    ) {
      const record = records[settled] as Record;
      if (this.#isJudged(line, line.first + settled)) this.#judge(line, record);
      settled++;
    }
    records.splice(0, settled);
    line.first += settled;
  }

  #judge(line: MarketLine, record: Record): void {
    const variants = [record, ...(record.others ?? [])].toSorted(
      (a, b) => b.seen - a.seen || Number(a.isMerged) - Number(b.isMerged),
    );
    const [right, ...wrong] = variants as [(typeof variants)[number], ...typeof variants];
    const strays = wrong.reduce((sum, variant) => sum + (variant.isMerged ? 0 : Math.max(1, variant.seen)), 0);
    if (strays > 0)
      this.#stray(
        `${line.id}: ${strays} were sent another change than ${right.seen} others under the same clk: ${parting(right, wrong)}`,
        strays,
      );
    const short = missing(line, record);
    const excused = Math.min(short, line.adrift);
    const lost = Math.max(0, short - excused);
    if (lost > 0) this.#sample(`${line.id}: ${lost} of ${line.members} were never told of a change`);
    const more = Math.max(0, -short);
    if (more > 0) this.#stray(`${line.id}: a change was told ${more} times more than there are users`, more);
    this.#due += line.members;
    this.#got += right.seen;
    this.#lost += lost;
    this.#merged +=
      record.excused + excused + wrong.reduce((sum, { isMerged, seen }) => sum + (isMerged ? seen : 0), 0);
  }

  #stray(what: string, count = 1): void {
    this.#strays += count;
    this.#sample(what);
  }

  #sample(what: string): void {
    if (this.#samples.length < SAMPLES_MAX) this.#samples.push(what);
  }
}

/** How many of those who are due a change have not been told of it. */
function missing(line: MarketLine, record: Record): number {
  const others = record.others?.reduce((sum, { seen }) => sum + seen, 0) ?? 0;
  return line.members - record.seen - others - record.excused;
}

function beginningOf(entry: Buffer): string {
  return entry.toString("latin1", 0, Math.min(entry.length, TEXT_BYTES_MAX));
}

/** Where the first of the others goes its own way. */
function parting(right: { readonly text: string }, wrong: readonly { text: string; isMerged: boolean }[]): string {
  const other = (wrong.find(({ isMerged }) => !isMerged) as { text: string }).text;
  let same = 0;
  while (same < other.length && other[same] === right.text[same]) same++;
  const from = Math.max(0, same - SHOWN_MAX / 4);
  const shown = (text: string) => `${from > 0 ? "…" : ""}${text.slice(from, from + SHOWN_MAX)}`;
  return `${shown(other)} instead of ${shown(right.text)}`;
}

const CON = Buffer.from(',"con":true');
const IMG_CON = Buffer.from(',"img":true,"con":true');
const QUOTE = 34;

/** Whether an entry says that several changes were merged into it. */
function isMerged(bytes: Buffer, idFrom: number): boolean {
  let end = idFrom;
  while (bytes[end] !== QUOTE) end++;
  return isAt(bytes, end + 1, CON) || isAt(bytes, end + 1, IMG_CON);
}

function isAt(bytes: Buffer, from: number, what: Buffer): boolean {
  for (let i = 0; i < what.length; i++) if (bytes[from + i] !== what[i]) return false;
  return true;
}
