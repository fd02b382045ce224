import { stat } from "node:fs/promises";
import { OddswireError } from "../base/errors.ts";
import { archiveMembers } from "./archive.ts";
import type { MarketChange } from "./naive.ts";

/** No message is longer: an unsegmented image of 20,000 full books stays below it. */
const LINE_BYTES_MAX = 128 * 1024 * 1024;
const [LF, CR, OPEN_BRACE, CLOSE_BRACE] = [0x0a, 0x0d, 0x7b, 0x7d];

/** A message as recorded. `mcm` is the one that markets are in; other ops (ccm, rcm, ocm) are given as they are. */
export interface RecordingMessage {
  readonly op: string;
  /** Publish time, milliseconds since the Unix epoch. */
  readonly pt?: number;
  readonly clk?: string | null;
  readonly mc?: readonly MarketChange[] | null;
  readonly [unknownKey: string]: unknown;
}

export interface RecordedMessage {
  /** The file it stands in: the path, or the way into an archive. */
  readonly file: string;
  /** The line of that file it begins at, from 1. */
  readonly line: number;
  readonly message: RecordingMessage;
}

/**
 * The messages of a recording in file order: a JSON message a line, LF or CRLF, in a plain file, .gz, .bz2, .zip or .tar of these.
 * A message may also be spread over lines, from a "{" alone to a "}" alone, as pretty-printers do.
 * Throws OddswireError: FILE_NOT_FOUND, or INVALID_RECORDING with the file, the line and what to do.
 */
export async function* recordingMessages(path: string, lineBytesMax = LINE_BYTES_MAX): AsyncGenerator<RecordedMessage> {
  await mustBeFile(path);
  const at = { file: path, line: 0 };
  try {
    for await (const member of archiveMembers(path)) {
      at.file = member.name;
      at.line = 0;
      for await (const { line, text } of texts(member.bytes, lineBytesMax, at)) {
        yield { file: member.name, line, message: parse(text, at.file, line) };
      }
    }
  } catch (error) {
    if (error instanceof OddswireError) throw error;
    const what = `${(error as Error).message} (after line ${at.line})`;
    throw damaged(at.file, what, "fetch the file again, or unpack what there is of it");
  }
}

async function mustBeFile(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error) {
    const why = found.code === "ENOENT" ? "there is no such file" : found.message;
    throw new OddswireError("FILE_NOT_FOUND", `${path}: ${why}; check the path`);
  }
  if (!found.isFile())
    throw new OddswireError("FILE_NOT_FOUND", `${path}: not a file; name the recordings in it one by one`);
}

/** The texts of messages with the line each begins at; keeps `at.line` at the last line read, for errors. */
async function* texts(bytes: AsyncIterable<Uint8Array>, lineBytesMax: number, at: { file: string; line: number }) {
  let spread: Buffer[] | null = null;
  let begin = 0;
  let length = 0;
  for await (const line of lines(bytes, lineBytesMax, at)) {
    if (spread === null && line.length === 1 && line[0] === OPEN_BRACE) [spread, begin, length] = [[], at.line, 0];
    if (spread === null) {
      if (line.length > 0) yield { line: at.line, text: line.toString() };
      continue;
    }
    spread.push(line);
    length += line.length;
    if (length > lineBytesMax) throw tooLong(at.file, begin, lineBytesMax);
    if (line.length !== 1 || line[0] !== CLOSE_BRACE) continue;
    yield { line: begin, text: Buffer.concat(spread).toString() };
    spread = null;
  }
  if (spread !== null)
    throw damaged(`${at.file}: line ${begin}`, "the message that begins here has no end", "cut the file before it");
}

/** Lines without their ends. A chunk's bytes are copied only where a line goes on into the next chunk. */
async function* lines(bytes: AsyncIterable<Uint8Array>, lineBytesMax: number, at: { file: string; line: number }) {
  let rest: Buffer[] = [];
  let restLength = 0;
  for await (const piece of bytes) {
    const chunk = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    let from = 0;
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, from)) {
      const line = restLength === 0 ? chunk.subarray(from, end) : Buffer.concat([...rest, chunk.subarray(from, end)]);
      from = end + 1;
      if (restLength > 0) [rest, restLength] = [[], 0];
      at.line++;
      if (line.length > lineBytesMax) throw tooLong(at.file, at.line, lineBytesMax);
      yield withoutEnds(line, at.line);
    }
    if (from === chunk.length) continue;
    rest.push(Buffer.from(chunk.subarray(from)));
    restLength += chunk.length - from;
    if (restLength > lineBytesMax) throw tooLong(at.file, at.line + 1, lineBytesMax);
  }
  at.line++;
  if (restLength > 0) yield withoutEnds(Buffer.concat(rest), at.line);
}

/** Drops the CR of a CRLF, and the byte order mark that some editors put before a first line. */
function withoutEnds(line: Buffer, number: number): Buffer {
  const from = number === 1 && line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf ? 3 : 0;
  return line.subarray(from, line.at(-1) === CR ? line.length - 1 : line.length);
}

function parse(text: string, file: string, line: number): RecordingMessage {
  let message: unknown;
  try {
    message = JSON.parse(text);
  } catch (error) {
    const what = `not JSON (${(error as Error).message}): ${excerpt(text)}`;
    throw damaged(`${file}: line ${line}`, what, "mend or cut that line; a recording holds one ESA message a line");
  }
  const wrong = whatIsWrong(message);
  if (wrong !== null) throw damaged(`${file}: line ${line}`, `${wrong}: ${excerpt(text)}`, "mend or cut that line");
  return message as RecordingMessage;
}

/** Checked here once; books trust it afterwards. */
function whatIsWrong(message: unknown): string | null {
  if (!isObject(message) || typeof message.op !== "string") return "not a message (no op)";
  if (message.op !== "mcm") return null;
  if (!Number.isFinite(message.pt)) return "an mcm without a publish time (pt)";
  return message.mc == null ? null : wrongIn(message.mc, "mc", wrongInMarket);
}

function wrongInMarket(change: Record<string, unknown>): string | null {
  if (typeof change.id !== "string") return "a market change without an id";
  if (change.marketDefinition != null && !isObject(change.marketDefinition))
    return "a marketDefinition that is no object";
  const runners = (change.marketDefinition as Record<string, unknown> | null | undefined)?.runners;
  const wrong = runners == null ? null : wrongIn(runners, "marketDefinition.runners", wrongInRunner);
  return wrong ?? (change.rc == null ? null : wrongIn(change.rc, "rc", wrongInRunner));
}

function wrongInRunner(runner: Record<string, unknown>): string | null {
  if (typeof runner.id !== "number") return "a runner without an id";
  if (runner.hc != null && typeof runner.hc !== "number") return "a runner whose hc is no number";
  for (const name of ["atb", "atl", "trd", "spb", "spl"])
    if (!isLadder(runner[name], 2)) return `${name} is no list of [price, size]`;
  for (const name of ["batb", "batl", "bdatb", "bdatl"])
    if (!isLadder(runner[name], 3)) return `${name} is no list of [level, price, size]`;
  return null;
}

function isLadder(value: unknown, width: number): boolean {
  const isEntry = (entry: unknown) =>
    Array.isArray(entry) && entry.length === width && entry.every((number) => typeof number === "number");
  return value == null || (Array.isArray(value) && value.every(isEntry));
}

function wrongIn(list: unknown, name: string, wrong: (entry: Record<string, unknown>) => string | null): string | null {
  if (!Array.isArray(list)) return `${name} is no list`;
  for (const entry of list) {
    const found = isObject(entry) ? wrong(entry) : `an entry of ${name} is no object`;
    if (found !== null) return found;
  }
  return null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function excerpt(text: string): string {
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
}

function tooLong(file: string, line: number, bytesMax: number): OddswireError {
  return damaged(
    `${file}: line ${line}`,
    `longer than ${bytesMax} bytes`,
    "split the message, or check that this is a recording",
  );
}

function damaged(where: string, what: string, advice: string): OddswireError {
  return new OddswireError("INVALID_RECORDING", `${where}: ${what}; ${advice}`);
}
