const QUOTE = 34;
const BACKSLASH = 92;
const COLON = 58;
const COMMA = 44;
const OPEN = 123;
const CLOSE = 125;
const LIST = 91;
const ZERO = 48;

/** What of a message's head somebody looks at who looks at many; the rest is passed over. Used again and again. */
export class Head {
  op = "";
  ct = "";
  segment = "";
  pt = 0;
  status = 0;
  /** Where the clk's text lies; 0, 0: there is none. */
  clkFrom = 0;
  clkTo = 0;
  initialFrom = 0;
  initialTo = 0;
  /** Where the first entry of `mc` begins; -1: there are none. */
  changes = -1;

  /**
   * Reads the head of a message without decoding any of its changes, in any order of keys. False: it is not a flat head with `mc` at its end,
   * and somebody must look more closely.
   */
  read(bytes: Uint8Array, from: number, to: number): boolean {
    this.op = this.ct = this.segment = "";
    this.pt = this.status = this.clkFrom = this.clkTo = this.initialFrom = this.initialTo = 0;
    this.changes = -1;
    if (bytes[from] !== OPEN) return false;
    let at = from + 1;
    while (at < to && bytes[at] === QUOTE) {
      const key = at + 1;
      let end = key;
      while (end < to && bytes[end] !== QUOTE) end++;
      if (bytes[end + 1] !== COLON) return false;
      at = end + 2;
      const first = bytes[at] as number;
      if (first === LIST) {
        if (end - key !== 2 || bytes[key] !== 109 || bytes[key + 1] !== 99 || bytes[to - 1] !== CLOSE) return false;
        this.changes = at + 1;
        return true;
      }
      let valueEnd = at + 1;
      if (first === QUOTE) {
        while (valueEnd < to && bytes[valueEnd] !== QUOTE) if (bytes[valueEnd++] === BACKSLASH) return false;
        valueEnd++;
      } else if (first === OPEN) return false;
      else while (valueEnd < to && bytes[valueEnd] !== COMMA && bytes[valueEnd] !== CLOSE) valueEnd++;
      this.#keep(bytes, key, end, at, valueEnd);
      if (bytes[valueEnd] === CLOSE) return valueEnd === to - 1;
      if (bytes[valueEnd] !== COMMA) return false;
      at = valueEnd + 1;
    }
    return false;
  }

  /** Keys are told apart by length and letters: a string a key would cost more than all the rest. */
  #keep(bytes: Uint8Array, key: number, keyEnd: number, at: number, end: number): void {
    const first = bytes[key];
    switch (keyEnd - key) {
      case 2:
        if (first === 111) this.op = word(bytes, at + 1, end - 1);
        else if (first === 99) this.ct = word(bytes, at + 1, end - 1);
        else if (first === 112) this.pt = digits(bytes, at, end);
        break;
      case 3:
        if (first === 99 && bytes[at] === QUOTE) [this.clkFrom, this.clkTo] = [at + 1, end - 1];
        break;
      case 6:
        if (first === 115) this.status = digits(bytes, at, end);
        break;
      case 10:
        if (first === 105 && bytes[at] === QUOTE) [this.initialFrom, this.initialTo] = [at + 1, end - 1];
        break;
      case 11:
        if (first === 115 && bytes[key + 1] === 101) this.segment = word(bytes, at + 1, end - 1);
    }
  }
}

const WORDS: readonly (readonly [word: string, bytes: Uint8Array])[] = [
  "mcm",
  "status",
  "connection",
  "HEARTBEAT",
  "SUB_IMAGE",
  "RESUB_DELTA",
  "SEG_START",
  "SEG",
  "SEG_END",
].map((text) => [text, new TextEncoder().encode(text)]);

/** Those that come all the time are not made anew. */
function word(bytes: Uint8Array, from: number, to: number): string {
  for (const [text, known] of WORDS) if (known.length === to - from && isAt(bytes, from, known)) return text;
  return text(bytes, from, to);
}

function isAt(bytes: Uint8Array, from: number, known: Uint8Array): boolean {
  for (let i = 0; i < known.length; i++) if (bytes[from + i] !== known[i]) return false;
  return true;
}

/** Everything that is sent is ASCII. */
export function text(bytes: Uint8Array, from: number, to: number): string {
  return String.fromCharCode(...bytes.subarray(from, to));
}

function digits(bytes: Uint8Array, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = (bytes[i] as number) - ZERO;
    if (digit < 0 || digit > 9) return value; // null, or a fraction that we have no use for
    value = value * 10 + digit;
  }
  return value;
}

/** A market's id as a number, from its first letter up to its quote: two different ids of digits never give the same. */
export function marketNumber(bytes: Uint8Array, from: number): number {
  let value = 0;
  for (let i = from; i < from + ID_BYTES_MAX && bytes[i] !== QUOTE; i++) {
    const byte = bytes[i] as number;
    // 48 for the point, 0 to 9 for digits, and letters beyond; a double holds 15 digits exactly.
    value = (value * 10 + byte - ZERO) % NUMBER_MAX;
  }
  return value;
}

const ID_BYTES_MAX = 64;
const NUMBER_MAX = 2 ** 52;
