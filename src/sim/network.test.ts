import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../base/random.ts";
import type { Socket, SocketHandler } from "../base/socket.ts";
import { VirtualClock } from "./clock.ts";
import { VirtualNetwork, type Weather } from "./network.ts";

const AT = { host: "10.0.0.1", port: 443 };

/** A party that keeps what it hears, and writes `toSay` as the socket takes it. */
class Party implements SocketHandler {
  readonly heard: number[] = [];
  readonly chunks: number[] = [];
  readonly log: string[] = [];
  socket: Socket | null = null;
  toSay: Uint8Array;
  drains = 0;
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock, toSay: Uint8Array = new Uint8Array()) {
    this.#clock = clock;
    this.toSay = toSay;
  }
  open(socket: Socket): void {
    this.socket = socket;
    this.log.push(`open ${this.#clock.monotonic()}`);
    this.say();
  }
  data(_socket: Socket, bytes: Uint8Array): void {
    this.heard.push(...bytes);
    this.chunks.push(bytes.length);
  }
  drain(): void {
    this.drains++;
    this.say();
  }
  close(_socket: Socket, error?: Error): void {
    this.log.push(`close ${error?.message.split(":")[0] ?? "well"}`);
  }
  say(): void {
    this.toSay = this.toSay.subarray(this.socket!.write(this.toSay));
  }
}

function world(seed = 1, weather: Partial<Weather> = {}) {
  const clock = new VirtualClock();
  const network = new VirtualNetwork(clock, seededRandom(seed), weather);
  return { clock, network };
}

function pair(seed = 1, weather: Partial<Weather> = {}, toSay?: Uint8Array, toAnswer?: Uint8Array) {
  const { clock, network } = world(seed, weather);
  const [near, far] = [new Party(clock, toSay), new Party(clock, toAnswer)];
  network.listen(AT, () => far);
  network.dialAs("user-1")(AT, near);
  return { clock, network, near, far };
}

const noise = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff);

describe("a link", () => {
  test("carries every byte in order both ways, in any weather", () => {
    const weather = fc.record({
      latencyMs: fc.nat(20),
      jitterMs: fc.nat(50),
      chunkBytesMax: fc.integer({ min: 1, max: 300 }),
      inFlightBytesMax: fc.integer({ min: 1, max: 700 }),
    });
    fc.assert(
      fc.property(fc.nat(), weather, fc.nat(1500), fc.nat(1500), (seed, sky, there, back) => {
        const { clock, near, far } = pair(seed, sky, noise(there), noise(back));
        clock.advance(1_000_000);
        expect(far.heard).toEqual([...noise(there)]);
        expect(near.heard).toEqual([...noise(back)]);
        expect(Math.max(0, ...far.chunks)).toBeLessThanOrEqual(sky.chunkBytesMax);
      }),
      { numRuns: 60 },
    );
  });

  test("is the same for the same seed, and another for another", () => {
    const run = (seed: number) => {
      const { clock, far } = pair(seed, { jitterMs: 9, chunkBytesMax: 50 }, noise(2000));
      clock.advance(1000);
      return far.chunks;
    };
    expect(run(7)).toEqual(run(7));
    expect(run(7)).not.toEqual(run(8));
  });

  test("takes one way to be accepted, two to be open, three to be answered", () => {
    const { clock, near, far } = pair(1, { latencyMs: 10 }, noise(3));
    clock.advance(100);
    expect([far.log, near.log]).toEqual([["open 10"], ["open 20"]]);
    expect(far.heard).toEqual([...noise(3)]);
  });

  test("takes less than it is given when full, and says when there is room", () => {
    const { clock, near, far } = pair(1, { inFlightBytesMax: 100 }, noise(250));
    clock.advance(2);
    expect(near.toSay.length).toBe(150);
    clock.advance(100);
    expect([near.toSay.length, near.drains > 0, far.heard.length]).toEqual([0, true, 250]);
  });

  test("takes nothing before it is open, and nothing after it is closed", () => {
    const { clock, network } = world();
    network.listen(AT, () => new Party(clock));
    const socket = network.dial(AT, new Party(clock));
    expect(socket.write(noise(5))).toBe(0);
    clock.advance(10);
    expect(socket.write(noise(5))).toBe(5);
    socket.end();
    expect(socket.write(noise(5))).toBe(0);
  });

  test("lends bytes for the length of the call only", () => {
    const { clock, network } = world();
    let kept: Uint8Array = new Uint8Array();
    const keeper = { data: (_: Socket, bytes: Uint8Array) => void (kept = bytes), close() {} };
    network.listen(AT, () => keeper);
    network.dial(AT, new Party(clock, noise(4)));
    clock.advance(10);
    expect([...kept]).toEqual([0xaa, 0xaa, 0xaa, 0xaa]);
  });
});

describe("goodbyes", () => {
  test("what was written is the network's: the writer may use a Buffer again at once", () => {
    const { clock, near, far } = pair();
    clock.advance(5);
    const scratch = Buffer.from("first");
    expect(near.socket?.write(scratch)).toBe(5);
    scratch.write("other");
    clock.advance(5);
    expect(Buffer.from(far.heard).toString()).toBe("first");
  });

  test("end lets everything arrive first, and closes both ends well", () => {
    const { clock, near, far } = pair(1, { latencyMs: 5, chunkBytesMax: 10 }, noise(100));
    clock.advance(10);
    near.socket!.end();
    clock.advance(100);
    expect(far.heard.length).toBe(100);
    expect([near.log.at(-1), far.log.at(-1)]).toEqual(["close well", "close well"]);
  });

  test("destroy closes us at once and resets the other end; what was on its way is lost", () => {
    const { clock, network, near, far } = pair(1, { latencyMs: 5 }, noise(100));
    clock.advance(10);
    near.socket!.destroy();
    clock.advance(0);
    expect(near.log.at(-1)).toBe("close well");
    clock.advance(100);
    expect([far.log.at(-1), far.heard.length, network.links().length]).toEqual(["close ECONNRESET", 0, 0]);
  });

  test("a socket destroyed before it was open never reaches the listener's hands open", () => {
    for (const [latencyMs, waitMs] of [
      [0, 0],
      [5, 0],
      [5, 5],
      [5, 7],
    ] as const) {
      const { clock, network } = world(1, { latencyMs });
      const [near, far] = [new Party(clock), new Party(clock)];
      network.listen(AT, () => far);
      const socket = network.dial(AT, near);
      if (waitMs > 0) clock.advance(waitMs);
      socket.destroy();
      clock.advance(100);
      expect(near.log).toEqual(["close well"]);
      expect(far.log.length === 0 || far.log.at(-1) === "close ECONNRESET").toBe(true);
      expect(network.links().length).toBe(0);
    }
  });

  test("each end is closed exactly once, whoever said goodbye and however often", () => {
    fc.assert(
      fc.property(fc.nat(), fc.array(fc.tuple(fc.nat(30), fc.nat(4)), { maxLength: 8 }), (seed, goodbyes) => {
        const { clock, network, near, far } = pair(
          seed,
          { latencyMs: 7, jitterMs: 5, chunkBytesMax: 20 },
          noise(100),
          noise(100),
        );
        const acts = [
          () => near.socket?.end(),
          () => far.socket?.end(),
          () => near.socket?.destroy(),
          () => far.socket?.destroy(),
          () => network.cut(),
        ];
        for (const [ms, act] of [...goodbyes, [30, 0] as const]) {
          clock.advance(ms);
          acts[act]!();
        }
        clock.advance(100_000);
        const closes = (party: Party) => party.log.filter((line) => line.startsWith("close")).length;
        expect([closes(near), network.links().length]).toEqual([1, 0]);
        expect(closes(far)).toBe(far.socket === null ? closes(far) : 1);
      }),
    );
  });
});

describe("faults to order", () => {
  test("cut resets both ends of one name's links and leaves the others alone", () => {
    const { clock, network } = world();
    const parties = ["a", "b"].map((name) => {
      const party = new Party(clock);
      network.dialAs(name)(AT, party);
      return party;
    });
    const accepted: Party[] = [];
    network.listen(AT, () => accepted[accepted.push(new Party(clock)) - 1]!);
    clock.advance(10);
    expect(network.cut("b")).toBe(1);
    clock.advance(10);
    expect(parties.map((party) => party.log.at(-1))).toEqual(["open 2", "close ECONNRESET"]);
    expect(accepted.map((party) => party.log.at(-1))).toEqual(["open 1", "close ECONNRESET"]);
    expect(network.cut("10.0.0.1:443")).toBe(1);
  });

  test("cut on the way to the listener is not accepted, or is and closes like any other", () => {
    const { clock, network } = world(1, { latencyMs: 10 });
    let [accepted, closed] = [0, 0];
    network.listen(AT, () => {
      accepted++;
      return { data() {}, close: () => void closed++ };
    });
    for (let i = 0; i < 50; i++) network.dial(AT, new Party(clock));
    clock.advance(5);
    network.cut();
    clock.advance(100);
    expect(accepted).toBeGreaterThan(0);
    expect(closed).toBe(accepted);
  });

  test("on a half-open link bytes and goodbyes vanish, and the writer fills up and is never drained", () => {
    const { clock, network, near, far } = pair(1, { inFlightBytesMax: 100 });
    clock.advance(10);
    network.halfOpen("user-1");
    expect([near.socket!.write(noise(70)), near.socket!.write(noise(70))]).toEqual([70, 30]);
    far.socket!.destroy();
    clock.advance(100_000);
    expect([near.drains, far.heard.length]).toEqual([0, 0]);
    expect([near.log.at(-1), far.log.at(-1)]).toEqual(["open 2", "close well"]);
    near.socket!.end();
    clock.advance(60_000);
    expect(near.log.at(-1)).toBe("close ETIMEDOUT");
  });

  test("nobody listening, or told to refuse: refused; told to be silent: nothing, for ever", () => {
    const { clock, network } = world();
    const dialled = () => {
      const party = new Party(clock);
      network.dial(AT, party);
      clock.advance(100_000);
      return party.log;
    };
    expect(dialled()).toEqual(["close ECONNREFUSED"]);
    const listener = network.listen(AT, () => new Party(clock));
    network.setReachability("10.0.0.1:443", "refused");
    expect(dialled()).toEqual(["close ECONNREFUSED"]);
    network.setReachability("10.0.0.1:443", "silent");
    expect(dialled()).toEqual([]);
    network.setReachability("10.0.0.1:443", "open");
    expect(dialled()).toEqual([expect.stringContaining("open")]);
    listener.stop();
    expect(dialled()).toEqual(["close ECONNREFUSED"]);
  });

  test("a listener that gives no handler closes the connection at once", () => {
    const { clock, network } = world();
    network.listen(AT, () => null);
    const party = new Party(clock);
    network.dial(AT, party);
    clock.advance(100);
    expect(party.log).toEqual(["open 2", "close ECONNRESET"]);
  });

  test("a slow reader holds the writer up, one that stops fills it, and it goes on when reading does", () => {
    const { clock, network, near, far } = pair(1, { inFlightBytesMax: 1000, chunkBytesMax: 100 }, noise(3000));
    const link = network.links("user-1")[0]!;
    link.far.readAt(1);
    clock.advance(500);
    expect(far.heard.length).toBeGreaterThan(400);
    expect(far.heard.length).toBeLessThan(700);
    link.far.readAt(0);
    const stopped = far.heard.length;
    clock.advance(5000);
    expect([far.heard.length, link.near.inFlight > 500]).toEqual([stopped, true]);
    link.far.readAt(Number.POSITIVE_INFINITY);
    clock.advance(5000);
    expect([far.heard.length, near.toSay.length]).toEqual([3000, 0]);
  });

  test("a slow reader that reads quickly again need not wait for what it would have waited for", () => {
    const { clock, network, far } = pair(1, { latencyMs: 1, chunkBytesMax: 1_000 }, noise(3_000));
    network.links()[0]?.far.readAt(0.01);
    clock.advance(10);
    expect(far.heard.length).toBeLessThan(3_000);
    network.links()[0]?.far.readAt(Number.POSITIVE_INFINITY);
    clock.advance(0);
    expect(far.heard.length).toBe(3_000);
  });

  test("two cannot listen on one port, and port 0 finds a free one", () => {
    const { network } = world();
    network.listen(AT, () => null);
    expect(() => network.listen(AT, () => null)).toThrow("in use");
    const at = { host: "10.0.0.1", port: 0 };
    expect(network.listen(at, () => null).port).not.toBe(network.listen(at, () => null).port);
  });
});
