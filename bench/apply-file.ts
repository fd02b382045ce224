/**
 * Decodes and applies one recording again and again in this process, and prints what the fastest whole round cost: the process's own user+sys time,
 * as bench/bflw.py does beside it. Each round begins without a book: before its clock starts, an empty image drops those of the round before.
 * usage: apply-file.ts SECONDS FILE
 */
import { ChangeBatch } from "../src/market/batch.ts";
import { Cache } from "../src/market/cache.ts";
import { recordingMessages } from "../src/sim/recording.ts";
import { decodeServerLine } from "../src/wire/esa.ts";
import { LineReader } from "../src/wire/lines.ts";

const CHUNK_BYTES = 64 * 1024;
const LINE_BYTES_MAX = 16 * 1024 * 1024;

const [seconds, path] = [Number(process.argv[2]), process.argv[3] as string];
const lines: string[] = [];
for await (const { message } of recordingMessages(path)) if (message.op === "mcm") lines.push(JSON.stringify(message));
const bytes = Buffer.from(lines.map((line) => `${line}\r\n`).join(""));
const cache = new Cache({
  epoch: "bench",
  clock: { monotonic: () => performance.now() },
  retentionMs: 600_000,
  forgetMs: 600_000,
});
const batch = new ChangeBatch();
const rounds: number[] = [];
while (rounds.length < 2 || rounds.reduce((sum, round) => sum + round, 0) < seconds) rounds.push(round());
const best = Math.min(...rounds);
console.log(
  JSON.stringify({
    messages: lines.length,
    bytes: bytes.length,
    messagesPerSecond: lines.length / best,
    megabytesPerSecond: bytes.length / best / 1e6,
  }),
);

/** One round over the file, as it would come from a socket; CPU seconds. */
function round(): number {
  batch.clear();
  batch.kind = "image";
  cache.apply(batch);
  const reader = new LineReader(LINE_BYTES_MAX);
  let applied = 0;
  const before = process.cpuUsage();
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    reader.push(bytes.subarray(at, at + CHUNK_BYTES), (chunk, start, end) => {
      const { kind } = decodeServerLine(chunk, start, end, batch);
      if (kind !== "change") throw new Error(`a message that is ${kind}`);
      cache.apply(batch);
      applied++;
    });
  }
  if (applied !== lines.length) throw new Error(`${applied} of ${lines.length} messages applied`);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
