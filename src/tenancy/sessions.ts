import type { Clock } from "../base/clock.ts";
import { type Goodbye, OddswireError } from "../base/errors.ts";
import { Bans } from "./bans.ts";
import { type HeldPassword, Passwords, type Secrets } from "./passwords.ts";
import { NONCE_BYTES, Seal } from "./seal.ts";
import { type Account, accountOf, hash, type TokenEntry, TokenList } from "./tokens.ts";

/** Whoever checks a token needs no more than this: the doors, REST. Tokens of the configuration and of logins count alike. */
export interface TokenCheck {
  authenticate(appKey: string | null, session: string | null): Account | Goodbye;
  /** For requests that carry a token and no appKey. */
  bySession(session: string | null): Account | Goodbye;
}

/** One visitor: an account with its limits, and how it gets in: by a token that stands, by logging in, or either. */
export interface VisitorEntry extends Omit<TokenEntry, "token"> {
  readonly token?: string;
  readonly username?: string;
  /** One of the two, with `username`; a hash is as `oddswire password` makes it. */
  readonly password?: string;
  readonly passwordHash?: string;
  /** The common name that its certificate must carry in a certificate login. */
  readonly certName?: string;
}

export interface SessionsOptions {
  /** As for a `TokenList`. */
  readonly appKeys?: readonly string[];
  /** How long a token lives without keepAlive. */
  readonly lifetimeMs: number;
  /** Tokens at a time, of all users and of one; one more, and the one used longest ago for a login or keepAlive goes. */
  readonly tokensMax: number;
  readonly tokensPerUserMax: number;
  /** Logins of one user within a minute, and wrong passwords for one user from one address; one more is a ban of `banMs`. */
  readonly loginsPerMinuteMax: number;
  readonly banMs: number;
  /** With it, tokens outlive the process and are good at every other one that has it; without, they end with this one. */
  readonly secret?: string;
  /** A certificate login shows a certificate; without, name and password do there too. */
  readonly certificates: boolean;
}

/** The exchange's own figures, and bounds that fit a large fleet. */
export const SESSIONS_DEFAULTS = {
  lifetimeMs: 12 * 3_600_000,
  tokensMax: 50_000,
  tokensPerUserMax: 1_000,
  loginsPerMinuteMax: 100,
  banMs: 20 * 60_000,
} as const;

export interface Login {
  readonly username: string | null;
  readonly password: string | null;
  readonly appKey: string | null;
  /** Where it comes from. */
  readonly address: string;
  readonly by:
    | { readonly kind: "password" }
    /** The common name in the certificate shown, where an authority that we trust has signed it. */
    | { readonly kind: "certificate"; readonly name: string | null };
}

/** The exchange's words. */
export type LoginRefusal =
  | "INPUT_VALIDATION_ERROR"
  | "INVALID_APP_KEY"
  | "CERT_AUTH_REQUIRED"
  | "INVALID_USERNAME_OR_PASSWORD"
  | "TEMPORARY_BAN_TOO_MANY_REQUESTS";

export type LoginOutcome =
  | { readonly kind: "token"; readonly token: string; readonly account: Account }
  | { readonly kind: "refused"; readonly reason: LoginRefusal }
  /** Too many logins wait already. */
  | { readonly kind: "busy" };

/** A sealed token that was ended before its time, for other processes that would believe it until then. */
export interface EndedToken {
  /** What its user's sealed tokens say. */
  readonly tag: string;
  /** The token's hash. */
  readonly key: string;
  /** When its time is over, milliseconds since the Unix epoch. */
  readonly until: number;
}

interface User {
  readonly account: Account;
  readonly password: HeldPassword;
  readonly certName: string | null;
  /** What its sealed tokens say; null where none are sealed. */
  readonly tag: string | null;
  /** Its tokens' hashes, in the order in which they end. */
  readonly tokens: Set<string>;
  /** Its sealed tokens that were ended before their time, with when that time is over: at most `tokensPerUserMax`, the oldest go first. */
  readonly ended: Map<string, number>;
  /** Of sealed tokens whose time is over by then it is not known any more which were ended: those that are not alive here are taken for it. */
  endedUpTo: number;
}

interface Issued {
  readonly user: User;
  readonly endsAt: number;
}

/** Longer ones are nobody's, and need not be hashed to know it. */
const NAME_LENGTH_MAX = 256;
export const PASSWORD_LENGTH_MAX = 1_024;
/** As the exchange's: 43 characters of base64 and a "=". */
const TOKEN_BYTES = 32;

/**
 * Who may come in, and with which token: those of the configuration, which stand, and those that a login gives, which end unless kept alive.
 * Tokens are held by their hash. Without a secret they live in this process, and after a restart clients must log in again. Some do not: flumine asks
 * for its session only at half its lifetime, and until then tries for ever with the token that it has. With a secret a token that is not known here is
 * good for as long as it says, but for one that was ended here; keepAlive hands out a new one, which says a later time.
 */
export class Sessions implements TokenCheck {
  // counters, read by ops
  readonly counters = { logins: 0, refused: 0, busy: 0, keepAlives: 0, logouts: 0, expired: 0, pushedOut: 0 };

  /** Told of sealed tokens that end here before their time. */
  onEnded: (token: EndedToken) => void = () => {};
  readonly #options: SessionsOptions;
  readonly #clock: Pick<Clock, "monotonic" | "wall">;
  readonly #secrets: Secrets;
  readonly #list: TokenList;
  readonly #passwords: Passwords;
  readonly #bans: Bans;
  readonly #users = new Map<string, User>();
  /** By hash, in the order in which they end: all live equally long, and who is renewed goes to the end. */
  readonly #issued = new Map<string, Issued>();
  readonly #seal: Seal | null;
  readonly #byTag = new Map<string, User>();

  /** Throws INVALID_CONFIG. */
  constructor(
    visitors: readonly VisitorEntry[],
    options: SessionsOptions,
    world: { readonly clock: Pick<Clock, "monotonic" | "wall">; readonly secrets: Secrets },
  ) {
    this.#options = options;
    this.#clock = world.clock;
    this.#secrets = world.secrets;
    this.#passwords = new Passwords(world.secrets);
    this.#seal = options.secret === undefined ? null : new Seal(options.secret);
    const { loginsPerMinuteMax, banMs, appKeys } = options;
    this.#bans = new Bans({ perMinuteMax: loginsPerMinuteMax, banMs }, world.clock);
    this.#list = new TokenList(visitors.filter(hasToken), appKeys);
    for (const visitor of visitors) this.#addUser(visitor);
  }

  /** How many tokens of logins are alive. */
  get alive(): number {
    this.#forgetExpired();
    return this.#issued.size;
  }

  authenticate(appKey: string | null, session: string | null): Account | Goodbye {
    return this.#list.refusesAppKey(appKey) ?? this.bySession(session);
  }

  bySession(session: string | null): Account | Goodbye {
    const listed = this.#list.bySession(session);
    if (!("code" in listed) || !session) return listed;
    return this.#living(session)?.user.account ?? listed;
  }

  async login(login: Login): Promise<LoginOutcome> {
    const outcome = await this.#judged(login);
    if (outcome.kind === "token") this.counters.logins++;
    else if (outcome.kind === "refused") this.counters.refused++;
    else this.counters.busy++;
    return outcome;
  }

  /** Gives a whole lifetime anew: the token to go on with, null where the old one is none, or no longer. Those of the configuration stand anyhow. */
  keepAlive(session: string): string | null {
    const issued = this.#living(session);
    if (issued === null) return this.#isListed(session) ? session : null;
    this.counters.keepAlives++;
    // The old one ends in its time: who keeps it, though told of another, is not cut off at once.
    if (this.#seal !== null) return this.#issue(issued.user);
    const key = hash(session);
    this.#forget(key, issued);
    this.#remember(key, issued.user);
    return session;
  }

  /** Ends the token for new authentications; streams that run go on. A token of the configuration stands: its user just leaves. */
  logout(session: string): boolean {
    const issued = this.#living(session);
    if (issued === null) return this.#isListed(session);
    this.#end(hash(session), issued);
    this.counters.logouts++;
    return true;
  }

  async #judged(login: Login): Promise<LoginOutcome> {
    const { username, password, by, address } = login;
    const early = this.#refusesUnseen(login);
    if (early !== null) return refused(early);
    if (!isFit(username, NAME_LENGTH_MAX) || !isFit(password, PASSWORD_LENGTH_MAX))
      return refused("INPUT_VALIDATION_ERROR");
    const [everywhere, here] = [`user ${username}`, `${address} ${username}`];
    if (this.#bans.isBanned(everywhere) || this.#bans.isBanned(here)) return refused("TEMPORARY_BAN_TOO_MANY_REQUESTS");
    const user = this.#users.get(username);
    const right = await this.#passwords.verify(password, user?.password ?? null);
    if (right === "busy") return { kind: "busy" };
    // Wrong ones count where they come from, or anybody could shut anybody out; right ones count as the exchange counts them.
    if (!right || user === undefined)
      return refused(this.#bans.allows(here) ? "INVALID_USERNAME_OR_PASSWORD" : "TEMPORARY_BAN_TOO_MANY_REQUESTS");
    if (by.kind === "certificate" && user.certName !== null && user.certName !== by.name)
      return refused("CERT_AUTH_REQUIRED");
    if (!this.#bans.allows(everywhere)) return refused("TEMPORARY_BAN_TOO_MANY_REQUESTS");
    return { kind: "token", token: this.#issue(user), account: user.account };
  }

  /** What is wrong with a login before anybody looks at name and password. */
  #refusesUnseen({ appKey, by }: Login): LoginRefusal | null {
    const key = this.#list.refusesAppKey(appKey);
    if (key !== null) return key.code === "INVALID_APP_KEY" ? "INVALID_APP_KEY" : "INPUT_VALIDATION_ERROR";
    if (by.kind === "certificate" && this.#options.certificates && by.name === null) return "CERT_AUTH_REQUIRED";
    return null;
  }

  #issue(user: User): string {
    this.#forgetExpired();
    const [oldest] = user.tokens;
    if (user.tokens.size >= this.#options.tokensPerUserMax) this.#pushOut(oldest);
    const [oldestOfAll] = this.#issued.keys();
    if (this.#issued.size >= this.#options.tokensMax) this.#pushOut(oldestOfAll);
    const token = this.#newToken(user);
    this.#remember(hash(token), user);
    return token;
  }

  #newToken({ tag }: User): string {
    const random = (bytes: number) => this.#secrets.getRandomValues(new Uint8Array(bytes));
    if (this.#seal === null || tag === null) return Buffer.from(random(TOKEN_BYTES)).toString("base64");
    return this.#seal.token(tag, this.#clock.wall(), random(NONCE_BYTES));
  }

  #living(session: string): Issued | null {
    this.#forgetExpired();
    const key = hash(session);
    return this.#issued.get(key) ?? this.#vouchedFor(session, key);
  }

  /** What a sealed token says for itself that is not known here: another process has given it out, or this one before it was restarted. */
  #vouchedFor(session: string, key: string): Issued | null {
    const sealed = this.#seal?.open(session) ?? null;
    const user = sealed === null ? undefined : this.#byTag.get(sealed.tag);
    if (sealed === null || user === undefined || user.ended.has(key)) return null;
    const endsIn = sealed.issuedAt + this.#options.lifetimeMs - this.#clock.wall();
    const endsAt = this.#clock.monotonic() + endsIn;
    return endsIn > 0 && endsAt > user.endedUpTo ? { user, endsAt } : null;
  }

  /** Each token is walked over once, when it ends. */
  #forgetExpired(): void {
    const now = this.#clock.monotonic();
    for (const [key, issued] of this.#issued) {
      if (issued.endsAt > now) return;
      this.#forget(key, issued);
      this.counters.expired++;
    }
  }

  #remember(key: string, user: User): void {
    this.#issued.set(key, { user, endsAt: this.#clock.monotonic() + this.#options.lifetimeMs });
    user.tokens.add(key);
  }

  #forget(key: string, { user }: Issued): void {
    this.#issued.delete(key);
    user.tokens.delete(key);
  }

  #pushOut(key: string | undefined): void {
    const issued = key === undefined ? undefined : this.#issued.get(key);
    if (key === undefined || issued === undefined) return;
    this.#end(key, issued);
    this.counters.pushedOut++;
  }

  /** Before its time: a sealed one would be believed until then, and is noted down with its user, so that nobody's tokens come to life by what others do. */
  #end(key: string, issued: Issued): void {
    this.#forget(key, issued);
    if (this.#seal === null) return;
    const { user, endsAt } = issued;
    const forgotten = this.#noteEnded(user, key, endsAt);
    user.endedUpTo = Math.max(user.endedUpTo, ...forgotten);
    this.onEnded(this.#endedToken(user, key, endsAt));
  }

  /** When those would have ended that are forgotten for it before their time. */
  #noteEnded(user: User, key: string, endsAt: number): number[] {
    const now = this.#clock.monotonic();
    const forgotten: number[] = [];
    user.ended.set(key, endsAt);
    for (const [oldest, until] of user.ended) {
      if (until > now && user.ended.size <= this.#options.tokensPerUserMax) break;
      user.ended.delete(oldest);
      if (until > now) forgotten.push(until);
    }
    return forgotten;
  }

  #endedToken({ tag }: User, key: string, endsAt: number): EndedToken {
    return { tag: tag as string, key, until: endsAt - this.#clock.monotonic() + this.#clock.wall() };
  }

  /** All that are known to have been ended before their time, here or elsewhere. */
  ended(): EndedToken[] {
    return [...this.#byTag.values()].flatMap((user) =>
      [...user.ended].map(([key, endsAt]) => this.#endedToken(user, key, endsAt)),
    );
  }

  /** Another process has ended it. Of very many of one user the oldest are believed again here: who is alive is not known here, and is not to be shut out. */
  endedElsewhere({ tag, key, until }: EndedToken): void {
    const user = this.#byTag.get(tag);
    if (user === undefined || user.ended.has(key)) return;
    const issued = this.#issued.get(key);
    if (issued !== undefined) this.#forget(key, issued);
    this.#noteEnded(user, key, until - this.#clock.wall() + this.#clock.monotonic());
  }

  #isListed(session: string): boolean {
    return !("code" in this.#list.bySession(session));
  }

  #addUser({ username, password, passwordHash, certName, ...said }: VisitorEntry): void {
    if (username === undefined) return;
    const other = this.#users.get(username);
    if (other !== undefined)
      throw new OddswireError("INVALID_CONFIG", `"${said.name}" and "${other.account.name}" have the same username`);
    const secret = passwordHash === undefined ? { password: password ?? "" } : { passwordHash };
    if ("password" in secret && secret.password === "")
      throw new OddswireError("INVALID_CONFIG", `"${said.name}" has a username and no password`);
    const tag = this.#seal?.tag(username, passwordHash ?? password ?? "") ?? null;
    const user: User = {
      account: accountOf(said),
      password: this.#passwords.hold(secret),
      certName: certName ?? null,
      tag,
      tokens: new Set(),
      ended: new Map(),
      endedUpTo: Number.NEGATIVE_INFINITY,
    };
    this.#users.set(username, user);
    if (tag !== null) this.#byTag.set(tag, user);
  }
}

function hasToken(visitor: VisitorEntry): visitor is VisitorEntry & TokenEntry {
  return visitor.token !== undefined;
}

function isFit(text: string | null, lengthMax: number): text is string {
  return text !== null && text !== "" && text.length <= lengthMax;
}

function refused(reason: LoginRefusal): LoginOutcome {
  return { kind: "refused", reason };
}
