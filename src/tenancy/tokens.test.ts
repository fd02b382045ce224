import { expect, test } from "bun:test";
import { inspect } from "node:util";
import { TokenList } from "./tokens.ts";

const entries = [
  { token: "t1", name: "ann", marketsMax: undefined },
  { token: "t2", name: "bob", tenant: "brand", connectionsMax: 1, subscriptionsMax: 2, marketsMax: 3 },
];
const codeOf = (answer: object) => ("code" in answer ? answer.code : answer);

test("a token lets its account in, with what it says or the defaults", () => {
  const list = new TokenList(entries);
  expect(list.authenticate("any", "t1")).toEqual({
    name: "ann",
    tenant: "default",
    connectionsMax: Number.POSITIVE_INFINITY,
    subscriptionsMax: 20,
    marketsMax: 100_000,
  });
  expect(list.authenticate(null, "t2")).toMatchObject({ name: "bob", tenant: "brand", marketsMax: 3 });
  expect(list.bySession("t2")).toBe(list.authenticate(null, "t2"));
});

test("a token that is absent, empty or wrong is told apart", () => {
  const list = new TokenList(entries);
  expect(codeOf(list.authenticate("any", null))).toBe("NO_SESSION");
  expect(codeOf(list.authenticate("any", ""))).toBe("NO_SESSION");
  for (const wrong of ["t", "t11", "T1", "ann", "__proto__"]) {
    expect(codeOf(list.authenticate("any", wrong))).toBe("INVALID_SESSION_INFORMATION");
  }
});

test("app keys count where they are listed, before the token, and not for requests that carry none", () => {
  const list = new TokenList(entries, ["key"]);
  expect(codeOf(list.authenticate(null, "t1"))).toBe("NO_APP_KEY");
  expect(codeOf(list.authenticate("other", "wrong"))).toBe("INVALID_APP_KEY");
  expect(codeOf(list.authenticate("key", "wrong"))).toBe("INVALID_SESSION_INFORMATION");
  expect(list.authenticate("key", "t1")).toMatchObject({ name: "ann" });
  expect(list.bySession("t1")).toMatchObject({ name: "ann" });
});

test("mistakes in the list are said by name, never by token", () => {
  const twice = () => new TokenList([...entries, { token: "t1", name: "eve" }]);
  expect(twice).toThrow('"eve" and "ann" have the same token');
  expect(() => new TokenList([{ token: "", name: "eve" }])).toThrow('the token of "eve" is empty');
});

test("the list does not hold the tokens themselves", () => {
  expect(
    inspect(new TokenList([{ token: "secret-token", name: "ann" }]), { depth: 9, showHidden: true }),
  ).not.toContain("secret-token");
  expect(JSON.stringify(new TokenList(entries).bySession("t1"))).not.toContain("t1");
});
