import { type BatchKind, ChangeBatch, type Segment } from "../market/batch.ts";
import { decodeServerLine, type ServerMessage } from "./esa.ts";
import * as json from "./json.ts";
import { escapeToAscii } from "./text.ts";

/** How each sport is spoken of: what asks for it, the op and the list that carry it, and the ids by which its races or matches are told apart. */
export const SPORTS = {
  race: { subscription: "raceSubscription", op: "rcm", list: "rc", gameIds: ['"id"', '"mid"'] },
  cricket: { subscription: "cricketSubscription", op: "ccm", list: "cc", gameIds: ['"eventId"', '"marketId"'] },
} as const;

export type Sport = keyof typeof SPORTS;

/** The key of a race under which its runners stand, each with an id. Keys are texts here, quotes included. */
const RUNNERS = '"rrc"';
const RUNNER_IDS = ['"id"'] as const;

/** What one message says of one race or match. All texts are the exchange's own JSON, ASCII only, so that every number stays as it was written. */
export interface SportChange {
  /** Which race or match: the ids as they begin an entry, `"id":"28587288.1650","mid":"1.1234567"`. */
  readonly game: string;
  /** The whole entry. */
  readonly text: string;
  /** What it says beside the ids and the runners: value by key (quotes included). */
  readonly parts: ReadonlyMap<string, string>;
  /** Of a race: each runner's entry by its `"id":…`. */
  readonly runners: ReadonlyMap<string, string>;
}

/** One `rcm` or `ccm` line, read. Filled anew with each. */
export class SportBatch {
  kind: BatchKind = "update";
  /** Segments are never asked for. */
  readonly segment: Segment = "whole";
  /** The exchange's publish time, milliseconds since the Unix epoch. */
  pt = 0;
  clk: string | null = null;
  initialClk: string | null = null;
  status: number | null = null;
  heartbeatMs: number | null = null;
  id: number | null = null;
  changes: SportChange[] = [];

  /** An empty message of that kind; the time stands. */
  clear(kind: BatchKind = "update"): void {
    this.kind = kind;
    this.clk = this.initialClk = null;
    this.status = this.heartbeatMs = this.id = null;
    this.changes = [];
  }
}

const CHANGE: ServerMessage = { kind: "change" };
const KINDS: ReadonlyMap<string, BatchKind> = new Map([
  ['"SUB_IMAGE"', "image"],
  ['"RESUB_DELTA"', "resume"],
  ['"HEARTBEAT"', "heartbeat"],
]);
const [QUOTE, COLON, COMMA, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [34, 58, 44, 123, 125, 91, 93];

/**
 * Reads one line from an exchange. Changes of the sport go into `batch`; whatever is not as the protocol has it makes the whole line `invalid`, so that
 * nothing is ever applied by half. Entries are kept as they are, unknown keys too: only their ids must be there.
 */
export function decodeSportLine(
  bytes: Uint8Array,
  start: number,
  end: number,
  sport: Sport,
  batch: SportBatch,
): ServerMessage {
  batch.clear();
  json.begin(bytes, start, end);
  try {
    if (readMessage(sport, batch) === JSON.stringify(SPORTS[sport].op)) return CHANGE;
  } catch (error) {
    if (error instanceof json.Malformed) return { kind: "invalid", reason: error.message };
    throw error;
  } finally {
    json.finish();
  }
  const message = decodeServerLine(bytes, start, end, ELSE);
  return message.kind === "change" ? { kind: "other", op: "mcm" } : message;
}

/** What `decodeServerLine` fills when markets come where none were asked for. */
const ELSE = new ChangeBatch();

/** Reads the whole message; returns its op, as text. */
function readMessage(sport: Sport, batch: SportBatch): string {
  const list = JSON.stringify(SPORTS[sport].list);
  let op = "";
  readObject((key) => {
    if (key === '"op"') op = valueText();
    else if (key === list && json.peek() === OPEN_LIST) readList(() => batch.changes.push(readChange(sport)));
    else readHead(key, valueText(), batch);
  });
  if (!json.atEnd()) json.fail("something after the message");
  return op;
}

/** Absent, null, and of another type are one: `clk` has been seen as a number. */
function readHead(key: string, text: string, batch: SportBatch): void {
  const value: unknown = JSON.parse(text);
  const number = typeof value === "number" ? value : null;
  if (key === '"pt"') batch.pt = number ?? batch.pt;
  else if (key === '"id"') batch.id = number;
  else if (key === '"status"') batch.status = number;
  else if (key === '"heartbeatMs"') batch.heartbeatMs = number;
  else if (key === '"clk"') batch.clk = value === null ? null : String(value);
  else if (key === '"initialClk"') batch.initialClk = value === null ? null : String(value);
  else if (key === '"ct"') batch.kind = KINDS.get(text) ?? "update";
}

function readChange(sport: Sport): SportChange {
  const parts = new Map<string, string>();
  const runners = new Map<string, string>();
  const text = textOf(() =>
    readObject((key) => {
      if (sport !== "race" || key !== RUNNERS) parts.set(key, valueText());
      else if (!json.isNull()) readList(() => readRunner(runners));
    }),
  );
  const game = takeIds(parts, SPORTS[sport].gameIds);
  return { game, text, parts, runners };
}

function readRunner(runners: Map<string, string>): void {
  const keys = new Map<string, string>();
  const text = textOf(() => readObject((key) => keys.set(key, valueText())));
  runners.set(takeIds(keys, RUNNER_IDS), text);
}

/** Takes the ids out, and gives them as text; an entry without one is nobody's. */
function takeIds(parts: Map<string, string>, ids: readonly string[]): string {
  const texts = ids.map((id) => {
    const value = parts.get(id);
    if (value === undefined || value === "null") json.fail(`an entry without ${id}`);
    parts.delete(id);
    return `${id}:${value}`;
  });
  return texts.join(",");
}

function readObject(member: (key: string) => void): void {
  json.expect(OPEN);
  if (json.take(CLOSE)) return;
  do {
    if (json.peek() !== QUOTE) json.fail("expected a key");
    const key = textOf(json.skipString);
    json.expect(COLON);
    member(key);
  } while (json.take(COMMA));
  json.expect(CLOSE);
}

function readList(item: () => void): void {
  json.expect(OPEN_LIST);
  if (json.take(CLOSE_LIST)) return;
  do item();
  while (json.take(COMMA));
  json.expect(CLOSE_LIST);
}

function valueText(): string {
  return textOf(() => json.skip());
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What `read` steps over, as ASCII. */
function textOf(read: () => void): string {
  json.peek();
  const start = json.at;
  read();
  try {
    return escapeToAscii(utf8.decode(json.bytes.subarray(start, json.at)));
  } catch {
    return json.fail("a text that is not UTF-8");
  }
}
