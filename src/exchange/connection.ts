import type { EsaErrorCode } from "../base/errors.ts";
import type { ChangeBatch } from "../market/batch.ts";
import type { SourceState } from "../market/types.ts";

/**
 * The one connection to the exchange as a pure machine: `step` takes where it stands and what happened, and gives where it stands now and
 * what is to be done. No I/O, no timers; time and chance come in with `Given`. The table below has a cell for every state and every event,
 * which the compiler checks; docs/STATES.md holds the same table for people, which a test checks.
 *
 *     stopped → loggingIn → connecting → greeting → authenticating → subscribing → live
 *                   ↑                        └───────────┴──── lost ────┴──────────┘
 *                waiting (retry, later, or failed and slow) ←──────┘
 */
export function step(state: State, event: Event, given: Given): Step {
  const handler = TABLE[state.kind][event.kind] as (state: State, event: Event, given: Given) => Step;
  return handler(state, event, given);
}

/** What outlives a connection. */
export interface Memory {
  /** The exchange's marks to resume by: both or neither are sent. Those of a segmented message count only at its end. */
  readonly initialClk: string | null;
  readonly clk: string | null;
  /** Waits in a row since the connection was last live for `steadyMs`. */
  readonly attempts: number;
  /** Tokens in a row that the exchange refused. */
  readonly refusedTokens: number;
  /** The id of the subscription in force, or of the next one. */
  readonly subscription: number;
  /** INVALID_CLOCK was answered at once since the connection was last steady: the next one waits. */
  readonly clocksDropped: boolean;
  /** What the sink was last told. */
  readonly said: SourceState;
}

/** The marks of a segmented message whose end has not come yet. */
export interface Group {
  readonly kind: ChangeFacts["kind"];
  readonly initialClk: string | null;
  readonly clk: string | null;
}

/** Holds no token: a state may be logged. */
export type State =
  | { readonly kind: "stopped"; readonly memory: Memory }
  | { readonly kind: "loggingIn"; readonly memory: Memory }
  | { readonly kind: "connecting"; readonly memory: Memory }
  /** Connected; the exchange speaks first, by its `connection` message. */
  | { readonly kind: "greeting"; readonly memory: Memory }
  | { readonly kind: "authenticating"; readonly memory: Memory }
  /** Subscribed; the image, or the answer to a resume, is not here or not complete. */
  | { readonly kind: "subscribing"; readonly memory: Memory; readonly group: Group | null }
  | {
      readonly kind: "live";
      readonly memory: Memory;
      readonly group: Group | null;
      /** When it became live, by the monotonic clock. */
      readonly since: number;
      /** In force, as the exchange echoes it. */
      readonly heartbeatMs: number;
    }
  /** Lost; comes back after a while, with a token asked for anew where `freshToken`. */
  | { readonly kind: "waiting"; readonly memory: Memory; readonly reason: string; readonly freshToken: boolean }
  /** Given up: somebody has to change something (`tooMany`: the criteria would do). Tries again slowly, because they may change it at the exchange. */
  | { readonly kind: "failed"; readonly memory: Memory; readonly reason: string; readonly tooMany: boolean };

/** What the machine looks at in a change message. */
export type ChangeFacts = Readonly<
  Pick<ChangeBatch, "kind" | "segment" | "clk" | "initialClk" | "status" | "heartbeatMs" | "id">
>;

export type Event =
  | { readonly kind: "start" }
  | { readonly kind: "stop" }
  /** The criteria are others now: what is subscribed to is to be replaced, and the marks of the old are void. */
  | { readonly kind: "newCriteria" }
  | { readonly kind: "tokenReady" }
  | {
      readonly kind: "tokenFailed";
      readonly outcome: "refused" | "limited" | "unreachable";
      readonly reason: string;
    }
  | { readonly kind: "connected" }
  | { readonly kind: "connection" }
  /** A status SUCCESS or FAILURE. */
  | { readonly kind: "success"; readonly id: number | null }
  | { readonly kind: "failure"; readonly errorCode: string | null; readonly errorMessage: string | null }
  | { readonly kind: "change"; readonly change: ChangeFacts }
  /** A line that cannot be read, or is too long. */
  | { readonly kind: "invalid"; readonly reason: string }
  | { readonly kind: "closed"; readonly reason: string }
  /** The time given by `watch` passed without a message; `trickling`: bytes of one are still coming in. */
  | { readonly kind: "silence"; readonly trickling: boolean }
  /** What `await` waited for did not come; while live: one message takes longer than that. */
  | { readonly kind: "requestTimeout" }
  | { readonly kind: "backoffOver" };

export type Action =
  | { readonly kind: "logIn"; readonly freshToken: boolean }
  | { readonly kind: "dial" }
  | { readonly kind: "authenticate"; readonly id: number }
  | {
      readonly kind: "subscribe";
      readonly id: number;
      readonly resume: Marks | null;
    }
  /** Drops the connection, if there is one, and every timer. */
  | { readonly kind: "close" }
  /** One timer, of three kinds; setting one replaces the other. `await` ends in `requestTimeout`, `watch` in `silence`, `wait` in `backoffOver`. */
  | { readonly kind: "await"; readonly ms: number }
  | { readonly kind: "watch"; readonly silenceMs: number }
  | { readonly kind: "wait"; readonly ms: number; readonly reason: string }
  /** Hands the change message at hand to the sink. */
  | { readonly kind: "deliver" }
  | { readonly kind: "say"; readonly state: SourceState; readonly reason: string };

export interface Step {
  readonly state: State;
  readonly actions: readonly Action[];
}

/** `retry`: the exchange or the way to it is down; `later`: it asked for less; `slow`: somebody has to change something. */
export type WaitKind = "retry" | "later" | "slow";

export interface Settings {
  /** What is asked for, until the exchange says what is in force. */
  readonly heartbeatMs: number;
  /** So many heartbeats of silence are a dead connection. */
  readonly silenceFactor: number;
  /** The longest wait for any answer. */
  readonly requestMs: number;
  /** Live for so long, and the next loss starts with the shortest wait again. */
  readonly steadyMs: number;
  /** So many refused tokens in a row are answered by a login at once; more wait (100 logins a minute are banned). */
  readonly refusedTokensMax: number;
  readonly waits: Readonly<Record<WaitKind, { readonly firstMs: number; readonly maxMs: number }>>;
}

/** What a step may not fetch for itself: the monotonic clock, a number in [0, 1), and the settings. */
export interface Given {
  readonly now: number;
  readonly chance: number;
  readonly settings: Settings;
}

/** What to do about a failure. */
export type Remedy = "retry" | "later" | "logIn" | "dropClocks" | "giveUp";

export const REMEDIES: Readonly<Record<EsaErrorCode, Remedy>> = {
  TIMEOUT: "retry",
  CONNECTION_FAILED: "retry",
  UNEXPECTED_ERROR: "retry",
  MAX_CONNECTION_LIMIT_EXCEEDED: "later",
  TOO_MANY_REQUESTS: "later",
  NO_SESSION: "logIn",
  INVALID_SESSION_INFORMATION: "logIn",
  INVALID_CLOCK: "dropClocks",
  NO_APP_KEY: "giveUp",
  INVALID_APP_KEY: "giveUp",
  NOT_AUTHORIZED: "giveUp",
  INVALID_REQUEST: "giveUp",
  INVALID_INPUT: "giveUp",
  // The only one that leaves the connection open: nothing would ever flow on it, and nobody would know.
  SUBSCRIPTION_LIMIT_EXCEEDED: "giveUp",
};

/** Ids are a connection's own. A subscription that replaces another has the next id, by which changes of the one are told from the other's. */
export const AUTHENTICATION_ID = 1;
export const FIRST_SUBSCRIPTION_ID = 2;

/** The longest heartbeat the exchange says it may have in force; more is not believed. */
export const HEARTBEAT_MS_MAX = 30_000;

export const INITIAL: State = {
  kind: "stopped",
  memory: {
    initialClk: null,
    clk: null,
    attempts: 0,
    refusedTokens: 0,
    subscription: FIRST_SUBSCRIPTION_ID,
    clocksDropped: false,
    said: "down",
  },
};

/** The exchange's marks to resume by, both of one subscription. */
export interface Marks {
  readonly initialClk: string;
  readonly clk: string;
}

/** As INITIAL, for whoever has the books of an earlier life: they are good from these marks on, and stale until the exchange has answered. */
export function initialAt({ initialClk, clk }: Marks): State {
  return { kind: "stopped", memory: { ...INITIAL.memory, initialClk, clk, said: "stale" } };
}

export function marksOf({ memory: { initialClk, clk } }: State): Marks | null {
  return initialClk === null || clk === null ? null : { initialClk, clk };
}

export type StateKind = State["kind"];
export type EventKind = Event["kind"];
type StateOf<S extends StateKind> = Extract<State, { kind: S }>;
type EventOf<E extends EventKind> = Extract<Event, { kind: E }>;
type Handler<S extends StateKind, E extends EventKind> = (state: StateOf<S>, event: EventOf<E>, given: Given) => Step;
type Table = { readonly [S in StateKind]: { readonly [E in EventKind]: Handler<S, E> } };

/** Where there is no connection, what one says is the last word of one that is gone. */
const UNCONNECTED = {
  connected: stay,
  connection: stay,
  success: stay,
  failure: stay,
  change: stay,
  invalid: stay,
  closed: stay,
  silence: stay,
};

/** Where there is one: started and with a token already, and any of this ends it. */
const CONNECTED = {
  start: stay,
  stop: halt,
  newCriteria: forget,
  tokenReady: stay,
  tokenFailed: stay,
  connected: stay,
  failure: refused,
  invalid: garbled,
  closed: lost,
  requestTimeout: overdue,
  backoffOver: stay,
};

export const TABLE: Table = {
  stopped: {
    ...UNCONNECTED,
    start: logIn,
    stop: stay,
    newCriteria: forget,
    tokenReady: stay,
    tokenFailed: stay,
    requestTimeout: stay,
    backoffOver: stay,
  },
  loggingIn: {
    ...UNCONNECTED,
    start: stay,
    stop: halt,
    newCriteria: forget,
    tokenReady: dial,
    tokenFailed: noToken,
    requestTimeout: overdue,
    backoffOver: stay,
  },
  connecting: {
    ...CONNECTED,
    connected: greet,
    connection: stay,
    success: stay,
    failure: stay,
    change: stay,
    invalid: stay,
    silence: stay,
  },
  greeting: { ...CONNECTED, connection: authenticate, success: stay, change: outOfTurn, silence: stay },
  authenticating: { ...CONNECTED, connection: stay, success: subscribe, change: outOfTurn, silence: stay },
  subscribing: {
    ...CONNECTED,
    newCriteria: resubscribe,
    connection: stay,
    success: stay,
    change: receive,
    silence: stay,
  },
  live: { ...CONNECTED, newCriteria: resubscribe, connection: stay, success: stay, change: follow, silence: silent },
  waiting: {
    ...UNCONNECTED,
    start: stay,
    stop: halt,
    newCriteria: forget,
    tokenReady: stay,
    tokenFailed: stay,
    requestTimeout: stay,
    backoffOver: logIn,
  },
  failed: {
    ...UNCONNECTED,
    start: stay,
    stop: halt,
    newCriteria: reconsider,
    tokenReady: stay,
    tokenFailed: stay,
    requestTimeout: stay,
    backoffOver: logIn,
  },
};

const NOTHING: readonly Action[] = [];
const CLOSE: Action = { kind: "close" };
const DELIVER: Action = { kind: "deliver" };
const ONLY_DELIVER: readonly Action[] = [DELIVER];

function stay(state: State): Step {
  return { state, actions: NOTHING };
}

/** Everything is forgotten: whoever starts it again may have an empty cache. */
function halt(): Step {
  return { state: INITIAL, actions: [CLOSE] };
}

/** Nothing is subscribed to yet; the request will have the new criteria. */
function forget(state: State): Step {
  return { state: { ...state, memory: { ...state.memory, initialClk: null, clk: null } }, actions: NOTHING };
}

/** Too many markets were asked for: others may be few enough. It waits like after a loss, since criteria may change many times a second and be refused again. */
function reconsider(state: StateOf<"failed">, _event: Event, given: Given): Step {
  if (!state.tooMany) return forget(state);
  return lose(state, `${state.reason}; other markets are asked for now`, "retry", given);
}

/** On the same connection: until the exchange has read it, changes of the old subscription still come, and are as good as they were. */
function resubscribe({ memory: before }: StateOf<"subscribing" | "live">, _event: Event, { settings }: Given): Step {
  const memory = { ...before, initialClk: null, clk: null, subscription: before.subscription + 1 };
  return {
    state: { kind: "subscribing", memory, group: null },
    actions: [awaiting(settings.requestMs), { kind: "subscribe", id: memory.subscription, resume: null }],
  };
}

function logIn(state: State, _event: Event, given: Given): Step {
  const freshToken = state.kind === "waiting" ? state.freshToken : state.kind === "failed";
  return toLogin(state.memory, freshToken, given);
}

function toLogin(memory: Memory, freshToken: boolean, { settings }: Given): Step {
  return {
    state: { kind: "loggingIn", memory },
    actions: [CLOSE, awaiting(settings.requestMs), { kind: "logIn", freshToken }],
  };
}

function dial({ memory }: StateOf<"loggingIn">, _event: Event, { settings }: Given): Step {
  return { state: { kind: "connecting", memory }, actions: [awaiting(settings.requestMs), { kind: "dial" }] };
}

function noToken(state: State, event: EventOf<"tokenFailed">, given: Given): Step {
  if (event.outcome === "refused") return giveUp(state.memory, `no session: ${event.reason}`, given);
  const wait = event.outcome === "limited" ? "later" : "retry";
  return lose(state, `no session: ${event.reason}`, wait, given);
}

function greet({ memory }: State, _event: Event, { settings }: Given): Step {
  return { state: { kind: "greeting", memory }, actions: [awaiting(settings.requestMs)] };
}

function authenticate({ memory }: State, _event: Event, { settings }: Given): Step {
  return {
    state: { kind: "authenticating", memory },
    actions: [awaiting(settings.requestMs), { kind: "authenticate", id: AUTHENTICATION_ID }],
  };
}

function subscribe(state: StateOf<"authenticating">, event: EventOf<"success">, { settings }: Given): Step {
  if (event.id !== AUTHENTICATION_ID) return stay(state);
  const resume = marksOf(state);
  return {
    state: { kind: "subscribing", memory: { ...state.memory, refusedTokens: 0 }, group: null },
    actions: [awaiting(settings.requestMs), { kind: "subscribe", id: state.memory.subscription, resume }],
  };
}

/** Live is said when the image, or the answer to a resume, is complete: before that the books are half of this and half of that. */
function receive(state: StateOf<"subscribing">, { change }: EventOf<"change">, given: Given): Step {
  if (isOld(change, state.memory)) return { state, actions: ONLY_DELIVER };
  const kind = state.group?.kind ?? change.kind;
  const { memory, group } = remember(state.memory, state.group, change);
  const next: State = { kind: "subscribing", memory, group };
  // Only the answer itself buys time: an exchange that does nothing but heartbeat has not answered.
  if (kind !== "image" && kind !== "resume") return { state: next, actions: ONLY_DELIVER };
  if (group !== null) return { state: next, actions: [DELIVER, awaiting(given.settings.requestMs)] };
  return becomeLive(memory, change, given);
}

function becomeLive(memory: Memory, change: ChangeFacts, { now, settings }: Given): Step {
  const heartbeatMs = heartbeatInForce(change, settings.heartbeatMs);
  const said = saidBy(change);
  return {
    state: { kind: "live", memory: { ...memory, said }, group: null, since: now, heartbeatMs },
    actions: [DELIVER, { kind: "say", state: said, reason: reasonOf(change) }, watching(heartbeatMs, settings)],
  };
}

function follow(state: StateOf<"live">, { change }: EventOf<"change">, { settings }: Given): Step {
  const { memory, group } = remember(state.memory, state.group, change);
  const heartbeatMs = heartbeatInForce(change, state.heartbeatMs);
  const said = saidBy(change);
  const next: State = { kind: "live", memory: { ...memory, said }, group, since: state.since, heartbeatMs };
  if (said === memory.said && heartbeatMs === state.heartbeatMs) return { state: next, actions: ONLY_DELIVER };
  const actions: Action[] = [DELIVER];
  // Bad news goes ahead of the data, good news after them.
  if (said !== memory.said) {
    const say: Action = { kind: "say", state: said, reason: reasonOf(change) };
    if (said === "live") actions.push(say);
    else actions.unshift(say);
  }
  if (heartbeatMs !== state.heartbeatMs) actions.push(watching(heartbeatMs, settings));
  return { state: next, actions };
}

/**
 * A trickle is not dead: a large image on a narrow link keeps the heartbeats behind it waiting. But the prices are old meanwhile, so that is
 * said; `requestTimeout` bounds it.
 */
function silent(state: StateOf<"live">, event: EventOf<"silence">, given: Given): Step {
  const reason = `no message for ${given.settings.silenceFactor} × ${state.heartbeatMs} ms`;
  if (!event.trickling) return lose(state, reason, "retry", given);
  const { memory, actions } = sayStale(state.memory, `${reason}, one is on its way`);
  return { state: { ...state, memory }, actions };
}

function lost(state: State, event: EventOf<"closed">, given: Given): Step {
  return lose(state, event.reason, "retry", given);
}

function overdue(state: State, _event: Event, given: Given): Step {
  return lose(state, `no answer within ${given.settings.requestMs} ms while ${state.kind}`, "retry", given);
}

function garbled(state: State, event: EventOf<"invalid">, given: Given): Step {
  return lose(state, `the exchange sent what cannot be read: ${event.reason}`, "retry", given);
}

function outOfTurn(state: State, _event: Event, given: Given): Step {
  return lose(state, `the exchange sent changes while ${state.kind}`, "retry", given);
}

function refused(state: State, event: EventOf<"failure">, given: Given): Step {
  const code = event.errorCode ?? "UNEXPECTED_ERROR";
  const reason = event.errorMessage === null ? code : `${code}: ${event.errorMessage}`;
  const remedy = Object.hasOwn(REMEDIES, code) ? REMEDIES[code as EsaErrorCode] : "retry";
  switch (remedy) {
    case "retry":
    case "later":
      return lose(state, reason, remedy, given);
    case "logIn":
      return refuseToken(state, reason, given);
    case "dropClocks":
      return dropClocks(state, reason, given);
    case "giveUp":
      return giveUp(state.memory, reason, given, code === "SUBSCRIPTION_LIMIT_EXCEEDED");
  }
}

function refuseToken(state: State, reason: string, given: Given): Step {
  const memory = { ...state.memory, refusedTokens: state.memory.refusedTokens + 1 };
  if (memory.refusedTokens > given.settings.refusedTokensMax) {
    return lose({ ...state, memory }, reason, "later", given, true);
  }
  return again(memory, reason, true, given);
}

/** Without marks the exchange sends an image. Once at once; if it refuses clocks again before it was steady, it waits like everybody. */
function dropClocks(state: State, reason: string, given: Given): Step {
  const once = !state.memory.clocksDropped && state.memory.clk !== null;
  const memory = { ...state.memory, initialClk: null, clk: null, clocksDropped: true };
  return once ? again(memory, reason, false, given) : lose({ ...state, memory }, reason, "retry", given);
}

/** Starts over without a wait. */
function again(before: Memory, reason: string, freshToken: boolean, given: Given): Step {
  const { memory, actions } = sayStale(before, reason);
  const next = toLogin(memory, freshToken, given);
  return { state: next.state, actions: [...actions, ...next.actions] };
}

/** The marks go too: they may be what was refused, and would be out of reach by the next attempt. */
function giveUp(before: Memory, reason: string, given: Given, tooMany = false): Step {
  const memory: Memory = { ...before, initialClk: null, clk: null, said: "down" };
  return {
    state: { kind: "failed", memory, reason, tooMany },
    actions: [CLOSE, { kind: "say", state: "down", reason }, { kind: "wait", ms: waitMs("slow", 0, given), reason }],
  };
}

function lose(state: State, reason: string, kind: WaitKind, given: Given, freshToken = false): Step {
  const { memory: before, actions } = sayStale(rested(state, given), reason);
  const ms = waitMs(kind, before.attempts, given);
  const memory = { ...before, attempts: before.attempts + 1 };
  return {
    state: { kind: "waiting", memory, reason, freshToken },
    actions: [CLOSE, ...actions, { kind: "wait", ms, reason }],
  };
}

/** A connection that was live for long enough has earned a short wait; one that dies as soon as it lives has not. */
function rested(state: State, { now, settings }: Given): Memory {
  if (state.kind !== "live" || now - state.since < settings.steadyMs) return state.memory;
  return { ...state.memory, attempts: 0, clocksDropped: false };
}

/** Half of the wait is certain, half is chance; it doubles up to its bound. */
function waitMs(kind: WaitKind, attempts: number, { chance, settings }: Given): number {
  const { firstMs, maxMs } = settings.waits[kind];
  const cap = Math.min(maxMs, firstMs * 2 ** Math.min(attempts, 30));
  return cap / 2 + (chance * cap) / 2;
}

/** It is of a subscription that was replaced: good as it is, but no mark of ours and no answer. */
function isOld({ id }: ChangeFacts, memory: Memory): boolean {
  return id !== null && id < memory.subscription;
}

/** Nothing to say where nothing was believed yet, or it was said. */
function sayStale(memory: Memory, reason: string): { memory: Memory; actions: readonly Action[] } {
  if (memory.said !== "live") return { memory, actions: NOTHING };
  return { memory: { ...memory, said: "stale" }, actions: [{ kind: "say", state: "stale", reason }] };
}

/**
 * The marks after a change. Those of a segmented message count at its end, so that a cut within it resumes from before it: what was applied
 * of it comes again, and every value is absolute. For an image in mid-stream that holds because the cache drops what an image does not list
 * only at its end.
 */
function remember(memory: Memory, group: Group | null, change: ChangeFacts): { memory: Memory; group: Group | null } {
  // A whole message between segments is none of the group: its mark says nothing about the half that is still to come.
  if (group !== null && change.segment === "whole" && change.kind !== "image") return { memory, group };
  const within = group !== null && (change.segment === "middle" || change.segment === "end");
  const before = within ? group : memory;
  const initialClk = change.initialClk ?? before.initialClk;
  const clk = change.clk ?? before.clk;
  if (change.segment === "whole" || change.segment === "end") {
    return { memory: { ...memory, initialClk, clk }, group: null };
  }
  return { memory, group: { kind: within ? group.kind : change.kind, initialClk, clk } };
}

function saidBy(change: ChangeFacts): "live" | "stale" {
  return change.status === null ? "live" : "stale";
}

function reasonOf(change: ChangeFacts): string {
  if (change.status !== null) return `the exchange says that its data are late (status ${change.status})`;
  return change.kind === "image" ? "image complete" : change.kind === "resume" ? "resumed" : "in time again";
}

function heartbeatInForce(change: ChangeFacts, before: number): number {
  const echoed = change.heartbeatMs;
  return echoed !== null && echoed > 0 ? Math.min(echoed, HEARTBEAT_MS_MAX) : before;
}

function awaiting(ms: number): Action {
  return { kind: "await", ms };
}

function watching(heartbeatMs: number, settings: Settings): Action {
  return { kind: "watch", silenceMs: settings.silenceFactor * heartbeatMs };
}
