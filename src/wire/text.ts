const FIRST_BYTES = 16 * 1024;
const ZERO = 48;

/** JSON text in ASCII only, other characters as `\u` escapes: real clients decode each read on its own and fail on a character cut in two. */
export function asciiJson(value: unknown): string {
  return escapeToAscii(JSON.stringify(value));
}

/** The same JSON text with other characters than ASCII written as `\u` escapes. */
export function escapeToAscii(json: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is ASCII itself
  return json.replace(/[^\x00-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Where text is put together as bytes: a buffer that grows and is used again. ASCII only. */
export class TextWriter {
  bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  length = 0;

  clear(): void {
    this.length = 0;
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.bytes.length * 2, this.length + count));
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
  }

  byte(c: number): void {
    if (this.length === this.bytes.length) this.reserve(1);
    this.bytes[this.length++] = c;
  }

  /** Short words go faster byte by byte than through the engine's own copy. */
  ascii(text: string): void {
    const { length } = text;
    this.reserve(length);
    if (length > 64) {
      this.bytes.write(text, this.length, "latin1");
      this.length += length;
      return;
    }
    for (let i = 0; i < length; i++) this.bytes[this.length++] = text.charCodeAt(i);
  }

  copy(from: Uint8Array, start: number, end: number): void {
    this.reserve(end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
  }

  /** A number as JSON, exactly: hundredths by hand, as nearly all are; the rest by the engine; NaN and infinities as the exchange's strings. */
  number(value: number): void {
    const hundredths = Math.round(value * 100);
    if (hundredths / 100 !== value || hundredths < 0 || hundredths > 9e14) {
      this.ascii(Number.isFinite(value) ? String(value) : `"${value}"`);
      return;
    }
    const whole = Math.floor(hundredths / 100);
    const cents = hundredths - whole * 100;
    this.#digits(whole);
    if (cents === 0) return;
    this.byte(46);
    const tenths = Math.floor(cents / 10);
    this.byte(ZERO + tenths);
    if (cents !== tenths * 10) this.byte(ZERO + cents - tenths * 10);
  }

  #digits(value: number): void {
    this.reserve(20);
    let digits = 1;
    for (let power = 10; power <= value; power *= 10) digits++;
    let rest = value;
    for (let i = this.length + digits - 1; i >= this.length; i--) {
      const tenth = Math.floor(rest / 10);
      this.bytes[i] = ZERO + rest - tenth * 10;
      rest = tenth;
    }
    this.length += digits;
  }
}
