import { describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "../sim/clock.ts";
import type { OrderBatch } from "../wire/orders.ts";
import { EXCHANGE_DEFAULTS } from "./client.ts";
import { OrderClient } from "./orders.ts";
import { staticSession } from "./session.ts";

/** A client in front of an exchange that says what the test tells it to. */
function setUp() {
  const clock = new VirtualClock();
  const asked: Record<string, unknown>[] = [];
  const heard: string[] = [];
  let line: SocketHandler | null = null;
  const socket: Socket = {
    remote: "exchange",
    write(bytes) {
      for (const text of new TextDecoder().decode(bytes).trim().split("\r\n")) asked.push(JSON.parse(text));
      return bytes.length;
    },
    end() {},
    destroy() {},
  };
  const options = { ...EXCHANGE_DEFAULTS, name: "orders", host: "x", port: 1, tls: "off" as const, appKey: "k" };
  const client = new OrderClient(options, {
    clock,
    random: seededRandom(1),
    log: silentLog,
    session: staticSession("t"),
    dial: (_, handler) => {
      line = handler;
      return socket;
    },
  });
  client.start({
    batch: ({ kind, markets }: OrderBatch) => heard.push(`${kind} ${markets.map(({ id }) => id)}`),
    settled() {},
    state: (state) => heard.push(state),
  });
  const says = (...messages: object[]) =>
    line?.data(socket, new TextEncoder().encode(messages.map((message) => `${JSON.stringify(message)}\r\n`).join("")));
  const connects = () => {
    line?.open?.(socket);
    says(
      { op: "connection", connectionId: "1" },
      { op: "status", id: 1, statusCode: "SUCCESS", connectionClosed: false },
    );
  };
  connects();
  return { clock, client, asked, heard, says, connects, cut: () => line?.close(socket) };
}

const ocm = (id: string, more: object = {}) => ({ op: "ocm", id: 2, pt: 1, clk: id, oc: [{ id }], ...more });
const image = (id: string, more: object = {}) => ocm(id, { ct: "SUB_IMAGE", initialClk: "i", ...more });

describe("the order stream of the account", () => {
  test("asks for everything, and resumes by its clk", () => {
    const { asked, says, cut, clock, connects, heard } = setUp();
    const asking = {
      op: "orderSubscription",
      orderFilter: { includeOverallPosition: true, partitionMatchedByStrategyRef: true },
      segmentationEnabled: true,
    };
    expect(asked.at(-1)).toMatchObject(asking);
    says(image("1.1"), ocm("1.2"));
    cut();
    clock.advance(5_000);
    connects();
    expect(asked.at(-1)).toMatchObject({ ...asking, initialClk: "i", clk: "1.2" });
    says(ocm("1.3", { ct: "RESUB_DELTA" }));
    expect(heard).toEqual(["image 1.1", "live", "update 1.2", "stale", "resume 1.3", "live"]);
  });

  test("segments are one message; begun and never ended, nothing", () => {
    const { says, heard, cut, clock, connects, client } = setUp();
    says(image("1.1", { segmentType: "SEG_START" }), image("1.2", { segmentType: "SEG" }));
    expect(heard).toEqual([]);
    cut();
    clock.advance(5_000);
    connects();
    says(image("1.3", { segmentType: "SEG_START" }), ocm("1.4", { segmentType: "SEG_END" }));
    expect(heard).toEqual(["image 1.3,1.4", "live"]);
    says(ocm("1.5", { segmentType: "SEG_END" }));
    expect(client.state.kind).toBe("waiting");
    expect(heard).toEqual(["image 1.3,1.4", "live", "stale"]);
  });

  test("a line that cannot be read ends the connection and is not applied by half; 503 is passed on", () => {
    const { says, heard, client } = setUp();
    says(image("1.1"), ocm("1.2", { status: 503 }));
    says(ocm("1.3", { oc: [{ id: "1.3" }, { id: 4 }] }));
    expect(heard).toEqual(["image 1.1", "live", "stale", "update 1.2"]);
    expect([client.invalidLines, client.state.kind]).toEqual([1, "waiting"]);
  });
});
