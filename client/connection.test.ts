import { describe, expect, test } from "bun:test";
import { RETRY_FIRST_MS_MAX, RETRY_MS_MAX } from "./backoff.ts";
import {
  type Connection,
  type ConnectionState,
  type ConnectOptions,
  connect,
  STEADY_MS,
  STEP_MS_MAX,
  SUBSCRIPTIONS_MAX,
  TOKEN_REFUSALS_MAX,
} from "./connection.ts";
import { ANSWER_MS_MAX, type Outcome } from "./subscription.ts";
import { FakeClock, FakeServer } from "./testing/fake.ts";

describe("connecting", () => {
  test("greets, authenticates, then subscribes, with an id of its own for each", () => {
    const { connection, server } = setUp({ appKey: "key" });
    const first = connection.subscribe({ filter: { marketIds: ["1.1"] }, fields: ["EX_LTP"], conflateMs: 100 });
    const second = connection.subscribe();
    expect(server.wire.sent).toEqual([]);
    server.wire.say({ op: "connection", connectionId: "c-1" });
    expect(server.wire.sent).toEqual([{ op: "authentication", id: 3, appKey: "key", session: "token" }]);
    server.wire.say({ op: "status", id: 3, statusCode: "SUCCESS" });
    expect([connection.state.kind, connection.connectionId]).toEqual(["ready", "c-1"]);
    expect(server.wire.sent.slice(1)).toEqual([
      {
        op: "marketSubscription",
        id: first.id,
        marketFilter: { marketIds: ["1.1"] },
        marketDataFilter: { fields: ["EX_LTP"] },
        segmentationEnabled: true,
        conflateMs: 100,
        heartbeatMs: 5000,
      },
      expect.objectContaining({ id: second.id, marketFilter: {} }),
    ]);
  });

  test("subscribes at once when it is ready already, and leaves again by unsubscribe", () => {
    const { connection, server } = setUp();
    server.wire.accept();
    const subscription = connection.subscribe();
    expect(server.wire.asked("marketSubscription")?.id).toBe(subscription.id);
    subscription.unsubscribe();
    expect(server.wire.asked("unsubscribe")).toEqual({ op: "unsubscribe", id: 3, subscription: subscription.id });
    server.wire.say({ op: "mcm", id: subscription.id, pt: 1, ct: "SUB_IMAGE", mc: [{ id: "1.1" }] });
    expect([subscription.books.size, subscription.state.kind]).toEqual([0, "ended"]);
  });

  test("asks for a fresh token before every authentication", async () => {
    let count = 0;
    const { connection, server, clock } = setUp({ session: async () => `token-${++count}` });
    connection.subscribe();
    for (const expected of ["token-1", "token-2"]) {
      server.wire.say({ op: "connection" });
      await settle();
      expect(server.wire.asked("authentication")?.session).toBe(expected);
      server.wire.cut();
      clock.next();
    }
  });

  test("a token that comes after its connection is gone is not sent on the next", async () => {
    let give: (token: string) => void = () => {};
    const { connection, server, clock } = setUp({ session: () => new Promise((resolve) => (give = resolve)) });
    connection.subscribe();
    server.wire.say({ op: "connection" });
    await settle();
    server.wire.cut();
    clock.next();
    give("late");
    await settle();
    expect(server.wires.map((wire) => wire.sent)).toEqual([[], []]);
  });

  test("a server that does not greet, or does not answer, is left in time", () => {
    const { connection, server, clock, states } = setUp();
    connection.subscribe();
    clock.pass(STEP_MS_MAX);
    expect([connection.state.kind, server.wire.closedByClient]).toEqual(["waiting", true]);
    clock.next();
    server.wire.say({ op: "connection" });
    clock.pass(STEP_MS_MAX);
    expect(states.at(-1)).toMatchObject({ kind: "waiting", reason: "the authentication was not answered in time" });
  });

  test("a wire that cannot even be tried ends it for good", () => {
    const { connection } = setUp({
      wire: () => {
        throw new SyntaxError("not a URL");
      },
    });
    expect(connection.state).toMatchObject({ kind: "closed", code: "INVALID_URL" });
  });

  test("carries a bounded number of subscriptions", () => {
    const { connection } = setUp();
    for (let n = 0; n < SUBSCRIPTIONS_MAX; n++) connection.subscribe();
    expect(() => connection.subscribe()).toThrow(RangeError);
  });
});

describe("coming back", () => {
  test("waits a jittered while, the first time too, and longer each time up to a bound", () => {
    const waits = (chance: number) => {
      const { connection, server, clock, states } = setUp({ random: { next: () => chance } });
      connection.subscribe();
      for (let n = 0; n < 8; n++) {
        server.wire.cut();
        clock.next();
      }
      return states.flatMap((state) => (state.kind === "waiting" ? [state.waitMs] : []));
    };
    expect(waits(0)).toEqual(Array(8).fill(RETRY_FIRST_MS_MAX / 10));
    expect(waits(0.5)[0]).toBe(RETRY_FIRST_MS_MAX * 0.55);
    expect(waits(0.999999).map(Math.round)).toEqual([1, 2, 4, 8, 16, 30, 30, 30].map((seconds) => seconds * 1000));
  });

  test("a connection that is accepted and cut again and again is not retried in a tight loop", () => {
    const { connection, server, clock, states } = setUp({ random: { next: () => 0.999999 } });
    connection.subscribe();
    for (let n = 0; n < 4; n++) {
      server.wire.accept();
      server.wire.cut();
      clock.next();
    }
    server.wire.accept();
    clock.pass(STEADY_MS + 1);
    server.wire.cut();
    const waits = states.flatMap((state) => (state.kind === "waiting" ? [Math.round(state.waitMs)] : []));
    expect(waits).toEqual([1000, 2000, 4000, 8000, 1000]);
  });

  test("nothing of an old wire is heard any more", () => {
    const { connection, server, clock } = setUp();
    const subscription = connection.subscribe();
    const old = server.wire;
    old.accept();
    old.cut();
    clock.next();
    server.wire.accept();
    old.say({ op: "mcm", id: subscription.id, pt: 1, ct: "SUB_IMAGE", clk: "a", mc: [{ id: "1.1" }] });
    old.cut();
    expect([connection.state.kind, subscription.books.size, connection.reconnects]).toEqual(["ready", 0, 1]);
  });

  test("twice the heartbeat of silence is a loss, and any message is a sign of life", () => {
    const { connection, server, clock } = setUp();
    const { id } = connection.subscribe({ heartbeatMs: 1000 });
    server.wire.accept();
    clock.pass(ANSWER_MS_MAX - 1);
    server.wire.say({ op: "mcm", id, pt: 1, ct: "SUB_IMAGE", heartbeatMs: 2000, clk: "a", initialClk: "i" });
    for (let n = 0; n < 5; n++) {
      clock.pass(3999);
      server.wire.say({ op: "mcm", id, pt: 1, ct: "HEARTBEAT", clk: "a" });
    }
    expect(connection.state.kind).toBe("ready");
    clock.pass(3999);
    expect(connection.state.kind).toBe("ready");
    clock.pass(1);
    expect([connection.state.kind, server.wire.closedByClient]).toEqual(["waiting", true]);
  });

  test("silence right after the first answer is noticed as soon as any other", () => {
    const { connection, server, clock } = setUp();
    const { id } = connection.subscribe({ heartbeatMs: 500 });
    server.wire.accept();
    server.wire.say({ op: "mcm", id, pt: 1, ct: "SUB_IMAGE", heartbeatMs: 500 });
    clock.pass(999);
    expect(connection.state.kind).toBe("ready");
    clock.pass(1);
    expect(connection.state.kind).toBe("waiting");
  });

  test("several subscriptions come back together, however long the connection was away", () => {
    const { connection, server, clock } = setUp();
    const ids = [connection.subscribe().id, connection.subscribe().id];
    server.wire.accept();
    for (const id of ids) server.wire.say({ op: "mcm", id, pt: 1, ct: "SUB_IMAGE" });
    server.wire.cut();
    clock.pass(60_000);
    while (connection.state.kind !== "connecting") clock.next();
    server.wire.accept();
    expect<string>(connection.state.kind).toBe("ready");
    const asked = server.wire.sent.filter(({ op }) => op === "marketSubscription").map(({ id }) => id);
    expect(asked).toEqual(ids);
  });

  test("a first answer that does not come is a loss as well", () => {
    const { connection, server, clock } = setUp();
    connection.subscribe();
    server.wire.accept();
    clock.pass(ANSWER_MS_MAX);
    expect(connection.state.kind).toBe("waiting");
  });

  test("with nothing subscribed it waits for a subscription instead of knocking for ever", () => {
    const { connection, server, clock } = setUp();
    server.wire.accept();
    server.wire.say({ op: "status", statusCode: "FAILURE", errorCode: "TIMEOUT", connectionClosed: true });
    clock.pass(10 * RETRY_MS_MAX);
    expect([connection.state.kind, server.wires.length, clock.waiting]).toEqual(["idle", 1, 0]);
    connection.subscribe();
    server.wire.accept();
    expect(server.wire.asked("marketSubscription")).toBeDefined();
  });

  test.each([1000, 1001, 1006, 1011, 1012, 4001, 4005])("close code %d comes back", (code) => {
    const { connection, server } = setUp();
    connection.subscribe();
    server.wire.accept();
    server.wire.cut(code);
    expect(connection.state.kind).toBe("waiting");
  });

  test.each([1002, 1003, 1007, 1009, 4100, 4103, 4106])("close code %d stays away", (code) => {
    const { connection, server, clock } = setUp();
    const subscription = connection.subscribe();
    server.wire.accept();
    server.wire.cut(code, "why");
    expect(connection.state).toEqual({ kind: "closed", code: `closed with ${code}`, reason: "why" });
    expect([subscription.state.kind, clock.waiting]).toEqual(["ended", 0]);
  });

  test.each(["INVALID_APP_KEY", "NO_APP_KEY", "NOT_AUTHORIZED"])(
    "an authentication refused with %s is final",
    (code) => {
      const { connection, server } = setUp();
      refuse(server, code);
      expect(connection.state).toEqual({ kind: "closed", code, reason: "because" });
    },
  );

  test.each(["MAX_CONNECTION_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS", "UNEXPECTED_ERROR", "SOMETHING_NEW"])(
    "an authentication refused with %s is tried again",
    (code) => {
      const { connection, server } = setUp();
      connection.subscribe();
      refuse(server, code);
      expect(connection.state.kind).toBe("waiting");
    },
  );

  test("a refused token is final when there is no way to another, and tried a few times when there is", async () => {
    const fixed = setUp();
    refuse(fixed.server, "INVALID_SESSION_INFORMATION");
    expect(fixed.connection.state.kind).toBe("closed");

    const { connection, server, clock } = setUp({ session: () => "fresh" });
    connection.subscribe();
    for (let n = 0; n < TOKEN_REFUSALS_MAX; n++) {
      expect(connection.state.kind).toBe("connecting");
      server.wire.say({ op: "connection" });
      await settle();
      server.wire.say({ op: "status", id: server.wire.asked("authentication")?.id, ...failure("NO_SESSION") });
      clock.next();
    }
    expect(connection.state).toMatchObject({ kind: "closed", code: "NO_SESSION" });
  });

  test("a subscription that is refused goes alone; the others are resumed", () => {
    const { connection, server, clock } = setUp();
    const [bad, good] = [connection.subscribe(), connection.subscribe()];
    server.wire.accept();
    server.wire.say({ op: "status", id: bad.id, ...failure("INVALID_REQUEST") });
    expect(bad.state).toEqual({ kind: "refused", code: "INVALID_REQUEST", message: "because" });
    clock.next();
    server.wire.accept();
    expect(server.wire.sent.filter(({ op }) => op === "marketSubscription").map(({ id }) => id)).toEqual([good.id]);
  });

  test("a limit that keeps the connection open keeps it open", () => {
    const { connection, server } = setUp();
    const [bad] = [connection.subscribe(), connection.subscribe()];
    server.wire.accept();
    const status = { ...failure("SUBSCRIPTION_LIMIT_EXCEEDED"), connectionClosed: false };
    server.wire.say({ op: "status", id: bad.id, ...status });
    expect([bad.state.kind, connection.state.kind]).toEqual(["refused", "ready"]);
  });
});

describe("what cannot be right", () => {
  test.each([
    ["no JSON", "{"],
    ["null", "null"],
    ["an op from the future", '{"op":"xyz"}'],
    ["a change for nobody", '{"op":"mcm","id":99,"pt":1}'],
  ])("%s never throws", (_, text) => {
    const { server } = setUp();
    server.wire.accept();
    expect(() => server.wire.sayText(text)).not.toThrow();
  });

  test.each([
    ["a segment without a start", { segmentType: "SEG_END" }],
    ["a market change that is none", { mc: [null] }],
    ["a ladder that is none", { mc: [{ id: "1.1", rc: [{ id: 1, atb: 5 }] }] }],
  ])("%s makes the subscription ask for an image", (_, rest) => {
    const { connection, server, clock } = setUp();
    const { id } = connection.subscribe();
    server.wire.accept();
    server.wire.say({ op: "mcm", id, pt: 1, ct: "SUB_IMAGE", initialClk: "i", clk: "c" });
    server.wire.say({ op: "mcm", id, pt: 2, ...rest });
    clock.next();
    server.wire.accept();
    expect(server.wire.asked("marketSubscription")).not.toHaveProperty("clk");
  });

  test("what a callback throws is reported and breaks nothing", () => {
    const errors: unknown[] = [];
    const fail = () => {
      throw new Error("theirs");
    };
    const { connection, server } = setUp({ state: fail, error: (error) => errors.push(error) });
    const { id, books } = connection.subscribe({}, { change: fail, image: fail, status: fail, raw: fail });
    server.wire.accept();
    server.wire.say({ op: "mcm", id, pt: 1, ct: "SUB_IMAGE", mc: [{ id: "1.1", tv: 5 }] });
    expect([connection.state.kind, books.get("1.1")?.totalMatched]).toEqual(["ready", 5]);
    expect(errors.length).toBe(3 + 4);
  });

  test("closing from inside any callback is final", () => {
    for (const when of ["ready", "waiting", "status", "change"]) {
      let connection: Connection | undefined;
      const close = () => connection?.close();
      const made = setUp({ state: (state) => state.kind === when && close() });
      connection = made.connection;
      const subscription = connection.subscribe(
        {},
        {
          change: () => when === "change" && close(),
          status: (state) => when === "status" && state.kind === "stale" && close(),
        },
      );
      made.server.wire.accept();
      made.server.wire.say({ op: "mcm", id: subscription.id, pt: 1, ct: "SUB_IMAGE", mc: [{ id: "1.1" }] });
      made.server.wire.cut();
      made.clock.pass(10 * RETRY_MS_MAX);
      expect([when, connection.state.kind, made.server.wires.length, made.clock.waiting]).toEqual([
        when,
        "closed",
        1,
        0,
      ]);
    }
  });
});

describe("limits of its own", () => {
  test("are asked for at once, and by every connection after; what is in force is as the server says", () => {
    const { connection, server, clock } = setUp();
    const outcomes: Outcome[] = [];
    const subscription = connection.subscribe();
    connection.setLimits({ bytesPerSecond: 90_000 }, (outcome) => outcomes.push(outcome));
    expect([outcomes, connection.bytesPerSecond]).toEqual([[{ kind: "kept" }], null]);
    server.wire.accept();
    expect(server.wire.sent.map(({ op }) => op)).toEqual(["authentication", "limits", "marketSubscription"]);
    const { id } = server.wire.asked("limits") as { id: number };
    server.wire.say({ op: "status", id, statusCode: "SUCCESS", connectionClosed: false, bytesPerSecond: 50_000 });
    expect(connection.bytesPerSecond).toBe(50_000);
    server.wire.cut();
    clock.next();
    server.wire.accept();
    expect(server.wire.asked("limits")).toMatchObject({ bytesPerSecond: 90_000 });
    connection.setLimits({ bytesPerSecond: null }, (outcome) => outcomes.push(outcome));
    expect(server.wire.asked("limits")).toMatchObject({ bytesPerSecond: null });
    server.wire.say({ op: "status", id: server.wire.asked("limits")?.id, statusCode: "SUCCESS" });
    expect([outcomes.at(-1), connection.bytesPerSecond, subscription.state.kind]).toEqual([
      { kind: "accepted" },
      null,
      "waiting",
    ]);
  });

  test("refused cost nothing else, and what is not answered any more is told of once", () => {
    const { connection, server } = setUp();
    const outcomes: unknown[] = [];
    const subscription = connection.subscribe();
    server.wire.accept();
    const told = (outcome: Outcome) => outcomes.push(outcome);
    connection.setLimits({ bytesPerSecond: 1 }, told);
    const { id } = server.wire.asked("limits") as { id: number };
    server.wire.say({ op: "status", id, ...failure("INVALID_REQUEST"), connectionClosed: false });
    expect([connection.state.kind, outcomes]).toEqual([
      "ready",
      [{ kind: "refused", code: "INVALID_REQUEST", message: "because" }],
    ]);
    subscription.change({ conflateMs: 5 }, (outcome) => {
      told(outcome);
      connection.close();
    });
    server.wire.cut();
    expect([connection.state.kind, outcomes.slice(1)]).toEqual(["closed", [{ kind: "kept" }]]);
    subscription.change({ conflateMs: 6 }, told);
    connection.setLimits({ bytesPerSecond: 7 }, told);
    expect(outcomes.slice(2)).toMatchObject([
      { kind: "refused", code: "ENDED" },
      { kind: "refused", code: "CLOSED" },
    ]);
  });
});

test("closing when told of a refusal is final too", () => {
  const { connection, server, clock } = setUp();
  connection.subscribe();
  const bad = connection.subscribe({}, { status: (state) => state.kind === "refused" && connection.close() });
  server.wire.accept();
  server.wire.say({ op: "status", id: bad.id, ...failure("INVALID_REQUEST") });
  expect([connection.state.kind, clock.waiting]).toEqual(["closed", 0]);
});

interface SetUp {
  connection: Connection;
  server: FakeServer;
  clock: FakeClock;
  states: ConnectionState[];
}

function setUp(options: Partial<ConnectOptions> = {}): SetUp {
  const [server, clock] = [new FakeServer(), new FakeClock()];
  const states: ConnectionState[] = [];
  const random = { next: () => 0.5 };
  const state = (state: ConnectionState) => void states.push(state);
  const connection = connect({ wire: server.open, session: "token", clock, random, state, ...options });
  return { connection, server, clock, states };
}

function failure(errorCode: string) {
  return { statusCode: "FAILURE", connectionClosed: true, errorCode, errorMessage: "because" };
}

function refuse(server: FakeServer, errorCode: string): void {
  server.wire.say({ op: "connection" });
  server.wire.say({ op: "status", id: server.wire.asked("authentication")?.id, ...failure(errorCode) });
}

/** Lets promises that are done have their say. */
async function settle(): Promise<void> {
  for (let n = 0; n < 5; n++) await Promise.resolve();
}
