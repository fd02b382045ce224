import { describe, expect, test } from "bun:test";
import { type Random, randomInt, seededRandom } from "../src/base/random.ts";
import { ChangeBatch } from "../src/market/batch.ts";
import type { Book } from "../src/market/book.ts";
import { Cache } from "../src/market/cache.ts";
import { changesSince } from "../src/market/changes.ts";
import { ALL_FIELDS, type Follower, type Position, type Sink, type SourceState } from "../src/market/types.ts";
import { writeChanges } from "../src/wire/changes.ts";
import { decodeServerLine } from "../src/wire/esa.ts";
import { TextWriter } from "../src/wire/text.ts";

/** A bus, as its contract is checked: one publisher, followers, and what may befall them. */
export interface BusUnderTest {
  /** Where the source puts batches; numbers them by `cache`. */
  publisher(cache: Cache): Sink & { stop(): void };
  follow(name: string, sink: Follower): { stop(): void };
  /** Breaks the connections of a follower, or of all. */
  cut(name?: string): void;
  /** The publisher's machine stands still: nothing is heard, nothing is closed. */
  freeze(): void;
  /** The next line to a follower is lost on the way. */
  loseLine(name: string): void;
  /** A follower reads nothing for so long. */
  stall(name: string, ms: number): void;
  pass(ms: number): Promise<void>;
  readonly clock: { monotonic(): number };
  /** What is noticed within this, and mended within as much again. */
  readonly noticeMs: number;
  close(): void;
}

const HOUR = 3_600_000;
const WHOLE = { fields: ALL_FIELDS, ladderLevels: 10 };

/** What a follower keeps, and what it was told. */
class Peer implements Follower {
  readonly cache: Cache;
  readonly states: SourceState[] = [];
  readonly positions: Position[] = [];
  syncs = 0;
  currents = 0;
  cutOffs = 0;
  /** Was anything complete while books were still coming in? */
  halfShown = false;

  constructor(clock: { monotonic(): number }) {
    this.cache = new Cache({ epoch: "", clock, retentionMs: HOUR, forgetMs: HOUR });
  }

  batch(batch: ChangeBatch): void {
    this.cache.apply(batch);
  }
  piece(batch: ChangeBatch): void {
    this.cache.load(batch);
    this.halfShown ||= !this.cache.midGroup;
  }
  syncing(position: Position): void {
    this.positions.push(position);
    this.cache.beginSync(position);
  }
  synced(): void {
    this.cache.endSync();
    this.syncs++;
  }
  settled(): void {}
  current(): void {
    this.currents++;
  }
  cutOff(): void {
    this.cutOffs++;
  }
  state(state: SourceState): void {
    if (this.states.at(-1) !== state) this.states.push(state);
  }
}

/** Messages of an exchange, by chance: many markets, ladders, definitions, images in segments. */
class Feed {
  readonly #random: Random;
  readonly #batch = new ChangeBatch();
  readonly #sink: Sink;

  constructor(seed: number, sink: Sink) {
    this.#random = seededRandom(seed);
    this.#sink = sink;
  }

  image(markets: number, segments = 1): void {
    for (let segment = 0; segment < segments; segment++) this.segment(markets, segment, segments);
  }

  segment(markets: number, segment: number, segments: number): void {
    const of = Array.from({ length: markets }, (_, n) => n).filter((n) => n % segments === segment);
    const segmentType =
      segments === 1 ? undefined : segment === 0 ? "SEG_START" : segment === segments - 1 ? "SEG_END" : "SEG";
    this.#say({ ct: "SUB_IMAGE", segmentType, mc: of.map((n) => ({ ...this.#change(n), img: true })) });
  }

  changes(count: number, markets: number): void {
    for (let i = 0; i < count; i++) this.#say({ mc: [this.#change(randomInt(this.#random, markets))] });
  }

  #change(n: number): object {
    const price = 1 + randomInt(this.#random, 100) / 100;
    const size = randomInt(this.#random, 3);
    return {
      id: `1.${n}`,
      tv: randomInt(this.#random, 1_000),
      marketDefinition: { status: "OPEN", version: randomInt(this.#random, 1_000), eventId: String(n) },
      rc: [{ id: 7, ltp: price, atb: [[price, size]], spl: [[70.1621307023403, size]] }],
    };
  }

  #say(message: object): void {
    const line = Buffer.from(JSON.stringify({ op: "mcm", pt: 1, clk: "c", ...message }));
    expect(decodeServerLine(line, 0, line.length, this.#batch)).toEqual({ kind: "change" });
    this.#sink.batch(this.#batch);
    this.#sink.settled();
  }
}

function bookText(book: Book): string {
  const [batch, out] = [new ChangeBatch(), new TextWriter()];
  changesSince(book, 0, WHOLE, batch);
  writeChanges(batch, out);
  const { rc, ...rest } = JSON.parse(out.bytes.toString("latin1", 0, out.length)) as { rc: object[] };
  return JSON.stringify([rest, rc]);
}

function books(cache: Cache): string[] {
  return [...cache.books()].map(bookText).sort();
}

/** What every bus must keep: the local one, and those between machines. */
export function busContract(name: string, open: (seed: number) => BusUnderTest): void {
  describe(`${name}: the bus contract`, () => {
    function stage(seed: number) {
      const bus = open(seed);
      const cache = new Cache({ epoch: "one", clock: bus.clock, retentionMs: HOUR, forgetMs: HOUR });
      const publisher = bus.publisher(cache);
      const peers = [new Peer(bus.clock), new Peer(bus.clock)] as const;
      const join = (n: 0 | 1) => bus.follow(`peer-${n}`, peers[n]);
      return { bus, cache, publisher, peers, join, feed: new Feed(seed, publisher) };
    }

    test("who joins is given all books, and then every batch, with the publisher's own numbers", async () => {
      const { bus, cache, publisher, peers, join, feed } = stage(1);
      feed.image(500);
      publisher.state("live", "");
      join(0);
      await bus.pass(bus.noticeMs);
      feed.changes(200, 600);
      join(1);
      feed.changes(50, 600);
      await bus.pass(bus.noticeMs);
      feed.changes(50, 600);
      await bus.pass(bus.noticeMs);
      for (const peer of peers) {
        expect(peer.cache.position).toEqual(cache.position);
        expect(books(peer.cache)).toEqual(books(cache));
        expect([peer.syncs, peer.halfShown, peer.states]).toEqual([1, false, ["live"]]);
        expect(peer.currents).toBeGreaterThan(0);
      }
      // Who joined late knows nothing of before.
      expect(peers[1].cache.reach).toBeGreaterThan(peers[0].cache.reach);
      bus.close();
    });

    test("nobody joins within an image in segments, and what the image leaves out is gone for all", async () => {
      const { bus, cache, peers, join, feed } = stage(2);
      feed.image(300);
      join(0);
      await bus.pass(bus.noticeMs);
      feed.segment(200, 0, 3);
      join(1);
      await bus.pass(bus.noticeMs);
      expect([peers[0].cache.midGroup, peers[1].syncs]).toEqual([true, 0]);
      feed.segment(200, 1, 3);
      feed.segment(200, 2, 3);
      await bus.pass(bus.noticeMs);
      expect(peers[1].cutOffs).toBe(0);
      for (const peer of peers) expect(books(peer.cache)).toEqual(books(cache));
      expect(peers[0].cache.size).toBe(200);
      bus.close();
    });

    test("a lost line is a gap: the follower says that it is stale, begins anew, and has missed nothing", async () => {
      const { bus, cache, publisher, peers, join, feed } = stage(3);
      feed.image(100);
      publisher.state("live", "");
      join(0);
      await bus.pass(bus.noticeMs);
      bus.loseLine("peer-0");
      feed.changes(1, 100);
      await bus.pass(1);
      feed.changes(20, 100);
      await bus.pass(2 * bus.noticeMs);
      expect([peers[0].syncs, peers[0].states, peers[0].cutOffs]).toEqual([2, ["live", "stale", "live"], 1]);
      expect(books(peers[0].cache)).toEqual(books(cache));
      bus.close();
    });

    test("a clk within what a follower missed is not answered by what changed since", async () => {
      const { bus, cache, peers, join, feed } = stage(4);
      feed.image(10);
      join(0);
      await bus.pass(bus.noticeMs);
      const before = peers[0].cache.sequence;
      bus.cut();
      feed.changes(40, 10);
      await bus.pass(2 * bus.noticeMs);
      const { cache: behind } = peers[0];
      expect(behind.sequence).toBe(cache.sequence);
      expect([before, before + 20, behind.sequence].map((since) => behind.isInReach(since))).toEqual([
        true,
        false,
        true,
      ]);
      bus.close();
    });

    test("a publisher that stands still, or is gone, is noticed; its source's state comes through", async () => {
      const { bus, publisher, peers, join, feed } = stage(5);
      feed.image(10);
      publisher.state("live", "");
      join(0);
      await bus.pass(bus.noticeMs);
      publisher.state("stale", "the exchange is silent");
      await bus.pass(bus.noticeMs);
      publisher.state("live", "");
      await bus.pass(bus.noticeMs);
      expect(peers[0].states).toEqual(["live", "stale", "live"]);
      bus.freeze();
      await bus.pass(bus.noticeMs);
      expect(peers[0].states).toEqual(["live", "stale", "live", "stale"]);
      bus.close();
    });

    test("another publisher under another epoch is followed, and no number goes back", async () => {
      const { bus, publisher, peers, join, feed } = stage(6);
      feed.image(50);
      feed.changes(100, 50);
      join(0);
      await bus.pass(bus.noticeMs);
      const before = peers[0].cache.sequence;
      publisher.stop();
      await bus.pass(bus.noticeMs);
      const next = new Cache({ epoch: "two", clock: bus.clock, retentionMs: HOUR, forgetMs: HOUR });
      const other = bus.publisher(next);
      new Feed(7, other).image(30);
      other.state("live", "");
      await bus.pass(2 * bus.noticeMs);
      const { cache } = peers[0];
      expect([cache.epoch, cache.sequence - cache.base, cache.size]).toEqual(["two", next.sequence, 30]);
      expect(cache.sequence).toBeGreaterThan(before);
      expect(cache.isInReach(before)).toBe(false);
      expect(books(cache)).toEqual(books(next));
      bus.close();
    });

    test("the books of before a restart are for who has none; who has some waits until the source has answered", async () => {
      const { bus, cache: first, publisher, peers, join, feed } = stage(9);
      feed.image(50);
      publisher.state("live", "");
      join(0);
      await bus.pass(bus.noticeMs);
      publisher.stop();
      await bus.pass(bus.noticeMs);
      const again = new Cache({ epoch: "", clock: bus.clock, retentionMs: HOUR, forgetMs: HOUR });
      again.beginRestore(first.position, first.memory);
      again.endRestore(first.sequence + 1_000);
      const other = bus.publisher(again);
      join(1);
      await bus.pass(2 * bus.noticeMs);
      const [had, fresh] = peers;
      expect(fresh.positions[0]).toMatchObject({
        epoch: "one",
        sequence: first.sequence + 1_000,
        unconfirmedFrom: first.sequence,
      });
      expect([fresh.syncs, had.syncs]).toEqual([1, 1]);
      expect([0, 1, 999, 1_000].map((more) => fresh.cache.isBeyond(first.sequence + more))).toEqual([
        false,
        true,
        true,
        false,
      ]);
      new Feed(10, other).image(30);
      other.state("live", "");
      again.confirm();
      other.settled();
      await bus.pass(2 * bus.noticeMs);
      expect(had.positions[1]).not.toHaveProperty("unconfirmedFrom");
      for (const { cache } of peers) expect([cache.sequence, books(cache)]).toEqual([again.sequence, books(again)]);
      bus.close();
    });

    test("a follower that reads nothing is dropped at a bound, holds up nobody, and is whole again when it reads", async () => {
      const { bus, cache, publisher, peers, join, feed } = stage(8);
      feed.image(50);
      publisher.state("live", "");
      join(0);
      join(1);
      await bus.pass(bus.noticeMs);
      bus.stall("peer-0", 3 * bus.noticeMs);
      feed.changes(4_000, 50);
      await bus.pass(bus.noticeMs);
      expect(peers[1].cache.sequence).toBe(cache.sequence);
      await bus.pass(6 * bus.noticeMs);
      expect([peers[0].syncs > 1, peers[0].states.at(-1)]).toEqual([true, "live"]);
      for (const peer of peers) expect(books(peer.cache)).toEqual(books(cache));
      bus.close();
    });
  });
}
