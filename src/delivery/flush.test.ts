import { describe, expect, test } from "bun:test";
import { change, image, LINES, Rig, VISITOR } from "../../test/hub-rig.ts";
import type { SubscribeRequest } from "../wire/requests.ts";
import type { Framing, Outlet } from "./outlet.ts";

const ltp = (id: string, value: number) => change(id, { rc: [{ id: 5, ltp: value }] });
const REQUEST: SubscribeRequest = {
  id: 1,
  filter: {},
  fields: 0xffff,
  ladderLevels: 10,
  conflateMs: 0,
  heartbeatMs: 5000,
  segmentationEnabled: true,
  initialClk: null,
  clk: null,
};

/** A user who keeps what it is handed: which bytes, and what stood in them then. */
function witness(rig: Rig, requests: readonly Partial<SubscribeRequest>[], framing: Framing = LINES) {
  const handed: Uint8Array[] = [];
  let said = "";
  const write = (bytes: Uint8Array) => {
    handed.push(bytes);
    said += Buffer.from(bytes).toString("latin1");
    return bytes.length;
  };
  const outlet: Outlet = { framing, extensions: true, write, close() {} };
  const session = rig.hub.join(outlet, VISITOR);
  for (const request of requests) session.subscribe({ ...REQUEST, ...request });
  handed.length = 0;
  said = "";
  return { handed, text: () => said };
}

function stocked(): Rig {
  const rig = new Rig();
  rig.send([image("1.1"), image("1.2")]);
  return rig;
}

describe("a flush", () => {
  test("puts the same bytes together once for users in a row, and for none of another id or other markets", () => {
    const rig = stocked();
    const otherId = witness(rig, [{ id: 2 }]);
    const same = [1, 2, 3].map(() => witness(rig, [{}]));
    const other = witness(rig, [{ filter: { marketIds: ["1.2"] } }]);
    rig.send([ltp("1.1", 3), ltp("1.2", 4)]);
    expect(new Set(same.map(({ handed }) => handed[0])).size).toBe(1);
    const [first] = same.map(({ text }) => text());
    expect(first).toStartWith('{"op":"mcm","id":1,');
    expect(first).toContain('"id":"1.1"');
    expect(first).toContain('"id":"1.2"');
    expect(otherId.text()).toBe((first as string).replace('"op":"mcm","id":1', '"op":"mcm","id":2'));
    expect(other.text()).not.toContain('"id":"1.1"');
    rig.hub.stop();
  });

  /** A door may look at messages as they are framed (SSE): one framed where another was stands in its place. */
  test("frames the messages of several subscriptions where they come to stand in the write", () => {
    const rig = stocked();
    const places: number[] = [];
    const before = (out: Uint8Array, at: number, length: number) => {
      places.push(at);
      return LINES.before(out, at, length);
    };
    const user = witness(rig, [{}, { id: 2, filter: { marketIds: ["1.1"] } }], { ...LINES, before });
    places.length = 0;
    rig.send([ltp("1.1", 3)]);
    expect(user.handed).toHaveLength(1);
    expect(places).toEqual([0, user.text().indexOf("\n") + 1]);
    rig.hub.stop();
  });
});
