import { describe, expect, test } from "bun:test";
import type { Goodbye } from "../base/errors.ts";
import type { Visitor } from "../tenancy/tokens.ts";
import { ACCOUNT_BYTES_MAX, accountRoute } from "./account.ts";

const VISITOR: Visitor = { name: "ann", tenant: "brand", subscriptionsMax: 1, marketsMax: 1 };
const RPC = "/exchange/account/json-rpc/v1";
const route = accountRoute({
  tokens: {
    authenticate: (appKey, session): Visitor | Goodbye =>
      appKey === null
        ? { code: "NO_APP_KEY", message: "an appKey is needed" }
        : session === "good"
          ? VISITOR
          : { code: "INVALID_SESSION_INFORMATION", message: "no" },
  },
});

async function ask(path: string, body: unknown, headers: Record<string, string> = {}, method = "POST") {
  const sent = { "X-Application": "key", "X-Authentication": "good", ...headers };
  const url = new URL(`https://api.example.com${path}`);
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const request = new Request(url, { method, headers: sent, ...(method === "POST" && { body: text }) });
  const response = await route.answer(request, url, { address: "", certificateName: null });
  return { status: response.status, body: (await response.json()) as never };
}

function call(operation: string, id: unknown = 1) {
  return { jsonrpc: "2.0", method: `AccountAPING/v1.0/${operation}`, params: {}, id };
}

describe("the account API", () => {
  test("is at the exchange's paths, and leaves all others alone", () => {
    const paths = [
      RPC,
      `${RPC}/`,
      "/exchange/account/rest/v1.0/getAccountFunds/",
      "/exchange/betting/json-rpc/v1",
      "/",
    ];
    expect(paths.map((path) => route.matches(path))).toEqual([true, true, true, false, false]);
  });

  test("knows who asks, and says that there is nothing to bet with", async () => {
    const { body } = await ask(RPC, [call("getAccountDetails"), call("getAccountFunds", "x")]);
    expect(body).toMatchObject([
      { id: 1, result: { currencyCode: "GBP", firstName: "ann", lastName: "brand" } },
      { id: "x", result: { availableToBetBalance: 0, exposure: 0 } },
    ]);
    const { status, body: same } = await ask("/exchange/account/rest/v1.0/getAccountFunds/", {});
    expect([status, same]).toEqual([200, (body as { result: never }[])[1]?.result as never]);
  });

  test("refuses in the exchange's words", async () => {
    const session = await ask(RPC, call("getAccountFunds"), { "X-Authentication": "bad" });
    expect(session.body).toMatchObject({
      error: {
        code: -32099,
        message: "AANGX-0002",
        data: { AccountAPINGException: { errorCode: "INVALID_SESSION_INFORMATION" } },
      },
    });
    const rest = await ask("/exchange/account/rest/v1.0/getAccountFunds/", {}, { "X-Authentication": "bad" });
    expect(rest).toMatchObject({ status: 400, body: { faultcode: "Client", faultstring: "AANGX-0002" } });
    for (const wrong of ["{", "[]]", "null", "7", call("getAccountStatement"), "x".repeat(ACCOUNT_BYTES_MAX + 1)])
      expect((await ask(RPC, wrong)).body).toMatchObject({ error: { code: -32601, message: "DSC-0021" } });
    expect((await ask("/exchange/account/rest/v1.0/toString/", {})).status).toBe(404);
    expect((await ask(RPC, "", {}, "GET")).status).toBe(405);
  });

  test("wants an app key where one is wanted", async () => {
    const url = new URL(`https://api.example.com${RPC}`);
    const request = new Request(url, { method: "POST", body: JSON.stringify(call("getAccountFunds")) });
    const response = await route.answer(request, url, { address: "", certificateName: null });
    expect(await response.json()).toMatchObject({ error: { message: "AANGX-0004" } });
  });
});
