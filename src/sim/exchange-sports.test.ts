import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { SimExchange } from "./exchange.ts";
import type { SportChange, SportOp } from "./exchange-sports.ts";
import { type ExchangeMessage, Visitor } from "./exchange-visitor.ts";
import { VirtualNetwork } from "./network.ts";
import { recordingMessages } from "./recording.ts";
import { Replay } from "./replay.ts";

type SportMessage = ExchangeMessage & { readonly rc?: readonly SportChange[]; readonly cc?: readonly SportChange[] };

const AT = { host: "exchange", port: 443 };
const RECORDINGS = process.env.ODDSWIRE_RECORDINGS ?? join(import.meta.dir, "../../../shared/recordings");

function scene() {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const network = new VirtualNetwork(clock, random);
  const sessions = { accountOf: (token: string) => token };
  const keys = { appKeys: ["key", "sports"], sportsAppKeys: ["sports"] };
  const exchange = new SimExchange({ clock, random, log: silentLog, sessions, ...keys });
  exchange.listen(network.listen, AT);
  const publish = (op: SportOp, ...changes: SportChange[]) => {
    exchange.publishSport(op, clock.wall(), changes);
    clock.advance(10);
  };
  const follow = (op: string, more: Record<string, unknown> = {}, appKey = "sports") => {
    const visitor = new Visitor(network.dial, AT);
    clock.advance(10);
    visitor.authenticate(appKey, "ada");
    clock.advance(10);
    visitor.send({ op, id: 4, ...more });
    clock.advance(10);
    return visitor;
  };
  return { clock, exchange, publish, follow };
}

function said(visitor: Visitor): SportMessage[] {
  return visitor.messages.filter(({ op }) => op === "rcm" || op === "ccm");
}

const RACE = { id: "2.1650", mid: "1.1" };
const MATCH = { eventId: "30", marketId: "1.2" };

describe("sports data", () => {
  test("are for entitled app keys", () => {
    const { follow } = scene();
    for (const op of ["raceSubscription", "cricketSubscription"])
      expect(follow(op, {}, "key").last).toMatchObject({ errorCode: "NOT_AUTHORIZED", connectionClosed: true });
  });

  test("go out as they come, each to those who asked for it", () => {
    const { follow, publish } = scene();
    const [races, cricket] = [follow("raceSubscription"), follow("cricketSubscription")];
    const change = { ...RACE, rrc: [{ id: 7, spd: 17.8 }] };
    publish("rcm", change);
    publish("ccm", { ...MATCH, fixtureInfo: { eventStatus: "RUNS_LIKELY" } });
    expect(said(races).map(({ op, ct, rc }) => [op, ct, rc])).toEqual([
      ["rcm", "SUB_IMAGE", undefined],
      ["rcm", undefined, [change]],
    ]);
    expect(said(cricket).map(({ op, cc }) => [op, cc?.length])).toEqual([
      ["ccm", undefined],
      ["ccm", 1],
    ]);
  });

  test("begin with what is known: the last word on each part, runners of a race one by one", () => {
    const { follow, publish } = scene();
    publish("rcm", {
      ...RACE,
      rpc: { g: "1f" },
      rrc: [
        { id: 7, spd: 1 },
        { id: 8, spd: 2 },
      ],
    });
    publish("rcm", { ...RACE, rrc: [{ id: 7, spd: 3 }] }, { ...RACE, id: "2.1700" });
    publish("ccm", { ...MATCH, fixtureInfo: { maxOvers: 20 }, matchStats: { runs: 1 } });
    publish("ccm", { ...MATCH, matchStats: { runs: 2 } });
    const [races] = said(follow("raceSubscription"));
    expect(races?.rc).toEqual([
      {
        ...RACE,
        rpc: { g: "1f" },
        rrc: [
          { id: 7, spd: 3 },
          { id: 8, spd: 2 },
        ],
      },
      { ...RACE, id: "2.1700" },
    ]);
    const [cricket] = said(follow("cricketSubscription"));
    expect(cricket).toMatchObject({ ct: "SUB_IMAGE", conflateMs: 0, heartbeatMs: 5_000, clk: "AA2" });
    expect(cricket?.cc).toEqual([{ ...MATCH, fixtureInfo: { maxOvers: 20 }, matchStats: { runs: 2 } }]);
  });

  test("heartbeat, and come together for who conflates them", () => {
    const { follow, publish, clock } = scene();
    const visitor = follow("cricketSubscription", { conflateMs: 1_000, heartbeatMs: 500 });
    for (const runs of [1, 2, 3]) publish("ccm", { ...MATCH, matchStats: { runs } });
    clock.advance(1_600);
    expect(said(visitor).flatMap(({ ct, cc }) => [ct, ...(cc ?? []).map(({ matchStats }) => matchStats)])).toEqual([
      "SUB_IMAGE",
      undefined,
      { runs: 1 },
      "HEARTBEAT",
      undefined,
      { runs: 3 },
      "HEARTBEAT",
    ]);
  });
});

const CRICKET = join(RECORDINGS, "flumine/sportsdata-1.200806927.ccm");

test.skipIf(!existsSync(CRICKET))("a recording of cricket is played message by message", async () => {
  const { exchange, follow, clock } = scene();
  const visitor = follow("cricketSubscription");
  const replay = new Replay(
    { files: [CRICKET], order: "in turn", speed: Number.POSITIVE_INFINITY, loop: false, rewritePt: true },
    {
      clock,
      publish: () => {},
      publishSport: exchange.publishSport.bind(exchange),
      settled: async () => void clock.advance(1),
    },
  );
  const passing = setInterval(() => clock.advance(10), 1);
  const { changes } = await replay.run();
  clearInterval(passing);
  clock.advance(100);
  const recorded: unknown[] = [];
  for await (const { message } of recordingMessages(CRICKET)) recorded.push(...((message.cc as unknown[]) ?? []));
  expect(changes).toBe(recorded.length);
  expect(said(visitor).flatMap(({ cc = [] }) => cc)).toEqual(recorded as SportChange[]);
});
