import { describe, expect, test } from "bun:test";
import { scryptSync } from "node:crypto";
import { HASHES_AT_ONCE_MAX, hashPassword, PASSWORD_HASH, Passwords } from "./passwords.ts";

describe("a password", () => {
  test("is hashed anew each time, in a form that others can check", async () => {
    const [one, two] = [await hashPassword("pa:ss wörd", crypto), await hashPassword("pa:ss wörd", crypto)];
    expect(one).toMatch(PASSWORD_HASH);
    expect(one).not.toBe(two);
    const [, N, r, p, salt, key] = one.split(":") as string[];
    const cost = { N: Number(N), r: Number(r), p: Number(p) };
    expect(scryptSync("pa:ss wörd", Buffer.from(salt as string, "base64"), 32, cost).toString("base64")).toBe(
      key as string,
    );
  });

  test("is right or wrong, hashed as plain, and nobody's is wrong", async () => {
    const passwords = new Passwords(crypto);
    const helds = [
      passwords.hold({ password: "right" }),
      passwords.hold({ passwordHash: await hashPassword("right", crypto) }),
    ];
    for (const held of helds)
      expect([await passwords.verify("right", held), await passwords.verify("Right", held)]).toEqual([true, false]);
    expect(await passwords.verify("right", null)).toBe(false);
    expect(JSON.stringify(helds)).not.toContain("right");
  });

  test("that is no hash, or one of another cost, is refused with what to do", () => {
    const passwords = new Passwords(crypto);
    const rest = `${"A".repeat(22)}==:${"A".repeat(43)}=`;
    expect(() => passwords.hold({ passwordHash: `scrypt:16384:8:1:${rest}` })).not.toThrow();
    for (const passwordHash of [`scrypt:1048576:8:1:${rest}`, `scrypt:16384:8:1:${rest} `, "$2b$10$abc", ""])
      expect(() => passwords.hold({ passwordHash })).toThrow("oddswire password");
  });

  test("beyond what may wait for its turn is turned away; the others have their turn, and turns come back", async () => {
    const passwords = new Passwords(crypto, 3);
    const held = passwords.hold({ password: "right" });
    const answers = await Promise.all(
      Array.from({ length: HASHES_AT_ONCE_MAX + 5 }, () => passwords.verify("right", held)),
    );
    expect(answers).toEqual([...Array(HASHES_AT_ONCE_MAX + 3).fill(true), "busy", "busy"]);
    expect(await passwords.verify("right", held)).toBe(true);
  });

  test("is hashed beside the event loop, which goes on meanwhile", async () => {
    const passwords = new Passwords(crypto);
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    for (let i = 0; i < 5; i++) await passwords.verify("x", null);
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(5);
  });
});
