import { type ChangeBatch, MARK, MARKET_CON, MARKET_IMG, type Segment } from "../market/batch.ts";
import { FACT_TYPES, intern, NO_FACTS } from "../market/definition.ts";
import type { MarketFacts } from "../market/filter.ts";
import { LEVEL_MAX } from "../market/ladder.ts";
import { FIRST_LEVEL_LADDER, LADDER, type LadderKind, SCALAR, type ScalarKind } from "../market/types.ts";
import * as json from "./json.ts";
import { escapeToAscii } from "./text.ts";

/** A line from an exchange, read. `change`: the batch given was filled. `other`: an op that carries no market changes. */
export type ServerMessage =
  | { readonly kind: "connection"; readonly connectionId: string }
  | StatusMessage
  | { readonly kind: "change" }
  | { readonly kind: "other"; readonly op: string }
  | { readonly kind: "invalid"; readonly reason: string };

export interface StatusMessage {
  readonly kind: "status";
  readonly id: number | null;
  readonly statusCode: "SUCCESS" | "FAILURE";
  readonly connectionClosed: boolean;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly connectionsAvailable: number | null;
}

const CHANGE: ServerMessage = { kind: "change" };
const COMMA = 44;
const OPEN = 123;
const CLOSE = 125;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;

const OP = json.packed("op");
const ID = json.packed("id");
const CT = json.packed("ct");
const CLK = json.packed("clk");
const PT = json.packed("pt");
const MC = json.packed("mc");
const RC = json.packed("rc");
const TV = json.packed("tv");
const IMG = json.packed("img");
const CON = json.packed("con");
const HC = json.packed("hc");
const LTP = json.packed("ltp");
const SPN = json.packed("spn");
const SPF = json.packed("spf");
const ATB = json.packed("atb");
const ATL = json.packed("atl");
const TRD = json.packed("trd");
const SPB = json.packed("spb");
const SPL = json.packed("spl");
const BATB = json.packed("batb");
const BATL = json.packed("batl");

/**
 * Reads one line from an exchange. Market changes go into `batch` (cleared first); whatever is not as the protocol has it makes the
 * whole line `invalid`, so that nothing is ever applied by half. Keys may come in any order; unknown ones are passed over.
 */
export function decodeServerLine(bytes: Uint8Array, start: number, end: number, batch: ChangeBatch): ServerMessage {
  batch.clear();
  json.begin(bytes, start, end);
  try {
    const op = readMessage(batch);
    if (op === "mcm") return CHANGE;
    return op === null ? { kind: "invalid", reason: "a message without op" } : decodeOther(op, bytes, start, end);
  } catch (error) {
    if (error instanceof json.Malformed) return { kind: "invalid", reason: error.message };
    throw error;
  } finally {
    json.finish();
  }
}

function decodeOther(op: string, bytes: Uint8Array, start: number, end: number): ServerMessage {
  if (op !== "connection" && op !== "status") return { kind: "other", op };
  const message = JSON.parse(new TextDecoder().decode(bytes.subarray(start, end))) as Record<string, unknown>;
  if (op === "connection") return { kind: "connection", connectionId: String(message.connectionId ?? "") };
  return {
    kind: "status",
    id: typeof message.id === "number" ? message.id : null,
    statusCode: message.statusCode === "SUCCESS" ? "SUCCESS" : "FAILURE",
    connectionClosed: message.connectionClosed === true,
    errorCode: typeof message.errorCode === "string" ? message.errorCode : null,
    errorMessage: typeof message.errorMessage === "string" ? message.errorMessage : null,
    connectionsAvailable: typeof message.connectionsAvailable === "number" ? message.connectionsAvailable : null,
  };
}

/** Reads the whole message; returns its op. */
function readMessage(batch: ChangeBatch): string | null {
  let op: string | null = null;
  json.expect(OPEN);
  if (!json.take(CLOSE)) {
    do {
      const key = json.key();
      if (json.isNull()) continue;
      if (key === OP) op = json.takeWord('"mcm"') ? "mcm" : json.string();
      else if (key === MC) readMarkets(batch, op);
      else readMessageField(key, batch);
    } while (json.take(COMMA));
    json.expect(CLOSE);
  }
  if (!json.atEnd()) json.fail("something after the message");
  return op;
}

function readMessageField(key: number, batch: ChangeBatch): void {
  if (key === CLK) batch.clk = json.string();
  else if (key === PT) batch.pt = json.number();
  else if (key === ID) batch.id = json.number();
  else if (key === CT) readChangeType(batch);
  else if (json.keyIs("initialClk")) batch.initialClk = json.string();
  else if (json.keyIs("segmentType")) batch.segment = segmentOf(json.string());
  else if (json.keyIs("status")) readStatus(batch);
  else if (json.keyIs("conflateMs")) batch.conflateMs = json.number();
  else if (json.keyIs("heartbeatMs")) batch.heartbeatMs = json.number();
  else json.skip();
}

/** `status` is a number on a change message; ops that we do not read here may have anything there. */
function readStatus(batch: ChangeBatch): void {
  const c = json.peek();
  if (c >= 48 && c <= 57) batch.status = json.number();
  else json.skip();
}

function readChangeType(batch: ChangeBatch): void {
  const ct = json.string();
  batch.kind =
    ct === "SUB_IMAGE" ? "image" : ct === "RESUB_DELTA" ? "resume" : ct === "HEARTBEAT" ? "heartbeat" : "update";
}

function segmentOf(type: string): Segment {
  return type === "SEG_START" ? "start" : type === "SEG" ? "middle" : type === "SEG_END" ? "end" : "whole";
}

function readMarkets(batch: ChangeBatch, op: string | null): void {
  if (op !== null && op !== "mcm") return json.skip();
  json.expect(OPEN_LIST);
  if (json.take(CLOSE_LIST)) return;
  do readMarket(batch);
  while (json.take(COMMA));
  json.expect(CLOSE_LIST);
}

function readMarket(batch: ChangeBatch): void {
  json.expect(OPEN);
  batch.market();
  let named = false;
  if (!json.take(CLOSE)) {
    do {
      const key = json.key();
      if (json.isNull()) continue;
      if (key === ID) {
        batch.marketId(marketId());
        named = true;
      } else if (key === RC) readRunners(batch);
      else if (key === TV) batch.marketTv(json.number());
      else if (key === IMG) flag(batch, MARKET_IMG);
      else if (key === CON) flag(batch, MARKET_CON);
      else if (json.keyIs("marketDefinition")) readDefinition(batch);
      else json.skip();
    } while (json.take(COMMA));
    json.expect(CLOSE);
  }
  if (!named) json.fail("a market change without id");
}

function flag(batch: ChangeBatch, bit: number): void {
  if (json.boolean()) batch.marketFlag(bit);
}

/** The definition is kept as the text it came as: it is sent on far more often than it is looked into, and so stays exact. What is looked into is read on the way. */
function readDefinition(batch: ChangeBatch): void {
  if (json.peek() !== OPEN) json.fail("a marketDefinition that is not an object");
  const start = json.at;
  json.watchAscii();
  const facts: Record<string, string | number | boolean | null> = { ...NO_FACTS };
  json.expect(OPEN);
  if (!json.take(CLOSE)) {
    do {
      json.key();
      const name = factName();
      if (name === undefined || !readFact(name, facts)) json.skip();
    } while (json.take(COMMA));
    json.expect(CLOSE);
  }
  batch.definition(ascii(start, json.at), facts as unknown as MarketFacts);
}

/** The facts by the length of their names, which tells most keys apart already. */
const FACTS_BY_LENGTH: (keyof MarketFacts)[][] = [];
for (const name of Object.keys(FACT_TYPES) as (keyof MarketFacts)[]) (FACTS_BY_LENGTH[name.length] ??= []).push(name);

/** The fact that the key just read names, if it does. */
function factName(): keyof MarketFacts | undefined {
  const names = FACTS_BY_LENGTH[json.keyEnd - json.keyStart];
  if (names !== undefined) for (const name of names) if (json.keyIs(name)) return name;
  return undefined;
}

/** Reads a fact's value; false, with nothing read, when it is of another type than the exchange's. */
function readFact(name: keyof MarketFacts, facts: Record<string, string | number | boolean | null>): boolean {
  const c = json.peek();
  const type = FACT_TYPES[name];
  if (type === "string" && c === 34) facts[name] = name === "eventId" ? json.string() : intern(json.string());
  else if (type === "boolean" && (c === 116 || c === 102)) facts[name] = json.boolean();
  else if (type === "number" && (c === 45 || (c >= 48 && c <= 57))) facts[name] = json.number();
  else return false;
  return true;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The text between, other characters than ASCII written as `\u` escapes: what real clients need (they decode each read on its own). */
function ascii(start: number, end: number): string {
  if (!json.sawOther) return json.bytes.toString("latin1", start, end);
  let decoded: string;
  try {
    decoded = utf8.decode(json.bytes.subarray(start, end));
  } catch {
    json.fail("a text that is not UTF-8");
  }
  return escapeToAscii(decoded);
}

function readRunners(batch: ChangeBatch): void {
  json.expect(OPEN_LIST);
  if (json.take(CLOSE_LIST)) return;
  do readRunner(batch);
  while (json.take(COMMA));
  json.expect(CLOSE_LIST);
}

function readRunner(batch: ChangeBatch): void {
  json.expect(OPEN);
  batch.runner();
  let named = false;
  if (!json.take(CLOSE)) {
    do {
      const key = json.key();
      if (json.isNull()) continue;
      if (key === ID) {
        batch.runnerId(json.number());
        named = true;
      } else readRunnerField(key, batch);
    } while (json.take(COMMA));
    json.expect(CLOSE);
  }
  if (!named) json.fail("a runner change without id");
}

function readRunnerField(key: number, batch: ChangeBatch): void {
  switch (key) {
    case ATB:
      return readLadder(LADDER.atb, batch);
    case ATL:
      return readLadder(LADDER.atl, batch);
    case TRD:
      return readLadder(LADDER.trd, batch);
    case SPB:
      return readLadder(LADDER.spb, batch);
    case SPL:
      return readLadder(LADDER.spl, batch);
    case BATB:
      return readLadder(LADDER.batb, batch);
    case BATL:
      return readLadder(LADDER.batl, batch);
    case TV:
      return readScalar(SCALAR.tv, batch);
    case LTP:
      return readScalar(SCALAR.ltp, batch);
    case SPN:
      return readScalar(SCALAR.spn, batch);
    case SPF:
      return readScalar(SCALAR.spf, batch);
    case HC:
      return batch.runnerHc(json.number());
    default:
      if (json.keyIs("bdatb")) readLadder(LADDER.bdatb, batch);
      else if (json.keyIs("bdatl")) readLadder(LADDER.bdatl, batch);
      else json.skip();
  }
}

/** A single value; the exchange writes "NaN" and "Infinity" as strings. */
function readScalar(kind: ScalarKind, batch: ChangeBatch): void {
  if (json.peek() !== 34) return batch.scalar(kind, json.number());
  const word = json.string();
  if (word !== "NaN" && word !== "Infinity" && word !== "-Infinity") json.fail("a value that is not a number");
  batch.scalar(kind, Number(word));
}

/** `[[price, size], …]`, or `[[level, price, size], …]`; written straight to the tape, as nearly all bytes of a busy market are these. */
function readLadder(kind: LadderKind, batch: ChangeBatch): void {
  const words = kind >= FIRST_LEVEL_LADDER ? 3 : 2;
  json.expect(OPEN_LIST);
  batch.reserve(3);
  const head = batch.length;
  batch.length += 3;
  if (!json.take(CLOSE_LIST)) {
    for (;;) {
      if (!readPlainRows(words, batch)) readRow(words, batch);
      if (json.take(CLOSE_LIST)) break;
      json.expect(COMMA);
    }
  }
  endLadder(kind, words, head, batch);
}

function endLadder(kind: LadderKind, words: number, head: number, batch: ChangeBatch): void {
  const { tape, length } = batch;
  tape[head] = words === 3 ? MARK.levels : MARK.ladder;
  tape[head + 1] = kind;
  tape[head + 2] = (length - head - 3) / words;
  if (words === 2) return;
  for (let i = head + 3; i < length; i += 3) {
    if (!isLevel(tape[i] as number)) json.fail("a level that is not a small whole number");
  }
}

/** A row of a ladder, as JSON allows it to be written. */
function readRow(words: number, batch: ChangeBatch): void {
  json.expect(OPEN_LIST);
  batch.reserve(words);
  for (let word = 0; word < words; word++) {
    if (word > 0) json.expect(COMMA);
    batch.tape[batch.length++] = json.number();
  }
  json.expect(CLOSE_LIST);
}

/**
 * Rows as the exchange writes them: no spaces, no exponents, few digits, a comma or the list's end behind. Reads them with the cursor in a local variable,
 * which makes decoding a busy market half as fast again. True: it stopped behind a row; false: before one that is written in any other way.
 */
function readPlainRows(words: number, batch: ChangeBatch): boolean {
  const { bytes } = json;
  let { tape } = batch;
  let p = json.at;
  for (;;) {
    if (batch.length + words > tape.length) {
      batch.reserve(words);
      tape = batch.tape;
    }
    let n = batch.length;
    let at = p;
    if (bytes[at] !== OPEN_LIST) return before(p);
    for (let word = 1; word <= words; word++) {
      const first = ++at;
      let c = (bytes[at] as number) - 48;
      if (!(c >= 0 && c <= 9)) return before(p);
      let mantissa = c;
      c = (bytes[++at] as number) - 48;
      if (mantissa === 0 && c >= 0 && c <= 9) return before(p);
      while (c >= 0 && c <= 9) {
        mantissa = mantissa * 10 + c;
        c = (bytes[++at] as number) - 48;
      }
      if (c === -2) {
        const point = at;
        c = (bytes[++at] as number) - 48;
        while (c >= 0 && c <= 9) {
          mantissa = mantissa * 10 + c;
          c = (bytes[++at] as number) - 48;
        }
        if (at - first > 15 || at === point + 1) return before(p);
        tape[n++] = mantissa / (json.POWERS[at - point - 1] as number);
      } else {
        if (at - first > 15) return before(p);
        tape[n++] = mantissa;
      }
      if (bytes[at] !== (word === words ? CLOSE_LIST : COMMA)) return before(p);
    }
    batch.length = n;
    p = at + 1;
    if (bytes[p] !== COMMA) return behind(p);
    p++;
  }
}

function before(position: number): boolean {
  json.moveTo(position);
  return false;
}

function behind(position: number): boolean {
  json.moveTo(position);
  return true;
}

function isLevel(level: number): boolean {
  return Number.isInteger(level) && level >= 0 && level <= LEVEL_MAX;
}

/** Ids seen lately, so that a busy market's id is not made anew with each change. Direct-mapped: a collision costs one string. */
const recentIds: string[] = new Array(4096).fill("");

function marketId(): string {
  json.peek();
  const start = json.at + 1;
  if (!json.skipString()) return JSON.parse(json.bytes.toString("utf8", start - 1, json.at)) as string;
  const end = json.at - 1;
  let hash = 0;
  for (let p = start; p < end; p++) hash = (Math.imul(hash, 31) + (json.bytes[p] as number)) | 0;
  const known = recentIds[hash & 4095] as string;
  if (same(known, start, end)) return known;
  return (recentIds[hash & 4095] = json.bytes.toString("latin1", start, end));
}

function same(text: string, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== json.bytes[start + i]) return false;
  return true;
}
