import type { MarketBook, RunnerBook } from "../../client/book.ts";
import type { ConnectionState } from "../../client/connection.ts";
import type { PriceSize } from "../../client/messages.ts";
import type { MarketNames } from "./watch-names.ts";

/** What a drawing shows. */
export interface Sight {
  readonly market: string;
  readonly book: MarketBook | null;
  /** Where the definition has none; null: nor are they known otherwise. */
  readonly names?: MarketNames | null;
  /** The first image is complete: a book that is not there is not there. */
  readonly loaded: boolean;
  readonly state: ConnectionState;
  readonly messageAgeMs: number | null;
  readonly refusal: string | null;
}

/** What there is to draw on. */
export interface Paper {
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
}

/** Prices shown of each side, and how many where three do not fit. */
const LEVELS = 3;
const LEVELS_NARROW = 1;
const CELL = 8;
const LAST = 8;
const NAME_MIN = 12;
const NARROW = NAME_MIN + LAST + 2 * LEVELS * CELL + 1;
/** Two lines of heading, an empty one, the columns' names. */
const HEAD_LINES = 4;

/** The ladder as lines of text, none wider than the paper. Pure: the same sight gives the same lines. */
export function ladderLines(sight: Sight, paper: Paper): string[] {
  const paint = paper.color ? colors : plain;
  const { book, names: known = null } = sight;
  const connection = connectionWords(sight);
  if (book === null) {
    const words = sight.loaded ? missing(sight.market) : `Waiting for market ${sight.market}`;
    return [cut(words, paper.columns), cut(connection, paper.columns)];
  }
  const levels = paper.columns < NARROW ? LEVELS_NARROW : LEVELS;
  const names = Math.max(NAME_MIN, Math.min(32, paper.columns - LAST - 2 * levels * CELL - 3));
  const runners = book.inOrder().filter(({ status }) => status !== "HIDDEN");
  const room = Math.max(1, Math.floor((paper.rows - HEAD_LINES - 2) / 2));
  return [
    ...heading(book, known, connection, paper.columns, paint),
    "",
    paint.faint(cut(columnNames(names, levels), paper.columns)),
    ...runners
      .slice(0, room)
      .flatMap((runner) =>
        runnerLines(
          runner,
          nameOf(runner, known),
          names,
          levels,
          book.bettable ? paint : { ...paint, back: paint.faint, lay: paint.faint },
        ),
      ),
    ...(runners.length > room ? [paint.faint(`and ${runners.length - room} more runners`)] : []),
  ];
}

function heading(
  book: MarketBook,
  names: MarketNames | null,
  connection: string,
  columns: number,
  paint: Paint,
): string[] {
  const { eventName, name, marketType } = book.definition ?? {};
  const title = [names?.eventName ?? eventName, names?.name ?? name ?? marketType, book.id].filter(Boolean).join(" · ");
  const flags = `${book.status ?? "UNKNOWN"}${book.inPlay ? " IN-PLAY" : ""}${book.stale ? " STALE" : ""}`;
  const matched = book.totalMatched === null ? "" : `${amount(book.totalMatched)} matched`;
  const painted = book.bettable ? paint.good : paint.bad;
  return [
    `${paint.strong(cut(title, columns - flags.length - 1).padEnd(columns - flags.length))}${painted(flags)}`,
    `${matched.padEnd(Math.max(0, columns - connection.length))}${paint.faint(cut(connection, columns))}`,
  ];
}

function columnNames(names: number, levels: number): string {
  return `${"Runner".padEnd(names)}${"Last".padStart(LAST)}${"Back".padStart(levels * CELL)} ${"Lay".padStart(CELL)}`;
}

/** Prices on one line, their sizes below. */
function runnerLines(runner: RunnerBook, called: string, names: number, levels: number, paint: Paint): string[] {
  const { back, lay } = runner.best(levels);
  const state = runner.status === null || runner.status === "ACTIVE" ? "" : ` (${runner.status})`;
  const handicap = runner.hc === 0 ? "" : ` ${runner.hc > 0 ? "+" : ""}${runner.hc}`;
  const name = cut(`${called}${handicap}`, names - state.length - 1);
  const row = (left: string, last: string, of: (entry: PriceSize) => string) => {
    const cells = (entries: readonly PriceSize[]) =>
      Array.from({ length: levels }, (_, level) => (entries[level] ? of(entries[level]) : "").padStart(CELL));
    const [backs, lays] = [cells(back).reverse(), cells(lay)];
    const [best, bestLay] = [paint.back(backs.pop() as string), paint.lay(lays.shift() as string)];
    return `${left.padEnd(names)}${last.padStart(LAST)}${backs.join("")}${best} ${bestLay}${lays.join("")}`;
  };
  return [row(`${name}${state}`, price(runner.ltp), ([of]) => price(of)), row("", "", ([, size]) => amount(size))];
}

function nameOf({ id, hc, name }: RunnerBook, names: MarketNames | null): string {
  return names?.runners.get(`${id}/${hc}`) ?? name ?? String(id);
}

export function connectionWords({ state, messageAgeMs, refusal }: Sight): string {
  if (refusal !== null) return refusal;
  const age = messageAgeMs === null ? "" : `, last message ${(messageAgeMs / 1_000).toFixed(1)} s ago`;
  switch (state.kind) {
    case "ready":
      return `connected${age}`;
    case "waiting":
      return `${state.reason}, trying again${age}`;
    case "closed":
    case "idle":
      return state.reason;
    case "connecting":
    case "authenticating":
      return `${state.kind}${age}`;
  }
}

/** One line for one change: when, how it stands, and each runner's best prices. */
export function changeLine(book: MarketBook, names: MarketNames | null = null): string {
  const best = ([entry]: readonly PriceSize[]) =>
    entry === undefined ? "-" : `${price(entry[0])}@${amount(entry[1])}`;
  const runners = book.inOrder().map((runner) => {
    const { back, lay } = runner.best(1);
    return `${nameOf(runner, names)} ${best(back)} / ${best(lay)}`;
  });
  const flags = `${book.status ?? "UNKNOWN"}${book.inPlay ? " IN-PLAY" : ""}${book.stale ? " STALE" : ""}`;
  return [new Date(book.publishTime).toISOString(), flags, `${amount(book.totalMatched)} matched`, ...runners].join(
    " | ",
  );
}

export function missing(market: string): string {
  return `No market ${market} here: not opened yet, closed and forgotten, or not for this session to see. GET /v1/markets lists those there are.`;
}

function price(value: number | null): string {
  return value === null ? "-" : String(Math.round(value * 10_000) / 10_000);
}

function amount(value: number | null): string {
  if (value === null) return "-";
  return value < 100 ? String(Math.round(value * 100) / 100) : Math.round(value).toLocaleString("en-GB");
}

function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`;
}

type Paint = Record<"strong" | "faint" | "good" | "bad" | "back" | "lay", (text: string) => string>;

const ansi = (code: string) => (text: string) => `\x1b[${code}m${text}\x1b[0m`;
const colors: Paint = {
  strong: ansi("1"),
  faint: ansi("2"),
  good: ansi("32"),
  bad: ansi("1;33"),
  back: ansi("1;30;48;5;117"),
  lay: ansi("1;30;48;5;218"),
};
const same = (text: string) => text;
const plain: Paint = { strong: same, faint: same, good: same, bad: same, back: same, lay: same };
