/**
 * A cursor over JSON bytes: the few moves that the decoder needs, checked as strictly as JSON.parse.
 *
 * The decoder reads bytes, not strings, because a string made for each message and a tree made from it were most of what a message cost
 * (`npm run bench -- apply` shows today's figure). State is kept in the module, not in an object: one cursor at a time, no re-entry.
 */
export class Malformed extends Error {}

/** Deeper nesting than this is refused: nothing the exchange sends is deeper than 6. */
const DEPTH_MAX = 64;
/** Powers of ten that a double holds exactly. */
export const POWERS = Array.from({ length: 23 }, (_, n) => 10 ** n);

const QUOTE = 34;
const BACKSLASH = 92;

export let bytes: Buffer = Buffer.alloc(0);
/** Where the cursor stands, and where the text ends. */
export let at = 0;
let limit = 0;

/** Whether a string passed over since `watchAscii` had other characters than ASCII in it. */
export let sawOther = false;

export function watchAscii(): void {
  sawOther = false;
}

export function begin(text: Uint8Array, start: number, end: number): void {
  bytes = Buffer.isBuffer(text) ? text : Buffer.from(text.buffer, text.byteOffset, text.byteLength);
  at = start;
  limit = end;
}

/** Forgets the text, so that a large chunk is not kept alive. */
export function finish(): void {
  bytes = EMPTY;
}
const EMPTY = Buffer.alloc(0);

export function fail(what: string): never {
  throw new Malformed(`${what} at byte ${at}`);
}

/** The next byte that is not white space, without stepping over it; -1 at the end. */
export function peek(): number {
  while (at < limit) {
    const c = bytes[at] as number;
    if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return c;
    at++;
  }
  return -1;
}

/** Steps over one byte that must come next. */
export function expect(c: number): void {
  if (peek() !== c) fail(`expected ${JSON.stringify(String.fromCharCode(c))}`);
  at++;
}

/** Steps over `c` if it comes next. */
export function take(c: number): boolean {
  if (peek() !== c) return false;
  at++;
  return true;
}

export function atEnd(): boolean {
  return peek() === -1;
}

/** Moves the cursor: for loops that walk the bytes on their own. What lies behind the end is not the text's. */
export function moveTo(position: number): void {
  if (position > limit) fail("unfinished text");
  at = position;
}

/**
 * Reads a key and its colon. Keys of up to four characters come back packed into one number, first character highest, which is what
 * the decoder switches on; longer ones as -1, with `keyStart` and `keyEnd` saying where they lie.
 */
export let keyStart = 0;
export let keyEnd = 0;
export function key(): number {
  expect(QUOTE);
  const start = at;
  let packed = 0;
  let p = at;
  let c = bytes[p] as number;
  while (c !== QUOTE) {
    if (p >= limit || c < 32) fail("unfinished key");
    if (c === BACKSLASH) return escapedKey(start);
    packed = (packed << 8) | c;
    c = bytes[++p] as number;
  }
  if (p >= limit) fail("unfinished key");
  keyStart = start;
  keyEnd = p;
  at = p + 1;
  if (bytes[at] === 58) at++;
  else expect(58);
  return p - start > 4 ? -1 : packed;
}

/** A key written with escapes is legal but never sent: it is read as a key we do not know. */
function escapedKey(start: number): number {
  at = start - 1;
  skipString();
  keyStart = keyEnd = start;
  expect(58);
  return -1;
}

/** True when the long key just read is `name`. */
export function keyIs(name: string): boolean {
  if (keyEnd - keyStart !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (bytes[keyStart + i] !== name.charCodeAt(i)) return false;
  return true;
}

/** Packs a key of up to four characters as `key` does. */
export function packed(name: string): number {
  let value = 0;
  for (let i = 0; i < name.length; i++) value = (value << 8) | name.charCodeAt(i);
  return value;
}

/** Reads a number. Up to 15 digits are put together exactly; the rest goes through the engine's own parser. */
export function number(): number {
  if (peek() === -1) fail("expected a number");
  const start = at;
  let p = at;
  const negative = bytes[p] === 45;
  if (negative) p++;
  let c = (bytes[p] as number) - 48;
  if (!(c >= 0 && c <= 9) || p >= limit) fail("expected a number");
  const first = p;
  let mantissa = 0;
  while (c >= 0 && c <= 9) {
    mantissa = mantissa * 10 + c;
    c = (bytes[++p] as number) - 48;
  }
  if (p - first > 1 && bytes[first] === 48) fail("a number with a leading zero");
  let digits = p - first;
  let decimals = 0;
  if (c === -2) {
    const point = p;
    c = (bytes[++p] as number) - 48;
    while (c >= 0 && c <= 9) {
      mantissa = mantissa * 10 + c;
      c = (bytes[++p] as number) - 48;
    }
    decimals = p - point - 1;
    if (decimals === 0) fail("a number without digits after its point");
    digits += decimals;
  }
  if (p > limit) fail("unfinished number");
  if (digits > 15 || c === 21 || c === 53) return slowNumber(start, p);
  at = p;
  const value = decimals === 0 ? mantissa : mantissa / (POWERS[decimals] as number);
  return negative ? -value : value;
}

function slowNumber(start: number, from: number): number {
  let p = from;
  while (p < limit && isNumberByte(bytes[p] as number)) p++;
  const text = bytes.toString("latin1", start, p);
  if (!/^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(text)) fail("expected a number");
  at = p;
  return Number(text);
}

function isNumberByte(c: number): boolean {
  return (c >= 48 && c <= 57) || c === 43 || c === 45 || c === 46 || c === 69 || c === 101;
}

/** Reads a string. */
export function string(): string {
  peek();
  const start = at;
  const plain = skipString();
  if (plain) return bytes.toString("latin1", start + 1, at - 1);
  return JSON.parse(bytes.toString("utf8", start, at)) as string;
}

/** Steps over a string, which must begin here; true when it is plain ASCII without escapes. */
export function skipString(): boolean {
  expect(QUOTE);
  let plain = true;
  let p = at;
  for (;;) {
    const c = bytes[p] as number;
    if (p >= limit || c < 32) fail("unfinished string");
    if (c === QUOTE) break;
    if (c === BACKSLASH) {
      plain = false;
      p = skipEscape(p);
    } else {
      if (c >= 128) {
        plain = false;
        sawOther = true;
      }
      p++;
    }
  }
  at = p + 1;
  return plain;
}

function skipEscape(p: number): number {
  const c = bytes[p + 1] as number;
  if (c !== 117) {
    if (p + 1 >= limit || !'"\\/bfnrt'.includes(String.fromCharCode(c))) fail("a bad escape");
    return p + 2;
  }
  if (p + 6 > limit || !/^[0-9a-fA-F]{4}$/.test(bytes.toString("latin1", p + 2, p + 6))) fail("a bad escape");
  return p + 6;
}

export function boolean(): boolean {
  const yes = peek() === 116;
  literal(yes ? "true" : "false");
  return yes;
}

/** Steps over `null` if it comes next: the exchange and its clients write it for "absent". */
export function isNull(): boolean {
  if (bytes[at] !== 110 && peek() !== 110) return false;
  literal("null");
  return true;
}

function literal(word: string): void {
  if (!isWord(word)) fail(`expected ${word}`);
  at += word.length;
}

/** True when these very bytes come next. */
function isWord(word: string): boolean {
  if (at + word.length > limit) return false;
  for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word.charCodeAt(i)) return false;
  return true;
}

/** Steps over a string if it is just this word, quotes included: cheaper than making a string to compare. */
export function takeWord(quoted: string): boolean {
  if (peek() !== QUOTE || !isWord(quoted)) return false;
  at += quoted.length;
  return true;
}

/** Steps over any one value, checking that it is JSON. */
export function skip(depth = 0): void {
  if (depth > DEPTH_MAX) fail("nested too deep");
  const c = peek();
  if (c === 123) skipObject(depth);
  else if (c === 91) skipArray(depth);
  else if (c === QUOTE) skipString();
  else if (c === 116 || c === 102) boolean();
  else if (!isNull()) number();
}

function skipObject(depth: number): void {
  at++;
  if (take(125)) return;
  do {
    key();
    skip(depth + 1);
  } while (take(44));
  expect(125);
}

function skipArray(depth: number): void {
  at++;
  if (take(93)) return;
  do skip(depth + 1);
  while (take(44));
  expect(93);
}
