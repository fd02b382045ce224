import { createHash } from "node:crypto";
import { type Goodbye, OddswireError } from "../base/errors.ts";

/** Somebody who was let in, as the rooms downstairs know them. */
export interface Visitor {
  /** For logs and the console; not a secret. */
  readonly name: string;
  readonly tenant: string;
  /** How many subscriptions one connection may hold (the ESA door: one of each kind at most). */
  readonly subscriptionsMax: number;
  /** How many markets one subscription may match. */
  readonly marketsMax: number;
  /** How many bytes of prices a second one connection gets; absent: as many as there are. */
  readonly bytesPerSecondMax?: number | undefined;
}

/** Whose of the account's orders somebody may see: all of them, or those whose customerStrategyRef begins with a prefix (which is not empty). */
export type OrderRights = "account" | { readonly refPrefix: string };

/** What a token stands for: a visitor, and how many connections it may have open at once. */
export interface Account extends Visitor {
  readonly connectionsMax: number;
  /** Absent: none. */
  readonly orders?: OrderRights;
  /** The sports whose data streams it may have; absent: none. */
  readonly sports?: readonly ("race" | "cricket")[];
}

export interface TokenEntry extends Partial<Omit<Account, "name">> {
  readonly token: string;
  readonly name: string;
}

/** What an entry gets that does not say: as many connections as the doors take. */
export const ACCOUNT_DEFAULTS = {
  tenant: "default",
  connectionsMax: Number.POSITIVE_INFINITY,
  subscriptionsMax: 20,
  marketsMax: 100_000,
} as const;

/**
 * The static list of session tokens from the configuration. It holds their hashes only, and looks a token up by its hash, so how long an
 * answer takes says nothing about how nearly right a guess was.
 */
export class TokenList {
  readonly #accounts = new Map<string, Account>();
  readonly #appKeys: ReadonlySet<string> | null;

  /** With `appKeys`, an authentication must carry one of them; without, any will do, or none. Throws `INVALID_CONFIG`. */
  constructor(entries: readonly TokenEntry[], appKeys?: readonly string[]) {
    for (const entry of entries) this.#add(entry);
    this.#appKeys = appKeys ? new Set(appKeys.map(hash)) : null;
  }

  /** As the exchange checks an `authentication`: first the appKey, then the session token. */
  authenticate(appKey: string | null, session: string | null): Account | Goodbye {
    return this.refusesAppKey(appKey) ?? this.bySession(session);
  }

  /** Why an appKey will not do; null where it will. */
  refusesAppKey(appKey: string | null): Goodbye | null {
    if (this.#appKeys === null) return null;
    if (!appKey) return { code: "NO_APP_KEY", message: "an appKey is needed" };
    return this.#appKeys.has(hash(appKey)) ? null : { code: "INVALID_APP_KEY", message: "the appKey is not known" };
  }

  /** For requests that carry a token and no appKey. */
  bySession(session: string | null): Account | Goodbye {
    if (!session) return { code: "NO_SESSION", message: "a session token is needed" };
    const account = this.#accounts.get(hash(session));
    return account ?? { code: "INVALID_SESSION_INFORMATION", message: "the session token is not valid" };
  }

  #add({ token, ...said }: TokenEntry): void {
    const key = hash(token);
    if (token === "") throw new OddswireError("INVALID_CONFIG", `the token of "${said.name}" is empty`);
    const other = this.#accounts.get(key);
    if (other) throw new OddswireError("INVALID_CONFIG", `"${said.name}" and "${other.name}" have the same token`);
    this.#accounts.set(key, accountOf(said));
  }
}

/** What an entry stands for. Spelled out, as an `undefined` in the entry must not undo a limit. */
export function accountOf(said: Omit<TokenEntry, "token">): Account {
  return {
    name: said.name,
    tenant: said.tenant ?? ACCOUNT_DEFAULTS.tenant,
    connectionsMax: said.connectionsMax ?? ACCOUNT_DEFAULTS.connectionsMax,
    subscriptionsMax: said.subscriptionsMax ?? ACCOUNT_DEFAULTS.subscriptionsMax,
    marketsMax: said.marketsMax ?? ACCOUNT_DEFAULTS.marketsMax,
    bytesPerSecondMax: said.bytesPerSecondMax,
    orders: said.orders,
    sports: said.sports,
  };
}

/** By what a secret is looked up where it is not to be kept itself. */
export function hash(secret: string): string {
  return createHash("sha256").update(secret).digest("base64");
}
