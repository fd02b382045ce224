import { expect, test } from "bun:test";
import { jsonLog } from "./log.ts";

test("a line holds level, time, fields and message, from the least level on", () => {
  const lines: string[] = [];
  const log = jsonLog("info", { wall: () => 0 }, (line) => void lines.push(line));
  log.debug({}, "not this");
  log.warn({ port: 5 }, "this");
  expect(lines).toEqual(['{"level":40,"time":"1970-01-01T00:00:00.000Z","port":5,"msg":"this"}\n']);
  jsonLog("silent", { wall: () => 0 }, () => lines.push("x")).error({}, "nor this");
  expect(lines.length).toBe(1);
});
