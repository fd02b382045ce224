import { closeSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import type { Account } from "../tenancy/tokens.ts";

/** How many connections each account has open. */
export interface ConnectionCounts {
  /** One more, or one less; how many there are then, at every process that counts with this one. */
  add(key: string, by: 1 | -1): number;
}

/** What an account is counted by. */
export function keyOf({ tenant, name }: Pick<Account, "tenant" | "name">): string {
  return JSON.stringify([tenant, name]);
}

/** Of a process that is alone. */
export class OwnCounts implements ConnectionCounts {
  readonly #counts = new Map<string, number>();

  add(key: string, by: 1 | -1): number {
    const open = (this.#counts.get(key) ?? 0) + by;
    if (open > 0) this.#counts.set(key, open);
    else this.#counts.delete(key);
    return open;
  }
}

const CELL_BYTES = 4;

/** Where several processes of one machine keep how many connections each account has open at which of them. */
export interface CountsPlace {
  readonly path: string;
  /** Accounts by key, each once; the same in every process. */
  readonly keys: readonly string[];
  readonly processes: number;
}

/** Makes the file anew, all zero. */
export function createCounts({ path, keys, processes }: CountsPlace): void {
  const file = openSync(path, "w", 0o600);
  ftruncateSync(file, keys.length * processes * CELL_BYTES);
  closeSync(file);
}

/** Forgets what a process counted that is dead. */
export function clearCounts({ path, keys, processes }: CountsPlace, process: number): void {
  const file = openSync(path, "r+");
  const zero = Buffer.alloc(CELL_BYTES);
  for (let n = 0; n < keys.length; n++) writeSync(file, zero, 0, CELL_BYTES, (n * processes + process) * CELL_BYTES);
  closeSync(file);
}

/**
 * Counts over all processes of a gateway, so that an account's limit is one limit: a row of cells for each account, a cell for each process, which writes that alone.
 * It writes before it reads, so of two that take the last place at once both see one too many, and there are never more in than the limit says. A connection costs two
 * calls for a few bytes of the page cache, some microseconds each, at its begin and its end.
 */
export class SharedCounts implements ConnectionCounts {
  readonly #file: number;
  readonly #rows: ReadonlyMap<string, number>;
  readonly #own: Int32Array;
  readonly #row: Int32Array;
  readonly #cell = new Int32Array(1);
  readonly #process: number;

  /** `process`: which of them this is, from 0 on. */
  constructor({ path, keys, processes }: CountsPlace, process: number) {
    this.#file = openSync(path, "r+");
    this.#rows = new Map(keys.map((key, n) => [key, n]));
    this.#own = new Int32Array(keys.length);
    this.#row = new Int32Array(processes);
    this.#process = process;
  }

  add(key: string, by: 1 | -1): number {
    const row = this.#rows.get(key);
    if (row === undefined) throw new Error(`nobody counts connections of ${key}`);
    const start = row * this.#row.length;
    this.#cell[0] = this.#own[row] = (this.#own[row] as number) + by;
    writeSync(this.#file, this.#cell, 0, CELL_BYTES, (start + this.#process) * CELL_BYTES);
    readSync(this.#file, this.#row, 0, this.#row.byteLength, start * CELL_BYTES);
    return this.#row.reduce((sum, count) => sum + count, 0);
  }

  stop(): void {
    closeSync(this.#file);
  }
}
