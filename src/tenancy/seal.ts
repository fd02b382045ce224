import { createHmac, timingSafeEqual } from "node:crypto";

/** What a sealed token says, once its seal has been found good. */
export interface Sealed {
  /** Whose it is, as `tag` said. */
  readonly tag: string;
  /** Milliseconds since the Unix epoch, to the second. */
  readonly issuedAt: number;
}

const TIME_BYTES = 4;
export const NONCE_BYTES = 4;
const TAG_BYTES = 8;
const MAC_BYTES = 16;
const SAID_BYTES = TIME_BYTES + NONCE_BYTES + TAG_BYTES;
/** In base64 43 characters and a "=", as the exchange's tokens are. */
const TOKEN_BYTES = SAID_BYTES + MAC_BYTES;

/**
 * Session tokens that whoever has the secret can tell for good without having kept them: another process, or the same one after a restart.
 *
 *     seconds (4) │ nonce (4) │ user's tag (8) │ MAC of those three (16)
 */
export class Seal {
  readonly #secret: string;

  constructor(secret: string) {
    this.#secret = secret;
  }

  /** Stands for a user with this password (as configured): another password, and the tokens given before are nobody's. */
  tag(username: string, password: string): string {
    return this.#mac(`user ${JSON.stringify([username, password])}`).toString("base64url", 0, TAG_BYTES);
  }

  token(tag: string, issuedAt: number, nonce: Uint8Array): string {
    const said = Buffer.alloc(SAID_BYTES);
    said.writeUInt32BE(Math.floor(issuedAt / 1_000));
    said.set(nonce, TIME_BYTES);
    said.write(tag, TIME_BYTES + NONCE_BYTES, "base64url");
    return Buffer.concat([said, this.#mac(said).subarray(0, MAC_BYTES)]).toString("base64");
  }

  /** Null where the token was not sealed with this secret. */
  open(token: string): Sealed | null {
    const bytes = Buffer.from(token, "base64");
    // Base64 can be written in more ways than one; a token in one only, as ends of it are remembered by its text.
    if (bytes.length !== TOKEN_BYTES || bytes.toString("base64") !== token) return null;
    const said = bytes.subarray(0, SAID_BYTES);
    if (!timingSafeEqual(bytes.subarray(SAID_BYTES), this.#mac(said).subarray(0, MAC_BYTES))) return null;
    const tag = said.toString("base64url", TIME_BYTES + NONCE_BYTES);
    return { tag, issuedAt: said.readUInt32BE() * 1_000 };
  }

  #mac(text: string | Buffer): Buffer {
    return createHmac("sha256", this.#secret).update(text).digest();
  }
}
