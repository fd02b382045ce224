import type { Log } from "../base/log.ts";
import type { Login, LoginOutcome, Sessions } from "../tenancy/sessions.ts";
import { asciiJson } from "../wire/text.ts";
import { type Caller, type HttpRoute, refusal } from "./http.ts";

/** The longest body of a login: a name, a password, and the odds and ends that some clients send along. */
export const LOGIN_BYTES_MAX = 8 * 1024;
/** Said to whom we cannot serve right now. */
const RETRY_AFTER_SECONDS = 2;

type IdentityPath = "/api/login" | "/api/certlogin" | "/api/keepAlive" | "/api/logout";
const PATHS: readonly string[] = [
  "/api/login",
  "/api/certlogin",
  "/api/keepAlive",
  "/api/logout",
] satisfies IdentityPath[];

/** What the exchange answers to login, keepAlive and logout: all of it, each time, absent things empty. */
interface SessionAnswer {
  readonly token: string;
  readonly product: string;
  readonly status: "SUCCESS" | "FAIL";
  readonly error: string;
}

/**
 * The exchange's identity service with our own users: an exchange client logs in, keeps alive and logs out as it always did, whatever host it believes
 * to talk to. As there, every outcome is HTTP 200 with the word inside: clients take any other status for trouble on the way.
 */
export function identityRoute(sessions: Pick<Sessions, "login" | "keepAlive" | "logout">, log: Log): HttpRoute {
  return {
    matches: (pathname) => PATHS.includes(pathname),
    answer(request, url, caller) {
      const path = url.pathname as IdentityPath;
      if (request.method !== "POST") return notPost(request.method, path);
      if (path === "/api/login" || path === "/api/certlogin") return login(path, request, caller, sessions, log);
      return json(renewed(path, request, sessions));
    },
  };
}

async function login(
  path: "/api/login" | "/api/certlogin",
  request: Request,
  caller: Caller,
  sessions: Pick<Sessions, "login">,
  log: Log,
): Promise<Response> {
  const form = await readForm(request);
  if (form === "too long") return refusal("MESSAGE_TOO_LARGE", `a login is at most ${LOGIN_BYTES_MAX} bytes`);
  const appKey = request.headers.get("X-Application");
  const by: Login["by"] =
    path === "/api/login" ? { kind: "password" } : { kind: "certificate", name: caller.certificateName };
  const { address } = caller;
  const said = { username: form?.get("username") ?? null, password: form?.get("password") ?? null };
  const outcome = await sessions.login({ ...said, appKey, address, by });
  note(outcome, by.kind, address, log);
  if (outcome.kind === "busy") return busy();
  const token = outcome.kind === "token" ? outcome.token : "";
  const error = outcome.kind === "refused" ? outcome.reason : "";
  if (path === "/api/login") return json(sessionAnswer(token, appKey, error));
  return json(token === "" ? { loginStatus: error } : { sessionToken: token, loginStatus: "SUCCESS" });
}

/** The form's fields; null where it is not a form. Who says nothing of a content type is believed to send one. */
async function readForm(request: Request): Promise<URLSearchParams | "too long" | null> {
  const type = request.headers.get("Content-Type") ?? "application/x-www-form-urlencoded";
  if (Number(request.headers.get("Content-Length")) > LOGIN_BYTES_MAX) return "too long";
  const body = await request.text();
  if (body.length > LOGIN_BYTES_MAX) return "too long";
  return /^application\/x-www-form-urlencoded\s*(;|$)/i.test(type) ? new URLSearchParams(body) : null;
}

function renewed(
  path: "/api/keepAlive" | "/api/logout",
  { headers }: Request,
  sessions: Pick<Sessions, "keepAlive" | "logout">,
): SessionAnswer {
  const token = headers.get("X-Authentication") ?? "";
  if (path === "/api/keepAlive") {
    const renewed = token === "" ? null : sessions.keepAlive(token);
    return sessionAnswer(renewed ?? token, headers.get("X-Application"), renewed === null ? "NO_SESSION" : "");
  }
  const done = token !== "" && sessions.logout(token);
  return sessionAnswer(token, headers.get("X-Application"), done ? "" : "NO_SESSION");
}

/** Names of ours only: into a field for names people also type their passwords. */
function note(outcome: LoginOutcome, by: string, address: string, log: Log): void {
  if (outcome.kind === "token") log.info({ by, address, visitor: outcome.account.name }, "logged in");
  else if (outcome.kind === "refused") log.info({ by, address, reason: outcome.reason }, "a login was refused");
  else log.warn({ by, address }, "a login was turned away: too many wait already");
}

function sessionAnswer(token: string, product: string | null, error: string): SessionAnswer {
  return { token, product: product ?? "", status: error === "" ? "SUCCESS" : "FAIL", error };
}

function notPost(method: string, path: string): Response {
  const response = refusal("METHOD_NOT_ALLOWED", `${method} is not for ${path}`);
  response.headers.set("Allow", "POST");
  return response;
}

/** No word of the exchange's: a client would believe that its password is wrong, or that it is banned. */
function busy(): Response {
  const response = refusal("TOO_MANY_REQUESTS", "too many logins at once; come back in a moment");
  response.headers.set("Retry-After", String(RETRY_AFTER_SECONDS));
  return response;
}

function json(body: object): Response {
  return new Response(asciiJson(body), {
    headers: { "Content-Type": "application/json", "Cache-Control": "no-store" },
  });
}
