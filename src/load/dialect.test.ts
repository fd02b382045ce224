import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { closeFrame, controlFrame, FrameReader, OPCODE, TEXT_FRAMES } from "../edge/frames.ts";
import { HandshakeReader } from "../edge/handshake.ts";
import { LINES, type MessageSink, webSocketDialect } from "./dialect.ts";

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
  pinged(payload: Uint8Array): void {
    this.said.push(`ping ${Buffer.from(payload).toString()}`);
  }
  closing(code: number | null, reason: string): void {
    this.said.push(`close ${code} ${reason}`);
  }
}

/** As bytes come from a socket: in pieces, what is not whole kept for the next. */
function heard(dialect: ReturnType<typeof webSocketDialect>, bytes: Buffer, cuts: readonly number[]): Notebook {
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

const frame = (text: string) => {
  const payload = Buffer.from(text);
  const out = new Uint8Array(payload.length + TEXT_FRAMES.overheadMax);
  const head = TEXT_FRAMES.before(out, 0, payload.length);
  out.set(payload, head);
  return Buffer.from(out.subarray(0, head + payload.length));
};

describe("a WebSocket's dialect", () => {
  const dialect = webSocketDialect("127.0.0.1:1", "/v1/ws");
  const answer = new HandshakeReader().push(dialect.hello as Uint8Array);
  const upgrade = Buffer.from((answer as { response: string }).response, "latin1");

  test("understands what our own door says, cut anywhere", () => {
    expect(answer.kind).toBe("upgrade");
    const texts = fc.array(fc.oneof(fc.string({ unit: "grapheme-ascii" }), fc.constant("x".repeat(70_000))), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(texts, fc.array(fc.nat()), (texts, cuts) => {
        const ping = Buffer.from(controlFrame(OPCODE.ping, Buffer.from("p")));
        const close = Buffer.from(closeFrame(4005, "too slow"));
        const bytes = Buffer.concat([upgrade, ...texts.flatMap((text) => [frame(text), ping]), close]);
        const { said, isGreeted } = heard(dialect, bytes, cuts);
        expect(isGreeted).toBe(true);
        expect(said).toEqual([...texts.flatMap((text) => [text, "ping p"]), "close 4005 too slow"]);
      }),
      { numRuns: 50 },
    );
  });

  test("is understood by our own door", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme-ascii", maxLength: 70_000 }), (text) => {
        const said: string[] = [];
        const sink = { text: (message: string) => said.push(message), pinged() {}, closing() {} };
        expect(new FrameReader(1 << 20).push(dialect.wrap(text), sink)).toBeNull();
        expect(said).toEqual([text]);
      }),
    );
  });

  test("joins a message that somebody on the way has cut into frames", () => {
    const part = (first: number, text: string) => Buffer.from([first, text.length, ...Buffer.from(text)]);
    const ping = Buffer.from(controlFrame(OPCODE.ping, Buffer.alloc(0)));
    const bytes = Buffer.concat([
      upgrade,
      part(0x01, "one "),
      part(0, "two "),
      ping,
      part(0x80, "three"),
      frame("four"),
    ]);
    expect(heard(dialect, bytes, [upgrade.length + 9]).said).toEqual(["one two three", "four"]);
  });

  test("says what is wrong with an upgrade that is none", () => {
    const refused = (head: string) => heard(dialect, Buffer.from(`${head}\r\n\r\n`), []).said;
    expect(refused("HTTP/1.1 404 Not Found")).toEqual(['close null the upgrade was answered "HTTP/1.1 404 Not Found"']);
    expect(refused("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x")[0]).toContain("Accept");
  });
});

test("lines are understood, cut anywhere", () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[ -~]{1,50}$/)), fc.array(fc.nat()), (lines, cuts) => {
      const bytes = Buffer.concat(lines.map((line) => Buffer.from(LINES.wrap(line))));
      expect(heard(LINES, bytes, cuts).said).toEqual(lines);
    }),
  );
});
