import { createHash } from "node:crypto";
import { HeadReader, lists, type RequestHead } from "./request-head.ts";

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
 * No Origin check: nothing is given for being there, only for a session token, which a foreign page does not have.
 */
export class HandshakeReader {
  readonly #reader = new HeadReader();

  push(bytes: Uint8Array): Handshake {
    const read = this.#reader.push(bytes);
    if (read.kind === "more") return MORE;
    return read.kind === "broken" ? refusal(BAD_REQUEST, read.why) : answer(read.head, read.rest);
  }
}

/** The value of Sec-WebSocket-Accept for a client's Sec-WebSocket-Key. */
export function acceptKey(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

const BAD_REQUEST = "400 Bad Request";
const UPGRADE_REQUIRED = "426 Upgrade Required";
const FRIENDLY = `This is Oddswire's WebSocket door: connect a WebSocket client to ${WEBSOCKET_PATH}.`;

function answer({ method, target, version, headers }: RequestHead, rest: Uint8Array): Handshake {
  if (version !== "HTTP/1.1") return refusal(BAD_REQUEST, "only HTTP/1.1 is spoken here");
  if (target.split("?")[0] !== WEBSOCKET_PATH) return refusal("404 Not Found", FRIENDLY);
  if (method !== "GET") return refusal("405 Method Not Allowed", FRIENDLY, "Allow: GET\r\n");
  return upgrade(headers, rest);
}

function upgrade(headers: ReadonlyMap<string, string>, rest: Uint8Array): Handshake {
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
  return { kind: "upgrade", response, rest };
}

function refusal(status: string, text: string, more = ""): Handshake {
  const head = `HTTP/1.1 ${status}\r\n${more}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n`;
  return { kind: "refused", response: `${head}Content-Length: ${text.length + 1}\r\n\r\n${text}\n` };
}
