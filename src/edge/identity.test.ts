import { afterEach, describe, expect, test } from "bun:test";
import { silentLog } from "../base/log.ts";
import { VirtualClock } from "../sim/clock.ts";
import { SESSIONS_DEFAULTS, Sessions, type SessionsOptions } from "../tenancy/sessions.ts";
import { httpDoor } from "./http.ts";
import { identityRoute, LOGIN_BYTES_MAX } from "./identity.ts";
import { bunServe, type HttpServer } from "./server.ts";

const FORM = "application/x-www-form-urlencoded";
const RIGHT = "username=ann&password=an%26n%3D%C3%A7";
const servers: HttpServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

function scene(options: Partial<SessionsOptions> = {}) {
  const visitors = [{ name: "ann the visitor", username: "ann", password: "an&n=ç", token: "standing-token" }];
  const clock = new VirtualClock();
  const sessions = new Sessions(
    visitors,
    { ...SESSIONS_DEFAULTS, certificates: false, ...options },
    { clock, secrets: crypto },
  );
  const lines: string[] = [];
  const note = (fields: object, message: string) => void lines.push(JSON.stringify({ ...fields, message }));
  const handle = httpDoor({
    info: () => ({}),
    tokens: sessions,
    isReady: () => true,
    books: { list: () => null, book: () => null },
    page: new Map(),
    routes: [identityRoute(sessions, { ...silentLog, info: note, warn: note })],
  });
  const post = (path: string, body: BodyInit = "", headers: Record<string, string> = {}, method = "POST") =>
    handle(
      new Request(`http://h${path}`, {
        method,
        headers: { "Content-Type": FORM, "X-Application": "key", ...headers },
        ...(method === "POST" && { body }),
      }),
    );
  const ask = async (...said: Parameters<typeof post>) =>
    (await post(...said)).json() as Promise<Record<string, string>>;
  const withToken = (path: string, token: string) => ask(path, "", { "X-Authentication": token });
  return { clock, sessions, lines, handle, post, ask, withToken };
}

describe("the identity service", () => {
  test("gives a token as the exchange does, and it lets in", async () => {
    const { post, sessions } = scene();
    const response = await post("/api/login", RIGHT);
    expect([response.status, response.headers.get("Content-Type"), response.headers.get("Cache-Control")]).toEqual([
      200,
      "application/json",
      "no-store",
    ]);
    const { token, ...rest } = (await response.json()) as { token: string };
    expect(rest).toEqual({ product: "key", status: "SUCCESS", error: "" } as never);
    expect(sessions.bySession(token)).toMatchObject({ name: "ann the visitor" });
  });

  test("has other words for a certificate login", async () => {
    const { ask, sessions } = scene();
    const { sessionToken, ...rest } = await ask("/api/certlogin", RIGHT);
    expect(rest).toEqual({ loginStatus: "SUCCESS" });
    expect(sessions.bySession(sessionToken as string)).toMatchObject({ name: "ann the visitor" });
    const wrong = await ask("/api/certlogin", "username=ann&password=x");
    expect(wrong).toEqual({ loginStatus: "INVALID_USERNAME_OR_PASSWORD" });
    expect(await scene({ certificates: true }).ask("/api/certlogin", RIGHT)).toEqual({
      loginStatus: "CERT_AUTH_REQUIRED",
    });
  });

  test("keeps a token alive and ends it, under the same token", async () => {
    const { clock, ask, withToken } = scene({ lifetimeMs: 2_000 });
    const { token = "" } = await ask("/api/login", RIGHT);
    const good = { token, product: "key", status: "SUCCESS", error: "" };
    const none = { token, product: "key", status: "FAIL", error: "NO_SESSION" };
    clock.run(1_500);
    expect(await withToken("/api/keepAlive", token)).toEqual(good);
    clock.run(3_000);
    expect(await withToken("/api/logout", token)).toEqual(good);
    expect(await withToken("/api/logout", token)).toEqual(none);
    expect(await withToken("/api/keepAlive", token)).toEqual(none);
    expect(await withToken("/api/keepAlive", "")).toEqual({ ...none, token: "" });
  });

  test("refuses in the exchange's words, always with HTTP 200", async () => {
    const { post } = scene({ appKeys: ["key"], loginsPerMinuteMax: 1 });
    const refusal = async (body: BodyInit, headers = {}) => {
      const response = await post("/api/login", body, headers);
      const { status, error } = (await response.json()) as Record<string, string>;
      return [response.status, status, error];
    };
    const fail = (word: string) => [200, "FAIL", word];
    expect(await refusal("username=ann")).toEqual(fail("INPUT_VALIDATION_ERROR"));
    expect(await refusal("")).toEqual(fail("INPUT_VALIDATION_ERROR"));
    expect(await refusal("%ff=%&&==\0")).toEqual(fail("INPUT_VALIDATION_ERROR"));
    expect(await refusal('{"username":"ann"}', { "Content-Type": "application/json" })).toEqual(
      fail("INPUT_VALIDATION_ERROR"),
    );
    expect(await refusal(RIGHT, { "X-Application": "" })).toEqual(fail("INPUT_VALIDATION_ERROR"));
    expect(await refusal(RIGHT, { "X-Application": "other" })).toEqual(fail("INVALID_APP_KEY"));
    expect(await refusal("username=ann&password=x")).toEqual(fail("INVALID_USERNAME_OR_PASSWORD"));
    expect(await refusal("username=ann&password=x")).toEqual(fail("TEMPORARY_BAN_TOO_MANY_REQUESTS"));
  });

  test("takes a form whatever else its content type says", async () => {
    const { ask } = scene();
    for (const type of [`${FORM}; charset=UTF-8`, FORM.toUpperCase()])
      expect(await ask("/api/login", RIGHT, { "Content-Type": type })).toMatchObject({ status: "SUCCESS" });
  });

  test("takes POST only", async () => {
    const { post } = scene();
    for (const path of ["/api/login", "/api/certlogin", "/api/keepAlive", "/api/logout"])
      for (const method of ["GET", "PUT", "HEAD", "OPTIONS"]) {
        const response = await post(path, "", {}, method);
        expect([path, method, response.status, response.headers.get("Allow")]).toEqual([path, method, 405, "POST"]);
      }
    for (const path of ["/api", "/api/Login", "/api/login/", "/api/keepalive"])
      expect([path, (await post(path)).status]).toEqual([path, 404]);
  });

  test("reads no long bodies, whether they say how long they are or not", async () => {
    const { post, handle } = scene();
    expect((await post("/api/login", "x".repeat(LOGIN_BYTES_MAX + 1))).status).toBe(413);
    const said = { "Content-Length": String(LOGIN_BYTES_MAX + 1) };
    const unread = new Request("http://h/api/login", { method: "POST", headers: said, body: "x" });
    expect((await handle(unread)).status).toBe(413);
    expect(unread.bodyUsed).toBe(false);
  });

  test("says who logged in, and never a secret", async () => {
    const { ask, withToken, lines } = scene();
    const { token = "" } = await ask("/api/login", RIGHT);
    await ask("/api/login", "username=my-password&password=my-password");
    await withToken("/api/keepAlive", token);
    await withToken("/api/logout", token);
    expect(lines[0]).toContain('"visitor":"ann the visitor"');
    expect(lines[1]).toContain("INVALID_USERNAME_OR_PASSWORD");
    for (const secret of [token, "an&n=", "my-password", "an%26n"]) expect(lines.join("\n")).not.toContain(secret);
  });

  test("knows by its server where a login comes from: who guesses shuts out only itself", async () => {
    const { handle } = scene({ loginsPerMinuteMax: 1 });
    const server = bunServe({ host: "127.0.0.1", port: 0 }, handle);
    servers.push(server);
    const here = async (body: string) => {
      const headers = { "Content-Type": FORM };
      const response = await fetch(`http://127.0.0.1:${server.port}/api/login`, { method: "POST", headers, body });
      return ((await response.json()) as { error: string }).error;
    };
    expect(await here("username=ann&password=x")).toBe("INVALID_USERNAME_OR_PASSWORD");
    expect(await here("username=ann&password=x")).toBe("TEMPORARY_BAN_TOO_MANY_REQUESTS");
    const request = new Request("http://h/api/login", {
      method: "POST",
      headers: { "Content-Type": FORM },
      body: RIGHT,
    });
    const elsewhere = await handle(request, { address: "10.1.1.1", certificateName: null });
    expect(await elsewhere.json()).toMatchObject({ status: "SUCCESS" });
  });
});
