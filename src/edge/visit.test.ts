import { describe, expect, test } from "bun:test";
import type { Goodbye } from "../base/errors.ts";
import type { Framing, Outlet } from "../delivery/outlet.ts";
import { VirtualClock } from "../sim/clock.ts";
import { IDLE_MS_MAX, Lobby } from "./lobby.ts";
import { FakeHub, TOKENS } from "./testing.ts";
import { framed, type Parting, REQUESTS_MAX, REQUESTS_WINDOW_MS, type Visit } from "./visit.ts";

const LINES: Framing = {
  overheadMax: 1,
  before: () => 0,
  after(out, at) {
    out[at] = 10;
    return 1;
  },
};

/** A door without a socket: what it was told, as objects, and how it was closed. */
class Door implements Outlet {
  readonly framing = LINES;
  readonly visit: Visit;
  closedWith: Goodbye | null = null;
  parting: Parting | null = null;
  full = false;
  #text = "";

  constructor(
    readonly house: House,
    readonly extensions: boolean,
  ) {
    this.visit = house.lobby.enter(this);
    this.write(framed(this, this.visit.greeting()));
  }

  write(bytes: Uint8Array): number {
    if (this.full) return 0;
    this.#text += Buffer.from(bytes).toString("latin1");
    return bytes.length;
  }

  close(goodbye: Goodbye): void {
    this.closedWith ??= goodbye;
    this.parting = this.visit.end(goodbye);
    if (this.parting.words !== "") this.#text += `${this.parting.words}\n`;
  }

  ask(message: object): Record<string, unknown>[] {
    this.visit.receive(JSON.stringify(message));
    return this.heard();
  }

  heard(): Record<string, unknown>[] {
    const lines = this.#text.split("\n").filter((line) => line !== "");
    this.#text = "";
    return lines.map((line) => JSON.parse(line));
  }

  /** Through the greeting and the authentication. */
  letIn(session = "token-a"): this {
    this.heard();
    this.ask({ op: "authentication", id: 1, appKey: "key", session });
    return this;
  }
}

class House {
  readonly clock = new VirtualClock(Date.UTC(2024, 10, 26, 10, 11, 12));
  readonly hub = new FakeHub();
  readonly lobby: Lobby;

  constructor(connectionsMax = 100) {
    this.lobby = new Lobby({ hub: this.hub, tokens: TOKENS, clock: this.clock, connectionsMax });
  }

  enter(extensions = false): Door {
    return new Door(this, extensions);
  }
}

const SUBSCRIBE = { op: "marketSubscription", id: 2, marketFilter: { marketIds: ["1.1"] } };
const failure = (id: number | null, errorCode: string, errorMessage: string, connectionClosed = true) => ({
  op: "status",
  ...(id !== null && { id }),
  statusCode: "FAILURE",
  errorCode,
  errorMessage,
  connectionClosed,
  connectionId: "001-241126101112-1",
});

describe("at first", () => {
  test("who was still in a handshake when everybody was told to go is told the same, and not let in", () => {
    const house = new House();
    house.lobby.closeAll({ code: "GOING_AWAY", message: "the server is stopping" });
    const door = house.enter().letIn();
    expect(door.closedWith?.code).toBe("GOING_AWAY");
    expect(house.hub.sessions.length).toBe(0);
  });

  test("the visitor is greeted with an id of the exchange's form, and told nothing else", () => {
    const house = new House();
    expect(house.enter().heard()).toEqual([{ op: "connection", connectionId: "001-241126101112-1" }]);
    expect(house.enter().heard()).toEqual([{ op: "connection", connectionId: "001-241126101112-2" }]);
    house.clock.advance(IDLE_MS_MAX - 1);
    expect(house.enter().heard()).toHaveLength(1);
  });

  test("a good token is answered with how many connections are left, and lets its visitor join the hub", () => {
    const house = new House();
    const door = house.enter();
    door.heard();
    expect(door.ask({ op: "authentication", id: 7, appKey: "key", session: "token-a" })).toEqual([
      { op: "status", id: 7, statusCode: "SUCCESS", connectionClosed: false, connectionsAvailable: 1 },
    ]);
    expect(house.hub.last.visitor).toMatchObject({ name: "ann", tenant: "default" });
    expect(house.hub.last.outlet).toBe(door);
  });

  for (const [session, code, message] of [
    ["wrong", "INVALID_SESSION_INFORMATION", "the session token is not valid"],
    [null, "NO_SESSION", "a session token is needed"],
  ] as const) {
    test(`the token ${session} is refused and ends it, without joining`, () => {
      const house = new House();
      const door = house.enter();
      door.heard();
      expect(door.ask({ op: "authentication", id: 1, appKey: "key", session })).toEqual([failure(1, code, message)]);
      expect(door.closedWith?.code).toBe(code);
      expect(house.hub.sessions).toHaveLength(0);
      expect(door.ask({ op: "heartbeat", id: 2 })).toEqual([]);
    });
  }

  for (const message of [SUBSCRIBE, { op: "heartbeat", id: 2 }, { op: "orderSubscription", id: 2 }]) {
    test(`${message.op} must wait for the authentication`, () => {
      const door = new House().enter();
      door.heard();
      expect(door.ask(message)).toEqual([failure(2, "NOT_AUTHORIZED", "Connection is not authenticated")]);
    });
  }

  test("a mistake before it ends the connection, where it would be forgiven later", () => {
    const door = new House().enter(true);
    door.heard();
    expect(door.ask({ op: "nonsense", id: 3 })).toEqual([failure(3, "INVALID_REQUEST", 'unknown op "nonsense"')]);
  });

  test("a second authentication ends it, on every door", () => {
    for (const extensions of [false, true]) {
      const door = new House().enter(extensions).letIn();
      expect(door.ask({ op: "authentication", id: 3, appKey: "key", session: "token-a" })).toEqual([
        failure(3, "INVALID_REQUEST", "Connection is already authenticated"),
      ]);
    }
  });
});

describe("once authenticated", () => {
  test("a subscription goes to the hub and is answered", () => {
    const house = new House();
    const door = house.enter().letIn();
    expect(door.ask({ ...SUBSCRIBE, heartbeatMs: 1 })).toEqual([
      { op: "status", id: 2, statusCode: "SUCCESS", connectionClosed: false },
    ]);
    expect(house.hub.last.subscriptions.get(2)).toMatchObject({ filter: { marketIds: ["1.1"] }, heartbeatMs: 500 });
  });

  test("a heartbeat is answered, an order stream is not ours to give", () => {
    const door = new House().enter().letIn();
    expect(door.ask({ op: "heartbeat", id: 5 })).toEqual([
      { op: "status", id: 5, statusCode: "SUCCESS", connectionClosed: false },
    ]);
    expect(door.ask({ op: "orderSubscription", id: 6 })).toEqual([
      failure(6, "NOT_AUTHORIZED", "order streams are not served here"),
    ]);
  });

  test("too many markets cost the subscription only; any other refusal the connection", () => {
    const house = new House();
    const door = house.enter().letIn();
    house.hub.refusal = { code: "SUBSCRIPTION_LIMIT_EXCEEDED", message: "too many" };
    expect(door.ask(SUBSCRIBE)).toEqual([failure(2, "SUBSCRIPTION_LIMIT_EXCEEDED", "too many", false)]);
    expect(door.closedWith).toBeNull();
    house.hub.refusal = { code: "INVALID_CLOCK", message: "not ours" };
    expect(door.ask(SUBSCRIBE)).toEqual([failure(2, "INVALID_CLOCK", "not ours")]);
    expect(door.closedWith?.code).toBe("INVALID_CLOCK");
  });

  test("what is no JSON ends it, by the exchange's word", () => {
    for (const extensions of [false, true]) {
      const door = new House().enter(extensions).letIn();
      door.visit.receive("{nonsense");
      expect(door.heard()).toEqual([failure(null, "INVALID_INPUT", "the message is not JSON")]);
      expect(door.closedWith?.code).toBe("INVALID_INPUT");
    }
  });

  test("a bad subscription ends a plain connection; one that can carry several it costs an answer", () => {
    const bad = { ...SUBSCRIBE, conflateMs: "0" };
    const plain = new House().enter(false).letIn();
    expect(plain.ask(bad)).toEqual([failure(2, "INVALID_INPUT", "conflateMs must be an integer of 64 bits")]);
    expect(plain.closedWith?.code).toBe("INVALID_INPUT");
    const rich = new House().enter(true).letIn();
    expect(rich.ask(bad)).toEqual([failure(2, "INVALID_REQUEST", "conflateMs must be an integer of 64 bits", false)]);
    expect(rich.ask({ ...bad, id: null })).toEqual([failure(null, "INVALID_REQUEST", "id is missing")]);
  });

  test("what runs can be altered where extensions are spoken: answered by a status, refused without harm", () => {
    const house = new House();
    const door = house.enter(true).letIn();
    door.ask(SUBSCRIBE);
    const add = { op: "addMarkets", id: 11, subscription: 2, marketIds: ["1.5"] };
    expect(door.ask(add)).toEqual([{ op: "status", id: 11, statusCode: "SUCCESS", connectionClosed: false }]);
    expect(house.hub.last.alterations).toEqual([{ kind: "addMarkets", id: 11, subscription: 2, marketIds: ["1.5"] }]);
    expect(door.ask({ op: "limits", id: 12, bytesPerSecond: 90_000 })).toEqual([
      { op: "status", id: 12, statusCode: "SUCCESS", connectionClosed: false, bytesPerSecond: 50_000 },
    ]);
    expect(door.ask({ op: "limits", id: 13, bytesPerSecond: null })[0]).toMatchObject({ bytesPerSecond: null });
    house.hub.refusal = { code: "INVALID_REQUEST", message: "no" };
    expect(door.ask({ ...add, id: 14 })).toEqual([failure(14, "INVALID_REQUEST", "no", false)]);
    house.hub.refusal = null;
    expect(door.ask({ ...add, id: 15 })[0]).toMatchObject({ statusCode: "SUCCESS" });
    expect(house.enter(true).ask(add).at(-1)).toMatchObject({ errorCode: "NOT_AUTHORIZED" });
  });

  for (const op of ["limits", "change", "addMarkets", "removeMarkets"])
    test(`${op} is not known where only the exchange's own protocol is spoken`, () => {
      const door = new House().enter(false).letIn();
      const message = { op, id: 9, subscription: 2, conflateMs: 1, marketIds: ["1.1"], bytesPerSecond: 5000 };
      expect(door.ask(message)[0]).toMatchObject({ errorCode: "INVALID_INPUT", errorMessage: `unknown op "${op}"` });
      expect(door.closedWith?.code).toBe("INVALID_INPUT");
    });

  test("unsubscribe is an extension, and of what there is", () => {
    const house = new House();
    const door = house.enter(true).letIn();
    door.ask(SUBSCRIBE);
    expect(door.ask({ op: "unsubscribe", id: 9, subscription: 2 })).toEqual([
      { op: "status", id: 9, statusCode: "SUCCESS", connectionClosed: false },
    ]);
    expect(door.ask({ op: "unsubscribe", id: 10, subscription: 2 })).toEqual([
      failure(10, "INVALID_REQUEST", "there is no subscription 2", false),
    ]);
    expect(new House().enter(false).letIn().ask({ op: "unsubscribe", id: 9, subscription: 2 })[0]).toMatchObject({
      errorMessage: 'unknown op "unsubscribe"',
    });
  });

  test("room in the socket is passed on to the hub, and only then", () => {
    const house = new House();
    const door = house.enter();
    door.visit.drained();
    door.letIn().visit.drained();
    expect(house.hub.last.drains).toBe(1);
  });

  test("words are ASCII, whatever was asked", () => {
    const door = new House().enter().letIn();
    door.visit.receive('{"op":"h\u00e9\ud83d\ude00"}');
    expect(door.parting?.words).toMatch(/^[ -~]+$/);
    expect(JSON.parse(door.parting?.words as string).errorMessage).toBe('unknown op "h\u00e9\ud83d\ude00"');
  });
});

describe("the limits", () => {
  const open = (house: House, session: string) => house.enter().letIn(session).closedWith?.code ?? "in";

  test("an account may open so many connections, and one more when one has gone", () => {
    const house = new House();
    const first = house.enter().letIn();
    expect([open(house, "token-a"), open(house, "token-a"), open(house, "token-b")]).toEqual([
      "in",
      "MAX_CONNECTION_LIMIT_EXCEEDED",
      "in",
    ]);
    first.visit.end(null);
    first.visit.end(null);
    expect([open(house, "token-a"), open(house, "token-a")]).toEqual(["in", "MAX_CONNECTION_LIMIT_EXCEEDED"]);
  });

  test("fifteen seconds without a subscription or a word end it, as the exchange does it", () => {
    const house = new House();
    const silent = house.enter();
    const talking = house.enter(true).letIn();
    const subscribed = house.enter().letIn();
    silent.heard();
    subscribed.ask(SUBSCRIBE);
    house.clock.advance(IDLE_MS_MAX - 1);
    talking.ask({ op: "heartbeat", id: 1 });
    expect(silent.heard()).toEqual([]);
    house.clock.advance(1);
    expect(silent.heard()).toEqual([failure(null, "TIMEOUT", "Connection is not subscribed and is idle: 15000 ms")]);
    house.clock.advance(IDLE_MS_MAX - 2);
    expect(talking.closedWith).toBeNull();
    house.clock.advance(IDLE_MS_MAX);
    expect(talking.closedWith?.code).toBe("TIMEOUT");
    house.clock.advance(10 * IDLE_MS_MAX);
    expect(subscribed.closedWith).toBeNull();
  });

  test("more requests than anybody needs end it", () => {
    const house = new House();
    const door = house.enter(true).letIn();
    const ask = () => door.ask({ op: "heartbeat", id: 1 });
    for (let i = 1; i < REQUESTS_MAX; i++) ask();
    house.clock.advance(REQUESTS_WINDOW_MS);
    for (let i = 0; i < REQUESTS_MAX; i++) expect(ask()[0]?.statusCode).toBe("SUCCESS");
    expect(ask()[0]).toMatchObject({ errorCode: "TOO_MANY_REQUESTS", connectionClosed: true });
  });
});

describe("at the end", () => {
  test("the hub's goodbye is said in the dialect's words, after what it left over", () => {
    const house = new House();
    const door = house.enter().letIn();
    house.hub.last.rest = Buffer.from("rest");
    house.hub.last.close({ code: "SLOW", message: "too slow" });
    expect(door.parting?.rest).toEqual(Buffer.from("rest"));
    expect(JSON.parse(door.parting?.words ?? "")).toEqual(failure(null, "CONNECTION_FAILED", "too slow"));
    expect(house.hub.last.gone).toBe(true);
  });

  test("a visitor that just goes leaves the hub, and is counted", () => {
    const house = new House();
    const door = house.enter().letIn();
    door.ask(SUBSCRIBE);
    expect(door.visit.end(null)).toEqual({ rest: null, words: "" });
    expect(house.hub.last.gone).toBe(true);
    expect(Object.fromEntries(house.lobby.ends)).toEqual({ LEFT: 1 });
  });

  test("everybody is told when the house closes, known or not", () => {
    const house = new House();
    const doors = [house.enter(), house.enter().letIn(), house.enter(true).letIn()];
    house.lobby.closeAll({ code: "GOING_AWAY", message: "the server is restarting" });
    house.lobby.closeAll({ code: "GOING_AWAY", message: "the server is restarting" });
    for (const door of doors) expect(door.heard().at(-1)).toMatchObject({ errorMessage: "the server is restarting" });
    expect(Object.fromEntries(house.lobby.ends)).toEqual({ GOING_AWAY: 3 });
    expect([house.lobby.idle.size, house.lobby.visits]).toEqual([0, 0]);
  });
});
