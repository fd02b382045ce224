import type { Clock, Timer } from "../clock.ts";
import type { OpenWire, WireHandlers } from "../wire.ts";

/** For tests: time that passes only when told to. */
export class FakeClock implements Clock {
  #now = 0;
  #timers: { at: number; fire: () => void }[] = [];

  wall(): number {
    return 1_700_000_000_000 + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, fire: () => void): Timer {
    const timer = { at: this.#now + Math.max(0, ms), fire };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#timers.length;
  }

  /** Jumps to what is due next and fires it. */
  next(): void {
    const next = Math.min(...this.#timers.map((timer) => timer.at));
    if (Number.isFinite(next)) this.pass(next - this.#now);
  }

  /** Lets `ms` pass, firing what falls due in order. */
  pass(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.fire();
    }
    this.#now = until;
  }
}

/** One connection as the test's server sees it. */
export class FakeWire {
  /** What the client sent, parsed. */
  readonly sent: Record<string, unknown>[] = [];
  closedByClient = false;
  readonly #handlers: WireHandlers;

  constructor(handlers: WireHandlers) {
    this.#handlers = handlers;
  }

  say(message: object): void {
    this.#handlers.message(JSON.stringify(message));
  }

  sayText(text: string): void {
    this.#handlers.message(text);
  }

  cut(code = 1006, reason = ""): void {
    this.#handlers.close(code, reason);
  }

  /** The last thing the client asked with this `op`. */
  asked(op: string): Record<string, unknown> | undefined {
    return this.sent.findLast((message) => message.op === op);
  }

  /** Greets, and accepts the authentication that follows. */
  accept(): void {
    this.say({ op: "connection", connectionId: "test-1" });
    this.say({ op: "status", id: this.asked("authentication")?.id, statusCode: "SUCCESS" });
  }
}

/** For tests: a server that says what it is told to. */
export class FakeServer {
  readonly wires: FakeWire[] = [];

  readonly open: OpenWire = (handlers) => {
    const wire = new FakeWire(handlers);
    this.wires.push(wire);
    return {
      send: (text) => void wire.sent.push(JSON.parse(text)),
      close: () => void (wire.closedByClient = true),
    };
  };

  /** The newest connection. */
  get wire(): FakeWire {
    return this.wires[this.wires.length - 1];
  }
}
