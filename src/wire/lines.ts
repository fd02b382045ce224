/** Calls `onLine` with where a line lies, without its end; the bytes are the callee's only for the length of the call. */
export type OnLine = (bytes: Uint8Array, start: number, end: number) => void;

const LF = 10;
const CR = 13;
/** A buffer that a long line made larger than this is let go once the line is done. */
const KEEP_BYTES_MAX = 256 * 1024;
/** The first buffer of a line that comes in pieces; most connections never need one. */
const FIRST_BYTES = 4096;
const NOTHING = Buffer.alloc(0);

/**
 * Cuts a byte stream into lines ended by CRLF (a bare LF will do). A line that lies within one chunk is handed on where it lies;
 * only one that is split over chunks is copied together, into a buffer that grows up to the bound.
 */
export class LineReader {
  readonly #lineBytesMax: number;
  #partial = NOTHING;
  #length = 0;

  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax;
  }

  /** Takes the next chunk. False: a line is longer than the bound, and nothing of it will be handed on; the stream is of no more use. */
  push(chunk: Uint8Array, onLine: OnLine): boolean {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(LF, start);
      if (end < 0) return this.#keep(chunk, start);
      if (this.#length === 0) {
        if (end - start > this.#lineBytesMax) return false;
        onLine(chunk, start, withoutCr(chunk, start, end));
      } else {
        if (!this.#append(chunk, start, end)) return false;
        const length = this.#length;
        this.#length = 0;
        onLine(this.#partial, 0, withoutCr(this.#partial, 0, length));
        if (this.#partial.length > KEEP_BYTES_MAX) this.#partial = NOTHING;
      }
      start = end + 1;
    }
  }

  /** Forgets a line begun: the stream starts anew. */
  reset(): void {
    this.#length = 0;
  }

  #keep(chunk: Uint8Array, start: number): boolean {
    return start === chunk.length || this.#append(chunk, start, chunk.length);
  }

  #append(chunk: Uint8Array, start: number, end: number): boolean {
    const length = this.#length + end - start;
    if (length > this.#lineBytesMax) return false;
    if (length > this.#partial.length) this.#grow(length);
    this.#partial.set(chunk.subarray(start, end), this.#length);
    this.#length = length;
    return true;
  }

  #grow(length: number): void {
    const larger = Buffer.allocUnsafeSlow(
      Math.min(this.#lineBytesMax, Math.max(length, this.#partial.length * 2, FIRST_BYTES)),
    );
    larger.set(this.#partial.subarray(0, this.#length));
    this.#partial = larger;
  }
}

function withoutCr(bytes: Uint8Array, start: number, end: number): number {
  return end > start && bytes[end - 1] === CR ? end - 1 : end;
}
