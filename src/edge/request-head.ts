/** The largest request head that is read: a browser's cookies fit in. */
export const REQUEST_BYTES_MAX = 16 * 1024;

/** What an HTTP request says before its body. */
export interface RequestHead {
  readonly method: string;
  /** Path and query, as they came. */
  readonly target: string;
  /** "HTTP/1.1", or whatever else was said. */
  readonly version: string;
  /** By names in lower case; of several of a name the values are joined by commas. */
  readonly headers: ReadonlyMap<string, string>;
}

/** `more`: it is not complete yet. `head`: there it is; `rest` is what already came after it, for the length of the call. `broken`: why it is none. */
export type HeadRead =
  | { readonly kind: "more" }
  | { readonly kind: "head"; readonly head: RequestHead; readonly rest: Uint8Array }
  | { readonly kind: "broken"; readonly why: string };

const MORE: HeadRead = { kind: "more" };
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Headers that must not come twice; of others the values are joined. */
const ONCE = ["host", "content-length", "sec-websocket-key", "sec-websocket-version"];

/**
 * Reads one HTTP/1 request head from a stream cut anywhere. Strict where HTTP servers are lenient, as whatever stands in front of us must not read
 * another request than we do.
 */
export class HeadReader {
  #head = "";

  push(bytes: Uint8Array): HeadRead {
    const room = REQUEST_BYTES_MAX - this.#head.length;
    const before = this.#head.length;
    this.#head += Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, room)).toString("latin1");
    const end = this.#head.indexOf("\r\n\r\n", Math.max(0, before - 3));
    if (end >= 0) return headOf(this.#head.slice(0, end), bytes.subarray(end + 4 - before));
    if (bytes.length >= room) return broken(`the request head is longer than ${REQUEST_BYTES_MAX} bytes`);
    // What cannot become a request is not worth waiting for: another protocol knocks.
    const fresh = this.#head.slice(Math.max(0, before - 1));
    return /^[A-Z]{1,16}( |$)/.test(this.#head) && !/[^\r]\n/.test(fresh) ? MORE : broken("this is not HTTP/1.1");
  }
}

/** Whether a list of a header holds a word, in any case. */
export function lists(value: string | undefined, word: string): boolean {
  return value?.split(",").some((item) => item.trim().toLowerCase() === word) ?? false;
}

function headOf(text: string, rest: Uint8Array): HeadRead {
  const [requestLine, ...lines] = text.split("\r\n") as [string, ...string[]];
  const [method, target, version = "", ...surplus] = requestLine.split(" ");
  if (!method || !/^[A-Z]+$/.test(method) || !target || !/^\/[!-~]*$/.test(target) || surplus.length > 0)
    return broken("the request line is not one of HTTP/1.1");
  const headers = headersOf(lines);
  return typeof headers === "string"
    ? broken(headers)
    : { kind: "head", head: { method, target, version, headers }, rest };
}

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

function broken(why: string): HeadRead {
  return { kind: "broken", why };
}
