import type { Clock, Timer } from "../base/clock.ts";

/** More waiting timers than any simulation of ours has need of: beyond it somebody sets timers and never lets go. */
const TIMERS_MAX = 4_000_000;
/** More calls within one instant than can be meant: beyond it two parties set each other off for ever. */
const CALLS_AN_INSTANT_MAX = 5_000_000;

interface Event {
  readonly at: number;
  readonly order: number;
  fire: (() => void) | null;
}

/**
 * Time that passes only when told to. What is due first runs first, and of what is due at once that which was set first:
 * the same program and seed give the same run, to the byte.
 */
export class VirtualClock implements Clock {
  /** What `wall` adds to `monotonic`; a jump of the machine's clock is a change of this. */
  wallOffset: number;
  #now = 0;
  #order = 0;
  /** A binary heap by (at, order): heap[0] is due next. */
  readonly #heap: Event[] = [];

  constructor(wallStart = Date.UTC(2026, 0, 1)) {
    this.wallOffset = wallStart;
  }

  wall(): number {
    return this.wallOffset + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, fire: () => void): Timer {
    if (this.#heap.length >= TIMERS_MAX) throw new Error(`more than ${TIMERS_MAX} timers wait`);
    const event: Event = { at: this.#now + Math.max(0, ms), order: this.#order++, fire };
    push(this.#heap, event);
    return {
      cancel() {
        event.fire = null;
      },
    };
  }

  /** Jumps to what is due next and runs it; false when nothing is. */
  step(): boolean {
    const event = this.#next();
    if (event === null) return false;
    pop(this.#heap);
    this.#now = event.at;
    event.fire?.();
    return true;
  }

  /** Runs everything due up to and at `untilMs` on the monotonic clock, and leaves the clock there. */
  run(untilMs: number): void {
    let instant = -1;
    let calls = 0;
    for (let event = this.#next(); event !== null && event.at <= untilMs; event = this.#next()) {
      if (event.at !== instant) [instant, calls] = [event.at, 0];
      if (++calls > CALLS_AN_INSTANT_MAX)
        throw new Error(`time stands still at ${instant} ms: somebody waits 0 ms again and again`);
      this.step();
    }
    this.#now = Math.max(this.#now, untilMs);
  }

  /** `run`, counted from now. */
  advance(ms: number): void {
    this.run(this.#now + ms);
  }

  /** The next event that was not cancelled. */
  #next(): Event | null {
    while (this.#heap.length > 0 && (this.#heap[0] as Event).fire === null) pop(this.#heap);
    return this.#heap[0] ?? null;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(event, heap[parent] as Event)) break;
    heap[at] = heap[parent] as Event;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): void {
  const event = heap.pop() as Event;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child++;
    if (!before(heap[child] as Event, event)) break;
    heap[at] = heap[child] as Event;
    at = child;
  }
  heap[at] = event;
}
