import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Outbox } from "./outbox.ts";
import type { Outlet } from "./outlet.ts";

/** A socket that takes what it is given room for. */
function tight() {
  const socket = { room: 0, sent: "" };
  const outlet = {
    write(bytes: Uint8Array) {
      const taken = Math.min(socket.room, bytes.length);
      socket.room -= taken;
      socket.sent += Buffer.from(bytes.subarray(0, taken)).toString();
      return taken;
    },
  } as unknown as Outlet;
  return { socket, outbox: new Outbox(outlet) };
}

describe("an outbox", () => {
  test("loses no byte and changes no order, whatever the socket takes", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ room: fc.nat(9), message: fc.stringMatching(/^[a-z]{1,8}$/), control: fc.boolean() })),
        (steps) => {
          const { socket, outbox } = tight();
          let meant = "";
          for (const { room, message, control } of steps) {
            socket.room = room;
            if (!outbox.isClear) outbox.drained();
            if (!outbox.isClear && !control) continue;
            meant += message;
            if (control) expect(outbox.sendControl(Buffer.from(message))).toBe(true);
            else outbox.send(Buffer.from(message));
          }
          socket.room = 1e6;
          expect(outbox.drained()).toBe(true);
          expect(socket.sent).toBe(meant);
        },
      ),
    );
  });

  test("refuses a write past what waits, and control messages past their headroom", () => {
    const { outbox } = tight();
    expect(outbox.send(Buffer.from("abc"))).toBe(false);
    expect(() => outbox.send(Buffer.from("x"))).toThrow("a write past what still waits");
    expect(outbox.sendControl(Buffer.alloc(Outbox.controlBytesMax))).toBe(true);
    expect(outbox.sendControl(Buffer.alloc(1))).toBe(false);
    expect(outbox.rest?.length).toBe(3 + Outbox.controlBytesMax);
  });
});
