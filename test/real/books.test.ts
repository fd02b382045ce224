import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { BookState } from "../../src/sim/naive.ts";
import { betfairlightweight, recordings } from "../parts.ts";
import { bookDifference, marketRecordings, Recorded } from "./recorded.ts";

const folder = recordings();
const python = betfairlightweight();
const files = folder.kind === "present" ? await marketRecordings(folder.path) : [];

/** What read_file.py prints for a file. */
interface Reading {
  readonly file: string;
  readonly states: readonly { readonly messages: number; readonly books: readonly BookState[] }[];
}

describe.skipIf(folder.kind === "missing" || python.kind === "missing")("the real betfairlightweight", () => {
  test("has recordings to read", () => {
    expect(files.length).toBeGreaterThan(0);
  });

  for (const file of files)
    test(`holds the naive book's books all along ${file}`, async () => {
      const recorded = await Recorded.read(`${folder.path}/${file}`);
      const reading = read(`${folder.path}/${file}`);
      expect(reading.states.at(-1)?.messages).toBe(recorded.messages.length);
      for (const { messages, books } of reading.states)
        expect([messages, bookDifference(recorded.states(messages), books)]).toEqual([messages, null]);
    }, 60_000);

  test.skipIf(files.length === 0)("is not taken for equal when one price differs", async () => {
    const path = `${folder.path}/${files.find((file) => file.includes("half-a")) ?? files[0]}`;
    const books = structuredClone(read(path).states.at(-1)?.books) as BookState[];
    const runner = books.flatMap((book) => book.runners).find((candidate) => candidate.atb.length > 0);
    (runner?.atb[0] as unknown as number[])[1] += 0.01;
    expect(bookDifference((await Recorded.read(path)).states(), books)).toContain("atb[0][1]");
  });
});

function read(path: string): Reading {
  const script = fileURLToPath(new URL("read_file.py", import.meta.url));
  const done = spawnSync(python.path, [script, path], { encoding: "utf8", maxBuffer: 256 * 1024 * 1024 });
  if (done.status !== 0) throw new Error(`read_file.py failed: ${done.stderr}`);
  return JSON.parse(done.stdout);
}
