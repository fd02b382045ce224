import { expect, test } from "bun:test";
import { closesAt, countedSince } from "./metrics.ts";

const answering = (text: string) => (async () => new Response(text)) as unknown as typeof fetch;
const text =
  '# TYPE oddswire_closes_total counter\noddswire_closes_total{code="SLOW"} 3\noddswire_closes_total{code="LEFT"} 2\nother{code="SLOW"} 9\n';

test("closes are read by code, of several processes together", async () => {
  expect(await closesAt(["http://a/", "http://b/"], answering(text))).toEqual({ SLOW: 6, LEFT: 4 });
  expect(countedSince({ SLOW: 6, LEFT: 1 }, { SLOW: 6, LEFT: 4, TIMEOUT: 1 })).toEqual({ LEFT: 3, TIMEOUT: 1 });
});

test("where there are no metrics, that is said", async () => {
  const failing = (async () => Promise.reject(new Error("refused"))) as unknown as typeof fetch;
  for (const get of [failing, answering("hello")])
    await expect(closesAt(["http://a/metrics"], get)).rejects.toThrow("no metrics of an Oddswire at http://a/metrics");
});
