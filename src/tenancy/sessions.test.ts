import { describe, expect, test } from "bun:test";
import { VirtualClock } from "../sim/clock.ts";
import { hashPassword } from "./passwords.ts";
import { type Login, SESSIONS_DEFAULTS, Sessions, type SessionsOptions, type VisitorEntry } from "./sessions.ts";

const HASH = await hashPassword("s3cret&=ç", crypto);
const VISITORS: readonly VisitorEntry[] = [
  { name: "ann", username: "ann@example.com", password: "plain-secret", marketsMax: 3 },
  { name: "bob", tenant: "brand", username: "bob", passwordHash: HASH, token: "token-of-bob" },
  { name: "cat", username: "cat", password: "cat-secret", certName: "cat-bot" },
];

function scene(options: Partial<SessionsOptions> = {}, visitors = VISITORS, clock = new VirtualClock()) {
  const sessions = new Sessions(
    visitors,
    { ...SESSIONS_DEFAULTS, certificates: false, ...options },
    { clock, secrets: crypto },
  );
  const login = (username: string | null, password: string | null, rest: Partial<Login> = {}) =>
    sessions.login({ username, password, appKey: "key", address: "10.0.0.1", by: { kind: "password" }, ...rest });
  /** The token; the reason where there is none. */
  const ask = async (...login_: Parameters<typeof login>) => {
    const outcome = await login(...login_);
    return outcome.kind === "token" ? outcome.token : outcome.kind === "refused" ? outcome.reason : "busy";
  };
  const ann = () => ask("ann@example.com", "plain-secret");
  const nameOf = (token: string) => {
    const account = sessions.bySession(token);
    return "code" in account ? account.code : account.name;
  };
  return { clock, sessions, login, ask, ann, nameOf };
}

describe("a login", () => {
  test("gives a token in the exchange's form, with the limits of its visitor", async () => {
    const { login, sessions } = scene();
    const outcome = await login("ann@example.com", "plain-secret");
    if (outcome.kind !== "token") throw new Error(outcome.kind);
    expect(outcome.token).toMatch(/^[A-Za-z0-9+/]{43}=$/);
    expect(outcome.account).toMatchObject({ name: "ann", tenant: "default", marketsMax: 3, subscriptionsMax: 20 });
    expect(sessions.authenticate("key", outcome.token)).toBe(outcome.account);
  });

  test("checks a hashed password as a plain one, and the visitor's standing token counts beside it", async () => {
    const { ask, nameOf } = scene();
    expect(nameOf(await ask("bob", "s3cret&=ç"))).toBe("bob");
    expect(nameOf("token-of-bob")).toBe("bob");
    expect(await ask("bob", "s3cret&=")).toBe("INVALID_USERNAME_OR_PASSWORD");
  });

  test("says the same of a wrong password and of a name that is not known", async () => {
    const { ask } = scene();
    expect(await ask("ann@example.com", "wrong")).toBe("INVALID_USERNAME_OR_PASSWORD");
    expect(await ask("eve", "plain-secret")).toBe("INVALID_USERNAME_OR_PASSWORD");
    expect(await ask("__proto__", "x")).toBe("INVALID_USERNAME_OR_PASSWORD");
  });

  test("takes as long for a name that is not known", async () => {
    const { ask } = scene();
    const time = async (username: string) => {
      const from = performance.now();
      for (let i = 0; i < 5; i++) await ask(username, "wrong");
      return performance.now() - from;
    };
    await time("eve");
    const [known, plain, unknown] = [await time("bob"), await time("ann@example.com"), await time("eve")];
    // Without the slow hash it would be a hundredth; the machine may be busy.
    expect(Math.min(known, plain, unknown)).toBeGreaterThan(Math.max(known, plain, unknown) / 10);
  });

  test("that leaves something out, or is absurdly long, is not looked at", async () => {
    const { ask } = scene();
    for (const [username, password] of [
      [null, "x"],
      ["ann", null],
      ["", "x"],
      ["ann", ""],
      ["a".repeat(257), "x"],
      ["ann", "x".repeat(1_025)],
    ] as const)
      expect(await ask(username, password)).toBe("INPUT_VALIDATION_ERROR");
  });

  test("must carry one of the app keys where they are listed", async () => {
    const { ask, sessions } = scene({ appKeys: ["key"] });
    expect(await ask("ann@example.com", "plain-secret", { appKey: null })).toBe("INPUT_VALIDATION_ERROR");
    expect(await ask("ann@example.com", "plain-secret", { appKey: "other" })).toBe("INVALID_APP_KEY");
    const token = await ask("ann@example.com", "plain-secret");
    expect(sessions.authenticate("key", token)).toMatchObject({ name: "ann" });
    expect(sessions.authenticate("other", token)).toMatchObject({ code: "INVALID_APP_KEY" });
  });
});

describe("a certificate login", () => {
  const by = (name: string | null): Partial<Login> => ({ by: { kind: "certificate", name } });

  test("takes name and password where no certificates are asked for", async () => {
    const { ask, nameOf } = scene();
    expect(nameOf(await ask("ann@example.com", "plain-secret", by(null)))).toBe("ann");
  });

  test("needs one where they are, and that of the user where the user has a name in it", async () => {
    const { ask, nameOf } = scene({ certificates: true });
    expect(await ask("ann@example.com", "plain-secret", by(null))).toBe("CERT_AUTH_REQUIRED");
    expect(nameOf(await ask("ann@example.com", "plain-secret", by("anybody")))).toBe("ann");
    expect(nameOf(await ask("cat", "cat-secret", by("cat-bot")))).toBe("cat");
    expect(await ask("cat", "cat-secret", by("ann-bot"))).toBe("CERT_AUTH_REQUIRED");
    expect(await ask("cat", "wrong", by("cat-bot"))).toBe("INVALID_USERNAME_OR_PASSWORD");
    expect(nameOf(await ask("cat", "cat-secret"))).toBe("cat");
  });
});

describe("a token", () => {
  test("ends after its lifetime, and is forgotten", async () => {
    const { clock, ann, nameOf, sessions } = scene({ lifetimeMs: 2_000 });
    const token = await ann();
    clock.run(1_999);
    expect(nameOf(token)).toBe("ann");
    clock.run(2_000);
    expect(nameOf(token)).toBe("INVALID_SESSION_INFORMATION");
    expect(sessions.keepAlive(token)).toBeNull();
    expect([sessions.alive, sessions.counters.expired]).toEqual([0, 1]);
  });

  test("lives on when kept alive, for its whole lifetime each time, also past those that came later", async () => {
    const { clock, ann, nameOf, sessions } = scene({ lifetimeMs: 2_000 });
    const [kept, left] = [await ann(), await ann()];
    for (let now = 1_500; now < 9_000; now += 1_500) {
      clock.run(now);
      expect(sessions.keepAlive(kept)).toBe(kept);
    }
    expect([nameOf(kept), nameOf(left)]).toEqual(["ann", "INVALID_SESSION_INFORMATION"]);
  });

  test("ends by a logout, once, and no other with it", async () => {
    const { ann, nameOf, sessions } = scene();
    const [mine, other] = [await ann(), await ann()];
    expect(sessions.logout(mine)).toBe(true);
    expect(sessions.logout(mine)).toBe(false);
    expect([nameOf(mine), nameOf(other)]).toEqual(["INVALID_SESSION_INFORMATION", "ann"]);
  });

  test("of the configuration stands: keepAlive and logout are taken and change nothing", async () => {
    const { clock, sessions, nameOf } = scene({ lifetimeMs: 2_000 });
    expect([sessions.keepAlive("token-of-bob"), sessions.logout("token-of-bob")]).toEqual(["token-of-bob", true]);
    clock.run(10_000);
    expect(nameOf("token-of-bob")).toBe("bob");
    expect([sessions.keepAlive("nobody's"), sessions.logout("nobody's")]).toEqual([null, false]);
  });

  test("more than a user may have: its own oldest goes, and nobody else's", async () => {
    const { ann, ask, nameOf, sessions } = scene({ tokensPerUserMax: 2 });
    const bobs = await ask("bob", "s3cret&=ç");
    const [first, second] = [await ann(), await ann()];
    sessions.keepAlive(first);
    const third = await ann();
    const gone = "INVALID_SESSION_INFORMATION";
    expect([first, second, third, bobs].map(nameOf)).toEqual(["ann", gone, "ann", "bob"]);
    expect([sessions.alive, sessions.counters.pushedOut]).toEqual([3, 1]);
  });

  test("more than there may be of all: the oldest of all goes", async () => {
    const { ann, ask, nameOf, sessions } = scene({ tokensMax: 2 });
    const bobs = await ask("bob", "s3cret&=ç");
    const anns = [await ann(), await ann()];
    expect([bobs, ...anns].map(nameOf)).toEqual(["INVALID_SESSION_INFORMATION", "ann", "ann"]);
    expect(sessions.alive).toBe(2);
  });
});

describe("too many logins", () => {
  const BAN = "TEMPORARY_BAN_TOO_MANY_REQUESTS";

  test("of one user in a minute are a ban, of which the tokens there are know nothing", async () => {
    const { clock, ann, ask, nameOf } = scene({ loginsPerMinuteMax: 3, banMs: 1_200_000 });
    const tokens = [await ann(), await ann(), await ann()];
    expect(await ann()).toBe(BAN);
    expect(tokens.map(nameOf)).toEqual(["ann", "ann", "ann"]);
    expect(nameOf(await ask("bob", "s3cret&=ç"))).toBe("bob");
    expect(await ask("ann@example.com", "plain-secret", { address: "10.0.0.2" })).toBe(BAN);
    clock.run(1_199_999);
    expect(await ann()).toBe(BAN);
    clock.run(1_200_000);
    expect(nameOf(await ann())).toBe("ann");
  });

  test("spread over minutes are none", async () => {
    const { clock, ann, nameOf } = scene({ loginsPerMinuteMax: 3 });
    for (let minute = 1; minute <= 3; minute++) {
      for (let i = 0; i < 3; i++) expect(nameOf(await ann())).toBe("ann");
      clock.run(minute * 60_000);
    }
  });

  test("with wrong passwords ban whom they come from, not the user they are aimed at", async () => {
    const { ann, ask, nameOf } = scene({ loginsPerMinuteMax: 3 });
    const attack = () => ask("ann@example.com", "guess", { address: "6.6.6.6" });
    for (let i = 0; i < 3; i++) expect(await attack()).toBe("INVALID_USERNAME_OR_PASSWORD");
    for (let i = 0; i < 2; i++) expect(await attack()).toBe(BAN);
    expect(await ask("ann@example.com", "plain-secret", { address: "6.6.6.6" })).toBe(BAN);
    expect(nameOf(await ann())).toBe("ann");
  });

  test("may be few: a ban shorter than a minute ends when it says", async () => {
    const { clock, ann, nameOf } = scene({ loginsPerMinuteMax: 1, banMs: 1_000 });
    await ann();
    expect(await ann()).toBe(BAN);
    clock.run(1_000);
    expect(nameOf(await ann())).toBe("ann");
  });
});

describe("a sealed token", () => {
  const secret = "a secret of thirty-two letters!!";
  const HOUR_MS = 3_600_000;
  const options = { secret, lifetimeMs: 12 * HOUR_MS };

  test("that was logged out stays so, however many others, or its own user, renew and end", async () => {
    const { ann, ask, clock, nameOf, sessions } = scene({ ...options, tokensMax: 50, tokensPerUserMax: 10 });
    const token = await ann();
    expect(sessions.logout(token)).toBe(true);
    clock.advance(2_000);
    for (let renewed of [await ask("cat", "cat-secret"), await ann()]) {
      for (let n = 0; n < 200; n++) renewed = sessions.keepAlive(renewed) as string;
      expect(nameOf(renewed)).not.toBe("INVALID_SESSION_INFORMATION");
    }
    expect(nameOf(token)).toBe("INVALID_SESSION_INFORMATION");
  });

  test("is good after a restart and at every other process with the secret, for as long as it would have lived", async () => {
    const before = scene(options);
    const token = await before.ann();
    expect(Buffer.from(token, "base64")).toHaveLength(32);
    before.clock.advance(11 * HOUR_MS);
    const after = scene(options, VISITORS, before.clock);
    expect(after.nameOf(token)).toBe("ann");
    before.clock.advance(HOUR_MS + 1_000);
    for (const each of [before, after]) expect(each.nameOf(token)).toBe("INVALID_SESSION_INFORMATION");
  });

  test("that was logged out is none at another process that is told so, which can tell a third", async () => {
    const here = scene(options);
    const [there, third] = [scene(options, VISITORS, here.clock), scene(options, VISITORS, here.clock)];
    const [token, other] = [await here.ann(), await here.ann()];
    here.sessions.onEnded = (ended) => there.sessions.endedElsewhere(ended);
    here.sessions.logout(token);
    expect([there, third].map(({ nameOf }) => nameOf(token))).toEqual(["INVALID_SESSION_INFORMATION", "ann"]);
    for (const ended of there.sessions.ended()) third.sessions.endedElsewhere(ended);
    expect(third.nameOf(token)).toBe("INVALID_SESSION_INFORMATION");
    for (const { nameOf } of [here, there, third]) expect(nameOf(other)).toBe("ann");
    expect(third.sessions.ended()).toEqual(here.sessions.ended());
  });

  test("is renewed by another, which says a later time", async () => {
    const before = scene(options);
    let token = await before.ann();
    for (let day = 0; day < 3; day++) {
      before.clock.advance(8 * HOUR_MS);
      const kept = before.sessions.keepAlive(token) as string;
      expect([kept === token, before.nameOf(token), before.nameOf(kept)]).toEqual([false, "ann", "ann"]);
      token = kept;
    }
    expect(scene(options, VISITORS, before.clock).nameOf(token)).toBe("ann");
  });

  test("that was logged out, or pushed out, stays so here", async () => {
    const { ann, nameOf, sessions } = scene({ ...options, tokensPerUserMax: 2 });
    const [first, second] = [await ann(), await ann()];
    expect(sessions.logout(second)).toBe(true);
    const [third, fourth] = [await ann(), await ann()];
    const gone = "INVALID_SESSION_INFORMATION";
    expect([first, second, third, fourth].map(nameOf)).toEqual([gone, gone, "ann", "ann"]);
    expect([sessions.keepAlive(second), sessions.logout(second)]).toEqual([null, false]);
  });

  test("is nobody's with another secret, another password, without its user, or with a bit of it changed", async () => {
    const { ann, clock, nameOf } = scene(options);
    const token = await ann();
    const nobodys = [
      scene({ ...options, secret: `${secret}!` }, VISITORS, clock),
      scene({ lifetimeMs: options.lifetimeMs }, VISITORS, clock),
      scene(options, [{ name: "ann", username: "ann@example.com", password: "another-secret" }], clock),
      scene(options, VISITORS.slice(1), clock),
    ];
    for (const other of nobodys) expect(other.nameOf(token)).toBe("INVALID_SESSION_INFORMATION");
    for (let bit = 0; bit < 256; bit++) {
      const bytes = Buffer.from(token, "base64");
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(nameOf(bytes.toString("base64"))).toBe("INVALID_SESSION_INFORMATION");
    }
    const same = `${token.slice(0, -2)}${String.fromCharCode(token.charCodeAt(42) + 1)}=`;
    for (const odd of [same, token.slice(0, -1), ` ${token}`, `${token}\n`, token.replaceAll("+", "-")])
      if (odd !== token) expect(nameOf(odd)).toBe("INVALID_SESSION_INFORMATION");
  });

  test("that was ended is not believed again when there is no room to remember it", async () => {
    const { ann, nameOf, sessions } = scene({ ...options, tokensPerUserMax: 3 });
    const tokens = [];
    for (let n = 0; n < 5; n++) tokens.push(await ann());
    for (const token of tokens.slice(2)) expect(sessions.logout(token)).toBe(true);
    // Five ends and room for three: those that were forgotten are not believed for it.
    expect(tokens.map(nameOf).filter((name) => name !== "ann")).toHaveLength(5);
    expect(nameOf(await ann())).toBe("ann");
  });
});

test("mistakes in the list are said by name, never by secret", () => {
  const wrong = (...visitors: VisitorEntry[]) => {
    try {
      scene({}, visitors);
    } catch (error) {
      return (error as Error).message;
    }
    return null;
  };
  const ann = { name: "ann", username: "a", password: "secret-1" };
  expect(wrong(ann, { name: "eve", username: "a", password: "secret-2" })).toBe(
    '"eve" and "ann" have the same username',
  );
  expect(wrong({ name: "ann", username: "a" })).toBe('"ann" has a username and no password');
  expect(wrong({ name: "ann", username: "a", passwordHash: "scrypt:2:8:1:x:y" })).toContain("oddswire password");
});
