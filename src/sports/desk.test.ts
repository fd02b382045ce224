import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { pick, randomInt, seededRandom } from "../base/random.ts";
import { VirtualClock } from "../sim/clock.ts";
import { NaiveSports, type SportEntry } from "../sim/naive-sports.ts";
import type { SportSubscribeRequest } from "../wire/requests.ts";
import { decodeSportLine, SPORTS, type Sport, SportBatch } from "../wire/sports.ts";
import { type DeskOptions, SportDesk } from "./desk.ts";

interface Message {
  readonly op: string;
  readonly id: number;
  readonly ct?: string;
  readonly clk?: string;
  readonly initialClk?: string;
  readonly pt: number;
  readonly status?: number;
  readonly conflateMs?: number;
  readonly heartbeatMs?: number;
  readonly rc?: readonly SportEntry[];
  readonly cc?: readonly SportEntry[];
}

class House {
  readonly clock = new VirtualClock();
  readonly desk: SportDesk;
  readonly truth = new NaiveSports();
  readonly #sport: Sport;

  constructor(sport: Sport = "race", options: Partial<DeskOptions> = {}) {
    this.#sport = sport;
    this.desk = new SportDesk({ sport, epoch: "e", clock: this.clock, ...options });
    this.desk.state("live");
  }

  /** A line of the exchange. */
  says(entries: readonly SportEntry[], more: object = {}): void {
    const { op, list } = SPORTS[this.#sport];
    const text = JSON.stringify({ op, id: 2, pt: this.clock.wall() - 5, [list]: entries, ...more });
    const bytes = new TextEncoder().encode(text);
    const batch = new SportBatch();
    expect(decodeSportLine(bytes, 0, bytes.length, this.#sport, batch)).toEqual({ kind: "change" });
    this.truth.apply(entries);
    this.desk.batch(batch);
  }

  follow(more: Partial<SportSubscribeRequest> = {}): Client {
    const client = new Client();
    client.ask(this.desk, this.#sport, more);
    return client;
  }
}

/** A client: a socket that takes what it has room for, and the words it heard. */
class Client {
  words = new NaiveSports();
  readonly messages: Message[] = [];
  room = Number.POSITIVE_INFINITY;
  initialClk: string | null = null;
  clk: string | null = null;
  refusal: string | null = null;
  #open: { drained(): void; end(): void } | null = null;
  #connection = 0;

  ask(desk: SportDesk, sport: Sport, more: Partial<SportSubscribeRequest>, sports: readonly Sport[] = [sport]): void {
    this.end();
    const connection = ++this.#connection;
    const client = this;
    const session = {
      get isClear() {
        return client.room > 0;
      },
      say: (text: string) => {
        if (connection === this.#connection) this.#hear(text);
      },
    };
    const terms = { id: 7, conflateMs: 0, heartbeatMs: 5000, segmentationEnabled: false, initialClk: null, clk: null };
    const opened = desk.subscribe({ sports }, { ...terms, ...more }, session, '{"op":"status"}');
    if ("code" in opened) this.refusal = opened.code;
    else this.#open = opened;
  }

  drain(room = Number.POSITIVE_INFINITY): void {
    this.room = room;
    if (room > 0) this.#open?.drained();
  }

  end(): void {
    this.#open?.end();
    this.#open = null;
    this.#connection++;
  }

  /** What was said to it since last asked: [ct, entries]. */
  take(): [string | undefined, readonly SportEntry[] | undefined][] {
    return this.messages.splice(0).map(({ ct, rc, cc }) => [ct, rc ?? cc]);
  }

  #hear(text: string): void {
    this.room--;
    const message: Message = JSON.parse(text);
    if (message.op === "status") return;
    this.messages.push(message);
    if (message.ct === "SUB_IMAGE") this.words = new NaiveSports();
    this.words.apply(message.rc ?? message.cc ?? []);
    this.initialClk = message.initialClk ?? this.initialClk;
    this.clk = message.clk ?? this.clk;
  }
}

const RACE = { id: "2.1650", mid: "1.1" };
const MATCH = { eventId: "30", marketId: "1.2" };

describe("sports data", () => {
  test("are for the entitled, each sport by itself", () => {
    const { desk } = new House("race");
    for (const [sports, refusal] of [
      [[], "NOT_AUTHORIZED"],
      [["cricket"], "NOT_AUTHORIZED"],
      [["cricket", "race"], null],
    ] as const) {
      const client = new Client();
      client.ask(desk, "race", {}, sports);
      expect([sports, client.refusal]).toEqual([sports, refusal]);
      expect(client.messages.length).toBe(refusal === null ? 1 : 0);
    }
    expect(desk.subscriptions.size).toBe(1);
  });

  test("go to who is in step as they come, with the exchange's time, the client's id and a clk of ours", () => {
    const house = new House("cricket");
    const client = house.follow({ id: 9 });
    house.clock.advance(10);
    const entries = [
      { ...MATCH, matchStats: { runs: 1.5 } },
      { ...MATCH, marketId: "1.3" },
      { ...MATCH, matchStats: { runs: 2 } },
    ];
    house.says(entries);
    house.says([]);
    const pt = house.clock.wall();
    expect(client.messages).toEqual([
      {
        op: "ccm",
        id: 9,
        ct: "SUB_IMAGE",
        initialClk: "e.cricket",
        clk: "0",
        pt: pt - 10,
        conflateMs: 0,
        heartbeatMs: 5000,
      },
      { op: "ccm", id: 9, clk: "1", pt: pt - 5, cc: entries },
    ]);
  });

  test("of cricket begin with what is known of each match", () => {
    const house = new House("cricket");
    house.says([{ ...MATCH, fixtureInfo: { maxOvers: 20 }, matchStats: { runs: 1 }, new: null }]);
    house.says([
      { ...MATCH, marketId: "1.3" },
      { ...MATCH, matchStats: { runs: 2 } },
    ]);
    const known = { ...MATCH, fixtureInfo: { maxOvers: 20 }, matchStats: { runs: 2 }, new: null };
    const client = house.follow();
    expect(client.clk).toBe("2");
    expect(client.take()).toEqual([["SUB_IMAGE", [{ ...MATCH, marketId: "1.3" }, known]]]);
  });

  test("of races begin with nothing, as at the exchange, and go on with what is known, runner by runner", () => {
    const house = new House("race");
    house.says([
      {
        ...RACE,
        rpc: { g: "1f" },
        rrc: [
          { id: 7, spd: 1 },
          { id: 8, spd: 2 },
        ],
      } as SportEntry,
    ]);
    house.says([{ ...RACE, rrc: [{ id: 7, prg: 3 }] } as SportEntry]);
    const client = house.follow();
    const [image, rest] = client.messages;
    expect([image?.clk, rest?.clk, rest?.pt]).toEqual(["0", "2", house.clock.wall()]);
    expect(client.take()).toEqual([
      ["SUB_IMAGE", undefined],
      [
        undefined,
        [
          {
            ...RACE,
            rpc: { g: "1f" },
            rrc: [
              { id: 7, prg: 3 },
              { id: 8, spd: 2 },
            ],
          } as SportEntry,
        ],
      ],
    ]);
  });

  test("that a full socket missed are told together when it drains: what was said since", () => {
    const house = new House("cricket");
    house.says([{ ...MATCH, fixtureInfo: { maxOvers: 20 }, matchStats: { runs: 0 } }]);
    const client = house.follow();
    client.take();
    client.drain(0);
    for (const runs of [1, 2, 3]) house.says([{ ...MATCH, matchStats: { runs } }]);
    expect(client.take()).toEqual([]);
    client.drain();
    expect(client.take()).toEqual([[undefined, [{ ...MATCH, matchStats: { runs: 3 } }]]]);
    client.drain();
    expect([client.take(), client.clk]).toEqual([[], "4"]);
  });

  test("of which a full socket missed something that is forgotten by now begin anew", () => {
    const house = new House("cricket", { gamesMax: 1 });
    house.says([MATCH]);
    const client = house.follow();
    client.drain(0);
    house.says([{ ...MATCH, matchStats: { runs: 1 } }]);
    house.says([{ ...MATCH, marketId: "1.3" }]);
    client.drain();
    expect(client.take().at(-1)).toEqual(["SUB_IMAGE", [{ ...MATCH, marketId: "1.3" }]]);
  });

  test("go on from a clk in reach with what was said since; by any other clk they begin with an image", () => {
    const house = new House("cricket", { gamesMax: 2 });
    for (const marketId of ["a", "b", "c", "d"]) house.says([{ ...MATCH, marketId }]);
    const by = (initialClk: string | null, clk: string | null) => house.follow({ initialClk, clk }).take();
    const [c, d] = [
      { ...MATCH, marketId: "c" },
      { ...MATCH, marketId: "d" },
    ];
    expect(by("e.cricket", "3")).toEqual([["RESUB_DELTA", [d]]]);
    expect(by("e.cricket", "2")).toEqual([["RESUB_DELTA", [c, d]]]);
    expect(by("e.cricket", "4")).toEqual([["RESUB_DELTA", undefined]]);
    const others: [string | null, string | null][] = [
      ["e.cricket", "1"],
      ["e.cricket", "0"],
      ["e.cricket", "5"],
      ["e.cricket", "-1"],
      ["e.cricket", "03"],
      ["e.cricket", ""],
      ["e.cricket", null],
      ["e.race", "4"],
      [null, "4"],
    ];
    for (const [initialClk, clk] of others) expect(by(initialClk, clk)).toEqual([["SUB_IMAGE", [c, d]]]);
  });

  test("come together for who conflates them", () => {
    const house = new House("cricket");
    const client = house.follow({ conflateMs: 1_000 });
    house.clock.advance(400);
    for (const runs of [1, 2]) house.says([{ ...MATCH, matchStats: { runs } }]);
    house.clock.advance(500);
    client.drain();
    expect(client.take()).toEqual([["SUB_IMAGE", undefined]]);
    house.clock.advance(200);
    house.says([{ ...MATCH, toss: 1 }]);
    house.clock.advance(2_000);
    expect(client.take()).toEqual([
      [undefined, [{ ...MATCH, matchStats: { runs: 2 } }]],
      [undefined, [{ ...MATCH, toss: 1 }]],
    ]);
  });

  test("say by 503 that they cannot be relied on, and at once when they can again, late ones first", () => {
    const house = new House("cricket");
    const [client, slow] = [house.follow(), house.follow({ conflateMs: 5_000 })];
    house.desk.state("stale");
    const late = house.follow();
    const said = () => [client, slow, late].map((one) => one.messages.splice(0).map(({ ct, status }) => [ct, status]));
    expect(said()).toEqual([
      [
        ["SUB_IMAGE", undefined],
        ["HEARTBEAT", 503],
      ],
      [
        ["SUB_IMAGE", undefined],
        ["HEARTBEAT", 503],
      ],
      [["SUB_IMAGE", 503]],
    ]);
    house.says([{ ...MATCH }]);
    house.desk.state("live");
    expect(said()).toEqual([[[undefined, undefined]], [[undefined, undefined]], [[undefined, undefined]]]);
    house.says([{ ...MATCH }], { status: 503 });
    house.desk.state("stale");
    house.desk.state("live");
    expect(said()[0]).toEqual([
      [undefined, 503],
      ["HEARTBEAT", undefined],
    ]);
  });

  test("heartbeat with the clk while nothing is said, and not once more when all is over", () => {
    const house = new House("cricket");
    const client = house.follow({ heartbeatMs: 500 });
    house.says([MATCH]);
    client.take();
    house.clock.advance(1_600);
    expect(client.messages.map(({ ct, clk }) => [ct, clk])).toEqual(Array(3).fill(["HEARTBEAT", "1"]));
    client.drain(0);
    house.clock.advance(1_000);
    client.end();
    client.drain();
    house.says([MATCH]);
    house.clock.advance(1_000);
    expect(client.messages.length).toBe(3);
    expect(house.desk.subscriptions.size).toBe(0);
  });

  test("are forgotten when nothing was said for long, and beyond a number", () => {
    const house = new House("race", { gamesMax: 3 });
    house.says(["a", "b", "c", "d"].map((id) => ({ ...RACE, id })));
    house.clock.advance(10 * 60_000);
    house.says([{ ...RACE, id: "b" }]);
    expect(house.desk.games.changedSince(0).map(({ ids }) => JSON.parse(`{${ids}}`).id)).toEqual(["c", "d", "b"]);
    house.clock.advance(6 * 60_000);
    expect(house.follow().take()).toEqual([
      ["SUB_IMAGE", undefined],
      [undefined, [{ ...RACE, id: "b" }]],
    ]);
  });

  test("in an image larger than a message come in several, of which the last has the clk", () => {
    for (const sport of ["race", "cricket"] as const) {
      const house = new House(sport, { messageBytesMax: 60 });
      const ids = sport === "race" ? RACE : MATCH;
      for (let n = 0; n < 10; n++) house.says([{ ...ids, [sport === "race" ? "mid" : "marketId"]: `1.${n}` }]);
      const client = house.follow();
      expect(client.messages.length).toBeGreaterThan(3);
      expect(client.messages.map(({ clk }) => clk).filter(Boolean)).toEqual(["0", "a"]);
      expect(client.messages.map(({ ct }) => ct).filter(Boolean)).toEqual(["SUB_IMAGE"]);
      expect(client.words.state()).toEqual(house.truth.state());
    }
  });

  test("come to the last word on everything, however they were cut, resumed, conflated or read too slowly", () => {
    fc.assert(
      fc.property(fc.integer(), fc.constantFrom<Sport>("race", "cricket"), (seed, sport) => ramble(seed, sport)),
      { numRuns: 300 },
    );
  });
});

/** Anything may happen, and in the end each client has the last word on everything that is remembered. */
function ramble(seed: number, sport: Sport): void {
  const random = seededRandom(seed);
  const int = (max: number) => randomInt(random, max + 1);
  const gamesMax = int(2) === 0 ? 3 : 100;
  const house = new House(sport, { messageBytesMax: 120, gamesMax, epoch: `e${int(1)}` });
  const clients = Array.from({ length: 3 }, () => house.follow({ conflateMs: int(2) === 0 ? 700 : 0 }));
  for (let step = 0; step < 60; step++) {
    const client = pick(random, clients);
    const act = int(9);
    if (act < 5) house.says(Array.from({ length: 1 + int(2) }, () => randomEntry(sport, int)));
    else if (act === 5) client.drain(int(4));
    else if (act === 6) house.clock.advance(int(2_000));
    else if (act === 7) house.desk.state(int(1) === 0 ? "stale" : "live");
    else {
      client.drain(1 + int(2));
      const { initialClk, clk } = client;
      client.ask(house.desk, sport, { initialClk, clk: int(9) === 0 ? "zz" : clk, conflateMs: 300 * int(1) });
    }
  }
  house.desk.state("live");
  for (const client of clients) client.drain();
  house.clock.advance(5_000);
  // Where games are forgotten a client may know more than is remembered, never less or otherwise.
  const known = house.follow().words;
  if (gamesMax === 100) expect([seed, known.state()]).toEqual([seed, house.truth.state()]);
  for (const client of clients) {
    expect([seed, client.words.state(known)]).toEqual([seed, known.state()]);
    if (gamesMax === 100) expect([seed, client.words.state()]).toEqual([seed, known.state()]);
    expect([seed, client.clk]).toEqual([seed, house.desk.games.sequence.toString(36)]);
  }
}

function randomEntry(sport: Sport, int: (max: number) => number): SportEntry {
  const [a, b] = [`${int(3)}`, `1.${int(1)}`];
  const ids = sport === "race" ? { id: a, mid: b } : { eventId: a, marketId: b };
  const parts = Object.fromEntries(["rpc", "x", "é"].filter(() => int(2) === 0).map((key) => [key, int(9)]));
  if (sport === "cricket" || int(2) === 0) return { ...ids, ...parts };
  return { ...ids, ...parts, rrc: Array.from({ length: int(3) }, () => ({ id: int(3), spd: int(999) / 100 })) };
}
