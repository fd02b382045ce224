import type { Disk } from "../src/base/disk.ts";

/** A disk in memory, as small and as unwilling as a test wants it. */
export class MemoryDisk implements Disk {
  readonly files = new Map<string, Buffer>();
  /** All files together; beyond it ENOSPC. */
  bytesMax = Number.POSITIVE_INFINITY;
  /** What every attempt to make a file fails with. */
  refuses: string | null = null;
  /** Loses the power at the next rename: what was not synced is torn. */
  readonly #synced = new Map<string, number>();

  async create(path: string) {
    if (this.refuses !== null) throw fault(this.refuses);
    this.files.set(path, Buffer.alloc(0));
    this.#synced.set(path, 0);
    return {
      write: async (bytes: Uint8Array) => {
        const used = [...this.files.values()].reduce((sum, { length }) => sum + length, 0);
        const room = Math.max(0, Math.min(bytes.length, this.bytesMax - used));
        this.files.set(path, Buffer.concat([this.get(path), bytes.subarray(0, room)]));
        if (room < bytes.length) throw fault("ENOSPC");
      },
      sync: async () => void this.#synced.set(path, this.get(path).length),
      close: async () => {},
    };
  }

  open(path: string) {
    const file = this.files.get(path);
    if (file === undefined) throw fault("ENOENT");
    return {
      size: file.length,
      read: (into: Uint8Array, at: number) => file.copy(into, 0, at),
      close() {},
    };
  }

  async rename(from: string, to: string): Promise<void> {
    const file = this.files.get(from);
    if (file === undefined) throw fault("ENOENT");
    if (from.endsWith(".tmp") && this.#synced.get(from) !== file.length)
      throw new Error("renamed before it was synced");
    this.files.delete(from);
    this.files.set(to, file);
  }

  async remove(path: string): Promise<void> {
    this.files.delete(path);
  }

  get(path: string): Buffer {
    return this.files.get(path) as Buffer;
  }
}

function fault(code: string): Error {
  return Object.assign(new Error(`${code}: the disk says no`), { code });
}
