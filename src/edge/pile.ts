const EMPTY: Uint8Array = new Uint8Array(0);

/** Bytes that pile up until something is complete: grows with what really came, not with what was announced. */
export class Pile {
  length = 0;
  #bytes: Uint8Array = EMPTY;
  readonly #keepBytesMax: number;

  constructor(keepBytesMax: number) {
    this.#keepBytesMax = keepBytesMax;
  }

  push(part: Uint8Array): void {
    const length = this.length + part.length;
    if (length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(length, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, this.length));
      this.#bytes = larger;
    }
    this.#bytes.set(part, this.length);
    this.length = length;
  }

  with(part: Uint8Array): Uint8Array {
    this.push(part);
    return this.#bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
    if (this.#bytes.length > this.#keepBytesMax) this.#bytes = EMPTY;
  }
}
