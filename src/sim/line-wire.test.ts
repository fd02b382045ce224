import { expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../base/random.ts";
import type { Socket } from "../base/socket.ts";
import { VirtualClock } from "./clock.ts";
import { lineWire } from "./line-wire.ts";
import { VirtualNetwork } from "./network.ts";
import { mark, Onlooker } from "./onlooker.ts";

const AT = { host: "10.0.0.1", port: 443 };

function world(seed: number, said: string[]) {
  const clock = new VirtualClock();
  const network = new VirtualNetwork(clock, seededRandom(seed), {
    chunkBytesMax: 5,
    inFlightBytesMax: 20,
    jitterMs: 3,
  });
  const server = { heard: "" };
  network.listen(AT, () => {
    let rest = Buffer.from(said.map((line) => `${line}\r\n`).join(""));
    const say = (socket: Socket) => void (rest = rest.subarray(socket.write(rest)));
    return { open: say, drain: say, data: (_, bytes) => void (server.heard += Buffer.from(bytes)), close() {} };
  });
  const log: string[] = [];
  const wire = lineWire(
    network.dial,
    AT,
  )({
    open: () => void log.push("open"),
    message: (text) => void log.push(text),
    close: (code, reason) => void log.push(`${code} ${reason.split(":")[0]}`),
  });
  return { clock, network, server, wire, log };
}

test("lines arrive whole, wherever the bytes were cut", () => {
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.stringMatching(/^[a-z€{}]{1,40}$/), { maxLength: 6 }), (seed, lines) => {
      const { clock, log } = world(seed, lines);
      clock.advance(10_000);
      expect(log).toEqual(["open", ...lines]);
    }),
  );
});

test("requests longer than the socket takes leave in order, when there is room", () => {
  const { clock, wire, server } = world(1, []);
  clock.advance(10);
  wire.send("a".repeat(50));
  wire.send("b".repeat(50));
  clock.advance(1000);
  expect(server.heard).toBe(`${"a".repeat(50)}\r\n${"b".repeat(50)}\r\n`);
  expect(() => wire.send("c".repeat(2_000_000))).toThrow("does not read");
});

test("an end is told once, and one of our own not at all", () => {
  const cut = world(1, ["hello"]);
  cut.clock.advance(100);
  cut.network.cut();
  cut.clock.advance(100);
  expect(cut.log).toEqual(["open", "hello", "1006 ECONNRESET"]);
  const own = world(1, ["hello"]);
  own.clock.advance(2);
  own.wire.close();
  own.clock.advance(100);
  expect(own.log.filter((line) => line.startsWith("1006"))).toEqual([]);
});

test("an onlooker that is not told what was published says so, with where it stood, and does not wait for ever", async () => {
  const { clock, network } = world(1, []);
  const wire = lineWire(network.dial, AT);
  const onlooker = new Onlooker({ wire, session: "s", clock, random: seededRandom(1) });
  const seen = onlooker.seen(1).catch((error) => error);
  clock.advance(30_000);
  expect(await seen).toMatchObject({ code: "TIMEOUT", message: expect.stringContaining("subscription waiting") });
  expect(mark(1).id).toBe(mark(0).id);
});

test("an onlooker that was sent away says why at once", async () => {
  const refusal =
    '{"op":"status","statusCode":"FAILURE","errorCode":"NOT_AUTHORIZED","errorMessage":"no","connectionClosed":true}';
  const { clock, network } = world(1, ['{"op":"connection","connectionId":"1"}', refusal]);
  const onlooker = new Onlooker({ wire: lineWire(network.dial, AT), session: "s", clock, random: seededRandom(1) });
  const seen = onlooker.seen(0).catch((error) => error);
  clock.advance(1000);
  expect(await seen).toMatchObject({ code: "CONNECTION_FAILED", message: expect.stringContaining("NOT_AUTHORIZED") });
});
