import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** A file being written; a failure rejects with an error that has a `code` (ENOSPC, EACCES, …). */
export interface Output {
  /** The bytes are the file's until it resolves. */
  write(bytes: Uint8Array): Promise<void>;
  /** Resolves when all of it would outlive a power cut. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A file being read. Synchronous: who reads one has nothing to do before it has. */
export interface Input {
  readonly size: number;
  /** Reads from `at` on into `into`; returns how many bytes came, 0 at the end. */
  read(into: Uint8Array, at: number): number;
  close(): void;
}

/** Files as an argument, so that a test can have a full disk. */
export interface Disk {
  /** An empty file in the place of what was there. Readable by its owner alone. */
  create(path: string): Promise<Output>;
  open(path: string): Input;
  /** Replaces what was there, and resolves when the folder itself is written. */
  rename(from: string, to: string): Promise<void>;
  /** Does nothing where there is none. */
  remove(path: string): Promise<void>;
}

/** The machine's own files. */
export const systemDisk: Disk = {
  async create(path) {
    const file = await open(path, "w", 0o600);
    return {
      async write(bytes) {
        for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at)).bytesWritten;
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  open(path) {
    const file = openSync(path, "r");
    return {
      size: fstatSync(file).size,
      read: (into, at) => readSync(file, into, 0, into.length, at),
      close: () => closeSync(file),
    };
  },
  async rename(from, to) {
    await rename(from, to);
    const folder = await open(dirname(to), "r");
    await folder.sync().finally(() => folder.close());
  },
  remove: (path) => rm(path, { force: true }),
};
