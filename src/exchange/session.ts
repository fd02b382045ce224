import { Backoff, type BackoffOptions } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { CallCounts, type CallEnd } from "./call-counts.ts";
import {
  type Credentials,
  type IdentityHosts,
  type IdentityRequest,
  keepAliveRequest,
  loginRequest,
  type Post,
  readAnswer,
  type TokenOutcome,
} from "./identity.ts";

/** Where the connection gets its session token from. */
export interface Session {
  /** The token at hand, or null when there is none that can be believed. */
  current(): string | null;
  /** A valid token: the one at hand, or one from a login. Several askers share one login. */
  token(): Promise<TokenOutcome>;
  /** The exchange refused this token: it is not at hand any more, unless another has taken its place already. */
  refused(token: string): void;
  /** Ends renewals and what is under way, and forgets the token; whoever asks again begins anew. */
  stop(): void;
  /** What was called with it, and for it. */
  readonly calls?: CallCounts;
}

/** The same session for one of several that share it: who stops does not log out the others. */
export function shared(session: Session): Session {
  return {
    current: () => session.current(),
    token: () => session.token(),
    refused: (token) => session.refused(token),
    stop: () => {},
    ...(session.calls && { calls: session.calls }),
  };
}

export interface SessionOptions {
  readonly appKey: string;
  readonly credentials: Credentials;
  readonly hosts: IdentityHosts;
  /** How long a token lives without keepAlive: 12 hours internationally, 20 minutes in Italy. */
  readonly lifetimeMs: number;
  /** The longest wait for one answer of the identity service. */
  readonly requestMsMax: number;
  /** Logins of ours in any minute, far below the 100 that the exchange bans for. */
  readonly loginsPerMinuteMax: number;
  /** Waits between attempts to renew; the connection has its own for the token it waits for. */
  readonly renewal: BackoffOptions;
}

export const SESSION_DEFAULTS = {
  lifetimeMs: 12 * 3_600_000,
  requestMsMax: 15_000,
  loginsPerMinuteMax: 10,
  renewal: { firstMs: 1_000, maxMs: 60_000 },
} as const;

/** How long the exchange bans for. */
const BAN_MS = 20 * 60_000;
const MINUTE_MS = 60_000;

/** What a session needs of the world. */
export interface SessionWorld {
  readonly post: Post;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * A session at the exchange: logs in when somebody asks for a token, and from then on keeps one alive, ahead of its end.
 *
 * It is renewed at half of its lifetime (a little before, by chance), by keepAlive; an answer that is not a token means it is dead and a login
 * follows. While the identity service is down the token at hand stands until its lifetime is over: the service's trouble is not the stream's.
 */
export class IdentitySession implements Session {
  logins = 0;
  keepAlives = 0;
  failures = 0;
  readonly calls = new CallCounts();

  readonly #options: SessionOptions;
  readonly #world: SessionWorld;
  readonly #backoff: Backoff;
  /** Aborted by `stop`, which begins another. */
  #run = new AbortController();
  #token: string | null = null;
  /** When the token was given or last kept alive, by the monotonic clock. */
  #since = 0;
  #login: Promise<TokenOutcome> | null = null;
  /** When we logged in within the last minute. */
  #loginTimes: number[] = [];
  #bannedUntil = Number.NEGATIVE_INFINITY;
  #timer: Timer | null = null;

  constructor(options: SessionOptions, world: SessionWorld) {
    this.#options = options;
    this.#world = world;
    this.#backoff = new Backoff(options.renewal, world.random);
  }

  current(): string | null {
    return this.#age() < this.#options.lifetimeMs ? this.#token : null;
  }

  token(): Promise<TokenOutcome> {
    const token = this.current();
    return token === null ? this.#logIn() : Promise.resolve({ kind: "token", token });
  }

  refused(token: string): void {
    if (this.#token === token) this.#token = null;
  }

  stop(): void {
    this.#run.abort();
    this.#run = new AbortController();
    this.#timer?.cancel();
    this.#token = null;
  }

  #logIn(): Promise<TokenOutcome> {
    this.#login ??= this.#attempt().finally(() => {
      this.#login = null;
    });
    return this.#login;
  }

  async #attempt(): Promise<TokenOutcome> {
    const limited = this.#limit();
    if (limited !== null) return this.#failed("login", limited);
    const { credentials, appKey, hosts } = this.#options;
    this.logins++;
    const run = this.#run.signal;
    const outcome = await this.#ask("login", loginRequest(credentials, appKey, hosts));
    if (run.aborted) return outcome;
    if (outcome.kind === "token") this.#adopt(outcome.token);
    else this.#failed("login", outcome);
    return outcome;
  }

  /** A login too many would end in a ban of 20 minutes: rather wait one of our own. */
  #limit(): TokenOutcome | null {
    const now = this.#world.clock.monotonic();
    if (now < this.#bannedUntil) return { kind: "limited", reason: "banned for too many logins", banned: false };
    this.#loginTimes = this.#loginTimes.filter((at) => now - at < MINUTE_MS);
    const max = this.#options.loginsPerMinuteMax;
    if (this.#loginTimes.length >= max) return { kind: "limited", reason: `${max} logins a minute`, banned: false };
    this.#loginTimes.push(now);
    return null;
  }

  #failed(what: string, outcome: TokenOutcome): TokenOutcome {
    if (outcome.kind === "token") return outcome;
    if (outcome.kind === "limited" && outcome.banned) this.#bannedUntil = this.#world.clock.monotonic() + BAN_MS;
    this.failures++;
    this.#world.log.warn({ what, outcome: outcome.kind, reason: outcome.reason }, "no session token");
    return outcome;
  }

  #adopt(token: string): void {
    this.#token = token;
    this.#since = this.#world.clock.monotonic();
    this.#backoff.reset();
    this.#renewAfter(this.#options.lifetimeMs * (0.45 + 0.05 * this.#world.random.next()));
  }

  #renewAfter(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#world.clock.after(ms, () => void this.#keepAlive());
  }

  async #keepAlive(): Promise<void> {
    const token = this.current();
    if (token === null) return this.#replace();
    this.keepAlives++;
    const outcome = await this.#ask("keepAlive", keepAliveRequest(token, this.#options.appKey, this.#options.hosts));
    if (this.#token !== token) return; // replaced, or stopped, while we asked: whoever did that has seen to the timer
    if (outcome.kind === "token") return this.#adopt(outcome.token);
    this.#failed("keepAlive", outcome);
    if (outcome.kind !== "refused") return this.#renewAfter(this.#backoff.next());
    this.#token = null;
    return this.#replace();
  }

  /** Logs in ahead of the need; credentials that are refused wait until somebody needs a token, so that no account gets locked. */
  async #replace(): Promise<void> {
    const run = this.#run.signal;
    const outcome = await this.#logIn();
    if (run.aborted) return;
    if (outcome.kind === "limited" || outcome.kind === "unreachable") this.#renewAfter(this.#backoff.next());
  }

  async #ask(operation: string, request: IdentityRequest): Promise<TokenOutcome> {
    const run = this.#run.signal;
    const outcome = await this.#answerTo(request);
    // What was given up by a stop is nobody's fault.
    if (!run.aborted) this.calls.ended(operation, CALL_END[outcome.kind]);
    return outcome;
  }

  async #answerTo(request: IdentityRequest): Promise<TokenOutcome> {
    const { clock, post } = this.#world;
    const given = new AbortController();
    const signal = AbortSignal.any([given.signal, this.#run.signal]);
    const timer = clock.after(this.#options.requestMsMax, () => given.abort());
    try {
      return readAnswer(await Promise.race([post({ ...request, signal }), aborted(signal)]));
    } catch (error) {
      if (given.signal.aborted) return { kind: "unreachable", reason: `no answer in ${this.#options.requestMsMax} ms` };
      return { kind: "unreachable", reason: error instanceof Error ? error.message : "the request failed" };
    } finally {
      timer.cancel();
    }
  }

  #age(): number {
    return this.#world.clock.monotonic() - this.#since;
  }
}

const CALL_END: Readonly<Record<TokenOutcome["kind"], CallEnd>> = {
  token: "result",
  refused: "error",
  limited: "error",
  unreachable: "unanswered",
};

/** A session whose token is known beforehand and never ends: for tests, the simulator, and servers that check none. */
export function staticSession(token: string): Session {
  const outcome: TokenOutcome = { kind: "token", token };
  return {
    current: () => token,
    token: () => Promise.resolve(outcome),
    refused() {},
    stop() {},
    calls: new CallCounts(),
  };
}

/** Rejects when the signal says so: a `Post` that does not listen to it must not hold us. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const give = () => reject(new Error("given up"));
    if (signal.aborted) give();
    else signal.addEventListener("abort", give, { once: true });
  });
}
