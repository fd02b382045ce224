import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { change, definition, image, Rig, User } from "../../test/hub-rig.ts";
import type { SubscribeRequest } from "../wire/requests.ts";

/*
 * What a flush and an idle moment cost, by counts: they are the same on any machine, and a clock is not.
 */

const ltp = (id: string, value: number) => change(id, { rc: [{ id: 5, ltp: value }] });

/** A user that reads nothing of what it gets: whatever is allocated is the hub's. */
class Deaf extends User {
  calls = 0;

  override write(bytes: Uint8Array): number {
    this.calls++;
    return bytes.length;
  }
}

function crowd(rig: Rig, count: number, request: (n: number) => Partial<SubscribeRequest>): Deaf[] {
  const users = Array.from({ length: count }, (_, n) => {
    const user = new Deaf();
    user.session = rig.hub.join(user, { name: "a", tenant: "t", subscriptionsMax: 10, marketsMax: 1000 });
    user.session.subscribe(user.request(1, request(n)));
    user.session.subscribe(user.request(2, { ...request(n), filter: { marketIds: ["1.1"] } }));
    return user;
  });
  // They get their images some at a time.
  rig.clock.advance(1);
  return users;
}

const writes = (users: readonly Deaf[]) => users.reduce((sum, { calls }) => sum + calls, 0);

describe("a flush", () => {
  for (const count of [1, 16, 400])
    test(`encodes each touched market once for each slot with users, and writes once to each of ${count} users at most`, () => {
      const rig = new Rig();
      rig.send([image("1.1"), image("1.2"), image("1.3")]);
      const users = crowd(rig, count, () => ({ conflateMs: 1000 }));
      const slots = Math.min(count, 8);
      const [encodes, before] = [rig.hub.encodes, writes(users)];
      for (let i = 0; i < 5; i++) rig.send([ltp("1.1", i), ltp("1.2", i)]);
      expect([rig.hub.encodes - encodes, writes(users) - before]).toEqual([0, 0]);
      rig.clock.advance(1000);
      expect([rig.hub.encodes - encodes, writes(users) - before]).toEqual([2 * slots, count]);
      rig.hub.stop();
    });

  test("at once is one slot for everybody; several messages of the exchange that came together are one write", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2"), image("1.3")]);
    const users = crowd(rig, 100, () => ({}));
    const [encodes, before] = [rig.hub.encodes, writes(users)];
    for (let i = 0; i < 7; i++) rig.send([ltp("1.1", i), ltp("1.2", i)], {}, i === 6);
    expect([rig.hub.encodes - encodes, writes(users) - before]).toEqual([7 * 2, 100]);
    rig.hub.stop();
  });

  test("encodes what differs in fields or depth by itself, and what nobody looks at not at all", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2"), image("1.3")]);
    const users = crowd(rig, 90, (n) => ({ filter: { marketIds: ["1.1", "1.2"] }, ladderLevels: 1 + (n % 3) }));
    const [encodes, before] = [rig.hub.encodes, writes(users)];
    rig.send([ltp("1.1", 3), ltp("1.2", 3), ltp("1.3", 3)]);
    expect([rig.hub.encodes - encodes, writes(users) - before]).toEqual([2 * 3, 90]);
    rig.hub.stop();
  });

  test("of a market that stops is one for each slot and one write to each user, whatever their cadence", () => {
    const rig = new Rig();
    rig.send([image("1.1"), image("1.2")]);
    const users = crowd(rig, 160, () => ({ conflateMs: 60_000 }));
    const [encodes, before] = [rig.hub.encodes, writes(users)];
    rig.send([change("1.1", { marketDefinition: definition({ status: "SUSPENDED" }) })]);
    expect([rig.hub.encodes - encodes, writes(users) - before]).toEqual([8, 160]);
    rig.hub.stop();
  });
});

describe("while nothing moves", () => {
  /** Beats that have nothing to tell wait for nothing: what is left is the sweep and the wheel of heartbeats. */
  test("two timers wait, whatever the number of users, their cadences and limits", () => {
    const waiting = [1, 10, 1000].map((count) => {
      const rig = new Rig();
      rig.send([image("1.1"), image("1.2")]);
      const users = crowd(rig, count, (n) => ({ conflateMs: 50 * (n % 9) }));
      for (const { session } of users) session.limit(5000);
      rig.clock.advance(10_000);
      const { waiting } = rig.clock;
      rig.hub.stop();
      return waiting;
    });
    expect(waiting).toEqual([2, 2, 2]);
  });

  test("and while it moves, one more for each slot of a cadence in use", () => {
    const waiting = [100, 1000].map((count) => {
      const rig = new Rig();
      rig.send([image("1.1"), image("1.2")]);
      crowd(rig, count, () => ({ conflateMs: 1000 }));
      rig.send([ltp("1.1", 3)]);
      const { waiting } = rig.clock;
      rig.hub.stop();
      return waiting;
    });
    expect(waiting).toEqual([2 + 8, 2 + 8]);
  });

  /**
   * The engine counts its objects by type, and counts garbage until it is collected: between one full collection and the next it tells exactly how many were made
   * (its `heapSize` and `objectCount` do not: they stand still until then). So there are few ticks between two counts, too few to bring a collection about.
   * A tick is a hundred milliseconds without a change: the wheel turns, once the sweep goes round, and the source says that it is there.
   */
  test("a tick makes no object more with 5,000 users than with 10", () => {
    const [few, many] = [made(10), made(5000)];
    expect(many - few).toBeLessThan(50);
  });

  test("which is counted so well that one small object for every hundredth user would be seen", () => {
    const spoil = (users: readonly Deaf[]) => users.filter((_, n) => n % 100 === 0).map((user) => ({ user })).length;
    expect(made(5000, spoil) - made(10, spoil)).toBeGreaterThan(450);
  });
});

const TICKS = 10;

/** Objects that ten idle ticks make, garbage included. */
function made(count: number, also: (users: readonly Deaf[]) => unknown = () => {}): number {
  const rig = new Rig();
  rig.send([image("1.1"), image("1.2")]);
  const users = crowd(rig, count, (n) => ({ conflateMs: 50 * (n % 9) }));
  rig.send([ltp("1.1", 3)]);
  // Everybody has just been told something: no heartbeat is due for a while.
  rig.clock.advance(1000);
  Bun.gc(true);
  const before = objects();
  for (let i = 0; i < TICKS; i++) {
    rig.clock.advance(100);
    rig.hub.settled();
    also(users);
  }
  const after = objects();
  rig.hub.stop();
  return after - before;
}

function objects(): number {
  return Object.values(heapStats().objectTypeCounts).reduce((sum, n) => sum + n, 0);
}
