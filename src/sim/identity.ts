import type { Clock } from "../base/clock.ts";
import { type Random, randomInt } from "../base/random.ts";

export interface IdentityOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly accounts: readonly { readonly username: string; readonly password: string }[];
  readonly appKeys: readonly string[];
  /** How long a token lives without keepAlive; the exchange's international sites say 12 hours. */
  readonly tokenLifetimeMs?: number;
}

export interface IdentityKnobs {
  /** Answers every request with this HTTP status and no JSON. */
  httpStatus: number | null;
  /** Answers so much later. */
  slowMs: number;
  /** keepAlive hands out another token, the old one ends. */
  newTokenOnKeepAlive: boolean;
  /** What login says instead of SUCCESS, such as "ACCOUNT_PENDING_PASSWORD_CHANGE" or "TEMPORARY_BAN_TOO_MANY_REQUESTS". */
  loginError: string | null;
}

const TOKEN_LIFETIME_MS = 12 * 3_600_000;
const TOKENS_MAX = 10_000;

/**
 * The exchange's identity service (exchange-protocol.md §5): /api/login, /api/certlogin, /api/keepAlive, /api/logout, each a POST.
 * Whether /api/certlogin was given a client certificate is for the server around it to check; here a username and password will do.
 */
export class SimIdentity {
  readonly knobs: IdentityKnobs = { httpStatus: null, slowMs: 0, newTokenOnKeepAlive: false, loginError: null };
  readonly counters = { logins: 0, keepAlives: 0, logouts: 0, refused: 0 };
  readonly #options: IdentityOptions;
  readonly #tokens = new Map<string, { readonly account: string; endsAt: number }>();

  constructor(options: IdentityOptions) {
    this.#options = options;
  }

  /** The service itself: a request's answer. */
  readonly handle = async (request: Request): Promise<Response> => {
    const { httpStatus, slowMs } = this.knobs;
    if (slowMs > 0) await new Promise<void>((resolve) => this.#options.clock.after(slowMs, resolve));
    if (httpStatus !== null) return new Response("Service Unavailable", { status: httpStatus });
    const { pathname } = new URL(request.url);
    if (!["/api/login", "/api/certlogin", "/api/keepAlive", "/api/logout"].includes(pathname))
      return new Response("Not Found", { status: 404 });
    if (request.method !== "POST") return new Response("Method Not Allowed", { status: 405 });
    const form = new URLSearchParams(await request.text());
    return Response.json(this.#answer(pathname, form, request.headers));
  };

  isValid(token: string): boolean {
    return this.accountOf(token) !== null;
  }

  /** Whose session it is, or null when the token is not known or has ended. */
  accountOf(token: string): string | null {
    const session = this.#tokens.get(token);
    return session !== undefined && session.endsAt > this.#options.clock.monotonic() ? session.account : null;
  }

  /** A token without the asking: for tests and the demo. */
  issue(account: string): string {
    const token = tokenText(this.#options.random);
    const oldest = this.#tokens.keys().next().value;
    if (this.#tokens.size >= TOKENS_MAX && oldest !== undefined) this.#tokens.delete(oldest);
    this.#tokens.set(token, { account, endsAt: this.#endsAt() });
    return token;
  }

  /** Knob: ends a session as if its time had come; all of them when none is named. */
  expire(token?: string): void {
    if (token === undefined) this.#tokens.clear();
    else this.#tokens.delete(token);
  }

  #answer(pathname: string, form: URLSearchParams, headers: Headers): Record<string, string> {
    const appKey = headers.get("X-Application");
    const token = headers.get("X-Authentication");
    switch (pathname) {
      case "/api/login":
        return this.#login(form, appKey);
      case "/api/certlogin":
        return this.#certLogin(form, appKey);
      case "/api/keepAlive":
        return this.#keepAlive(appKey, token);
      default:
        return this.#logout(appKey, token);
    }
  }

  #login(form: URLSearchParams, appKey: string | null): Record<string, string> {
    const error = this.#loginError(form, appKey);
    if (error !== null) return session("", appKey, error);
    return session(this.issue(form.get("username") as string), appKey, null);
  }

  #certLogin(form: URLSearchParams, appKey: string | null): Record<string, string> {
    const error = this.#loginError(form, appKey);
    if (error !== null) return { loginStatus: error };
    return { sessionToken: this.issue(form.get("username") as string), loginStatus: "SUCCESS" };
  }

  #loginError(form: URLSearchParams, appKey: string | null): string | null {
    const { accounts, appKeys } = this.#options;
    const known = accounts.some(
      ({ username, password }) => username === form.get("username") && password === form.get("password"),
    );
    const error = this.knobs.loginError ?? (known ? null : "INVALID_USERNAME_OR_PASSWORD");
    const outcome = appKey === null || !appKeys.includes(appKey) ? "INPUT_VALIDATION_ERROR" : error;
    if (outcome === null) this.counters.logins++;
    else this.counters.refused++;
    return outcome;
  }

  #keepAlive(appKey: string | null, token: string | null): Record<string, string> {
    const account = token === null ? null : this.accountOf(token);
    if (token === null || account === null) return this.#noSession(appKey, token);
    this.counters.keepAlives++;
    if (this.knobs.newTokenOnKeepAlive) {
      this.#tokens.delete(token);
      return session(this.issue(account), appKey, null);
    }
    this.#tokens.set(token, { account, endsAt: this.#endsAt() });
    return session(token, appKey, null);
  }

  #logout(appKey: string | null, token: string | null): Record<string, string> {
    if (token === null || !this.#tokens.delete(token)) return this.#noSession(appKey, token);
    this.counters.logouts++;
    return session(token, appKey, null);
  }

  #noSession(appKey: string | null, token: string | null): Record<string, string> {
    this.counters.refused++;
    return session(token ?? "", appKey, "NO_SESSION");
  }

  #endsAt(): number {
    return this.#options.clock.monotonic() + (this.#options.tokenLifetimeMs ?? TOKEN_LIFETIME_MS);
  }
}

function session(token: string, product: string | null, error: string | null): Record<string, string> {
  return { token, product: product ?? "", status: error === null ? "SUCCESS" : "FAIL", error: error ?? "" };
}

const TOKEN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const TOKEN_LENGTH = 43;

/** In the shape of the real ones: base64 with a "=" at its end. */
function tokenText(random: Random): string {
  return `${Array.from({ length: TOKEN_LENGTH }, () => TOKEN_LETTERS[randomInt(random, TOKEN_LETTERS.length)]).join("")}=`;
}
