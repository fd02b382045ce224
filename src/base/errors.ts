/**
 * The one table of what can go wrong between Oddswire and anybody it talks to: what it means, whether to come back,
 * and how each dialect says it. `docs/PROTOCOL.md` is checked against it by a test.
 *
 * WebSocket close codes: 1xxx as RFC 6455 has them; 40xx says "come back" (`comeBack` says when), 41xx says "not like this".
 */
export type ComeBack = "at once" | "after a pause" | "with a new token" | "not without a change";

export interface Fault {
  readonly meaning: string;
  readonly comeBack: ComeBack;
  /** The exchange's own `errorCode`, the word a plain ESA client knows. */
  readonly esa: EsaErrorCode;
  /** WebSocket close code when it ends the connection. */
  readonly close: number;
  /** HTTP status when it answers a request. */
  readonly http: number;
}

export type EsaErrorCode =
  | "INVALID_INPUT"
  | "TIMEOUT"
  | "NO_APP_KEY"
  | "INVALID_APP_KEY"
  | "NO_SESSION"
  | "INVALID_SESSION_INFORMATION"
  | "NOT_AUTHORIZED"
  | "MAX_CONNECTION_LIMIT_EXCEEDED"
  | "TOO_MANY_REQUESTS"
  | "SUBSCRIPTION_LIMIT_EXCEEDED"
  | "INVALID_CLOCK"
  | "UNEXPECTED_ERROR"
  | "CONNECTION_FAILED"
  | "INVALID_REQUEST";

export const FAULTS = {
  INVALID_INPUT: fault(
    "the message is not JSON, or not a JSON object",
    "not without a change",
    "INVALID_INPUT",
    4100,
    400,
  ),
  INVALID_REQUEST: fault(
    "the message breaks the protocol: wrong op, type, order or value",
    "not without a change",
    "INVALID_REQUEST",
    4101,
    400,
  ),
  MESSAGE_TOO_LARGE: fault(
    "a message is larger than the door takes",
    "not without a change",
    "INVALID_INPUT",
    1009,
    413,
  ),
  NO_APP_KEY: fault("the authentication carries no appKey", "not without a change", "NO_APP_KEY", 4102, 401),
  INVALID_APP_KEY: fault("the appKey is not known", "not without a change", "INVALID_APP_KEY", 4103, 401),
  NO_SESSION: fault("the authentication carries no session token", "with a new token", "NO_SESSION", 4104, 401),
  INVALID_SESSION_INFORMATION: fault(
    "the session token is not valid, or no longer",
    "with a new token",
    "INVALID_SESSION_INFORMATION",
    4105,
    401,
  ),
  NOT_AUTHORIZED: fault("this visitor may not do that", "not without a change", "NOT_AUTHORIZED", 4106, 403),
  MAX_CONNECTION_LIMIT_EXCEEDED: fault(
    "as many connections are open as this account may have",
    "after a pause",
    "MAX_CONNECTION_LIMIT_EXCEEDED",
    4001,
    503,
  ),
  TOO_MANY_REQUESTS: fault("asked too often", "after a pause", "TOO_MANY_REQUESTS", 4002, 429),
  SUBSCRIPTION_LIMIT_EXCEEDED: fault(
    "the subscription matches more markets than it may",
    "not without a change",
    "SUBSCRIPTION_LIMIT_EXCEEDED",
    4107,
    400,
  ),
  INVALID_CLOCK: fault("initialClk or clk is not one this server gave", "at once", "INVALID_CLOCK", 4003, 400),
  TIMEOUT: fault("nothing was asked for in time, or a reply did not come", "at once", "TIMEOUT", 4004, 408),
  SLOW: fault("the reader stayed behind for too long", "after a pause", "CONNECTION_FAILED", 4005, 503),
  GOING_AWAY: fault("the server is stopping or restarting", "after a pause", "CONNECTION_FAILED", 1001, 503),
  PROTOCOL_ERROR: fault("the WebSocket framing is broken", "not without a change", "INVALID_INPUT", 1002, 400),
  INVALID_UTF8: fault("a text message is not UTF-8", "not without a change", "INVALID_INPUT", 1007, 400),
  UNSUPPORTED_DATA: fault("binary messages are not spoken here", "not without a change", "INVALID_INPUT", 1003, 415),
  MARKET_NOT_FOUND: fault("no market of that id is known here", "not without a change", "INVALID_REQUEST", 4108, 404),
  NOT_FOUND: fault("there is nothing at that path", "not without a change", "INVALID_REQUEST", 4109, 404),
  METHOD_NOT_ALLOWED: fault(
    "that path does not take that method",
    "not without a change",
    "INVALID_REQUEST",
    4110,
    405,
  ),
  NOT_READY: fault("no prices yet: the exchange has not answered", "after a pause", "CONNECTION_FAILED", 4006, 503),
  CONNECTION_FAILED: fault("the connection broke", "after a pause", "CONNECTION_FAILED", 4007, 502),
  UNEXPECTED_ERROR: fault("something went wrong on our side", "after a pause", "UNEXPECTED_ERROR", 1011, 500),
  INVALID_CONFIG: fault("the configuration has a mistake", "not without a change", "INVALID_REQUEST", 4111, 400),
  FILE_NOT_FOUND: fault(
    "there is no such file, or it cannot be read",
    "not without a change",
    "INVALID_INPUT",
    4112,
    404,
  ),
  INVALID_RECORDING: fault(
    "the recording is damaged or not a recording",
    "not without a change",
    "INVALID_INPUT",
    4113,
    400,
  ),
  PORT_IN_USE: fault("another program listens on that port", "not without a change", "CONNECTION_FAILED", 4114, 409),
} as const satisfies Record<string, Fault>;

export type FaultCode = keyof typeof FAULTS;

/** Why a connection ends, or a request is refused, in words for the person at the other end. */
export interface Goodbye {
  readonly code: FaultCode;
  readonly message: string;
}

/** An error with a code from the table, for edges where throwing is the plain way (command line, configuration, files). */
export class OddswireError extends Error {
  readonly code: FaultCode;
  constructor(code: FaultCode, message: string) {
    super(message);
    this.name = "OddswireError";
    this.code = code;
  }
}

function fault(meaning: string, comeBack: ComeBack, esa: EsaErrorCode, close: number, http: number): Fault {
  return { meaning, comeBack, esa, close, http };
}
