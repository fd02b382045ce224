import type { OpenWire } from "../../client/wire.ts";
import type { Address, Dial, Socket } from "../base/socket.ts";

/** Requests that wait for room; more than a few lines means that the other end does not read. */
const OUT_BYTES_MAX = 1 << 20;
/** The longest line taken: an unsegmented image of 20,000 books stays below it. */
const LINE_BYTES_MAX = 128 * 1024 * 1024;
const LF = 0x0a;
/** The WebSocket's word for an end without a goodbye, which is what the client library expects of a wire. */
const ABNORMAL = 1006;

/** The client library's wire over plain TCP or TLS, a JSON message a line: what the exchange itself and the ESA door speak. */
export function lineWire(dial: Dial, to: Address): OpenWire {
  return (handlers) => {
    const lines = new Lines();
    let unsent: Uint8Array = new Uint8Array();
    let isClosed = false;
    const close = (reason: string) => {
      if (isClosed) return;
      isClosed = true;
      handlers.close(ABNORMAL, reason);
    };
    const flush = () => {
      unsent = unsent.subarray(socket.write(unsent));
    };
    const socket: Socket = dial(to, {
      open: () => handlers.open(),
      data(from, bytes) {
        for (const line of lines.take(bytes)) if (!isClosed) handlers.message(line);
        if (!lines.areTooLong) return;
        from.destroy();
        close(`a line was longer than ${LINE_BYTES_MAX} bytes`);
      },
      drain: flush,
      close: (_, error) => close(error?.message ?? "the other end closed"),
    });
    return {
      send(text) {
        unsent = Buffer.concat([unsent, Buffer.from(`${text}\r\n`)]);
        if (unsent.length > OUT_BYTES_MAX) throw new Error("the other end does not read");
        flush();
      },
      close() {
        isClosed = true;
        socket.destroy();
      },
    };
  };
}

/** Cuts bytes into lines. */
class Lines {
  #parts: Buffer[] = [];
  #length = 0;

  get areTooLong(): boolean {
    return this.#length > LINE_BYTES_MAX;
  }

  /** The lines that `bytes` complete, without their ends and without empty ones. */
  take(bytes: Uint8Array): string[] {
    const chunk = Buffer.from(bytes);
    const complete: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, from)) {
      const line = Buffer.concat([...this.#parts, chunk.subarray(from, end)])
        .toString()
        .trimEnd();
      if (line.length > 0) complete.push(line);
      this.#parts = [];
      this.#length = 0;
      from = end + 1;
    }
    this.#parts.push(chunk.subarray(from));
    this.#length += chunk.length - from;
    return complete;
  }
}
