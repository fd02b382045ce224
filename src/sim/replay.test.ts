import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { OddswireError } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { bunDial, bunListen } from "../edge/sockets.ts";
import { VirtualClock } from "./clock.ts";
import { SimExchange } from "./exchange.ts";
import { Visitor } from "./exchange-visitor.ts";
import { firstDifference, type MarketChange, NaiveBook } from "./naive.ts";
import { type RecordedMessage, type RecordingMessage, recordingMessages } from "./recording.ts";
import { Replay, type ReplayOptions, type ReplayProgress } from "./replay.ts";

const OPTIONS: ReplayOptions = { files: ["a"], order: "in turn", speed: 1, loop: false, rewritePt: false };
const RECORDINGS = process.env.ODDSWIRE_RECORDINGS ?? join(import.meta.dir, "../../../shared/recordings");

interface Heard {
  readonly at: number;
  readonly pt: number;
  readonly changes: readonly MarketChange[];
}

/** A replay of made-up files on a virtual clock. */
function scene(files: Record<string, RecordingMessage[]>, options: Partial<ReplayOptions>) {
  const clock = new VirtualClock();
  const heard: Heard[] = [];
  const progress: ReplayProgress[] = [];
  const replay = new Replay(
    { ...OPTIONS, ...options },
    {
      clock,
      publish: (pt, changes) => heard.push({ at: clock.monotonic(), pt, changes }),
      onProgress: (each) => progress.push(each),
      async *read(file): AsyncGenerator<RecordedMessage> {
        for (const [line, message] of (files[file] as RecordingMessage[]).entries()) yield { file, line, message };
      },
    },
  );
  const run = replay.run();
  /** Lets virtual time pass, with turns for promises between. */
  const pass = async (ms: number) => {
    for (const until = clock.monotonic() + ms; clock.monotonic() < until; clock.advance(Math.min(10, ms))) await turn();
    await turn();
  };
  return { clock, heard, progress, replay, run, pass };
}

async function turn(): Promise<void> {
  for (let i = 0; i < 200; i++) await Promise.resolve();
}

function mcm(pt: number, ...ids: string[]): RecordingMessage {
  return { op: "mcm", pt, mc: ids.map((id) => ({ id, tv: pt })) };
}

describe("a replay", () => {
  test("keeps the recording's pace, times its speed", async () => {
    const { heard, pass, clock } = scene({ a: [mcm(1_000, "1"), mcm(2_000, "1"), mcm(5_000, "1")] }, { speed: 10 });
    await pass(1_000);
    expect(heard.map(({ at }) => at)).toEqual([0, 100, 400]);
    expect(heard.map(({ pt }) => pt)).toEqual([1_000, 2_000, 5_000]);
    expect(clock.monotonic()).toBe(1_000);
  });

  test("shortens silences when told to", async () => {
    const { heard, pass } = scene({ a: [mcm(0, "1"), mcm(9_000_000, "1"), mcm(9_000_100, "1")] }, { gapMsMax: 500 });
    await pass(1_000);
    expect(heard.map(({ at }) => at)).toEqual([0, 500, 600]);
  });

  test("goes as quick as it is taken at speed Infinity or 0, and skips what is no mcm", async () => {
    for (const speed of [0, Number.POSITIVE_INFINITY]) {
      const { heard, run, pass } = scene(
        { a: [mcm(1, "1"), { op: "ccm", pt: 2 }, mcm(99_999_999, "1", "2")] },
        { speed },
      );
      await pass(20);
      expect(await run).toEqual({ file: "a", messages: 2, changes: 3, pt: 99_999_999, round: 1 });
      expect(heard.map(({ at }) => at)).toEqual([0, 0]);
    }
  });

  test("gives others a turn between many messages", async () => {
    const many = Array.from({ length: 200 }, (_, i) => mcm(i, "1"));
    const { heard } = scene({ a: many }, { speed: 0 });
    await turn();
    await turn();
    expect(heard.length).toBeLessThan(64);
  });

  test("rewrites publish times to now when told to", async () => {
    const { heard, pass, clock } = scene({ a: [mcm(1, "1"), mcm(101, "1")] }, { rewritePt: true });
    const began = clock.wall();
    await pass(200);
    expect(heard.map(({ pt }) => pt - began)).toEqual([0, 100]);
  });

  test("plays files in turn, each at its own time, or merged by publish time", async () => {
    const files = { a: [mcm(1_000, "a"), mcm(1_200, "a")], b: [mcm(900, "b"), mcm(1_100, "b")] };
    const names = (heard: Heard[]) => heard.map(({ changes }) => changes[0]?.id).join("");
    const inTurn = scene(files, { files: ["a", "b"] });
    await inTurn.pass(1_000);
    expect(names(inTurn.heard)).toBe("aabb");
    expect(inTurn.heard.map(({ at }) => at)).toEqual([0, 200, 200, 400]);
    const merged = scene(files, { files: ["a", "b"], order: "merged" });
    await merged.pass(1_000);
    expect(names(merged.heard)).toBe("baba");
    expect(merged.heard.map(({ at }) => at)).toEqual([0, 100, 200, 300]);
  });

  test("in a loop begins anew with images, and time goes on", async () => {
    const { heard, pass, replay, run } = scene({ a: [mcm(1, "1", "2"), mcm(101, "1")] }, { loop: true });
    await pass(350);
    replay.stop();
    expect((await run).round).toBeGreaterThan(2);
    expect(heard.slice(0, 4).map(({ changes }) => changes.map(({ img }) => img === true))).toEqual([
      [false, false],
      [false],
      [true, true],
      [false],
    ]);
    expect(heard.map(({ pt }) => pt)).toEqual(heard.map(({ pt }) => pt).sort((a, b) => a - b));
  });

  test("of nothing ends, even in a loop", async () => {
    const { run } = scene({ a: [] }, { loop: true });
    expect(await run).toMatchObject({ messages: 0 });
  });

  test("tells how far it is", async () => {
    const { progress, pass } = scene({ a: Array.from({ length: 11 }, (_, i) => mcm(i * 100, "1")) }, {});
    await pass(1_100);
    expect(progress.map(({ messages }) => messages)).toEqual([1, 4, 7, 10, 11]);
  });

  test("of a file that is not there rejects", async () => {
    const replay = new Replay({ ...OPTIONS, files: ["/no/such/file"] }, { clock: systemClock, publish() {} });
    await expect(replay.run()).rejects.toBeInstanceOf(OddswireError);
  });
});

test.skipIf(!existsSync(RECORDINGS))(
  "real recordings arrive over real sockets as they are, as quick as they are taken",
  async () => {
    const exchange = new SimExchange({
      clock: systemClock,
      random: seededRandom(1),
      log: silentLog,
      sessions: { accountOf: () => "ada" },
      appKeys: ["key"],
    });
    const { port } = exchange.listen(bunListen, { host: "127.0.0.1", port: 0 });
    const visitor = new Visitor(bunDial, { host: "127.0.0.1", port });
    await until(() => visitor.messages.length === 1);
    visitor.authenticate("key", "token");
    visitor.subscribe();
    await until(() => visitor.last.ct === "SUB_IMAGE");
    const files = ["betfair_parser/football-200markets.half-a.bz2", "betfair-adapter-rs/29788457"];
    const paths = files.map((file) => join(RECORDINGS, file));
    const replay = new Replay(
      { ...OPTIONS, files: paths, speed: Number.POSITIVE_INFINITY },
      {
        clock: systemClock,
        publish: (pt, changes) => exchange.publish(pt, changes),
        settled: () => exchange.settled(),
      },
    );
    const { messages } = await replay.run();
    await until(() => visitor.messages.filter(({ mc }) => mc !== undefined).length === messages);
    for (const path of paths)
      for await (const { message } of recordingMessages(path)) for (const change of message.mc ?? []) truth(change);
    for (const [id, book] of books) expect(firstDifference(visitor.books.get(id)!.state(), book.state())).toBeNull();
    visitor.leave();
    exchange.stop();
  },
);

const books = new Map<string, NaiveBook>();
function truth(change: MarketChange): void {
  let book = books.get(change.id);
  if (book === undefined) books.set(change.id, (book = new NaiveBook(change.id)));
  book.apply(change);
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 2_000) throw new Error("waited 10 s for what did not come");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
