import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HeadReader } from "../edge/request-head.ts";
import { EventFraming, goodbyeEvent, HEARTBEAT } from "../edge/sse-events.ts";
import { readStreamRequest } from "../edge/sse-request.ts";
import type { Ask, MessageSink } from "./dialect.ts";
import { sseDialect } from "./sse-dialect.ts";

const dialect = sseDialect("127.0.0.1:1", "/v1/stream");
const ASK: Ask = { session: "token", appKey: "", subscription: '{"op":"marketSubscription","id":2}', lastEventId: "" };
const OK = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";
const FIRST = "retry: 1408\n: connection 001-1\n\n";

/** Writes down what it is told. */
class Notebook implements MessageSink {
  readonly said: string[] = [];
  isGreeted = false;
  greeted(): void {
    this.isGreeted = true;
  }
  message(bytes: Uint8Array, from: number, to: number): void {
    this.said.push(Buffer.from(bytes.subarray(from, to)).toString());
  }
  identified(bytes: Uint8Array, from: number, to: number): void {
    this.said.push(`id ${Buffer.from(bytes.subarray(from, to)).toString()}`);
  }
  pinged(): void {}
  closing(code: number | null, reason: string): void {
    this.said.push(`close ${code} ${reason}`);
  }
}

/** As bytes come from a socket: in pieces, what is not whole kept for the next. */
function heard(bytes: Buffer, cuts: readonly number[]): Notebook {
  const notebook = new Notebook();
  let rest: Buffer = Buffer.alloc(0);
  const places = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  for (const to of places) {
    rest = Buffer.concat([rest, bytes.subarray(from, to)]);
    rest = rest.subarray(dialect.unwrap(rest, 0, rest.length, notebook.isGreeted, notebook));
    from = to;
  }
  return notebook;
}

/** What our own door reads out of a request. */
function understood(ask: Ask) {
  const read = new HeadReader().push(dialect.request?.(ask) as Uint8Array);
  if (read.kind !== "head") throw new Error(`it is ${read.kind}`);
  return { ...read.head, asked: readStreamRequest(read.head, read.rest, []) };
}

describe("a stream's dialect", () => {
  test("understands what our own door says, cut anywhere", () => {
    const message = (clk: number) => `{"op":"mcm","id":2,"clk":"${clk}","pt":1,"mc":[{"id":"1.${clk}"}]}`;
    const framing = () =>
      new EventFraming([
        { id: 2, initialClk: "epoch.hash", clk: "0" } as ConstructorParameters<typeof EventFraming>[0][0],
      ]);
    const event = (text: string) => {
      const one = framing();
      const out = Buffer.alloc(text.length + one.overheadMax);
      const from = one.before(out, 0);
      const end = from + out.write(text, from);
      return out.subarray(0, end + one.after(out, end));
    };
    fc.assert(
      fc.property(fc.array(fc.nat(1_000)), fc.array(fc.nat()), (clks, cuts) => {
        const bye = goodbyeEvent({ code: "SLOW", message: "you were behind" }, 5_000);
        const events = clks.flatMap((clk) => [event(message(clk)), HEARTBEAT, event('{"op":"mcm","pt":1}')]);
        const { said, isGreeted } = heard(Buffer.concat([Buffer.from(OK + FIRST), ...events, bye]), cuts);
        expect(isGreeted).toBe(true);
        const wanted = clks.flatMap((clk) => [message(clk), `id epoch.hash!~${clk}`, '{"op":"mcm","pt":1}']);
        expect(said).toEqual([...wanted, "close 4005 you were behind"]);
      }),
      { numRuns: 50 },
    );
  });

  test("asks what our own door reads, also with more markets than an address holds", () => {
    for (const markets of [1, 5, 5_000]) {
      const marketIds = Array.from({ length: markets }, (_, n) => `1.${n}`);
      const subscription = JSON.stringify({ op: "marketSubscription", id: 2, marketFilter: { marketIds } });
      const { asked, method, version } = understood({
        ...ASK,
        appKey: "key",
        subscription,
        lastEventId: "epoch.h!~39",
      });
      expect([method, version]).toEqual([markets < 100 ? "GET" : "POST", "HTTP/1.0"]);
      expect(asked).toMatchObject({
        session: "token",
        appKey: "key",
        subscriptions: [{ id: 2, filter: { marketIds }, initialClk: "epoch.h", clk: "39" }],
      });
    }
    const fresh = understood(ASK).asked;
    expect(fresh).toMatchObject({ appKey: null, subscriptions: [{ initialClk: null, clk: null }] });
  });

  test("says why it was not let in, and what is no stream of events", () => {
    const body = '{"code":"NOT_READY","message":"no prices yet"}';
    const refused = Buffer.from(`HTTP/1.1 503 Service Unavailable\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    for (let cut = 0; cut < refused.length; cut++)
      expect(heard(refused, [cut]).said).toEqual(["close null NOT_READY: no prices yet"]);
    const odd = (answer: string) => heard(Buffer.from(answer), []).said;
    expect(odd("HTTP/1.1 502 Bad Gateway\r\n\r\n<html>")).toEqual([
      'close null the stream was answered "HTTP/1.1 502 Bad Gateway"',
    ]);
    expect(odd("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")).toEqual([
      "close null the stream was answered with text/html, not with events",
    ]);
    expect(odd(OK.replace("Connection: close", "Transfer-Encoding: chunked"))).toEqual([
      "close null the stream was answered in chunks",
    ]);
  });
});
