import { describe, expect, test } from "bun:test";
import { acceptKey, type Handshake, HandshakeReader } from "./handshake.ts";
import { REQUEST_BYTES_MAX } from "./request-head.ts";

const GOOD = {
  line: "GET /v1/ws HTTP/1.1",
  host: "Host: example.com",
  upgrade: "Upgrade: websocket",
  connection: "Connection: Upgrade",
  key: "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  version: "Sec-WebSocket-Version: 13",
};
/** The good request with some lines changed; an empty one is left out. */
const request = (changes: Partial<typeof GOOD> = {}, ...more: string[]) =>
  `${[...Object.values({ ...GOOD, ...changes }), ...more].filter((line) => line !== "").join("\r\n")}\r\n\r\n`;
const push = (text: string): Handshake => new HandshakeReader().push(Buffer.from(text, "latin1"));
const statusOf = (answer: Handshake) => (answer.kind === "more" ? "more" : answer.response.split(" ")[1]);

test("the sample of RFC 6455 gets the accept key of RFC 6455", () => {
  expect(acceptKey("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const answer = push(request());
  if (answer.kind !== "upgrade") throw new Error(answer.kind);
  expect(answer.response).toBe(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
  );
  expect(answer.rest).toHaveLength(0);
});

test("a head cut anywhere is the same head, and what follows it is handed on", () => {
  const whole = Buffer.from(`${request()}frames`, "latin1");
  const head = request().length;
  for (let cut = 1; cut < whole.length; cut++) {
    const reader = new HandshakeReader();
    let answer = reader.push(whole.subarray(0, cut));
    expect(answer.kind).toBe(cut < head ? "more" : "upgrade");
    if (answer.kind === "more") answer = reader.push(whole.subarray(cut));
    if (answer.kind !== "upgrade") throw new Error(`${answer.kind} at ${cut}`);
    expect(Buffer.from(answer.rest).toString()).toBe(cut < head ? "frames" : "frames".slice(0, cut - head));
  }
});

describe("an upgrade", () => {
  const accepted: readonly (readonly [string, string])[] = [
    ["as browsers ask for it", request({ connection: "Connection: keep-alive, Upgrade" }, "Origin: https://a.example")],
    [
      "with other letters in words and names",
      request({ upgrade: "UPGRADE: WebSocket", connection: "connection: upGrade" }),
    ],
    ["with a query", request({ line: "GET /v1/ws?x=1 HTTP/1.1" })],
    [
      "with extensions and protocols offered, which are not taken",
      request({}, "Sec-WebSocket-Extensions: permessage-deflate"),
    ],
    ["with a header in two lines", request({ connection: "Connection: keep-alive\r\nConnection: Upgrade" })],
    ["with an empty body", request({}, "Content-Length: 0")],
    [
      "with no space after the colon, or more",
      request({ host: "Host:example.com", version: "Sec-WebSocket-Version: \t13 " }),
    ],
  ];
  for (const [what, text] of accepted) {
    test(`${what} is accepted`, () => {
      const answer = push(text);
      expect(statusOf(answer)).toBe("101");
      expect(answer.kind === "upgrade" && /Extensions|Protocol:/.test(answer.response)).toBe(false);
    });
  }
});

describe("refused with", () => {
  const refused: readonly (readonly [string, string, string])[] = [
    ["426", "a plain GET", request({ upgrade: "", connection: "", key: "", version: "" })],
    ["426", "an upgrade to something else", request({ upgrade: "Upgrade: h2c" })],
    ["426", "an upgrade that Connection does not name", request({ connection: "Connection: keep-alive" })],
    ["426", "an older version", request({ version: "Sec-WebSocket-Version: 8" })],
    ["426", "no version", request({ version: "" })],
    ["404", "another path", request({ line: "GET / HTTP/1.1" })],
    ["404", "a path that only begins so", request({ line: "GET /v1/wsx HTTP/1.1" })],
    ["405", "another method", request({ line: "POST /v1/ws HTTP/1.1" })],
    ["400", "HTTP/1.0", request({ line: "GET /v1/ws HTTP/1.0" })],
    ["400", "HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["400", "no Host", request({ host: "" })],
    ["400", "two Hosts", request({}, "Host: other.example")],
    ["400", "no key", request({ key: "" })],
    ["400", "a short key", request({ key: "Sec-WebSocket-Key: abc=" })],
    ["400", "two keys", request({}, GOOD.key)],
    ["400", "two versions", request({}, GOOD.version)],
    ["400", "a body", request({}, "Content-Length: 5")],
    ["400", "a length that is none", request({}, "Content-Length: five")],
    ["400", "a chunked body", request({}, "Transfer-Encoding: chunked")],
    ["400", "a folded header", request({}, "X: a\r\n b")],
    ["400", "a header without a name", request({}, ": a")],
    ["400", "a header with a space before its colon", request({}, "X : a")],
    ["400", "a header without a colon", request({}, "nonsense")],
    ["400", "a NUL", request({}, "X: a\0b")],
    ["400", "a bare LF", request({}, "X: a\nY: b")],
    ["400", "only bare LFs, before more comes", "GET /v1/ws HTTP/1.1\nHost: a\n"],
    ["400", "a third space in the request line", request({ line: "GET  /v1/ws HTTP/1.1" })],
    ["400", "an absolute target", request({ line: "GET http://example.com/v1/ws HTTP/1.1" })],
    ["400", "a method in small letters", request({ line: "get /v1/ws HTTP/1.1" })],
    ["400", "TLS", "\x16\x03\x01\x02\x00\x01\x00"],
    ["400", "the exchange's own protocol", '{"op":"authentication"'],
    ["400", "a head without end", `GET /v1/ws HTTP/1.1\r\nX: ${"x".repeat(REQUEST_BYTES_MAX)}`],
  ];
  for (const [status, what, text] of refused) {
    test(`${status}: ${what}`, () => {
      const answer = push(text);
      expect(statusOf(answer)).toBe(status);
      if (answer.kind !== "refused") throw new Error(answer.kind);
      const [head, body] = answer.response.split("\r\n\r\n") as [string, string];
      expect(head).toContain("\r\nConnection: close\r\n");
      expect(head).toContain(`Content-Length: ${body.length}`);
      if (status === "405") expect(head).toContain("\r\nAllow: GET\r\n");
      if (status === "426") expect(head).toContain("\r\nUpgrade: websocket\r\n");
    });
  }

  test("the same when it comes byte by byte, as soon as it shows", () => {
    for (const [status, , text] of refused) {
      const reader = new HandshakeReader();
      let answer: Handshake = { kind: "more" };
      for (let i = 0; i < text.length && answer.kind === "more"; i++) {
        answer = reader.push(Buffer.from([text.charCodeAt(i)]));
      }
      expect(statusOf(answer)).toBe(status);
    }
  });
});
