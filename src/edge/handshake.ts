import { createHash } from "node:crypto";

/** The largest request head that is read: a browser's cookies fit in. */
export const REQUEST_BYTES_MAX = 16 * 1024;
/** Where the WebSocket door is. */
export const WEBSOCKET_PATH = "/v1/ws";

/** `more`: the head is not complete yet. `upgrade`: send the response; `rest` is what already came after the head, for the length of the call. `refused`: send the response and close. */
export type Handshake =
  | { readonly kind: "more" }
  | { readonly kind: "upgrade"; readonly response: string; readonly rest: Uint8Array }
  | { readonly kind: "refused"; readonly response: string };

const MORE: Handshake = { kind: "more" };

/**
 * Reads one HTTP/1.1 request head and answers it: with an upgrade if it asks for one exactly as RFC 6455 has it, with a refusal otherwise.
 * Strict where HTTP servers are lenient, as whatever stands in front of us must not read another request than we do.
 * No Origin check: nothing is given for being there, only for a session token, which a foreign page does not have.
 */
export class HandshakeReader {
  #head = "";

  push(bytes: Uint8Array): Handshake {
    const room = REQUEST_BYTES_MAX - this.#head.length;
    const before = this.#head.length;
    this.#head += Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, room)).toString("latin1");
    const end = this.#head.indexOf("\r\n\r\n", Math.max(0, before - 3));
    if (end >= 0) return answer(this.#head.slice(0, end), () => bytes.subarray(end + 4 - before));
    if (bytes.length >= room) return refusal(BAD_REQUEST, `the request head is longer than ${REQUEST_BYTES_MAX} bytes`);
    // What cannot become a request is not worth waiting for: another protocol knocks.
    const fresh = this.#head.slice(Math.max(0, before - 1));
    return /^[A-Z]{1,16}( |$)/.test(this.#head) && !/[^\r]\n/.test(fresh)
      ? MORE
      : refusal(BAD_REQUEST, "this is not HTTP/1.1");
  }
}

/** The value of Sec-WebSocket-Accept for a client's Sec-WebSocket-Key. */
export function acceptKey(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

const BAD_REQUEST = "400 Bad Request";
const UPGRADE_REQUIRED = "426 Upgrade Required";
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const FRIENDLY = `This is Oddswire's WebSocket door: connect a WebSocket client to ${WEBSOCKET_PATH}.`;

function answer(head: string, rest: () => Uint8Array): Handshake {
  const [requestLine, ...lines] = head.split("\r\n") as [string, ...string[]];
  const [method, target, version, ...surplus] = requestLine.split(" ");
  if (!method || !/^[A-Z]+$/.test(method) || !target || !/^\/[!-~]*$/.test(target) || surplus.length > 0) {
    return refusal(BAD_REQUEST, "the request line is not one of HTTP/1.1");
  }
  if (version !== "HTTP/1.1") return refusal(BAD_REQUEST, "only HTTP/1.1 is spoken here");
  const headers = headersOf(lines);
  if (typeof headers === "string") return refusal(BAD_REQUEST, headers);
  if (target.split("?")[0] !== WEBSOCKET_PATH) return refusal("404 Not Found", FRIENDLY);
  if (method !== "GET") return refusal("405 Method Not Allowed", FRIENDLY, "Allow: GET\r\n");
  return upgrade(headers, rest);
}

function upgrade(headers: ReadonlyMap<string, string>, rest: () => Uint8Array): Handshake {
  if (!headers.get("host")) return refusal(BAD_REQUEST, "the Host header is missing");
  if (headers.has("transfer-encoding") || Number(headers.get("content-length") ?? 0) !== 0) {
    return refusal(BAD_REQUEST, "an upgrade has no body");
  }
  if (!lists(headers.get("upgrade"), "websocket") || !lists(headers.get("connection"), "upgrade")) {
    return refusal(UPGRADE_REQUIRED, FRIENDLY, "Upgrade: websocket\r\n");
  }
  if (headers.get("sec-websocket-version") !== "13") {
    const more = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    return refusal(UPGRADE_REQUIRED, "only version 13 of the WebSocket protocol is spoken here", more);
  }
  const key = headers.get("sec-websocket-key") ?? "";
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return refusal(BAD_REQUEST, "Sec-WebSocket-Key is not 16 bytes in base64");
  const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
  const response = `${lines.join("\r\n")}\r\nSec-WebSocket-Accept: ${acceptKey(key)}\r\n\r\n`;
  return { kind: "upgrade", response, rest: rest() };
}

/** Headers that must not come twice; of others the values are joined. */
const ONCE = ["host", "content-length", "sec-websocket-key", "sec-websocket-version"];

/** The headers by their names in lower case, or what is wrong with them. */
function headersOf(lines: readonly string[]): ReadonlyMap<string, string> | string {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "");
    if (colon < 1 || !TOKEN.test(name) || !/^[\t -~\x80-\xff]*$/.test(value))
      return "a header line is not one of HTTP/1.1";
    const other = headers.get(name);
    if (other !== undefined && ONCE.includes(name)) return `the header ${name} comes twice`;
    headers.set(name, other === undefined ? value : `${other}, ${value}`);
  }
  return headers;
}

/** Whether a list of a header holds a word, in any case. */
function lists(value: string | undefined, word: string): boolean {
  return value?.split(",").some((item) => item.trim().toLowerCase() === word) ?? false;
}

function refusal(status: string, text: string, more = ""): Handshake {
  const head = `HTTP/1.1 ${status}\r\n${more}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n`;
  return { kind: "refused", response: `${head}Content-Length: ${text.length + 1}\r\n\r\n${text}\n` };
}
