import { describe, expect, test } from "bun:test";
import { silentLog } from "../src/base/log.ts";
import { seededRandom } from "../src/base/random.ts";
import type { Dial } from "../src/base/socket.ts";
import { BusFollower } from "../src/cluster/follower.ts";
import { readBusLine, writeBatchLine } from "../src/cluster/lines.ts";
import { BusPublisher } from "../src/cluster/publisher.ts";
import { ChangeBatch } from "../src/market/batch.ts";
import { Cache } from "../src/market/cache.ts";
import type { MarketFilter } from "../src/market/filter.ts";
import { VirtualClock } from "../src/sim/clock.ts";
import { VirtualNetwork } from "../src/sim/network.ts";
import { decodeServerLine } from "../src/wire/esa.ts";
import { TextWriter } from "../src/wire/text.ts";
import { type BusUnderTest, busContract } from "./bus-contract.ts";

const AT = { host: "bus", port: 4440 };
const HEARTBEAT_MS = 200;
const BACKLOG_BYTES_MAX = 200_000;

/** The local bus, on the virtual network. */
function localBus(seed: number): BusUnderTest {
  const clock = new VirtualClock();
  const network = new VirtualNetwork(clock, seededRandom(seed), { inFlightBytesMax: 16_384 });
  const losing = new Set<string>();
  const followers: BusFollower[] = [];
  const publishers: BusPublisher[] = [];
  const world = { clock, random: seededRandom(seed + 1), log: silentLog };
  return {
    clock,
    noticeMs: 1_500,
    publisher(cache) {
      const options = { ...world, cache, listen: network.listen, at: AT, heartbeatMs: HEARTBEAT_MS };
      const publisher = new BusPublisher({ ...options, backlogBytesMax: BACKLOG_BYTES_MAX });
      publishers.push(publisher);
      return publisher;
    },
    follow(name, sink) {
      const dial: Dial = (to, handler) =>
        network.dialAs(name)(to, {
          ...handler,
          // A lost line, as only a broken machine or a broken program loses one.
          data: (socket, bytes) => (losing.delete(name) ? undefined : handler.data(socket, bytes)),
        });
      const follower = new BusFollower({ name, at: AT, silenceMs: 3 * HEARTBEAT_MS }, { ...world, dial });
      followers.push(follower);
      follower.start(sink);
      return follower;
    },
    cut: (name) => void network.cut(name ?? `${AT.host}:${AT.port}`),
    freeze() {
      network.halfOpen(`${AT.host}:${AT.port}`);
      network.setReachability(`${AT.host}:${AT.port}`, "silent");
    },
    loseLine: (name) => void losing.add(name),
    stall(name, ms) {
      for (const link of network.links(name)) {
        link.near.readAt(0);
        clock.after(ms, () => link.near.readAt(Number.POSITIVE_INFINITY));
      }
    },
    async pass(ms) {
      clock.advance(ms);
    },
    close() {
      for (const follower of followers) follower.stop();
      for (const publisher of publishers) publisher.stop();
    },
  };
}

busContract("local", localBus);

describe("what the users of followers want", () => {
  const AT = { host: "bus", port: 4440 };

  /** A publisher that notes what is wanted, and followers whose links can be cut. */
  function stage() {
    const clock = new VirtualClock();
    const network = new VirtualNetwork(clock, seededRandom(1), { inFlightBytesMax: 4_096 });
    const world = { clock, random: seededRandom(2), log: silentLog };
    const wanted: string[] = [];
    const want = (filter: MarketFilter) => {
      const name = JSON.stringify(filter.marketIds);
      wanted.push(name);
      return () => void wanted.splice(wanted.indexOf(name), 1);
    };
    const cache = new Cache({ epoch: "e", clock, retentionMs: 1_000, forgetMs: 1_000 });
    const publisher = new BusPublisher({
      ...world,
      cache,
      listen: network.listen,
      at: AT,
      heartbeatMs: HEARTBEAT_MS,
      want,
    });
    const follow = (name: string) => {
      const follower = new BusFollower({ name, at: AT, demand: true }, { ...world, dial: network.dialAs(name) });
      const ignore = () => {};
      follower.start({
        batch: ignore,
        piece: ignore,
        syncing: ignore,
        synced: ignore,
        settled: ignore,
        current: ignore,
        cutOff: ignore,
        state: ignore,
      });
      return follower as BusFollower & { want: NonNullable<BusFollower["want"]> };
    };
    return { clock, network, wanted, publisher, follow };
  }

  test("is wanted of the publisher once for each follower, and until the last of them has gone", () => {
    const { clock, wanted, follow } = stage();
    const [a, b] = [follow("a"), follow("b")];
    // Before there is a connection, and after.
    const first = a.want({ marketIds: ["1.1"] });
    clock.advance(100);
    const second = a.want({ marketIds: ["1.1"] });
    const other = b.want({ marketIds: ["1.1"] });
    a.want({ marketIds: ["1.2"] });
    clock.advance(100);
    expect(wanted.sort()).toEqual(['["1.1"]', '["1.1"]', '["1.2"]']);
    for (const release of [first, first, other]) release();
    clock.advance(100);
    expect(wanted).toEqual(['["1.1"]', '["1.2"]']);
    second();
    clock.advance(100);
    expect(wanted).toEqual(['["1.2"]']);
  });

  test("is taken back where a follower is cut off, and said anew when it is back: thousands of wishes through a narrow pipe", () => {
    const { clock, network, wanted, follow } = stage();
    const follower = follow("a");
    clock.advance(100);
    for (let n = 0; n < 2_000; n++) follower.want({ marketIds: [`1.${n}`] });
    clock.advance(2_000);
    expect(new Set(wanted).size).toBe(2_000);
    network.cut("a");
    clock.advance(20);
    expect(wanted).toEqual([]);
    clock.advance(5_000);
    expect(wanted.length).toBe(2_000);
    expect(follower.gaps).toBe(0);
  });
});

describe("a line of the bus", () => {
  test("is the batch again, whatever was in it", () => {
    const messages = [
      {
        op: "mcm",
        id: 2,
        ct: "SUB_IMAGE",
        initialClk: "i",
        clk: "c",
        pt: 5,
        conflateMs: 0,
        heartbeatMs: 500,
        segmentType: "SEG_START",
        status: 503,
      },
      { op: "mcm", ct: "HEARTBEAT", clk: "c", pt: 6 },
      {
        op: "mcm",
        ct: "RESUB_DELTA",
        pt: 7,
        segmentType: "SEG_END",
        mc: [{ id: "1.1", con: true, rc: [{ id: 1, hc: -0.5, spn: "NaN", trd: [] }] }],
      },
    ];
    for (const message of messages) {
      const [batch, read, out] = [new ChangeBatch(), new ChangeBatch(), new TextWriter()];
      const line = Buffer.from(JSON.stringify(message));
      decodeServerLine(line, 0, line.length, batch);
      batch.shard = 3;
      writeBatchLine(batch, 1_000, out);
      expect(readBusLine(out.bytes, 0, out.length - 2, read)).toEqual({ kind: "batch" });
      batch.sequence = 1_000;
      const fields = ({ tape, length, ...rest }: ChangeBatch) => ({ ...rest, tape: [...tape.subarray(0, length)] });
      expect(fields(read)).toEqual(fields(batch));
    }
  });

  test("that is none says so, and never throws", () => {
    for (const text of [
      "",
      "B",
      "B1",
      "B1 2",
      "B1 {}",
      "X1 2 {}",
      'P1 2 {"op":"mcm","pt":1}',
      "{",
      'B? ? {"op":"mcm","pt":1}',
    ]) {
      const bytes = Buffer.from(text);
      expect(readBusLine(bytes, 0, bytes.length, new ChangeBatch()).kind).toBe("invalid");
    }
  });
});
