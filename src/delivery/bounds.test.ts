import { describe, expect, test } from "bun:test";
import { agree, change, image, Rig } from "../../test/hub-rig.ts";
import { Outbox } from "./outbox.ts";

const FLUSH_BYTES_MAX = 2_000;
const MARKETS = ["1.1", "1.2", "1.3"];

/** Prices that make an entry of some 400 bytes. */
const wide = (id: string, n: number) =>
  change(id, { rc: [{ id: 5, atb: Array.from({ length: 30 }, (_, i) => [2 + i / 100, n + i]) }] });

describe("what waits for one user is bounded", () => {
  for (const subscriptions of [1, 9])
    test(`by flushBytesMax, with ${subscriptions} subscriptions, whatever they miss`, () => {
      const rig = new Rig({ flushBytesMax: FLUSH_BYTES_MAX });
      rig.send(MARKETS.map((id) => image(id)));
      const user = rig.join();
      for (let id = 1; id <= subscriptions; id++)
        user.session.subscribe(user.request(id, { segmentationEnabled: false, initialClk: null, clk: null }));
      // Each of them has less than flushBytesMax in this flush, all of them together more.
      user.room = 0;
      let most = 0;
      for (let n = 1; n <= 20; n++) {
        rig.send(MARKETS.map((id) => wide(id, n)));
        most = Math.max(most, user.session.outbox.bytesWaiting);
      }
      expect(most).toBeGreaterThan(1_000);
      expect(most).toBeLessThanOrEqual(FLUSH_BYTES_MAX);
      user.drain(Number.POSITIVE_INFINITY);
      agree(user.books, rig.truth, {});
      expect(rig.hub.behind.size).toBe(0);
    });

  test("and by the headroom of what is said in between", () => {
    const rig = new Rig({ flushBytesMax: FLUSH_BYTES_MAX });
    rig.send(MARKETS.map((id) => image(id)));
    const user = rig.join();
    user.session.subscribe(user.request(1));
    user.room = 0;
    rig.send(MARKETS.map((id) => wide(id, 1)));
    let most = 0;
    for (let n = 0; n < 10_000 && user.goodbye === null; n++) {
      user.session.say(`{"op":"status","id":${n}}`);
      most = Math.max(most, user.session.outbox.bytesWaiting);
    }
    expect(user.goodbye?.code).toBe("SLOW");
    expect(most).toBeLessThanOrEqual(FLUSH_BYTES_MAX + Outbox.controlBytesMax);
    expect(rig.hub.closes.get("SLOW")).toBe(1);
  });
});
