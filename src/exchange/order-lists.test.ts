import { expect, test } from "bun:test";
import { VirtualClock } from "../sim/clock.ts";
import type { PostAnswer } from "./identity.ts";
import { ORDER_LISTS_DEFAULTS, OrderLists } from "./order-lists.ts";
import type { Session } from "./session.ts";

function setUp() {
  const clock = new VirtualClock();
  const waiting: { readonly token: string; answer(body: unknown): void }[] = [];
  const refused: string[] = [];
  let tokens = 1;
  const session: Session = {
    current: () => `token-${tokens}`,
    token: async () => ({ kind: "token", token: `token-${tokens}` }),
    refused(token) {
      refused.push(token);
      tokens++;
    },
    stop() {},
  };
  const post = ({ headers, signal }: { headers: Record<string, string>; signal?: AbortSignal }) =>
    new Promise<PostAnswer>((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(new Error("given up")));
      const token = headers["X-Authentication"] as string;
      waiting.push({ token, answer: (body) => resolve({ status: 200, body: JSON.stringify(body) }) });
    });
  const options = { ...ORDER_LISTS_DEFAULTS, apiHost: "https://api", appKey: "key", callsMax: 2 };
  const lists = new OrderLists(options, { post: post as never, session, clock });
  return { clock, waiting, refused, ask: () => lists.ask("listCurrentOrders", {}) };
}

/** Lets promises that are settled run. */
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const said = (errorCode: string) => ({ error: { data: { APINGException: { errorCode } } } });

test("so many calls are under way at a time, and each place that is free is taken once", async () => {
  const { waiting, ask } = setUp();
  const asked = [ask(), ask(), ask()];
  await turn();
  expect(waiting.length).toBe(2);
  waiting[0]?.answer({ result: { currentOrders: [1] } });
  expect(await asked[0]).toEqual({ kind: "result", result: { currentOrders: [1] } });
  asked.push(ask());
  await turn();
  expect(waiting.length).toBe(3);
  for (let i = 1; i < 4; i++) {
    waiting[i]?.answer({ result: {} });
    await turn();
  }
  expect((await Promise.all(asked)).length).toBe(4);
});

test("more than may wait are refused", async () => {
  const { ask } = setUp();
  for (let i = 0; i < 102; i++) void ask();
  expect(await ask()).toEqual({ kind: "refused", code: "TOO_MANY_REQUESTS" });
});

test("a token that ended is replaced once, and other errors come as they are", async () => {
  const { waiting, refused, ask } = setUp();
  const first = ask();
  await turn();
  waiting[0]?.answer(said("INVALID_SESSION_INFORMATION"));
  await turn();
  expect(waiting.map(({ token }) => token)).toEqual(["token-1", "token-2"]);
  waiting[1]?.answer(said("TOO_MANY_REQUESTS"));
  expect([await first, refused]).toEqual([{ kind: "refused", code: "TOO_MANY_REQUESTS" }, ["token-1"]]);
  const second = ask();
  await turn();
  waiting[2]?.answer({ error: { code: -32602, message: "DSC-0009" } });
  expect(await second).toEqual({ kind: "refused", code: "INVALID_INPUT_DATA" });
});

test("an exchange that does not answer is given up", async () => {
  const { clock, ask } = setUp();
  const asked = ask();
  await turn();
  clock.advance(ORDER_LISTS_DEFAULTS.requestMsMax);
  expect(await asked).toEqual({ kind: "refused", code: "TIMEOUT_ERROR" });
});
