import { expect, test } from "bun:test";
import { countedSince, countsAt } from "./metrics.ts";

const answering = (text: string) => (async () => new Response(text)) as unknown as typeof fetch;
const text =
  '# TYPE oddswire_closes_total counter\noddswire_closes_total{code="SLOW"} 3\noddswire_closes_total{code="LEFT"} 2\nother{code="SLOW"} 9\noddswire_behind_bytes 1000\n';

test("closes by code, and what waits, are read of several processes together", async () => {
  const counts = await countsAt(["http://a/", "http://b/"], answering(text));
  expect(counts).toEqual({ closes: { SLOW: 6, LEFT: 4 }, behindBytes: 2_000 });
  expect(countedSince({ SLOW: 6, LEFT: 1 }, { SLOW: 6, LEFT: 4, TIMEOUT: 1 })).toEqual({ LEFT: 3, TIMEOUT: 1 });
});

test("and of workers that are told of at one place", async () => {
  const text = `oddswire_closes_total{worker="edge-1",code="SLOW"} 3
oddswire_closes_total{worker="edge-2",code="SLOW"} 2
oddswire_behind_bytes{worker="edge-1"} 10
oddswire_behind_bytes{worker="edge-2"} 5
`;
  expect(await countsAt(["http://a/"], answering(text))).toEqual({ closes: { SLOW: 5 }, behindBytes: 15 });
});

test("where there are no metrics, that is said", async () => {
  const failing = (async () => Promise.reject(new Error("refused"))) as unknown as typeof fetch;
  for (const get of [failing, answering("hello")])
    await expect(countsAt(["http://a/metrics"], get)).rejects.toThrow("no metrics of an Oddswire at http://a/metrics");
});
