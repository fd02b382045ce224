/** How a session token is asked for at the exchange's identity service: what is sent, and what the answers mean. Pure. */

/** One HTTPS POST; rejects where no answer came. An implementation verifies certificates, follows no redirects, and bounds the body. */
export type Post = (request: PostRequest) => Promise<PostAnswer>;

export interface PostRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** PEM client certificate and key to show, for the certificate login. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  readonly signal: AbortSignal;
}

export interface PostAnswer {
  readonly status: number;
  readonly body: string;
}

/** What a request leaves out: who sends it decides how long it may take. */
export type IdentityRequest = Omit<PostRequest, "signal">;

export type Credentials =
  | { readonly kind: "interactive"; readonly username: string; readonly password: string }
  | {
      readonly kind: "certificate";
      readonly username: string;
      readonly password: string;
      /** PEM. */
      readonly cert: string;
      readonly key: string;
    };

/** Base URLs without a slash at the end; by jurisdiction .com, .it, .es, .ro, .se, .com.au. */
export interface IdentityHosts {
  readonly login: string;
  readonly certLogin: string;
}

export const IDENTITY_HOSTS: IdentityHosts = {
  login: "https://identitysso.betfair.com/api",
  certLogin: "https://identitysso-cert.betfair.com/api",
};

/** Outcomes are values: each asks for something else. Reasons are for people and hold no secret. */
export type TokenOutcome =
  | { readonly kind: "token"; readonly token: string }
  /** The credentials, or the token to keep alive, are not taken: asking again as before changes nothing. */
  | { readonly kind: "refused"; readonly reason: string }
  /** Too many logins; `banned`: the exchange says so, and more attempts make it longer. */
  | { readonly kind: "limited"; readonly reason: string; readonly banned: boolean }
  | { readonly kind: "unreachable"; readonly reason: string };

export function loginRequest(credentials: Credentials, appKey: string, hosts: IdentityHosts): IdentityRequest {
  const { username, password } = credentials;
  const form = {
    headers: { ...headers(appKey), "Content-Type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ username, password }).toString(),
  };
  if (credentials.kind === "interactive") return { ...form, url: `${hosts.login}/login` };
  const { cert, key } = credentials;
  return { ...form, url: `${hosts.certLogin}/certlogin`, certificate: { cert, key } };
}

export function keepAliveRequest(token: string, appKey: string, hosts: IdentityHosts): IdentityRequest {
  return { url: `${hosts.login}/keepAlive`, headers: { ...headers(appKey), "X-Authentication": token }, body: "" };
}

/** Reads the answer to any of the three: {token, status, error}, or {sessionToken, loginStatus} for the certificate login. */
export function readAnswer(answer: PostAnswer): TokenOutcome {
  if (answer.status === 429) return { kind: "limited", reason: "HTTP 429", banned: false };
  if (answer.status >= 500) return { kind: "unreachable", reason: `HTTP ${answer.status}` };
  if (answer.status !== 200) return { kind: "refused", reason: `HTTP ${answer.status}` };
  const fields = parse(answer.body);
  if (fields === null) return { kind: "unreachable", reason: "the answer is not a JSON object" };
  const token = fields.token ?? fields.sessionToken;
  const status = fields.status ?? fields.loginStatus;
  if (status === "SUCCESS" && typeof token === "string" && token !== "") return { kind: "token", token };
  return failure(word(fields.error) ?? word(status) ?? "no status");
}

/** The exchange's word for 20 minutes without logins, after more than 100 a minute. */
const BAN = "TEMPORARY_BAN_TOO_MANY_REQUESTS";
/** Words for trouble at the exchange's end; every other one is about us. */
const TROUBLE = new Set(["INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT_ERROR", "no status"]);

function failure(code: string): TokenOutcome {
  if (code === BAN) return { kind: "limited", reason: code, banned: true };
  return { kind: TROUBLE.has(code) ? "unreachable" : "refused", reason: code };
}

function headers(appKey: string): Record<string, string> {
  return { Accept: "application/json", "X-Application": appKey };
}

function parse(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** A code in capitals and nothing else: whatever else an answer holds stays out of the logs. */
function word(value: unknown): string | null {
  return typeof value === "string" && /^[A-Z][A-Z_]{0,63}$/.test(value) ? value : null;
}
