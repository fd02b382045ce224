import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import type { EsaErrorCode } from "../base/errors.ts";
import {
  type Action,
  AUTHENTICATION_ID,
  type ChangeFacts,
  type Event,
  type EventKind,
  type Given,
  INITIAL,
  REMEDIES,
  type Settings,
  type State,
  type StateKind,
  step,
  TABLE,
} from "./connection.ts";

const settings: Settings = {
  heartbeatMs: 5_000,
  silenceFactor: 2,
  requestMs: 30_000,
  steadyMs: 10_000,
  refusedTokensMax: 3,
  waits: {
    retry: { firstMs: 1_000, maxMs: 60_000 },
    later: { firstMs: 60_000, maxMs: 120_000 },
    slow: { firstMs: 600_000, maxMs: 600_000 },
  },
};
const update: ChangeFacts = {
  kind: "update",
  segment: "whole",
  clk: null,
  initialClk: null,
  status: null,
  heartbeatMs: null,
  id: null,
};
const changed = (facts: Partial<ChangeFacts>): Event => ({ kind: "change", change: { ...update, ...facts } });
const image = changed({ kind: "image", initialClk: "I1", clk: "C1" });
const failure = (errorCode: string): Event => ({ kind: "failure", errorCode, errorMessage: null });
const success: Event = { kind: "success", id: AUTHENTICATION_ID };
const closed: Event = { kind: "closed", reason: "closed by the exchange" };
const LOGIN: readonly Event[] = [{ kind: "start" }, { kind: "tokenReady" }];
const RETURN: readonly Event[] = [{ kind: "tokenReady" }, { kind: "connected" }, { kind: "connection" }];
const AUTHENTICATING: readonly Event[] = [...LOGIN, { kind: "connected" }, { kind: "connection" }];
const SUBSCRIBING: readonly Event[] = [...AUTHENTICATING, success];
const LIVE: readonly Event[] = [...SUBSCRIBING, image];

/** A machine with a clock of its own: what it was told, and what it wanted done, step by step. */
class Machine {
  state: State = INITIAL;
  now = 0;
  chance = 0.5;
  done: readonly Action[] = [];

  constructor(events: readonly Event[] = []) {
    this.tell(...events);
  }

  tell(...events: readonly Event[]): this {
    for (const event of events) {
      const given: Given = { now: this.now, chance: this.chance, settings };
      ({ state: this.state, actions: this.done } = step(this.state, event, given));
    }
    return this;
  }

  did<K extends Action["kind"]>(kind: K): Extract<Action, { kind: K }> | undefined {
    return this.done.find((action) => action.kind === kind) as Extract<Action, { kind: K }> | undefined;
  }

  /** What a reconnect would resume by. */
  resume(): { initialClk: string; clk: string } | null | undefined {
    const again = new Machine();
    again.state = this.state;
    again.tell(closed, { kind: "backoffOver" }, ...RETURN, success);
    return again.did("subscribe")?.resume;
  }
}

describe("the way up", () => {
  test("is login, dial, greeting, authentication, subscription, image, live", () => {
    const machine = new Machine();
    const way: string[] = [];
    for (const event of LIVE) {
      machine.tell(event);
      way.push(`${event.kind} → ${machine.state.kind}: ${machine.done.map((action) => action.kind).join(" ")}`);
    }
    expect(way).toEqual([
      "start → loggingIn: close await logIn",
      "tokenReady → connecting: await dial",
      "connected → greeting: await",
      "connection → authenticating: await authenticate",
      "success → subscribing: await subscribe",
      "change → live: deliver say watch",
    ]);
    expect(machine.did("watch")?.silenceMs).toBe(10_000);
  });

  test("answers only to its own authentication", () => {
    expect(new Machine(AUTHENTICATING).tell({ kind: "success", id: 77 }).state.kind).toBe("authenticating");
  });

  test("is not live before the last segment of the image", () => {
    const machine = new Machine(SUBSCRIBING);
    machine.tell(changed({ kind: "image", segment: "start", initialClk: "I", clk: null }));
    expect([machine.state.kind, machine.did("deliver") !== undefined]).toEqual(["subscribing", true]);
    // `ct` need not be repeated on each segment.
    machine.tell(changed({ segment: "middle" }));
    expect([machine.state.kind, machine.did("say")]).toEqual(["subscribing", undefined]);
    machine.tell(changed({ segment: "end", clk: "C" }));
    expect(machine.did("say")).toMatchObject({ state: "live" });
    expect(machine.resume()).toEqual({ initialClk: "I", clk: "C" });
  });

  test("buys time by segments of the answer, not by heartbeats", () => {
    const machine = new Machine(SUBSCRIBING);
    machine.tell(changed({ kind: "heartbeat" }));
    expect([machine.state.kind, machine.did("await")]).toEqual(["subscribing", undefined]);
    machine.tell(changed({ kind: "resume", segment: "start" }));
    expect(machine.did("await")).toEqual({ kind: "await", ms: 30_000 });
  });

  test("watches by the heartbeat that the exchange says is in force", () => {
    const machine = new Machine(SUBSCRIBING).tell(changed({ kind: "image", heartbeatMs: 500 }));
    expect(machine.did("watch")?.silenceMs).toBe(1_000);
    expect(machine.tell(changed({ heartbeatMs: 2_000 })).did("watch")?.silenceMs).toBe(4_000);
    expect(machine.tell(changed({ heartbeatMs: 2_000 })).did("watch")).toBeUndefined();
    expect(machine.tell(changed({ heartbeatMs: 1e12 })).did("watch")?.silenceMs).toBe(60_000);
    expect(machine.tell(changed({ heartbeatMs: -1 })).did("watch")).toBeUndefined();
  });
});

describe("what it resumes by", () => {
  test("are the last marks that were not null", () => {
    const machine = new Machine(LIVE).tell(changed({ clk: "C2" }), changed({}), changed({ kind: "heartbeat" }));
    expect(machine.resume()).toEqual({ initialClk: "I1", clk: "C2" });
    machine.tell(changed({ kind: "heartbeat", clk: "C3" }), changed({ kind: "image", initialClk: "I2", clk: "C4" }));
    expect(machine.resume()).toEqual({ initialClk: "I2", clk: "C4" });
  });

  test("are both marks or neither", () => {
    const machine = new Machine(SUBSCRIBING).tell(changed({ kind: "image", clk: "C1" }));
    expect(machine.resume()).toBeNull();
  });

  test("are those before a segmented update, until its end", () => {
    const machine = new Machine(LIVE).tell(changed({ segment: "start", clk: "C2" }));
    expect(machine.resume()).toEqual({ initialClk: "I1", clk: "C1" });
    machine.tell(changed({ segment: "middle", clk: "C3" }), changed({ kind: "heartbeat", clk: "C4" }));
    expect(machine.resume()).toEqual({ initialClk: "I1", clk: "C1" });
    machine.tell(changed({ segment: "end" }));
    expect(machine.resume()).toEqual({ initialClk: "I1", clk: "C3" });
  });

  test("are those before a segmented image, too, whoever numbers it", () => {
    const machine = new Machine(LIVE).tell(changed({ kind: "image", segment: "start", initialClk: "I2", clk: "C2" }));
    expect(machine.resume()).toEqual({ initialClk: "I1", clk: "C1" });
    machine.tell(changed({ kind: "image", segment: "end", clk: "C3" }));
    expect(machine.resume()).toEqual({ initialClk: "I2", clk: "C3" });
  });

  test("are none within the first image", () => {
    const machine = new Machine(SUBSCRIBING).tell(
      changed({ kind: "image", segment: "start", initialClk: "I", clk: "C" }),
    );
    expect(machine.resume()).toBeNull();
  });

  test("are forgotten by a stop: who starts again may have an empty cache", () => {
    const machine = new Machine(LIVE).tell({ kind: "stop" });
    expect(machine.state).toEqual(INITIAL);
    expect(machine.tell(...SUBSCRIBING).did("subscribe")?.resume).toBeNull();
  });

  test("is answered by an image where the marks were out of reach, and that is fine", () => {
    const machine = new Machine(LIVE).tell(closed, { kind: "backoffOver" }, ...RETURN, success);
    expect(machine.did("subscribe")?.resume).toEqual({ initialClk: "I1", clk: "C1" });
    machine.tell(changed({ kind: "image", initialClk: "I9", clk: "C9" }));
    expect([machine.state.kind, machine.state.memory.said]).toEqual(["live", "live"]);
  });
});

describe("what the sink is told", () => {
  test("stale as soon as the connection is lost, live again when the resume is complete", () => {
    const machine = new Machine(LIVE).tell(closed);
    expect(machine.did("say")).toEqual({ kind: "say", state: "stale", reason: "closed by the exchange" });
    machine.tell({ kind: "backoffOver" }, ...RETURN, success);
    machine.tell(changed({ kind: "resume" }));
    expect(machine.did("say")).toEqual({ kind: "say", state: "live", reason: "resumed" });
  });

  test("stale ahead of a message with status 503, live after the first without", () => {
    const machine = new Machine(LIVE).tell(changed({ status: 503 }));
    expect(machine.done.map((action) => action.kind)).toEqual(["say", "deliver"]);
    expect(machine.tell(changed({ kind: "heartbeat", status: 503 })).did("say")).toBeUndefined();
    machine.tell(changed({ kind: "heartbeat" }));
    expect(machine.done.map((action) => action.kind)).toEqual(["deliver", "say"]);
    expect(machine.did("say")?.state).toBe("live");
  });

  test("stale while a long message trickles in, live when it is there; the connection stays", () => {
    const machine = new Machine(LIVE).tell({ kind: "silence", trickling: true });
    expect([machine.state.kind, machine.did("say")?.state, machine.did("close")]).toEqual(["live", "stale", undefined]);
    expect(machine.tell({ kind: "silence", trickling: true }).done).toEqual([]);
    expect(machine.tell(changed({})).did("say")?.state).toBe("live");
  });

  test("nothing new while it was never live, and down when it is given up", () => {
    const machine = new Machine(SUBSCRIBING).tell(closed);
    expect(machine.did("say")).toBeUndefined();
    machine.tell({ kind: "backoffOver" }, ...RETURN, failure("NOT_AUTHORIZED"));
    expect(machine.did("say")).toEqual({ kind: "say", state: "down", reason: "NOT_AUTHORIZED" });
  });
});

describe("every error code has its remedy", () => {
  const expected: Record<EsaErrorCode | "SOMETHING_NEW", readonly [StateKind, number | null]> = {
    TIMEOUT: ["waiting", 750],
    CONNECTION_FAILED: ["waiting", 750],
    UNEXPECTED_ERROR: ["waiting", 750],
    SOMETHING_NEW: ["waiting", 750],
    MAX_CONNECTION_LIMIT_EXCEEDED: ["waiting", 45_000],
    TOO_MANY_REQUESTS: ["waiting", 45_000],
    NO_SESSION: ["loggingIn", null],
    INVALID_SESSION_INFORMATION: ["loggingIn", null],
    INVALID_CLOCK: ["waiting", 750],
    NO_APP_KEY: ["failed", 450_000],
    INVALID_APP_KEY: ["failed", 450_000],
    NOT_AUTHORIZED: ["failed", 450_000],
    INVALID_REQUEST: ["failed", 450_000],
    INVALID_INPUT: ["failed", 450_000],
    SUBSCRIPTION_LIMIT_EXCEEDED: ["failed", 450_000],
  };
  for (const [code, [kind, waitMs]] of Object.entries(expected))
    for (const [where, events] of Object.entries({ AUTHENTICATING, SUBSCRIBING }))
      test(`${code} while ${where.toLowerCase()}: ${kind}${waitMs === null ? "" : `, ${waitMs} ms`}`, () => {
        const machine = new Machine(events);
        machine.chance = 0.5;
        machine.tell(failure(code));
        expect([machine.state.kind, machine.did("wait")?.ms ?? null]).toEqual([kind, waitMs]);
        expect(machine.did("close")).toBeDefined();
      });

  test("for too many markets is not for good: other criteria are tried after a wait, and only for that reason", () => {
    const machine = new Machine(SUBSCRIBING);
    machine.chance = 0.5;
    machine.tell(failure("SUBSCRIPTION_LIMIT_EXCEEDED"));
    machine.tell({ kind: "newCriteria" });
    expect([machine.state.kind, machine.did("wait")?.ms]).toEqual(["waiting", 750]);
    expect(machine.tell({ kind: "backoffOver" }).did("logIn")).toMatchObject({ freshToken: false });
    const refused = new Machine(SUBSCRIBING).tell(failure("NOT_AUTHORIZED"));
    expect(refused.tell({ kind: "newCriteria" }).state.kind).toBe("failed");
  });

  test("and none is left out", () => {
    expect(Object.keys(REMEDIES).sort()).toEqual(
      Object.keys(expected)
        .filter((code) => code !== "SOMETHING_NEW")
        .sort(),
    );
  });

  test("a failure without a code, or with a name that objects have anyway, is retried", () => {
    expect(new Machine(LIVE).tell({ kind: "failure", errorCode: null, errorMessage: "x" }).state.kind).toBe("waiting");
    expect(new Machine(LIVE).tell(failure("constructor")).state.kind).toBe("waiting");
  });

  test("a token refused is asked for anew at once, but not for ever", () => {
    const machine = new Machine(AUTHENTICATING);
    for (let time = 1; time <= settings.refusedTokensMax; time++) {
      machine.tell(failure("INVALID_SESSION_INFORMATION"));
      expect(machine.did("logIn")).toEqual({ kind: "logIn", freshToken: true });
      machine.tell(...RETURN);
    }
    machine.tell(failure("NO_SESSION"));
    expect([machine.state.kind, machine.did("wait")?.ms]).toEqual(["waiting", 45_000]);
    expect(machine.tell({ kind: "backoffOver" }).did("logIn")?.freshToken).toBe(true);
    expect(machine.tell(...RETURN, failure("NO_SESSION")).state.kind).toBe("waiting");
  });

  test("a token taken makes up for those refused", () => {
    const machine = new Machine(AUTHENTICATING).tell(failure("NO_SESSION"), ...RETURN, success);
    expect(machine.state.memory.refusedTokens).toBe(0);
  });

  test("INVALID_CLOCK: once at once without marks, then with a wait, until it was steady again", () => {
    const machine = new Machine(LIVE).tell(closed, { kind: "backoffOver" }, ...RETURN, success);
    machine.tell(failure("INVALID_CLOCK"));
    expect([machine.state.kind, machine.did("logIn")?.freshToken]).toEqual(["loggingIn", false]);
    machine.tell(...RETURN, success);
    expect(machine.did("subscribe")?.resume).toBeNull();
    // It takes the image, breaks, and refuses the marks it has just given.
    machine.tell(image, closed, { kind: "backoffOver" }, ...RETURN, success, failure("INVALID_CLOCK"));
    expect(machine.state.kind).toBe("waiting");
    machine.tell({ kind: "backoffOver" }, ...RETURN, success, image);
    machine.now += settings.steadyMs;
    machine.tell(closed, { kind: "backoffOver" }, ...RETURN, success, failure("INVALID_CLOCK"));
    expect(machine.state.kind).toBe("loggingIn");
  });

  test("what was given up is tried again slowly, from the login and without marks", () => {
    const machine = new Machine(LIVE).tell(failure("SUBSCRIPTION_LIMIT_EXCEEDED"));
    expect(machine.done.map((action) => action.kind)).toEqual(["close", "say", "wait"]);
    expect(machine.tell({ kind: "backoffOver" }).did("logIn")?.freshToken).toBe(true);
    expect(machine.tell(...RETURN, success).did("subscribe")?.resume).toBeNull();
  });
});

describe("what ends a connection", () => {
  const endings: readonly [string, readonly Event[], Event][] = [
    ["no answer to a dial", LOGIN, { kind: "requestTimeout" }],
    ["no greeting", [...LOGIN, { kind: "connected" }], { kind: "requestTimeout" }],
    ["no answer to the authentication", AUTHENTICATING, { kind: "requestTimeout" }],
    ["no image", SUBSCRIBING, { kind: "requestTimeout" }],
    ["a message that never ends", LIVE, { kind: "requestTimeout" }],
    ["silence", LIVE, { kind: "silence", trickling: false }],
    ["garbage", LIVE, { kind: "invalid", reason: "not JSON" }],
    ["changes before they were asked for", AUTHENTICATING, changed({})],
    ["changes instead of a greeting", [...LOGIN, { kind: "connected" }], changed({})],
    ["a refused connection", LOGIN, closed],
  ];
  for (const [what, events, ending] of endings)
    test(`${what}: closes, waits, and comes back`, () => {
      const machine = new Machine(events).tell(ending);
      expect([machine.state.kind, machine.did("close"), machine.did("wait")?.ms]).toEqual([
        "waiting",
        { kind: "close" },
        750,
      ]);
      expect(machine.tell({ kind: "backoffOver" }).did("logIn")).toEqual({ kind: "logIn", freshToken: false });
    });

  test("a login that finds nobody is retried, one too many waits longer, refused credentials are given up", () => {
    const failed = (outcome: "refused" | "limited" | "unreachable") =>
      new Machine([{ kind: "start" }]).tell({ kind: "tokenFailed", outcome, reason: "x" });
    expect([failed("unreachable").state.kind, failed("unreachable").did("wait")?.ms]).toEqual(["waiting", 750]);
    expect([failed("limited").state.kind, failed("limited").did("wait")?.ms]).toEqual(["waiting", 45_000]);
    expect([failed("refused").state.kind, failed("refused").did("wait")?.ms]).toEqual(["failed", 450_000]);
  });

  test("waits double up to their bound, start small again after a steady time, and not before", () => {
    const machine = new Machine(LIVE);
    machine.chance = 0.999999999;
    const waits: number[] = [];
    for (let time = 0; time < 9; time++) {
      machine.now += settings.steadyMs - 1;
      waits.push(Math.round(machine.tell(closed).did("wait")?.ms ?? 0));
      machine.tell({ kind: "backoffOver" }, ...RETURN, success, changed({ kind: "resume" }));
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    machine.now += settings.steadyMs;
    expect(Math.round(machine.tell(closed).did("wait")?.ms ?? 0)).toBe(1_000);
  });
});

describe("whatever happens, in whatever order", () => {
  const marks = fc.option(fc.constantFrom("A", "B", "C"), { nil: null });
  const event: fc.Arbitrary<Event> = fc.oneof(
    fc.constantFrom<Event>(
      { kind: "start" },
      { kind: "tokenReady" },
      { kind: "connected" },
      { kind: "connection" },
      success,
      closed,
      { kind: "invalid", reason: "x" },
      { kind: "silence", trickling: true },
      { kind: "silence", trickling: false },
      { kind: "requestTimeout" },
      { kind: "backoffOver" },
    ),
    fc.constantFrom<Event>(...AUTHENTICATING, success, image, { kind: "backoffOver" }),
    fc.constant<Event>({ kind: "stop" }),
    fc.constantFrom(...Object.keys(REMEDIES), "SOMETHING_NEW").map(failure),
    fc.constantFrom("refused", "limited", "unreachable").map((outcome): Event => {
      return { kind: "tokenFailed", outcome: outcome as "refused", reason: "x" };
    }),
    fc
      .record({
        kind: fc.constantFrom("image", "resume", "heartbeat", "update"),
        segment: fc.constantFrom("whole", "start", "middle", "end"),
        clk: marks,
        initialClk: marks,
        status: fc.constantFrom(null, null, 503),
        heartbeatMs: fc.constantFrom(null, 500, 5_000),
      })
      .map((facts) => changed(facts as Partial<ChangeFacts>)),
  );
  const run = fc.array(fc.tuple(event, fc.nat(20_000), fc.double({ min: 0, max: 0.999, noNaN: true })), {
    maxLength: 60,
  });
  const CONNECTED: readonly StateKind[] = ["connecting", "greeting", "authenticating", "subscribing", "live"];
  const timerOf: Partial<Record<StateKind, string>> = { live: "watch", waiting: "wait", failed: "wait" };

  test("it never stands still without a timer, holds at most one connection, and says what it means", () => {
    fc.assert(
      fc.property(run, (events) => {
        const machine = new Machine();
        let timer: string | null = null;
        let open = false;
        let said = "down";
        for (const [happened, ms, chance] of events) {
          machine.now += ms;
          machine.chance = chance;
          const from = machine.state.kind;
          const fired = { requestTimeout: "await", silence: "watch", backoffOver: "wait" } as Record<string, string>;
          if (happened.kind === "closed") open = false;
          if (fired[happened.kind] === timer && !(happened.kind === "silence" && happened.trickling)) timer = null;
          machine.tell(happened);
          for (const action of machine.done) {
            if (action.kind === "close") [timer, open] = [null, false];
            if (action.kind === "await" || action.kind === "watch" || action.kind === "wait") timer = action.kind;
            if (action.kind === "dial") {
              expect(open).toBe(false);
              open = true;
            }
            if (action.kind === "deliver") expect(["subscribing", "live"]).toContain(from);
            if (action.kind === "say") said = action.state;
            if (action.kind === "wait") {
              expect(action.ms).toBeGreaterThanOrEqual(500);
              expect(action.ms).toBeLessThanOrEqual(600_000);
            }
          }
          const { kind, memory } = machine.state;
          if (from === "stopped" && kind === "stopped") continue;
          if (kind === "stopped") said = "down";
          expect(said).toBe(memory.said);
          expect(timer).toBe(kind === "stopped" ? null : (timerOf[kind] ?? "await"));
          if (!CONNECTED.includes(kind)) expect(open).toBe(false);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("it logs in at once only so often between two steady times", () => {
    fc.assert(
      fc.property(run, (events) => {
        const machine = new Machine(LIVE);
        let atOnce = 0;
        for (const [happened] of events) {
          const from = machine.state.kind;
          if (happened.kind === "stop") continue;
          if (happened.kind === "success" && from === "authenticating") continue; // a token taken starts the count anew
          machine.tell(happened);
          if (machine.did("logIn") && happened.kind === "failure") atOnce++;
        }
        expect(atOnce).toBeLessThanOrEqual(settings.refusedTokensMax + 1);
      }),
      { numRuns: 300 },
    );
  });
});

describe("docs/STATES.md", () => {
  const rows = readFileSync(new URL("../../docs/STATES.md", import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line.startsWith("| "))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const heads = (rows.find((row) => row[0] === "event") ?? []).slice(1) as StateKind[];

  test("holds the table that runs, cell by cell", () => {
    expect([...heads].sort()).toEqual(Object.keys(TABLE).sort() as StateKind[]);
    for (const event of Object.keys(TABLE.live) as EventKind[]) {
      const row = rows.find((cells) => cells[0] === event) ?? [];
      const written = heads.map((state, at) => `${state} × ${event}: ${row[at + 1] || "stay"}`);
      expect(written).toEqual(heads.map((state) => `${state} × ${event}: ${TABLE[state][event].name}`));
    }
  });

  test("names every error code with its remedy", () => {
    for (const [code, remedy] of Object.entries(REMEDIES))
      expect(rows.find((row) => row[0]?.split(" ").includes(code))?.[1]).toBe(remedy);
  });
});
