import { expect, test } from "bun:test";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { seededRandom } from "../base/random.ts";
import { callBetting } from "./betting-call.ts";
import type { CallCounts } from "./call-counts.ts";
import type { Post } from "./identity.ts";
import { IdentitySession, SESSION_DEFAULTS, shared, staticSession } from "./session.ts";

const ends = (counts: CallCounts | undefined, operation: string) =>
  (["result", "error", "unanswered"] as const).map((end) => counts?.of(operation, end));

test("calls of the betting API are counted by how they ended, but for those that nobody waits for any more", async () => {
  const session = staticSession("token");
  const answers = ['{"result":[]}', '{"error":{"message":"DSC-0018"}}', "no JSON"];
  const post: Post = () => Promise.resolve({ status: 200, body: answers.shift() as string });
  const api = { apiHost: "http://api", appKey: "key", requestMsMax: 1_000 };
  const call = { operation: "listCurrentOrders", params: {}, id: 1, token: "token" };
  const world = { post, clock: systemClock, session: shared(session) };
  for (let n = 0; n < 3; n++) await callBetting(call, api, world);
  await callBetting(call, api, { ...world, post: () => Promise.reject(new Error("gone")) }, AbortSignal.abort());
  expect(ends(session.calls, "listCurrentOrders")).toEqual([1, 1, 1]);
  expect(ends(session.calls, "listClearedOrders")).toEqual([0, 0, 0]);
});

test("logins are counted by how they ended", async () => {
  const bodies = ['{"token":"","status":"FAIL","error":"INVALID"}', "", '{"token":"t","status":"SUCCESS"}'];
  const post: Post = () => Promise.resolve({ status: bodies.length === 2 ? 503 : 200, body: bodies.shift() as string });
  const credentials = { kind: "interactive", username: "u", password: "p" } as const;
  const hosts = { login: "http://id", certLogin: "http://id" };
  const session = new IdentitySession(
    { ...SESSION_DEFAULTS, appKey: "key", credentials, hosts },
    { post, clock: systemClock, random: seededRandom(1), log: silentLog },
  );
  for (let n = 0; n < 3; n++) await session.token();
  session.stop();
  expect(ends(session.calls, "login")).toEqual([1, 1, 1]);
  expect(ends(session.calls, "keepAlive")).toEqual([0, 0, 0]);
});
