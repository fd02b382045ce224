import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { VirtualClock } from "./clock.ts";
import { SimIdentity } from "./identity.ts";

const HOST = "https://identity.example";

function scene() {
  const clock = new VirtualClock();
  const identity = new SimIdentity({
    clock,
    random: seededRandom(1),
    accounts: [{ username: "ada", password: "a&b=ç" }],
    appKeys: ["key"],
    tokenLifetimeMs: 60_000,
  });
  const ask = async (path: string, form: Record<string, string>, headers: Record<string, string>) => {
    const body = new URLSearchParams(form);
    const response = await identity.handle(new Request(`${HOST}${path}`, { method: "POST", body, headers }));
    return (await response.json()) as Record<string, string>;
  };
  const login = (password = "a&b=ç", appKey = "key") =>
    ask("/api/login", { username: "ada", password }, { "X-Application": appKey });
  const withToken = (path: string, token: string) =>
    ask(path, {}, { "X-Application": "key", "X-Authentication": token });
  return { clock, identity, ask, login, withToken };
}

describe("the identity service", () => {
  test("gives a token for the right name and password", async () => {
    const { identity, login } = scene();
    const { token, ...rest } = await login();
    expect(rest).toEqual({ product: "key", status: "SUCCESS", error: "" });
    expect(identity.accountOf(token as string)).toBe("ada");
  });

  test("refuses a wrong password and an unknown app key in the exchange's words", async () => {
    const { login } = scene();
    expect(await login("wrong")).toEqual({
      token: "",
      product: "key",
      status: "FAIL",
      error: "INVALID_USERNAME_OR_PASSWORD",
    });
    expect(await login(undefined, "other")).toMatchObject({ status: "FAIL", error: "INPUT_VALIDATION_ERROR" });
  });

  test("has a shape of its own for certificate logins", async () => {
    const { identity, ask } = scene();
    const headers = { "X-Application": "key" };
    const { sessionToken, ...rest } = await ask("/api/certlogin", { username: "ada", password: "a&b=ç" }, headers);
    expect(rest).toEqual({ loginStatus: "SUCCESS" });
    expect(identity.isValid(sessionToken as string)).toBe(true);
    expect(await ask("/api/certlogin", { username: "ada", password: "x" }, headers)).toEqual({
      loginStatus: "INVALID_USERNAME_OR_PASSWORD",
    });
  });

  test("lets a token die after its lifetime, unless it was kept alive", async () => {
    const { identity, clock, login, withToken } = scene();
    const { token = "" } = await login();
    clock.advance(50_000);
    expect(await withToken("/api/keepAlive", token)).toEqual({ token, product: "key", status: "SUCCESS", error: "" });
    clock.advance(50_000);
    expect(identity.isValid(token)).toBe(true);
    clock.advance(10_001);
    expect(identity.isValid(token)).toBe(false);
    expect(await withToken("/api/keepAlive", token)).toMatchObject({ status: "FAIL", error: "NO_SESSION" });
  });

  test("ends a session at logout", async () => {
    const { identity, login, withToken } = scene();
    const { token = "" } = await login();
    expect(await withToken("/api/logout", token)).toMatchObject({ status: "SUCCESS" });
    expect(identity.isValid(token)).toBe(false);
    expect(await withToken("/api/logout", token)).toMatchObject({ status: "FAIL", error: "NO_SESSION" });
  });

  test("hands out a new token on keepAlive when told to, and the old one ends", async () => {
    const { identity, login, withToken } = scene();
    identity.knobs.newTokenOnKeepAlive = true;
    const { token = "" } = await login();
    const { token: renewed = "" } = await withToken("/api/keepAlive", token);
    expect(renewed).not.toBe(token);
    expect([identity.isValid(token), identity.isValid(renewed)]).toEqual([false, true]);
  });

  test("fails, dawdles and bans when told to", async () => {
    const { identity, clock, login } = scene();
    identity.knobs.loginError = "TEMPORARY_BAN_TOO_MANY_REQUESTS";
    expect(await login()).toMatchObject({ status: "FAIL", error: "TEMPORARY_BAN_TOO_MANY_REQUESTS" });
    identity.knobs.httpStatus = 503;
    identity.knobs.slowMs = 5_000;
    let status = 0;
    const answer = identity.handle(new Request(`${HOST}/api/login`, { method: "POST" })).then((response) => {
      status = response.status;
    });
    clock.advance(4_999);
    await Promise.resolve();
    expect(status).toBe(0);
    clock.advance(1);
    await answer;
    expect(status).toBe(503);
  });

  test("knows its four paths and takes POST only", async () => {
    const { identity } = scene();
    expect((await identity.handle(new Request(`${HOST}/api/other`, { method: "POST" }))).status).toBe(404);
    expect((await identity.handle(new Request(`${HOST}/api/login`))).status).toBe(405);
  });
});
