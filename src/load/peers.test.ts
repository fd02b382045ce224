import { beforeEach, describe, expect, test } from "bun:test";
import { Peers, SETTLE_MS } from "./peers.ts";
import { hashOf } from "./sockets.ts";

/** Ten users with two markets each, all in step and told the same, but for what a test does. */
describe("peers", () => {
  const USERS = 10;
  const MARKETS = ["1.1", "1.2"];
  let peers: Peers;
  let now = 0;

  const tell = (user: number, clk: number, entry = "", id = "1.1") => {
    const bytes = Buffer.from(`{"id":"${id}"${entry},"tv":${clk}}`);
    peers.told(user, bytes, 0, bytes.length, 7, clk, now);
  };
  const tellAll = (clk: number, but: readonly number[] = []) => {
    for (let user = 0; user < USERS; user++) if (!but.includes(user)) tell(user, clk);
  };
  const figures = () => {
    const { samples, ...rest } = peers.verdict();
    return { ...rest, told: samples.length };
  };

  beforeEach(() => {
    peers = new Peers(MARKETS, USERS, 2, hashOf);
    for (let user = 0; user < USERS; user++) peers.enter(user, MARKETS);
    tellAll(1);
    peers.begin(Array.from({ length: USERS }, (_, user) => user));
  });

  test("who are all told the same are due as much as they got", () => {
    for (let clk = 2; clk <= 101; clk++) tellAll(clk);
    expect(figures()).toEqual({ due: 1_000, got: 1_000, lost: 0, strays: 0, merged: 0, told: 0 });
  });

  test("a change that one was not told of is lost, whoever reads first", () => {
    for (const [i, missing] of [3, 0, 9].entries()) tellAll(2 + i, [missing]);
    tellAll(5);
    expect(figures()).toEqual({ due: 40, got: 37, lost: 3, strays: 0, merged: 0, told: 3 });
  });

  test("the last change of all is missed too", () => {
    tellAll(2);
    tellAll(3, [4]);
    peers.end();
    expect(peers.isComplete).toBe(false);
    tellAll(4);
    expect(figures()).toEqual({ due: 20, got: 19, lost: 1, strays: 0, merged: 0, told: 1 });
  });

  test("a change that came after the others, but in time, is not lost", () => {
    tellAll(2, [4]);
    tellAll(3, [4]);
    peers.end();
    now += SETTLE_MS / 2;
    peers.settle(now);
    tell(4, 2);
    tell(4, 3);
    expect(peers.isComplete).toBe(true);
    expect(figures().lost).toBe(0);
  });

  test("one that differs is a stray, whoever reads first", () => {
    for (const [i, odd] of [3, 0].entries()) {
      for (let user = 0; user < USERS; user++) tell(user, 2 + i, user === odd ? ',"x":1' : "");
    }
    expect(figures()).toEqual({ due: 20, got: 18, lost: 0, strays: 2, merged: 0, told: 2 });
  });

  test("of one that differs, it is told where", () => {
    const prices = (of: string) => `,"rc":[{"id":7,"atb":[[1.01,${"9".repeat(100)}],[${of},5]]}]`;
    for (let user = 0; user < USERS; user++) tell(user, 2, prices(user < 2 ? "2.02" : "2.04"));
    const [sample] = peers.verdict().samples;
    expect(sample).toContain("1.1: 2 were sent another change than 8 others");
    expect(sample).toMatch(/: …9{20,}],\[2\.02,5\]\S+ instead of …9{20,}],\[2\.04,5\]/);
  });

  test("twice is once too often", () => {
    tellAll(2);
    tell(4, 2);
    expect(figures()).toMatchObject({ strays: 1 });
  });

  test("what nobody asked for is a stray", () => {
    tell(4, 2, "", "1.3");
    expect(figures()).toMatchObject({ strays: 1 });
  });

  test("who was behind, and got changes merged, is excused for what it skipped", () => {
    tellAll(2);
    for (const clk of [3, 4, 5]) tellAll(clk, [4]);
    tell(4, 5, ',"con":true,"merged":1');
    tellAll(6);
    expect(figures()).toEqual({ due: 50, got: 47, lost: 0, strays: 0, merged: 3, told: 0 });
  });

  test("and also where its merged message was read before the others' plain one", () => {
    for (const clk of [3, 4]) tellAll(clk, [4]);
    tell(4, 5, ',"con":true,"merged":1');
    tellAll(5, [4]);
    tellAll(6);
    expect(figures()).toEqual({ due: 40, got: 37, lost: 0, strays: 0, merged: 3, told: 0 });
  });

  test("who was cut off and resumed is excused until it is told what the others are told", () => {
    tellAll(2);
    peers.leave(4);
    for (const clk of [3, 4]) tellAll(clk, [4]);
    peers.startAnew(4);
    tellAll(5);
    tellAll(6, [4]);
    expect(figures()).toEqual({ due: 50, got: 47, lost: 1, strays: 0, merged: 2, told: 1 });
  });

  test("what was not judged in time is not kept for ever", () => {
    for (let clk = 2; clk < 20_002; clk++) tellAll(clk);
    expect(figures()).toMatchObject({ due: 200_000, got: 200_000, lost: 0 });
  });
});

test("ids that cannot be told apart are refused", () => {
  expect(() => new Peers(["1.5", "85"], 1, 1, hashOf)).toThrow("cannot be told apart");
});
