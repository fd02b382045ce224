import { type ChangeBatch, MARK, MARKET_CON, MARKET_IMG } from "../market/batch.ts";
import { LADDER_NAMES, SCALAR_NAMES } from "../market/types.ts";
import { asciiJson, type TextWriter } from "./text.ts";

const COMMA = 44;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const LADDER_KEYS = LADDER_NAMES.map((name) => `"${name}":[`);
const SCALAR_KEYS = SCALAR_NAMES.map((name) => `"${name}":`);

/** Writes a batch's market changes as the exchange does: `mc` entries, separated by commas, without the list around them. */
export function writeChanges(batch: ChangeBatch, out: TextWriter): void {
  for (let i = 0; i < batch.length; ) {
    if (i > 0) out.byte(COMMA);
    i = writeMarket(batch, i, out);
  }
}

const CT = { image: "SUB_IMAGE", resume: "RESUB_DELTA", heartbeat: "HEARTBEAT" } as const;
const SEGMENT = { start: "SEG_START", middle: "SEG", end: "SEG_END" } as const;

/** Writes the whole message, head and all: who reads it has the same batch. */
export function writeBatch(batch: ChangeBatch, out: TextWriter): void {
  const { kind, segment, clk, initialClk, status, conflateMs, heartbeatMs, id } = batch;
  out.ascii('{"op":"mcm"');
  if (id !== null) out.ascii(`,"id":${id}`);
  if (kind !== "update") out.ascii(`,"ct":"${CT[kind]}"`);
  if (segment !== "whole") out.ascii(`,"segmentType":"${SEGMENT[segment]}"`);
  if (initialClk !== null) out.ascii(`,"initialClk":${asciiJson(initialClk)}`);
  if (clk !== null) out.ascii(`,"clk":${asciiJson(clk)}`);
  if (status !== null) out.ascii(`,"status":${status}`);
  if (conflateMs !== null) out.ascii(`,"conflateMs":${conflateMs}`);
  if (heartbeatMs !== null) out.ascii(`,"heartbeatMs":${heartbeatMs}`);
  out.ascii(`,"pt":${batch.pt}`);
  if (batch.changes > 0) {
    out.ascii(',"mc":[');
    writeChanges(batch, out);
    out.byte(CLOSE_LIST);
  }
  out.ascii("}");
}

/** Writes the market change that begins at `i`; returns where the tape goes on. */
function writeMarket(batch: ChangeBatch, at: number, out: TextWriter): number {
  const { tape, length } = batch;
  const flags = tape[at + 2] as number;
  out.ascii('{"id":');
  out.ascii(asciiJson(batch.ids[tape[at + 1] as number]));
  if (flags & MARKET_IMG) out.ascii(',"img":true');
  if (flags & MARKET_CON) out.ascii(',"con":true');
  let i = at + 3;
  let inRunners = false;
  while (i < length && tape[i] !== MARK.market) {
    if (tape[i] === MARK.runner) {
      out.ascii(inRunners ? "," : ',"rc":[');
      inRunners = true;
      i = writeRunner(tape, i, length, out);
      continue;
    }
    // what is decoded keeps the order of its keys, and runners may come before what is the market's own
    if (inRunners) out.byte(CLOSE_LIST);
    inRunners = false;
    if (tape[i] === MARK.marketTv) {
      out.ascii(',"tv":');
      out.number(tape[i + 1] as number);
    } else {
      out.ascii(',"marketDefinition":');
      out.ascii(batch.definitions[tape[i + 1] as number] as string);
    }
    i += 2;
  }
  out.ascii(inRunners ? "]}" : "}");
  return i;
}

function writeRunner(tape: Float64Array, at: number, length: number, out: TextWriter): number {
  out.ascii('{"id":');
  out.number(tape[at + 1] as number);
  if (tape[at + 2] !== 0) {
    out.ascii(',"hc":');
    out.number(tape[at + 2] as number);
  }
  let i = at + 3;
  for (; i < length; ) {
    const mark = tape[i] as number;
    if (mark === MARK.scalar) {
      out.byte(COMMA);
      out.ascii(SCALAR_KEYS[tape[i + 1] as number] as string);
      out.number(tape[i + 2] as number);
      i += 3;
    } else if (mark === MARK.ladder || mark === MARK.levels) {
      out.byte(COMMA);
      out.ascii(LADDER_KEYS[tape[i + 1] as number] as string);
      i = writeEntries(tape, i, mark === MARK.levels ? 3 : 2, out);
    } else break;
  }
  out.byte(125);
  return i;
}

function writeEntries(tape: Float64Array, at: number, words: number, out: TextWriter): number {
  const end = at + 3 + (tape[at + 2] as number) * words;
  for (let i = at + 3; i < end; i += words) {
    if (i > at + 3) out.byte(COMMA);
    out.byte(OPEN_LIST);
    for (let word = 0; word < words; word++) {
      if (word > 0) out.byte(COMMA);
      out.number(tape[i + word] as number);
    }
    out.byte(CLOSE_LIST);
  }
  out.byte(CLOSE_LIST);
  return end;
}
