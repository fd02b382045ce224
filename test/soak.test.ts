import { heapStats } from "bun:jsc";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { systemClock } from "../src/base/clock.ts";
import { seededRandom } from "../src/base/random.ts";
import { EventDay, W1 } from "../src/sim/world-w1.ts";
import { median, slope } from "./proof-soak.ts";
import { Crowd } from "./soak-house.ts";
import { type OpenStage, openStage, SESSION, until } from "./stage.ts";

const MARKETS = 50;
const CROWD = 300;
const WAVES = 3;
/** Code that is compiled late, a timer here or there. Each user is some 50 objects: a tenth of all that come would not go unseen. */
const OBJECTS_MORE = 1_500;
const HEARTBEAT_MS = 500;
/** Who has gone may still lie in a list of what is due, until its moment comes. */
const RETURN_MS_MAX = 12_000;

/** `prove -- soak` in short and in one process, so that what is alive can be counted instead of being guessed from memory. */
describe("a gateway whose users come and go", () => {
  let stage: OpenStage;
  let world: EventDay;
  let marketIds: string[];
  let before: Alive;

  beforeAll(async () => {
    stage = await openStage(1, { visitors: [{ token: SESSION, name: "soak", connectionsMax: 1_000 }] });
    const publish = stage.exchange.publish.bind(stage.exchange);
    const options = { ...W1, markets: MARKETS, changesPerSecond: 100, burst: { everyMs: 60_000, forMs: 0, times: 1 } };
    world = new EventDay(options, { clock: systemClock, random: seededRandom(1), publish });
    world.start();
    await until(() => stage.gateway.cache.size === MARKETS, "all markets are here");
    marketIds = [...stage.gateway.cache.books()].map(({ id }) => id);
    const { sockets } = alive();
    await comeAndGo(1, "politely");
    before = await once((now) => now.sockets <= sockets);
  }, 30_000);

  afterAll(async () => {
    world.stop();
    await stage.close();
  });

  async function comeAndGo(waves: number, how: "politely" | "at once"): Promise<void> {
    const { port } = new URL(stage.gateway.websocketUrl as string);
    const crowd = new Crowd(Number(port), SESSION, HEARTBEAT_MS, marketIds);
    for (let wave = 1; wave <= waves; wave++) {
      await crowd.tell(`come ${CROWD}`);
      await crowd.tell(`flit ${CROWD / 3}`);
      if (how === "politely") await crowd.tell("leave");
    }
    if (how === "at once") crowd.vanish();
    await crowd.stop();
  }

  const isBack = (now: Alive) =>
    now.objects <= before.objects + OBJECTS_MORE &&
    now.sockets <= before.sockets &&
    now.descriptors <= before.descriptors;

  test("holds as many objects, sockets and descriptors as before when they have gone", async () => {
    await comeAndGo(WAVES, "politely");
    await comeAndGo(1, "at once");
    const after = await once(isBack);
    expect({ before, after, isBack: isBack(after) }).toEqual({ before, after, isBack: true });
  }, 30_000);
});

interface Alive {
  readonly objects: number;
  readonly sockets: number;
  readonly descriptors: number;
}

/** What is alive as soon as this holds, or in the end. */
async function once(holds: (now: Alive) => boolean): Promise<Alive> {
  const deadline = performance.now() + RETURN_MS_MAX;
  for (;;) {
    const now = alive();
    if (holds(now) || performance.now() > deadline) return now;
    await Bun.sleep(250);
  }
}

function alive(): Alive {
  Bun.gc(true);
  const { objectCount: objects, objectTypeCounts } = heapStats();
  const sockets = objectTypeCounts.TCPSocket ?? 0;
  return { objects, sockets, descriptors: readdirSync("/proc/self/fd").length };
}

test("median and slope are what they are called", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(slope([5, 5, 5, 5])).toBe(0);
  expect(slope([1, 3, 5, 7])).toBe(2);
  expect(slope([0, 1, 0])).toBe(0);
});
