import { createHmac, scrypt, timingSafeEqual } from "node:crypto";
import { OddswireError } from "../base/errors.ts";

/** Where salts, keys and tokens come from: the machine's `crypto`. */
export type Secrets = Pick<Crypto, "getRandomValues">;

/** One cost for all hashes, so that the time an answer takes does not tell one user from another: 16 MB and some 40 ms of a core. */
const COST = { N: 16_384, r: 8, p: 1 } as const;
const SALT_BYTES = 16;
const KEY_BYTES = 32;
/** Passwords hashed at a time. Each has a thread of its own, but not a core of its own: prices come first. */
export const HASHES_AT_ONCE_MAX = 2;
/** Passwords that wait for their turn: five to ten seconds, which clients wait for an answer. */
export const HASHES_WAITING_MAX = 256;

/** A password's hash as `oddswire password` prints it: "scrypt:16384:8:1:SALT:KEY", base64. */
export const PASSWORD_HASH = new RegExp(
  `^scrypt:${COST.N}:${COST.r}:${COST.p}:(?<salt>[A-Za-z0-9+/]{22}==):(?<key>[A-Za-z0-9+/]{43}=)$`,
);

/** How a password is held in memory; neither gives it away. */
export type HeldPassword =
  | { readonly kind: "hash"; readonly salt: Uint8Array; readonly key: Uint8Array }
  /** One that the configuration has in plain letters: hashing a thousand of them slowly would hold the start up for a minute. */
  | { readonly kind: "digest"; readonly digest: Uint8Array };

/** Makes a hash for the configuration. */
export async function hashPassword(password: string, secrets: Secrets): Promise<string> {
  const salt = secrets.getRandomValues(new Uint8Array(SALT_BYTES));
  const key = await derived(password, salt);
  return `scrypt:${COST.N}:${COST.r}:${COST.p}:${base64(salt)}:${base64(key)}`;
}

/** Checks passwords, a bounded number at a time, each for the same price: right or wrong, hashed or plain, of a user or of nobody. */
export class Passwords {
  readonly #digestKey: Uint8Array;
  readonly #nobodysSalt: Uint8Array;
  readonly #waitingMax: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(secrets: Secrets, waitingMax = HASHES_WAITING_MAX) {
    this.#waitingMax = waitingMax;
    this.#digestKey = secrets.getRandomValues(new Uint8Array(KEY_BYTES));
    this.#nobodysSalt = secrets.getRandomValues(new Uint8Array(SALT_BYTES));
  }

  /** Takes what the configuration says of a password. Throws INVALID_CONFIG. */
  hold(said: { readonly password: string } | { readonly passwordHash: string }): HeldPassword {
    if ("password" in said) return { kind: "digest", digest: this.#digest(said.password) };
    const { salt, key } = PASSWORD_HASH.exec(said.passwordHash)?.groups ?? {};
    if (salt === undefined || key === undefined)
      throw new OddswireError("INVALID_CONFIG", "a passwordHash is not one: make it by `oddswire password`");
    return { kind: "hash", salt: Buffer.from(salt, "base64"), key: Buffer.from(key, "base64") };
  }

  /** Whether the password is the one held (null: there is none, and the answer is no); "busy" where too many wait already. */
  async verify(password: string, held: HeldPassword | null): Promise<boolean | "busy"> {
    if (!(await this.#turn())) return "busy";
    try {
      const key = await derived(password, held?.kind === "hash" ? held.salt : this.#nobodysSalt);
      if (held === null) return false;
      return held.kind === "hash"
        ? timingSafeEqual(key, held.key)
        : timingSafeEqual(this.#digest(password), held.digest);
    } finally {
      this.#next();
    }
  }

  #digest(password: string): Uint8Array {
    return createHmac("sha256", this.#digestKey).update(password).digest();
  }

  /** Resolves when it is our turn; to false where the queue is full. */
  async #turn(): Promise<boolean> {
    if (this.#running < HASHES_AT_ONCE_MAX) {
      this.#running++;
      return true;
    }
    if (this.#waiting.length >= this.#waitingMax) return false;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return true;
  }

  /** Hands the turn on, or gives it back. */
  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}

/** On a thread of Node's pool: the event loop goes on. */
function derived(password: string, salt: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) =>
    scrypt(password, salt, KEY_BYTES, COST, (error, key) => (error ? reject(error) : resolve(key))),
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
