import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Traffic } from "../delivery/traffic.ts";
import { VirtualClock } from "../sim/clock.ts";
import { LAST_WORDS_MS_MAX, Outgoing } from "./outgoing.ts";
import { TightSocket } from "./testing.ts";

function scene(room = Number.POSITIVE_INFINITY) {
  const clock = new VirtualClock();
  const socket = new TightSocket();
  socket.room = room;
  const traffic = new Traffic();
  return { clock, socket, traffic, outgoing: new Outgoing(socket, { leaving: Outgoing.deadlines(clock), traffic }) };
}
const bytes = (text: string) => Buffer.from(text);

test("what is counted is what the socket took, the last words included, and that it is over", () => {
  const { socket, traffic, outgoing } = scene(5);
  outgoing.write(bytes("<message>"));
  expect(traffic).toMatchObject({ opened: 1, closed: 0, writes: 1, bytes: 5 });
  socket.room = 99;
  outgoing.write(bytes("age>"));
  outgoing.control(bytes("(ping)"));
  outgoing.leave(null, bytes("bye"));
  outgoing.closed();
  expect(traffic).toMatchObject({ opened: 1, closed: 1, writes: 4, bytes: 18 });
});

describe("a control frame", () => {
  test("goes out at once where there is room", () => {
    const { outgoing, socket } = scene();
    outgoing.control(bytes("(pong)"));
    expect(socket.taken().toString()).toBe("(pong)");
  });

  test("waits for the end of a message that the socket has taken in part, and goes before the next", () => {
    const { outgoing, socket } = scene(5);
    expect(outgoing.write(bytes("<message>"))).toBe(5);
    outgoing.control(bytes("(pong)"));
    socket.room = 2;
    expect(outgoing.drained()).toBe(true);
    expect(outgoing.write(bytes("age>"))).toBe(2);
    socket.room = 99;
    expect(outgoing.write(bytes("e>"))).toBe(2);
    outgoing.write(bytes("<next>"));
    expect(socket.taken().toString()).toBe("<message>(pong)<next>");
  });

  test("of which a part was taken is finished before a message begins; of those that wait only the last is sent", () => {
    const { outgoing, socket } = scene(3);
    outgoing.control(bytes("(first)"));
    outgoing.control(bytes("(second)"));
    expect(outgoing.write(bytes("<message>"))).toBe(0);
    socket.room = 1;
    expect(outgoing.drained()).toBe(false);
    socket.room = 5;
    expect(outgoing.drained()).toBe(true);
    expect(socket.taken().toString()).toBe("(first)");
    socket.room = 0;
    outgoing.control(bytes("(third)"));
    outgoing.control(bytes("(fourth)"));
    socket.room = 99;
    expect(outgoing.drained()).toBe(true);
    expect(socket.taken().toString()).toBe("(fourth)");
  });
});

describe("last words", () => {
  test("end the socket once they are out, and nothing follows them", () => {
    const { outgoing, socket, clock } = scene();
    outgoing.leave(null, bytes("bye"));
    expect(socket.ended).toBe(true);
    expect(outgoing.write(bytes("more"))).toBe(0);
    outgoing.control(bytes("(pong)"));
    expect(socket.taken().toString()).toBe("bye");
    clock.advance(60_000);
    expect(socket.destroyed).toBe(false);
  });

  test("come after what the hub held of a message begun", () => {
    const { outgoing, socket } = scene(4);
    outgoing.write(bytes("<message>"));
    outgoing.leave(bytes("sage>"), bytes("bye"));
    expect(socket.ended).toBe(false);
    socket.room = 3;
    outgoing.drained();
    socket.room = 99;
    outgoing.drained();
    expect(socket.taken().toString()).toBe("<message>bye");
    expect(socket.ended).toBe(true);
  });

  test("within a message whose rest nobody has are not said: the socket is reset", () => {
    const { outgoing, socket } = scene(4);
    outgoing.write(bytes("<message>"));
    outgoing.leave(null, bytes("bye"));
    expect(socket.destroyed).toBe(true);
    expect(socket.taken().toString()).toBe("<mes");
  });

  test("are not held up by a message of which nothing was taken", () => {
    const { outgoing, socket } = scene(0);
    expect(outgoing.write(bytes("<message>"))).toBe(0);
    outgoing.leave(null, bytes("bye"));
    socket.room = 99;
    outgoing.drained();
    expect([socket.taken().toString(), socket.ended, socket.destroyed]).toEqual(["bye", true, false]);
  });

  test("that nobody reads are given up after a grace, unless the connection is over before", () => {
    for (const over of [false, true]) {
      const { outgoing, socket, clock } = scene(1);
      outgoing.leave(null, bytes("bye"));
      if (over) outgoing.closed();
      clock.advance(LAST_WORDS_MS_MAX - 1);
      expect(socket.destroyed).toBe(false);
      clock.advance(LAST_WORDS_MS_MAX);
      expect([socket.ended, socket.destroyed]).toEqual([false, !over]);
    }
  });
});

test("however the socket takes it, what leaves is whole messages and whole control frames, in order, the goodbye last", () => {
  const act = fc.oneof(
    fc.record({ kind: fc.constant("send" as const), size: fc.integer({ min: 3, max: 12 }) }),
    fc.record({ kind: fc.constant("control" as const) }),
    fc.record({ kind: fc.constant("room" as const), size: fc.integer({ min: 0, max: 15 }) }),
  );
  fc.assert(
    fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
      const { outgoing, socket } = scene(10);
      let rest: Uint8Array = bytes("");
      let sent = 0;
      const send = (message: Uint8Array) => {
        rest = message.subarray(outgoing.write(message));
      };
      for (const step of acts) {
        if (step.kind === "control") outgoing.control(bytes("(c)"));
        else if (step.kind === "send" && rest.length === 0) {
          sent++;
          send(bytes(`<${"m".repeat(step.size)}>`));
        } else if (step.kind === "room") {
          socket.room = step.size;
          if (outgoing.drained() && rest.length > 0) send(rest);
        }
      }
      outgoing.leave(rest.length > 0 ? rest : null, bytes("bye"));
      socket.room = 999;
      outgoing.drained();
      const text = socket.taken().toString();
      expect(text).toMatch(/^(<m+>|\(c\))*bye$/);
      expect(text.split("<").length - 1).toBe(sent);
      expect(socket.ended).toBe(true);
    }),
    { numRuns: 300 },
  );
});
