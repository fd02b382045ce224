import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { EventReader } from "../../test/events.ts";
import { parseRequest, type SubscribeRequest } from "../wire/requests.ts";
import { EventFraming, goodbyeEvent, HEARTBEAT, resumedBy } from "./sse-events.ts";

const request = (id: number, clocks: object = {}): SubscribeRequest => {
  const parsed = parseRequest(JSON.stringify({ op: "marketSubscription", id, ...clocks }), true);
  if (parsed.kind !== "marketSubscription") throw new Error(parsed.kind);
  return parsed.request;
};
const mcm = (id: number, clk: string | null, more = "") =>
  `{"op":"mcm","id":${id}${clk === null ? "" : `,"clk":"${clk}"`},"pt":1${more},"mc":[{"id":"1.1","clk":"not this"}]}`;
const image = (id: number, initialClk: string, clk: string) =>
  `{"op":"mcm","id":${id},"ct":"SUB_IMAGE","initialClk":"${initialClk}","clk":"${clk}","pt":1,"mc":[]}`;
const E = "epoch123.";

/** Writes as the hub does: several messages into one buffer, which is then written. */
class Scribe {
  readonly framing: EventFraming;
  readonly reader = new EventReader();
  readonly out = Buffer.alloc(100_000);
  length = 0;

  constructor(...requests: SubscribeRequest[]) {
    this.framing = new EventFraming(requests);
  }
  put(message: string): void {
    const before = this.length;
    this.length += this.framing.before(this.out, this.length);
    this.length += this.out.write(message, this.length, "latin1");
    this.length += this.framing.after(this.out, this.length);
    expect(this.length - before - message.length).toBeLessThanOrEqual(this.framing.overheadMax);
  }
  write(): string {
    this.framing.written(this.length);
    const text = this.out.toString("latin1", 0, this.length);
    this.length = 0;
    this.reader.push(text);
    return text;
  }
  say(message: string): string {
    this.put(message);
    return this.write();
  }
}
const clocksBy = (id: string, ...requests: SubscribeRequest[]) =>
  resumedBy(id, requests).map(({ initialClk, clk }) => (clk === null ? null : `${initialClk}~${clk}`));

describe("a message becomes an event", () => {
  test("of one data line, with what to resume by behind it", () => {
    const scribe = new Scribe(request(7));
    expect(scribe.say(image(7, `${E}AAAA`, "1z"))).toBe(`data: ${image(7, `${E}AAAA`, "1z")}\nid: ${E}AAAA!~1z\n\n`);
    expect(scribe.say(mcm(7, "20"))).toEndWith(`\nid: ${E}AAAA!~20\n\n`);
    expect(scribe.reader.events.map(({ data }) => JSON.parse(data).clk)).toEqual(["1z", "20"]);
  });

  test("without an id where the message has no clk, and the reader keeps the last one", () => {
    const scribe = new Scribe(request(7));
    scribe.say(image(7, `${E}AAAA`, "1z"));
    expect(scribe.say(mcm(7, null))).toBe(`data: ${mcm(7, null)}\n\n`);
    expect(scribe.reader.lastEventId).toBe(`${E}AAAA!~1z`);
  });

  test("whose id says nothing of a subscription that has no image yet", () => {
    const requests = [request(1), request(2), request(3)];
    const scribe = new Scribe(...requests);
    scribe.say(image(2, `${E}BBBB`, "5"));
    expect(clocksBy(scribe.reader.lastEventId, ...requests)).toEqual([null, `${E}BBBB~5`, null]);
    scribe.say(image(3, `${E}CCCC`, "6"));
    scribe.say(mcm(2, "7"));
    expect(clocksBy(scribe.reader.lastEventId, ...requests)).toEqual([null, `${E}BBBB~7`, `${E}CCCC~6`]);
  });

  test("whose id goes on from what the client came with", () => {
    const requests = [request(1, { initialClk: `${E}A`, clk: "3" }), request(2, { initialClk: `${E}B`, clk: "4" })];
    const scribe = new Scribe(...requests);
    scribe.say(mcm(2, "9", ',"ct":"RESUB_DELTA"'));
    expect(clocksBy(scribe.reader.lastEventId, ...requests)).toEqual([`${E}A~3`, `${E}B~9`]);
  });
});

describe("what was framed and not written", () => {
  const requests = [request(1), request(2)];
  const started = () => {
    const scribe = new Scribe(...requests);
    scribe.say(image(1, `${E}A`, "1"));
    scribe.say(image(2, `${E}B`, "1"));
    return scribe;
  };

  test("does not count for what is framed in its place", () => {
    const scribe = started();
    scribe.put(mcm(1, "2"));
    scribe.length = 0;
    scribe.say(mcm(2, "2"));
    expect(clocksBy(scribe.reader.lastEventId, ...requests)).toEqual([`${E}A~1`, `${E}B~2`]);
  });

  test("does not count for what is written before it", () => {
    const scribe = started();
    scribe.put(mcm(2, "2"));
    const { length } = scribe;
    scribe.put(mcm(1, "2"));
    scribe.length = length;
    scribe.write();
    scribe.say(mcm(2, "3"));
    expect(clocksBy(scribe.reader.lastEventId, ...requests)).toEqual([`${E}A~1`, `${E}B~3`]);
  });
});

test("whatever is framed, written and taken back, an id claims what was written before it, all of it and no more", () => {
  const step = fc.record({
    id: fc.integer({ min: 1, max: 3 }),
    clk: fc.boolean(),
    next: fc.constantFrom("go on", "write", "take back"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const requests = [request(1), request(2), request(3)];
      const scribe = new Scribe(...requests);
      for (const { id } of requests) scribe.say(image(id, `${E}${id}`, "0"));
      for (const [at, { id, clk, next }] of steps.entries()) {
        const before = scribe.length;
        scribe.put(mcm(id, clk ? at.toString(36) : null));
        if (next === "take back") scribe.length = before;
        if (next === "write") scribe.write();
      }
      scribe.write();
      const held = requests.map(({ id }) => `${E}${id}~0`);
      for (const { data, lastEventId } of scribe.reader.events.slice(3)) {
        const message = JSON.parse(data);
        if (message.clk !== undefined) held[message.id - 1] = `${E}${message.id}~${message.clk}`;
        expect(clocksBy(lastEventId, ...requests)).toEqual(held);
      }
    }),
  );
});

describe("an id of", () => {
  const requests = [request(1), request(2, { initialClk: "old", clk: "9" })];
  const same = [null, "old~9"];
  for (const [what, id] of [
    ["nobody", null],
    ["nothing", ""],
    ["another stream, with one subscription", `${E}A!~1`],
    ["another stream, with three", `${E}!A~1!B~2!C~3`],
    ["another program", "17"],
    ["letters that are none of ours", `${E}!A~\u00e9!B~2`],
  ] as const)
    test(`${what} changes nothing`, () => expect(clocksBy(id as string, ...requests)).toEqual(same));

  test("ours with holes, or with tokens that are too long, gives images for those", () => {
    expect(clocksBy(`${E}!!B~2`, ...requests)).toEqual([null, `${E}B~2`]);
    expect(clocksBy(`${E}!A~1~2!B`, ...requests)).toEqual([null, null]);
    expect(clocksBy(`${E}!A~${"1".repeat(17)}!${"B".repeat(60)}~2`, ...requests)).toEqual([null, null]);
  });
});

test("a goodbye says why, and when to come back; a heartbeat says nothing", () => {
  const reader = new EventReader();
  reader.push(goodbyeEvent({ code: "SLOW", message: "zu langsam, très lent" }, 1234).toString("latin1"));
  reader.push(HEARTBEAT.toString());
  expect(reader.retryMs).toBe(1234);
  expect(reader.comments).toEqual(["hb"]);
  expect(reader.events).toHaveLength(1);
  expect(reader.events[0]?.event).toBe("goodbye");
  expect(JSON.parse(reader.events[0]?.data as string)).toEqual({
    code: "SLOW",
    message: "zu langsam, très lent",
    close: 4005,
    comeBack: "after a pause",
  });
});
