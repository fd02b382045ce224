import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LineReader } from "./lines.ts";

/** What a reader makes of these chunks: its lines, and whether it went to the end. */
function read(chunks: readonly Uint8Array[], max = 1000): { lines: string[]; whole: boolean } {
  const reader = new LineReader(max);
  const lines: string[] = [];
  const whole = chunks.every((chunk) =>
    reader.push(chunk, (bytes, start, end) => void lines.push(Buffer.from(bytes.subarray(start, end)).toString())),
  );
  return { lines, whole };
}

function cut(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] as number;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

describe("a line reader", () => {
  test("gives the same lines however the bytes are cut, with CRLF or LF", () => {
    const line = fc.string().map((text) => text.replace(/[\r\n]/g, ""));
    const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 });
    fc.assert(
      fc.property(fc.array(line), sizes, fc.constantFrom("\r\n", "\n"), (lines, by, end) => {
        const bytes = Buffer.from(lines.map((text) => text + end).join(""));
        expect(read(cut(bytes, by), 10_000)).toEqual({ lines, whole: true });
      }),
    );
  });

  test("hands nothing on of a line that is not ended, nor of one beyond the bound", () => {
    expect(read([Buffer.from("abc")])).toEqual({ lines: [], whole: true });
    expect(read([Buffer.from("ok\nabcdef\n")], 5)).toEqual({ lines: ["ok"], whole: false });
    expect(read([Buffer.from("abc"), Buffer.from("def")], 5)).toEqual({ lines: [], whole: false });
    expect(read([Buffer.from("abc"), Buffer.from("de\n")], 5)).toEqual({ lines: ["abcde"], whole: true });
  });

  test("forgets a line begun when the stream starts anew", () => {
    const reader = new LineReader(100);
    const lines: string[] = [];
    const keep = (bytes: Uint8Array, start: number, end: number) =>
      void lines.push(Buffer.from(bytes.subarray(start, end)).toString());
    reader.push(Buffer.from("half"), keep);
    reader.reset();
    reader.push(Buffer.from("whole\n"), keep);
    expect(lines).toEqual(["whole"]);
  });
});
