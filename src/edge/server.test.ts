import { expect, test } from "bun:test";
import { OddswireError } from "../base/errors.ts";
import { bunServe } from "./server.ts";

const HOST = "127.0.0.1";

test("a port on which another server answers is refused, and not silently shared", () => {
  const first = bunServe({ host: HOST, port: 0 }, () => new Response("first"));
  try {
    expect(() => bunServe({ host: HOST, port: first.port }, () => new Response("second"))).toThrow(OddswireError);
  } finally {
    first.stop();
  }
});
