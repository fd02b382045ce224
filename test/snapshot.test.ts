import { describe, expect, test } from "bun:test";
import type { Clock, Timer } from "../src/base/clock.ts";
import { type Log, silentLog } from "../src/base/log.ts";
import { pick, type Random, randomInt, seededRandom } from "../src/base/random.ts";
import { type ReadOutcome, readSnapshot } from "../src/cluster/snapshot-reader.ts";
import { SnapshotWriter } from "../src/cluster/snapshot-writer.ts";
import { ChangeBatch } from "../src/market/batch.ts";
import type { Book } from "../src/market/book.ts";
import { Cache } from "../src/market/cache.ts";
import { changesSince } from "../src/market/changes.ts";
import { ALL_FIELDS, type Sink } from "../src/market/types.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { firstDifference, type MarketChange, NaiveBook } from "../src/sim/naive.ts";
import { writeChanges } from "../src/wire/changes.ts";
import { decodeServerLine } from "../src/wire/esa.ts";
import { TextWriter } from "../src/wire/text.ts";
import { MemoryDisk } from "./disk.ts";

const FILE = "/books";
const EVERY_MS = 60_000;
const RETENTION_MS = 600_000;
const CRITERIA = "all";

/** Each look at it takes a moment, so that slices end. */
class TickingClock implements Clock {
  readonly virtual = new VirtualClock();
  #ticks = 0;
  wall = () => this.virtual.wall();
  monotonic = () => this.virtual.monotonic() + this.#ticks++;
  after = (ms: number, fire: () => void): Timer => this.virtual.after(ms, fire);
}

/** What stands between a feed and a file: a cache, its writer, and the plain truth beside it. */
class Stage {
  readonly clock = new TickingClock();
  readonly disk = new MemoryDisk();
  readonly cache: Cache;
  readonly writer: SnapshotWriter;
  readonly said: Record<string, unknown>[] = [];
  readonly heard: (readonly MarketChange[])[] = [];
  /** Messages handed over, and so what the exchange would resume from. */
  clk = 0;
  readonly #batch = new ChangeBatch();

  constructor(log: Partial<Log> = {}, epoch = "one") {
    this.cache = this.newCache(epoch);
    const sink: Sink = { batch: (batch) => void this.cache.apply(batch), settled() {}, state() {} };
    const marks = () => (this.clk === 0 ? null : [{ initialClk: "i", clk: String(this.clk) }]);
    const said: Log = { ...silentLog, warn: (fields, message) => this.said.push({ ...fields, message }), ...log };
    const world = { cache: this.cache, disk: this.disk, clock: this.clock, log: said };
    this.writer = new SnapshotWriter({ file: FILE, everyMs: EVERY_MS, criteria: CRITERIA, marks }, world, sink);
  }

  newCache(epoch: string): Cache {
    return new Cache({
      epoch,
      clock: this.clock,
      retentionMs: RETENTION_MS,
      forgetMs: RETENTION_MS,
      arenaBytesMax: 2 ** 22,
    });
  }

  /** A message of the exchange, whole and at once. */
  say(mc: readonly MarketChange[], head: object = {}, settles = true): void {
    const line = Buffer.from(JSON.stringify({ op: "mcm", pt: 1_000 + this.clk, clk: "c", ...head, mc }));
    expect(decodeServerLine(line, 0, line.length, this.#batch)).toEqual({ kind: "change" });
    this.clk++;
    this.writer.batch(this.#batch);
    this.heard.push(mc);
    if (settles) this.writer.settled();
  }

  image(count: number): void {
    this.say(
      Array.from({ length: count }, (_, n) => whole(n)),
      { ct: "SUB_IMAGE", initialClk: "i" },
    );
  }

  /** Time passes, in steps that let the disk answer; `between` happens at each. */
  async pass(ms: number, between: () => void = () => {}): Promise<void> {
    for (let left = ms; left > 0; left -= 10) {
      this.clock.virtual.advance(Math.min(10, left));
      between();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  /** The first one, from beginning to end. */
  async written(between: () => void = () => {}, count = 1): Promise<void> {
    this.writer.state("live", "");
    this.writer.settled();
    for (let i = 0; i < 1_000 && this.writer.written < count; i++) await this.pass(10, between);
    expect(this.writer.written).toBe(count);
  }

  read(file = FILE, criteria = CRITERIA): ReadOutcome {
    const options = { criteria, wall: this.clock.wall(), retentionMs: RETENTION_MS };
    return readSnapshot(this.disk, file, { ...options, newCache: () => this.newCache("other") });
  }

  restored(file = FILE): Extract<ReadOutcome, { kind: "restored" }> {
    const read = this.read(file);
    if (read.kind !== "restored") throw new Error(`not restored: ${JSON.stringify(read)}`);
    return read;
  }
}

function whole(n: number, version = 1): MarketChange {
  return {
    id: `1.${n}`,
    img: true,
    tv: n,
    marketDefinition: { status: "OPEN", version, eventId: `e${n % 3}`, bettingType: "ODDS" },
    rc: [
      { id: 7, ltp: 2, spn: "NaN", atb: [[2, 10 + n]], trd: [[2.02, 5]] },
      { id: 8, hc: -0.5, atl: [[3, 4]] },
    ],
  };
}

function chance(random: Random, markets: number): MarketChange {
  const n = randomInt(random, markets);
  const kind = randomInt(random, 10);
  if (kind === 0) return whole(n, randomInt(random, 100));
  const price = 2 + randomInt(random, 4) / 100;
  const definition = { status: pick(random, ["OPEN", "SUSPENDED"]), version: 2, eventId: `e${randomInt(random, 3)}` };
  return {
    id: `1.${n}`,
    ...(kind === 1 && { marketDefinition: definition }),
    rc: [{ id: pick(random, [7, 8, 9]), hc: null, atb: [[price, randomInt(random, 3)]], ltp: price }],
  };
}

/** What a user who knows everything up to `since` is told of a book. */
function told(book: Book, since: number): MarketChange | null {
  const [batch, out] = [new ChangeBatch(), new TextWriter()];
  if (!changesSince(book, since, { fields: ALL_FIELDS, ladderLevels: 10 }, batch)) return null;
  writeChanges(batch, out);
  return JSON.parse(out.bytes.toString("latin1", 0, out.length)) as MarketChange;
}

/** The books after so many messages. */
function booksAt(heard: readonly (readonly MarketChange[])[], messages: number): Map<string, NaiveBook> {
  const books = new Map<string, NaiveBook>();
  for (const change of heard.slice(0, messages).flat()) {
    if (!books.has(change.id)) books.set(change.id, new NaiveBook(change.id));
    books.get(change.id)?.apply(change);
  }
  return books;
}

function isTheTruth(cache: Cache, truth: ReadonlyMap<string, NaiveBook>): void {
  expect([...cache.books()].map(({ id }) => id).sort()).toEqual([...truth.keys()].sort());
  for (const [id, book] of truth) {
    const held = new NaiveBook(id);
    held.apply(told(cache.get(id) as Book, 0) as MarketChange);
    expect([id, firstDifference(held.state(), book.state())]).toEqual([id, null]);
  }
}

describe("a snapshot", () => {
  test("holds the books as of its end, whatever came while it was written, and the marks of that moment", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const [stage, random] = [new Stage(), seededRandom(seed)];
      stage.image(30);
      await stage.written(() => stage.say([chance(random, 40)]));
      const { cache, marks, sameEpoch } = stage.restored();
      const end = Number(marks[0]?.clk);
      expect([end > 2, end < stage.clk, sameEpoch]).toEqual([true, true, true]);
      // What was said after its end is what the exchange's answer to the resume brings.
      isTheTruth(cache, booksAt(stage.heard, end));
    }
  });

  test("answers who comes back with a clk of before it by what changed, and nobody with one of after it", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const [stage, random] = [new Stage(), seededRandom(seed)];
      const hear = () => stage.say([chance(random, 30)]);
      stage.image(20);
      for (let i = 0; i < 10; i++) hear();
      await stage.written(hear);
      const { cache, marks } = stage.restored();
      const last = Number(marks[0]?.clk);
      expect([last, last + 1, 1_000_000].map((since) => cache.isInReach(since))).toEqual([true, false, false]);
      expect([last, last + 1, 1_000_000].map((since) => cache.isBeyond(since))).toEqual([false, true, true]);
      expect(cache.sequence).toBeGreaterThanOrEqual(last + 1_000_000);
      const now = booksAt(stage.heard, last);
      for (let since = 1; since <= last; since++) {
        const known = booksAt(stage.heard, since);
        for (const book of cache.books()) {
          const held = known.get(book.id) ?? new NaiveBook(book.id);
          const change = told(book, since);
          if (change !== null) held.apply(change);
          const truth = (now.get(book.id) as NaiveBook).state();
          expect([seed, since, firstDifference(held.state(), truth)]).toEqual([seed, since, null]);
          // Only what changed is told of.
          if (book.last <= since) expect(change).toBeNull();
        }
      }
    }
  });

  test("of which a byte is another, or the end is missing, is recognised", async () => {
    const stage = new Stage();
    stage.image(2);
    await stage.written();
    const good = Buffer.from(stage.disk.get(FILE));
    expect(stage.read().kind).toBe("restored");
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good);
      (bad[at] as number) ^= 1 << (at % 8);
      stage.disk.files.set(FILE, bad);
      expect([at, stage.read().kind]).toEqual([at, "useless"]);
    }
    for (let length = 0; length < good.length; length++) {
      stage.disk.files.set(FILE, good.subarray(0, length));
      expect([length, stage.read().kind]).toEqual([length, "useless"]);
    }
    stage.disk.files.set(FILE, Buffer.concat([good, good]));
    expect(stage.read().kind).toBe("useless");
  });

  test("of another version, or of other criteria, is not taken", async () => {
    const stage = new Stage();
    stage.image(2);
    await stage.written();
    expect(stage.read(FILE, "others")).toMatchObject({
      kind: "useless",
      reason: expect.stringContaining("another account"),
    });
    expect(stage.read("/nowhere")).toEqual({ kind: "missing" });
    for (const version of [0, 2]) {
      const text = stage.disk.get(FILE).toString("latin1").replace('"version":1', `"version":${version}`);
      stage.disk.files.set("/other", Buffer.from(text, "latin1"));
      expect(stage.read("/other")).toEqual({ kind: "useless", reason: `it is of version ${version}, and this is 1` });
    }
  });

  test("leaves the one before it beside it, and is written again and again", async () => {
    const stage = new Stage();
    stage.image(3);
    await stage.written();
    const first = stage.disk.get(FILE);
    stage.say([{ id: "1.1", tv: 77 }]);
    await stage.pass(EVERY_MS + 100);
    expect([stage.writer.written, [...stage.disk.files.keys()].sort()]).toEqual([2, [FILE, `${FILE}.1`]]);
    expect(stage.disk.get(`${FILE}.1`)).toEqual(first);
    expect(stage.restored().cache.get("1.1")?.tv).toBe(77);
    expect(stage.restored(`${FILE}.1`).cache.get("1.1")?.tv).toBe(1);
  });

  test("that finds no room, or no permission, is said once, leaves nothing half, and comes when there is", async () => {
    for (const code of ["ENOSPC", "EACCES"]) {
      const stage = new Stage();
      stage.image(200);
      await stage.written();
      const first = stage.disk.get(FILE);
      stage.disk.bytesMax = code === "ENOSPC" ? first.length + 500 : Number.POSITIVE_INFINITY;
      stage.disk.refuses = code === "EACCES" ? code : null;
      await stage.pass(3 * EVERY_MS + 1_000);
      expect([stage.writer.failures, stage.said.map((line) => line.code)]).toEqual([3, [code]]);
      expect([[...stage.disk.files.keys()], stage.disk.get(FILE)]).toEqual([[FILE], first]);
      [stage.disk.bytesMax, stage.disk.refuses] = [Number.POSITIVE_INFINITY, null];
      await stage.pass(EVERY_MS + 1_000);
      expect(stage.writer.written).toBe(2);
    }
  });

  test("does not begin or end within a message in segments, and is given up when an image comes", async () => {
    const stage = new Stage();
    stage.image(3);
    const images = [0, 1, 2].map((n) => whole(n, 9));
    stage.say(images.slice(0, 1), { ct: "SUB_IMAGE", segmentType: "SEG_START" });
    stage.writer.state("live", "");
    await stage.pass(1_000);
    expect(stage.disk.files.size).toBe(0);
    stage.say(images.slice(1), { ct: "SUB_IMAGE", segmentType: "SEG_END" }, false);
    stage.writer.settled();
    // Within the first one.
    stage.say(images, { ct: "SUB_IMAGE" });
    await stage.pass(1_000);
    expect([stage.writer.written, stage.said.map((line) => line.code), stage.disk.files.size]).toEqual([
      0,
      ["ABANDONED"],
      0,
    ]);
    await stage.pass(EVERY_MS);
    expect(stage.writer.written).toBe(1);
  });

  test("at a stop is the last word", async () => {
    const stage = new Stage();
    stage.image(30);
    await stage.written();
    stage.say([{ id: "1.1", tv: 78 }]);
    const stopped = stage.writer.stop();
    await stage.pass(1_000);
    await stopped;
    const { cache, marks } = stage.restored();
    expect([cache.get("1.1")?.tv, marks[0]?.clk]).toEqual([78, "2"]);
    isTheTruth(cache, booksAt(stage.heard, stage.clk));
    await stage.pass(2 * EVERY_MS);
    expect(stage.writer.written).toBe(2);
  });

  test("that is old, or of a clock that was set back, gives books and no numbers", async () => {
    for (const ms of [RETENTION_MS + 1_000, -1_000]) {
      const stage = new Stage();
      stage.image(5);
      await stage.written(() => stage.say([{ id: "1.2", tv: 5 }]));
      stage.clock.virtual.wallOffset += ms;
      const { cache, sameEpoch } = stage.restored();
      expect([sameEpoch, cache.epoch, cache.sequence < 100, cache.size]).toEqual([false, "other", true, 5]);
    }
  });

  test("that is read twice gives no number twice", async () => {
    const stage = new Stage();
    stage.image(5);
    await stage.written();
    const first = stage.restored().cache;
    stage.clock.virtual.wallOffset += 5_000;
    // As many batches as 5 s can bring.
    expect(stage.restored().cache.sequence).toBeGreaterThanOrEqual(first.sequence + 5 * 20_000);
  });

  test("keeps what was known of markets that are gone, of gaps, and of how far back can be told", async () => {
    const stage = new Stage();
    stage.image(5);
    stage.say([whole(0), whole(1)], { ct: "SUB_IMAGE" });
    stage.cache.sweep();
    await stage.written();
    const { cache } = stage.restored();
    expect(cache.lost.map(({ id, known, sequence }) => [id, known.eventId, sequence])).toEqual([
      ["1.2", "e2", 2],
      ["1.3", "e0", 2],
      ["1.4", "e1", 2],
    ]);
    expect([cache.isInReach(1), cache.isInReach(2)]).toEqual([true, true]);
    await stage.pass(RETENTION_MS + 1);
    expect([cache.isInReach(1), cache.isInReach(2)]).toEqual([false, true]);
  });
});
