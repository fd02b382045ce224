/**
 * Checks bytes that come in pieces: is this UTF-8 so far? So that a message that cannot become good any more is refused at its first wrong byte,
 * and not when its last one has come. A lead byte says how many follow and, against overlong forms, surrogates and what lies past U+10FFFF, how
 * narrow the first of these is (RFC 3629, section 4).
 */
export class Utf8Checker {
  /** Continuation bytes still to come, and the bounds of the next one. */
  #wanted = 0;
  #low = 0x80;
  #high = 0xbf;

  /** False: nothing that follows can make this UTF-8. */
  push(bytes: Uint8Array): boolean {
    for (const byte of bytes) {
      if (this.#wanted === 0) {
        if (byte >= 0x80 && !this.#lead(byte)) return false;
        continue;
      }
      if (byte < this.#low || byte > this.#high) return false;
      this.#wanted--;
      this.#low = 0x80;
      this.#high = 0xbf;
    }
    return true;
  }

  /** The next bytes begin something else. */
  reset(): void {
    this.#wanted = 0;
    this.#low = 0x80;
    this.#high = 0xbf;
  }

  #lead(byte: number): boolean {
    if (byte < 0xc2 || byte > 0xf4) return false;
    this.#wanted = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    if (byte === 0xe0) this.#low = 0xa0;
    if (byte === 0xed) this.#high = 0x9f;
    if (byte === 0xf0) this.#low = 0x90;
    if (byte === 0xf4) this.#high = 0x8f;
    return true;
  }
}
