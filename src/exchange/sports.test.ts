import { describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import type { Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "../sim/clock.ts";
import { EXCHANGE_DEFAULTS } from "./client.ts";
import { staticSession } from "./session.ts";
import { SILENCE_MS, SportClient } from "./sports.ts";

/** A client in front of an exchange that says what the test tells it to. */
function setUp(silenceMs: number | null = null) {
  const clock = new VirtualClock();
  const asked: unknown[] = [];
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
  const where = { name: "cricket", host: "x", port: 1, tls: "off" as const, appKey: "k" };
  const client = new SportClient(
    { ...EXCHANGE_DEFAULTS, ...where, sport: "cricket", silenceMs },
    {
      clock,
      random: seededRandom(1),
      log: silentLog,
      session: staticSession("t"),
      dial: (_, handler) => {
        line = handler;
        return socket;
      },
    },
  );
  client.start({
    batch: ({ changes }) =>
      changes.length > 0 && heard.push(changes.map(({ text }) => JSON.parse(text).marketId).join()),
    state: (state) => heard.push(state),
  });
  const says = (...messages: object[]) =>
    line?.data(socket, new TextEncoder().encode(messages.map((message) => `${JSON.stringify(message)}\r\n`).join("")));
  const connects = () => {
    line?.open?.(socket);
    says({ op: "connection", connectionId: "1" }, success(1));
  };
  connects();
  return { clock, client, asked, heard, says, connects, cut: () => line?.close(socket) };
}

const success = (id: number) => ({ op: "status", id, statusCode: "SUCCESS", connectionClosed: false });
const ccm = (marketId: string, more: object = {}) => ({
  op: "ccm",
  id: 2,
  pt: 1,
  clk: marketId,
  cc: [{ eventId: "1", marketId }],
  ...more,
});
const heartbeat = { op: "ccm", id: 2, ct: "HEARTBEAT", clk: "h", pt: 1 };

describe("a sports stream of the account", () => {
  test("asks for nothing but itself, and is live as soon as the exchange agrees", () => {
    const { client, asked, says, heard, clock } = setUp();
    expect(asked.at(-1)).toEqual({ op: "cricketSubscription", id: 2 });
    expect([client.state.kind, heard]).toEqual(["subscribing", []]);
    says(success(2));
    expect([client.state.kind, heard]).toEqual(["live", ["live"]]);
    clock.advance(50_000);
    says(ccm("1.1"));
    expect(heard).toEqual(["live", "1.1"]);
  });

  test("is live by its first change or heartbeat where nobody agrees, and by an image where there is one", () => {
    for (const [first, said] of [
      [ccm("1.1"), ["1.1", "live"]],
      [heartbeat, ["live"]],
      [ccm("1.1", { ct: "SUB_IMAGE", initialClk: "i" }), ["1.1", "live"]],
    ] as const) {
      const { client, says, heard } = setUp();
      says(first);
      expect([client.state.kind, heard]).toEqual(["live", [...said]]);
    }
  });

  test("is refused as any stream is", () => {
    const { client, says, heard } = setUp();
    says({ op: "status", id: 2, statusCode: "FAILURE", errorCode: "NOT_AUTHORIZED", connectionClosed: true });
    expect([client.state.kind, heard]).toEqual(["failed", ["down"]]);
  });

  test("resumes where the exchange gave an initialClk, and sends no key otherwise", () => {
    const { asked, says, cut, clock, connects, heard } = setUp();
    const back = () => {
      cut();
      clock.advance(5_000);
      connects();
    };
    says(success(2), ccm("1.1"));
    back();
    expect(asked.at(-1)).toEqual({ op: "cricketSubscription", id: 2 });
    says(success(2), ccm("1.2", { ct: "SUB_IMAGE", initialClk: "i" }), ccm("1.3"));
    back();
    expect(asked.at(-1)).toEqual({ op: "cricketSubscription", id: 2, initialClk: "i", clk: "1.3" });
    says(success(2), ccm("1.4", { ct: "RESUB_DELTA" }));
    expect(heard).toEqual(["live", "1.1", "stale", "live", "1.2", "1.3", "stale", "live", "1.4"]);
  });

  test("is dead after a minute of silence, or after two heartbeats where the exchange says how often it sends them", () => {
    const unsaid = setUp();
    unsaid.says(success(2), heartbeat);
    unsaid.clock.advance(SILENCE_MS - 1_000);
    expect(unsaid.client.state.kind).toBe("live");
    unsaid.clock.advance(2_000);
    expect(unsaid.heard.at(-1)).toBe("stale");
    const echoed = setUp();
    echoed.says(success(2), { ...heartbeat, ct: "SUB_IMAGE", heartbeatMs: 5000 });
    echoed.clock.advance(9_000);
    expect(echoed.client.state.kind).toBe("live");
    echoed.clock.advance(2_000);
    expect(echoed.heard.at(-1)).toBe("stale");
  });

  test("may be silent for as long as is set, whatever the exchange says", () => {
    const { client, says, clock, heard } = setUp(3_600_000);
    says(success(2), { ...heartbeat, ct: "SUB_IMAGE", heartbeatMs: 5000 });
    clock.advance(3_599_000);
    expect(client.state.kind).toBe("live");
    clock.advance(2_000);
    expect(heard.at(-1)).toBe("stale");
  });

  test("says so when its data are late, and drops a line that cannot be read", () => {
    const { client, says, heard } = setUp();
    says(success(2), ccm("1.1", { status: 503 }), ccm("1.2"), ccm("1.3", { cc: [{}] }));
    expect(heard).toEqual(["live", "stale", "1.1", "1.2", "live", "stale"]);
    expect([client.invalidLines, client.state.kind]).toEqual([1, "waiting"]);
  });
});
