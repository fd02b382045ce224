/**
 * What a client does after an end: `yes` comes back after a while, `fresh` does so and asks for a full image, `token` needs a new
 * session token first, `no` stays away, because the same request would fail again.
 */
export type ComeBack = "yes" | "fresh" | "token" | "no";

/** The exchange's error codes. Those that are not listed, and any to come, are worth another try. */
const AFTER_ERROR: Readonly<Record<string, ComeBack>> = {
  INVALID_INPUT: "no",
  INVALID_REQUEST: "no",
  NO_APP_KEY: "no",
  INVALID_APP_KEY: "no",
  NOT_AUTHORIZED: "no",
  SUBSCRIPTION_LIMIT_EXCEEDED: "no",
  NO_SESSION: "token",
  INVALID_SESSION_INFORMATION: "token",
  INVALID_CLOCK: "fresh",
};

/** Close codes with a meaning of their own within their range. */
const AFTER_CLOSE: Readonly<Record<number, ComeBack>> = {
  1002: "no", // the framing was broken
  1003: "no", // binary is not spoken there
  1007: "no", // not UTF-8
  1009: "no", // a message of ours was too large
  4003: "fresh", // the clk is not one the server gave
  4104: "token", // no session token
  4105: "token", // the session token is not valid, or no longer
};

export function afterError(errorCode: string): ComeBack {
  return AFTER_ERROR[errorCode] ?? "yes";
}

/** 40xx says "come back", 41xx "not like this"; of the others only those above forbid it. */
export function afterClose(code: number): ComeBack {
  return AFTER_CLOSE[code] ?? (code >= 4100 && code < 4200 ? "no" : "yes");
}
