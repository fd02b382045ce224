import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "../sim/clock.ts";
import { type Credentials, IDENTITY_HOSTS, type PostAnswer, type PostRequest } from "./identity.ts";
import { IdentitySession, SESSION_DEFAULTS, staticSession } from "./session.ts";

const INTERACTIVE: Credentials = { kind: "interactive", username: "anna", password: "s3cret&=" };
const CERTIFICATE: Credentials = { ...INTERACTIVE, kind: "certificate", cert: "CERT", key: "KEY" };
const HALF_A_LIFE = SESSION_DEFAULTS.lifetimeMs / 2;
const ok = (token: string) => json({ token, product: "app-key", status: "SUCCESS", error: "" });
const fail = (error: string) => json({ token: "", product: "app-key", status: "FAIL", error });

function json(value: object, status = 200): PostAnswer {
  return { status, body: JSON.stringify(value) };
}

/** An identity service that answers as the test says: an answer, an error to reject with, or null for never. */
function setUp(options: { credentials?: Credentials; loginsPerMinuteMax?: number } = {}) {
  const clock = new VirtualClock();
  const asked: PostRequest[] = [];
  const logged: string[] = [];
  /** Requests answered by null: to be answered later, or never. */
  const held: ((answer: PostAnswer) => void)[] = [];
  const service = { answer: (request: PostRequest): PostAnswer | Error | null => ok(`t${asked.indexOf(request) + 1}`) };
  const note = (fields: object, message: string) => logged.push(JSON.stringify(fields) + message);
  const session = new IdentitySession(
    { ...SESSION_DEFAULTS, appKey: "app-key", credentials: INTERACTIVE, hosts: IDENTITY_HOSTS, ...options },
    {
      clock,
      random: seededRandom(7),
      log: { debug: note, info: note, warn: note, error: note },
      post: (request) => {
        asked.push(request);
        const answer = service.answer(request);
        if (answer === null) return new Promise((resolve) => void held.push(resolve));
        return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
      },
    },
  );
  /** Lets time pass in small steps, and promises settle in between. */
  const pass = async (ms: number) => {
    for (let step = 0; step < 20; step++) {
      clock.advance(ms / 20);
      await settle();
    }
  };
  const paths = () => asked.map((request) => new URL(request.url).pathname);
  return { clock, asked, held, logged, service, session, pass, paths };
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

describe("a login", () => {
  test("with name and password is a form, with the app key in a header", async () => {
    const { asked, session } = setUp();
    expect(session.current()).toBeNull();
    expect(await session.token()).toEqual({ kind: "token", token: "t1" });
    expect(asked[0]).toMatchObject({
      url: "https://identitysso.betfair.com/api/login",
      headers: {
        "X-Application": "app-key",
        Accept: "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
      },
      body: "username=anna&password=s3cret%26%3D",
    });
    expect(session.current()).toBe("t1");
  });

  test("with a certificate goes to the other host and shows it", async () => {
    const { asked, session, service } = setUp({ credentials: CERTIFICATE });
    service.answer = () => json({ sessionToken: "st", loginStatus: "SUCCESS" });
    expect(await session.token()).toEqual({ kind: "token", token: "st" });
    expect(asked[0]).toMatchObject({
      url: "https://identitysso-cert.betfair.com/api/certlogin",
      certificate: { cert: "CERT", key: "KEY" },
    });
  });

  test("is shared by all who ask meanwhile, and its token by all who ask afterwards", async () => {
    const { asked, session } = setUp();
    const all = await Promise.all([session.token(), session.token(), session.token()]);
    expect(new Set(all.map((outcome) => outcome.kind === "token" && outcome.token))).toEqual(new Set(["t1"]));
    await session.token();
    expect(asked.length).toBe(1);
  });

  const outcomes: readonly [string, PostAnswer | Error, string, string][] = [
    ["wrong password", fail("INVALID_USERNAME_OR_PASSWORD"), "refused", "INVALID_USERNAME_OR_PASSWORD"],
    [
      "a restricted account",
      json({ token: "x", status: "LOGIN_RESTRICTED", error: "" }),
      "refused",
      "LOGIN_RESTRICTED",
    ],
    ["a certificate missing", json({ loginStatus: "CERT_AUTH_REQUIRED" }), "refused", "CERT_AUTH_REQUIRED"],
    ["a wrong host", { status: 404, body: "<html>" }, "refused", "HTTP 404"],
    ["a redirect", { status: 302, body: "" }, "refused", "HTTP 302"],
    ["trouble over there", fail("INTERNAL_ERROR"), "unreachable", "INTERNAL_ERROR"],
    ["HTTP 503", { status: 503, body: "" }, "unreachable", "HTTP 503"],
    ["HTTP 429", { status: 429, body: "" }, "limited", "HTTP 429"],
    ["a ban", fail("TEMPORARY_BAN_TOO_MANY_REQUESTS"), "limited", "TEMPORARY_BAN_TOO_MANY_REQUESTS"],
    ["no JSON", { status: 200, body: "<html>" }, "unreachable", "the answer is not a JSON object"],
    ["JSON null", { status: 200, body: "null" }, "unreachable", "the answer is not a JSON object"],
    ["success without a token", json({ status: "SUCCESS", token: "" }), "refused", "SUCCESS"],
    ["an empty object", json({}), "unreachable", "no status"],
    ["no connection", new Error("ECONNREFUSED"), "unreachable", "ECONNREFUSED"],
  ];
  for (const [what, answer, kind, reason] of outcomes)
    test(`answered by ${what} is ${kind}`, async () => {
      const { session, service } = setUp();
      service.answer = () => answer;
      expect(await session.token()).toMatchObject({ kind, reason });
      expect([session.current(), session.failures]).toEqual([null, 1]);
    });

  test("never answered is given up after its bound, and the next is a new one", async () => {
    const { session, service, clock } = setUp();
    service.answer = () => null;
    const outcome = session.token();
    clock.advance(SESSION_DEFAULTS.requestMsMax);
    expect(await outcome).toEqual({ kind: "unreachable", reason: "no answer in 15000 ms" });
    service.answer = () => ok("later");
    expect(await session.token()).toEqual({ kind: "token", token: "later" });
  });

  test("is not sent more than so often a minute", async () => {
    const { session, service, asked, clock } = setUp({ loginsPerMinuteMax: 3 });
    service.answer = () => fail("INTERNAL_ERROR");
    const kinds: string[] = [];
    for (let time = 0; time < 5; time++) kinds.push((await session.token()).kind);
    expect(kinds).toEqual(["unreachable", "unreachable", "unreachable", "limited", "limited"]);
    clock.advance(60_000);
    expect((await session.token()).kind).toBe("unreachable");
    expect(asked.length).toBe(4);
  });

  test("is not sent for 20 minutes after a ban", async () => {
    const { session, service, asked, clock } = setUp();
    service.answer = () => fail("TEMPORARY_BAN_TOO_MANY_REQUESTS");
    await session.token();
    service.answer = () => ok("t");
    clock.advance(20 * 60_000 - 1);
    expect((await session.token()).kind).toBe("limited");
    clock.advance(1);
    expect((await session.token()).kind).toBe("token");
    expect(asked.length).toBe(2);
  });
});

describe("a token", () => {
  test("is kept alive a little before half of its lifetime, and the answer's token takes its place", async () => {
    const { session, service, asked, pass, paths } = setUp();
    await session.token();
    service.answer = () => ok("kept");
    await pass(HALF_A_LIFE * 0.9 - 1);
    expect(paths()).toEqual(["/api/login"]);
    await pass(HALF_A_LIFE * 0.1 + 1);
    expect(paths()).toEqual(["/api/login", "/api/keepAlive"]);
    expect(asked[1]?.headers).toEqual({
      "X-Application": "app-key",
      "X-Authentication": "t1",
      Accept: "application/json",
    });
    expect(session.current()).toBe("kept");
    await pass(HALF_A_LIFE);
    expect([session.keepAlives, session.logins]).toEqual([2, 1]);
  });

  test("that is dead, as keepAlive says, is replaced by a login", async () => {
    const { session, service, pass, paths } = setUp();
    await session.token();
    service.answer = (request) => (request.url.endsWith("keepAlive") ? fail("NO_SESSION") : ok("t-new"));
    await pass(HALF_A_LIFE);
    expect(paths()).toEqual(["/api/login", "/api/keepAlive", "/api/login"]);
    expect(session.current()).toBe("t-new");
  });

  const troubles: readonly [string, PostAnswer | Error | null][] = [
    ["down", new Error("ECONNREFUSED")],
    ["slow", null],
    ["answering 5xx", { status: 502, body: "" }],
  ];
  for (const [what, answer] of troubles)
    test(`stands while the identity service is ${what}, until its lifetime is over, and renewal goes on with a bound`, async () => {
      const { session, service, asked, clock, pass } = setUp();
      await session.token();
      service.answer = () => answer;
      await pass(HALF_A_LIFE);
      for (let minute = 0; minute < 10; minute++) await pass(60_000);
      expect(session.current()).toBe("t1");
      // At most one a second at first, then one in up to 60 s and its own 15.
      expect(asked.length).toBeGreaterThan(8);
      expect(asked.length).toBeLessThan(60);
      service.answer = () => ok("back");
      await pass(2 * 60_000);
      expect(session.current()).toBe("back");
      service.answer = () => answer;
      clock.advance(SESSION_DEFAULTS.lifetimeMs);
      expect(session.current()).toBeNull();
    });

  test("that the exchange refused is forgotten, unless it has been replaced", async () => {
    const { session } = setUp();
    await session.token();
    session.refused("another");
    expect(session.current()).toBe("t1");
    session.refused("t1");
    expect(session.current()).toBeNull();
    expect(await session.token()).toEqual({ kind: "token", token: "t2" });
  });

  test("replaced while keepAlive was under way stays", async () => {
    const { session, service, held, pass, clock } = setUp();
    await session.token();
    service.answer = (request) => (request.url.endsWith("keepAlive") ? null : ok("t-new"));
    while (held.length === 0) clock.advance(1_000);
    session.refused("t1");
    await session.token();
    held[0]?.(ok("t-late"));
    await pass(1_000);
    expect(session.current()).toBe("t-new");
  });

  test("whose renewal is refused for the credentials is not asked for again by itself: accounts get locked", async () => {
    const { session, service, asked, pass } = setUp();
    await session.token();
    service.answer = () => fail("INVALID_USERNAME_OR_PASSWORD");
    await pass(SESSION_DEFAULTS.lifetimeMs);
    expect(asked.length).toBe(3);
  });

  test("is forgotten by a stop, with its renewal and whatever is under way; asking again begins anew", async () => {
    const { session, service, asked, held, clock, pass } = setUp();
    await session.token();
    session.stop();
    await pass(SESSION_DEFAULTS.lifetimeMs);
    expect([session.current(), asked.length]).toEqual([null, 1]);
    service.answer = () => null;
    const underWay = session.token();
    session.stop();
    expect((await underWay).kind).toBe("unreachable");
    expect([asked[1]?.signal.aborted, session.current()]).toEqual([true, null]);
    await settle();
    service.answer = () => ok("again");
    const answered = session.token();
    session.stop();
    expect([(await answered).kind, session.current()]).toEqual(["token", null]);
    expect(await session.token()).toEqual({ kind: "token", token: "again" });
    // A stop while it logs in by itself ends that, too.
    service.answer = (request) => (request.url.endsWith("keepAlive") ? fail("NO_SESSION") : null);
    for (const before = held.length; held.length === before; await settle()) clock.advance(5_000);
    session.stop();
    const before = asked.length;
    await pass(SESSION_DEFAULTS.lifetimeMs);
    expect(asked.length).toBe(before);
  });

  test("given beforehand is always at hand", async () => {
    const session = staticSession("fixed");
    session.refused("fixed");
    expect([session.current(), await session.token()]).toEqual(["fixed", { kind: "token", token: "fixed" }]);
    session.stop();
  });
});

test("no secret is ever logged, whatever the service answers", async () => {
  const { session, service, logged, pass } = setUp({ credentials: CERTIFICATE });
  service.answer = () => json({ status: "FAIL", error: "anna s3cret&= not known", token: "tok3n" });
  await session.token();
  service.answer = () => json({ sessionToken: "tok3n", loginStatus: "SUCCESS" });
  await session.token();
  service.answer = () => json({ status: "x-tok3n", error: "tok3n" });
  await pass(HALF_A_LIFE);
  expect(logged.length).toBeGreaterThanOrEqual(2);
  for (const secret of ["anna", "s3cret", "tok3n", "KEY", "CERT"]) expect(logged.join("\n")).not.toContain(secret);
});
