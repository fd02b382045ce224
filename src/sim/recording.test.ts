import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { pack } from "tar-stream";
import type { OddswireError } from "../base/errors.ts";
import { recordingMessages } from "./recording.ts";

const folder = mkdtempSync(join(tmpdir(), "oddswire-recording-"));
afterAll(() => rmSync(folder, { recursive: true }));

const LINES = [
  '{"op":"mcm","pt":1,"clk":"a","mc":[{"id":"1.1","img":true,"rc":[{"id":7,"atb":[[1.5,10]]}]}]}',
  '{"op":"mcm","pt":2,"clk":"b","mc":[{"id":"1.1","rc":[{"id":7,"ltp":1.5}]},{"id":"1.2","tv":3}]}',
  '{"op":"ccm","pt":3,"cc":[]}',
];
const TEXT = `${LINES.join("\n")}\n`;
/** TEXT, by bzip2 1.0.8. */
const BZ2 = Buffer.from(
  "QlpoOTFBWSZTWbDQmWgAAGhbgAAQEAV6kAAKPq7XCiAAlISRMoh6j1GjRiaekGJQAMgNNA9RzXCPJovgdTIdHxIfUi6RE7c0kg5CAYMWBl7tb1DI2Y0zwF8KytXrDphiBIhxa40ZbSs8tC5AOU3RxSBXJHZMEsuFydDbq+Pea4WMmDmIE1wvxdyRThQkLDQmWgA=",
  "base64",
);
/** one.txt (TEXT, deflated) and one.txt.bz2 (stored), by Info-ZIP 3.0. */
const ZIP = Buffer.from(
  "UEsDBBQAAgAIAHNBeF2FQanudgAAANoAAAAHAAAAb25lLnR4dG3MQQqDUAwE0H2PMesgjSJCriIu9FtE6qciaTef3t1xobalZJWZ5CU8ZhhiiBDMDlNBmO6MWgYxwOqEseeumTIZ4wDz5XkTLGdZCVrvuNaalaLXpnlvc0m/er7r3V/9m5yczwQpyXGW88xfsOLDD4df0N8MditQSwMECgACAAAAc0F4XVIvVLOSAAAAkgAAAAsAAABvbmUudHh0LmJ6MkJaaDkxQVkmU1mw0JloAABoW4AAEBAFepAACj6u1wogAJSEkTKIeo9Ro0YmnpBiUADIDTQPUc1wjyaL4HUyHR8SH1IukRO3NJIOQgGDFgZe7W9QyNmNM8BfCsrV6w6YYgSIcWuNGW0rPLQuQDlN0cUgVyR2TBLLhcnQ26vj3muFjJg5iBNcL8XckU4UJCw0JloAUEsBAh4DFAACAAgAc0F4XYVBqe52AAAA2gAAAAcAAAAAAAAAAQAAAKSBAAAAAG9uZS50eHRQSwECHgMKAAIAAABzQXhdUi9Us5IAAACSAAAACwAAAAAAAAAAAAAApIGbAAAAb25lLnR4dC5iejJQSwUGAAAAAAIAAgBuAAAAVgEAAAAA",
  "base64",
);

let files = 0;
function file(content: string | Uint8Array, name = "file"): string {
  const path = join(folder, `${++files}-${name}`);
  writeFileSync(path, content);
  return path;
}

async function tar(members: Record<string, string | Uint8Array>): Promise<Uint8Array> {
  const packed = pack();
  packed.entry({ name: "folder/", type: "directory" });
  for (const [name, content] of Object.entries(members)) packed.entry({ name }, Buffer.from(content as string));
  packed.finalize();
  return Buffer.concat(await Array.fromAsync(packed as AsyncIterable<Uint8Array>));
}

async function read(path: string, lineBytesMax?: number): Promise<string[]> {
  const found: string[] = [];
  for await (const { line, message } of recordingMessages(path, lineBytesMax))
    found.push(`${line} ${JSON.stringify(message)}`);
  return found;
}
const expected = LINES.map((line, index) => `${index + 1} ${line}`);

async function refusal(path: string, lineBytesMax?: number): Promise<OddswireError> {
  return read(path, lineBytesMax).then(
    () => expect.unreachable(),
    (error) => error,
  );
}

describe("a recording reads the same", () => {
  test("plain, with LF, with CRLF, without a last line end, after a byte order mark, with blank lines", async () => {
    expect(await read(file(TEXT))).toEqual(expected);
    expect(await read(file(TEXT.replaceAll("\n", "\r\n")))).toEqual(expected);
    expect(await read(file(TEXT.trimEnd()))).toEqual(expected);
    expect(await read(file(`\ufeff${TEXT}\n\r\n`))).toEqual(expected);
  });

  test("as .gz, also of several members", async () => {
    expect(await read(file(gzipSync(TEXT)))).toEqual(expected);
    const two = Buffer.concat([
      gzipSync(`${LINES[0]}\n${LINES[1]!.slice(0, 9)}`),
      gzipSync(`${LINES[1]!.slice(9)}\n${LINES[2]}`),
    ]);
    expect(await read(file(two))).toEqual(expected);
  });

  test("as .bz2, also of several streams", async () => {
    expect(await read(file(BZ2))).toEqual(expected);
    expect((await read(file(Buffer.concat([BZ2, BZ2])))).length).toBe(6);
  });

  test("as .zip of several members, compressed or not", async () => {
    expect(await read(file(ZIP))).toEqual([...expected, ...expected]);
  });

  test("as .tar of any of these, and that in a .gz, whatever the name", async () => {
    const all = await tar({
      "folder/1.txt": TEXT,
      "2.gz": gzipSync(TEXT),
      "3.bz2": BZ2,
      "4.zip": ZIP,
      "._1.txt": "of a Mac",
    });
    const five = [1, 2, 3, 4, 5].flatMap(() => expected);
    expect(await read(file(all, "all.tar"))).toEqual(five);
    expect(await read(file(gzipSync(all), "all"))).toEqual(five);
  });

  test("when a message is spread over lines", async () => {
    const spread = `${LINES[0]}\n${JSON.stringify(JSON.parse(LINES[1]!), null, 2)}\n${LINES[2]}\n`;
    const found = await read(file(spread));
    expect(found.map((text) => text.slice(text.indexOf(" ") + 1))).toEqual(LINES);
    expect(found[2]).toStartWith(`${spread.split("\n").length - 1} `);
  });
});

describe("what is no recording is refused with a code, the file, the line and what to do", () => {
  test("no file, or a folder", async () => {
    expect(await refusal(join(folder, "none"))).toMatchObject({ code: "FILE_NOT_FOUND" });
    expect(await refusal(folder)).toMatchObject({ code: "FILE_NOT_FOUND" });
  });

  test("half of an archive of any kind", async () => {
    const text = LINES.join("\n").repeat(500);
    for (const whole of [BZ2, ZIP, gzipSync(text), await tar({ "1.txt": text })]) {
      const path = file(whole.subarray(0, whole.length >> 1));
      expect(await refusal(path)).toMatchObject({ code: "INVALID_RECORDING", message: expect.stringContaining(path) });
    }
  });

  test("a flipped bit in an archive with a checksum", async () => {
    for (const whole of [BZ2, gzipSync(TEXT), ZIP.subarray()]) {
      const damaged = Buffer.from(whole);
      damaged[60]! ^= 4;
      expect(await refusal(file(damaged))).toMatchObject({ code: "INVALID_RECORDING" });
    }
  });

  test("a line in the middle that is not JSON, or no message, or has no end", async () => {
    const wrongs = {
      nonsense: "not JSON",
      '{"op":"mcm"': "not JSON",
      "[1]": "no op",
      '{"op":"mcm","mc":[]}': "publish time",
      '{"op":"mcm","pt":1,"mc":7}': "mc is no list",
      '{"op":"mcm","pt":1,"mc":[{"tv":1}]}': "without an id",
      '{"op":"mcm","pt":1,"mc":[{"id":"1.1","rc":[{"id":1,"atb":[[1]]}]}]}': "atb",
      '{"op":"mcm","pt":1,"mc":[{"id":"1.1","rc":[{"id":1,"batl":[[1,2]]}]}]}': "batl",
      "{": "no end",
    };
    for (const [wrong, said] of Object.entries(wrongs)) {
      const error = await refusal(file(`${LINES[0]}\n${wrong}\n${LINES[1]}\n`));
      expect(error.code).toBe("INVALID_RECORDING");
      expect(error.message).toContain("line 2");
      expect(error.message).toContain(said);
    }
  });

  test("a line over the limit, wherever it is cut into chunks", async () => {
    const long = `${LINES[0]}\n${" ".repeat(200_000)}\n`;
    expect(await refusal(file(long), 100_000)).toMatchObject({
      message: expect.stringContaining("line 2: longer than 100000"),
    });
    expect(await refusal(file(`{\n${`${" ".repeat(90)}\n`.repeat(2000)}`), 100_000)).toMatchObject({
      code: "INVALID_RECORDING",
    });
    expect((await read(file(long.trimEnd()), 100)).length).toBe(1);
  });
});

test("lines come out whole however the bytes were cut", async () => {
  const { archiveMembers } = await import("./archive.ts");
  const words = fc.array(fc.stringMatching(/^[a-z]{0,90000}$/), { maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(words, async (texts) => {
      const wanted = texts.map((text) => JSON.stringify({ op: "x", text }));
      const path = file(gzipSync(wanted.join("\n")), "cut.gz");
      expect((await read(path)).map((found) => found.slice(found.indexOf(" ") + 1))).toEqual(wanted);
      for await (const member of archiveMembers(path)) expect(member.name).toBe(path);
    }),
    { numRuns: 30 },
  );
});
