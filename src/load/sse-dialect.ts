import type { Ask, Dialect, MessageSink } from "./dialect.ts";

/** More is no head of an answer of ours. */
const HEAD_BYTES_MAX = 16 * 1024;
/** A longer address is asked for by a POST: request heads have their bounds everywhere, and laggards name every market. */
const TARGET_BYTES_MAX = 6 * 1024;

const LF = 10;
const BLANK = Buffer.from("\n\n");
const DATA = Buffer.from("data: ");
const ID = Buffer.from("id: ");
const NAME = Buffer.from("event: ");
const NOTHING = new Uint8Array(0);

/**
 * Server-sent events as a client reads them: `GET /v1/stream`, an event a message. Asked by HTTP/1.0, which every proxy understands and none answers in chunks: the bytes that
 * come are the events and nothing between them.
 */
export function sseDialect(host: string, path: string): Dialect {
  return {
    hello: null,
    request: (ask) => Buffer.from(requestOf(ask, host, path), "latin1"),
    wrap: () => NOTHING,
    pong: () => NOTHING,
    unwrap(bytes, from, to, isGreeted, sink) {
      if (isGreeted) return readEvents(bytes, from, to, sink);
      const end = bytes.indexOf("\r\n\r\n", from);
      if (end === -1 || end >= to) {
        if (to - from > HEAD_BYTES_MAX) return goodbye(sink, null, "the answer to the request has no end", to);
        return from;
      }
      const head = bytes.toString("latin1", from, end);
      const body = end + 4;
      const [status = ""] = head.split("\r\n");
      if (status.split(" ")[1] !== "200") {
        const length = Number(headerOf(head, "content-length") ?? 0);
        if (to - body < length && length < HEAD_BYTES_MAX) return from;
        return goodbye(sink, null, refusal(status, bytes.toString("latin1", body, to)), to);
      }
      const wrong = odd(head);
      if (wrong !== null) return goodbye(sink, null, `the stream was answered ${wrong}`, to);
      sink.greeted();
      return readEvents(bytes, body, to, sink);
    },
  };
}

function requestOf({ session, appKey, subscription, lastEventId }: Ask, host: string, path: string): string {
  const target = `${path}?subscribe=${encodeURIComponent(subscription)}`;
  const isLong = target.length > TARGET_BYTES_MAX;
  return [
    isLong ? `POST ${path} HTTP/1.0` : `GET ${target} HTTP/1.0`,
    `Host: ${host}`,
    "Accept: text/event-stream",
    `Authorization: Bearer ${session}`,
    ...(appKey === "" ? [] : [`X-Application: ${appKey}`]),
    ...(lastEventId === "" ? [] : [`Last-Event-ID: ${lastEventId}`]),
    ...(isLong ? ["Content-Type: application/json", `Content-Length: ${subscription.length}`] : []),
    "",
    isLong ? subscription : "",
  ].join("\r\n");
}

/** Whole events; returns where one begins that is not. */
function readEvents(bytes: Buffer, from: number, to: number, sink: MessageSink): number {
  let at = from;
  for (let end = bytes.indexOf(BLANK, at); end !== -1 && end + 1 < to; end = bytes.indexOf(BLANK, at)) {
    if (!readEvent(bytes, at, end, sink)) return to;
    at = end + BLANK.length;
  }
  return at;
}

/** One event's lines: ours have one line of data at most, and the id behind it. False: it was the last. */
function readEvent(bytes: Buffer, from: number, to: number, sink: MessageSink): boolean {
  let [dataFrom, dataTo, idFrom, idTo] = [0, 0, 0, 0];
  let isNamed = false;
  for (let at = from; at < to; ) {
    const found = bytes.indexOf(LF, at);
    const end = found === -1 || found > to ? to : found;
    if (begins(bytes, at, end, DATA)) [dataFrom, dataTo] = [at + DATA.length, end];
    else if (begins(bytes, at, end, ID)) [idFrom, idTo] = [at + ID.length, end];
    else if (begins(bytes, at, end, NAME)) isNamed = true;
    at = end + 1;
  }
  if (isNamed) return parting(bytes.toString("latin1", dataFrom, dataTo), sink);
  if (dataTo > dataFrom) sink.message(bytes, dataFrom, dataTo);
  if (idTo > idFrom) sink.identified?.(bytes, idFrom, idTo);
  return true;
}

/** The only event with a name is a goodbye. */
function parting(data: string, sink: MessageSink): false {
  const { close, message } = parsed(data);
  sink.closing(close ?? null, message ?? data);
  return false;
}

function refusal(status: string, body: string): string {
  const { code, message } = parsed(body);
  return code === undefined ? `the stream was answered "${status}"` : `${code}: ${message ?? ""}`;
}

/** What of a 200 is not a stream of events, bare; null: it is one. */
function odd(head: string): string | null {
  const type = headerOf(head, "content-type") ?? "nothing";
  if (!type.startsWith("text/event-stream")) return `with ${type}, not with events`;
  return headerOf(head, "transfer-encoding") === undefined ? null : "in chunks";
}

function headerOf(head: string, name: string): string | undefined {
  return new RegExp(`^${name}:[ \\t]*([^\\r]*)`, "im").exec(head)?.[1];
}

function goodbye(sink: MessageSink, code: number | null, reason: string, to: number): number {
  sink.closing(code, reason);
  return to;
}

function parsed(text: string): { code?: string; message?: string; close?: number } {
  try {
    return JSON.parse(text) as { code?: string; message?: string; close?: number };
  } catch {
    return {};
  }
}

function begins(bytes: Buffer, from: number, to: number, what: Uint8Array): boolean {
  if (to - from < what.length) return false;
  for (let i = 0; i < what.length; i++) if (bytes[from + i] !== what[i]) return false;
  return true;
}
