import { afterEach, describe, expect, test } from "bun:test";
import { createServer, connect as dialTcp, type Server, type Socket } from "node:net";
import { freePort, listens } from "./ports.ts";
import { FaultProxy, HELD_BYTES_MAX } from "./proxy.ts";

/** A target that keeps what it is told and says what the test wants. */
interface Target {
  readonly server: Server;
  readonly sockets: Socket[];
  received: string;
  readonly ends: string[];
}

const open: { proxy: FaultProxy; target: Target }[] = [];

afterEach(async () => {
  for (const { proxy, target } of open.splice(0)) {
    await proxy.stop();
    for (const socket of target.sockets) socket.destroy();
    target.server.close();
  }
});

async function setUp(seed = 1) {
  const target: Target = { server: createServer({ allowHalfOpen: true }), sockets: [], received: "", ends: [] };
  target.server.on("connection", (socket) => {
    target.sockets.push(socket);
    watch(socket, target);
  });
  const port = await freePort();
  await new Promise<void>((resolve) => target.server.listen(port, "127.0.0.1", resolve));
  const proxy = await FaultProxy.start(port, seed);
  open.push({ proxy, target });
  return { proxy, target };
}

/** Dials the proxy and keeps what comes, chunk by chunk, and how it ends. */
async function dial(proxy: FaultProxy, target: Target) {
  const user = { chunks: [] as number[], received: "", ends: [] as string[], socket: null as unknown as Socket };
  const before = target.sockets.length;
  user.socket = dialTcp({ host: "127.0.0.1", port: proxy.port, allowHalfOpen: true, noDelay: true });
  user.socket.on("data", (bytes: Buffer) => user.chunks.push(bytes.length));
  watch(user.socket, user);
  await until(() => target.sockets.length > before);
  return { user, far: target.sockets[before] as Socket };
}

function watch(socket: Socket, into: { received: string; ends: string[] }): void {
  socket.on("data", (bytes: Buffer) => {
    into.received += bytes.toString("latin1");
  });
  socket.on("end", () => into.ends.push("FIN"));
  socket.on("error", (error: NodeJS.ErrnoException) => into.ends.push(String(error.code)));
}

async function until(true_: () => boolean, ms = 3_000): Promise<void> {
  for (const by = performance.now() + ms; !true_(); ) {
    if (performance.now() > by) throw new Error(`not within ${ms} ms: ${true_}`);
    await pause(2);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

describe("without toxics", () => {
  test("bytes and goodbyes pass both ways, unchanged, and are counted", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    const large = "0123456789abcdef".repeat(200_000);
    user.socket.write("up");
    far.write(large);
    await until(() => target.received === "up" && user.received.length === large.length);
    expect(user.received === large).toBe(true);
    user.socket.end();
    await until(() => target.ends.includes("FIN"));
    // The other direction is open still.
    far.end("last words");
    await until(() => user.ends.includes("FIN"));
    expect(user.received.endsWith("last words")).toBe(true);
    expect(proxy.counts).toMatchObject({ connections: 1, up: 2, down: large.length + 10, cuts: 0, resets: 0 });
    await until(() => proxy.open === 0);
  });

  test("a target that nobody listens at is a reset, and counted", async () => {
    const proxy = await FaultProxy.start(await freePort());
    const ends: string[] = [];
    const socket = dialTcp({ host: "127.0.0.1", port: proxy.port });
    watch(socket, { received: "", ends });
    await until(() => ends.length > 0 && proxy.counts.unreachable === 1);
    await proxy.stop();
  });
});

describe("toxics", () => {
  test("latency delays one direction and not the other", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    proxy.add({ latencyMs: 300 }, "down");
    const started = performance.now();
    user.socket.write("x");
    await until(() => target.received === "x");
    expect(performance.now() - started).toBeLessThan(290);
    far.write("y");
    const sent = performance.now();
    await until(() => user.received === "y");
    expect(performance.now() - sent).toBeGreaterThan(290);
  });

  test("jitter keeps the order", async () => {
    const { proxy, target } = await setUp(42);
    const { user, far } = await dial(proxy, target);
    proxy.add({ jitterMs: 30 });
    let expected = "";
    for (let line = 0; line < 20; line++) {
      expected += `${line}\n`;
      far.write(`${line}\n`);
      await pause(1);
    }
    await until(() => user.received.length === expected.length);
    expect(user.received).toBe(expected);
  });

  test("bandwidth is kept, and what waits is bounded by stopping to read", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    proxy.add({ bytesPerSecond: 100_000 }, "down");
    far.write(Buffer.alloc(4 * 1024 * 1024));
    const started = performance.now();
    await pause(500);
    const perMs = user.received.length / (performance.now() - started);
    expect(perMs).toBeGreaterThan(30);
    expect(perMs).toBeLessThan(110);
    // One read more than the bound may be under way when it is reached.
    expect(proxy.heldBytes).toBeLessThan(HELD_BYTES_MAX + 1024 * 1024);
    expect(proxy.heldBytes).toBeGreaterThan(HELD_BYTES_MAX / 2);
    proxy.clear();
    await until(() => user.received.length === 4 * 1024 * 1024);
  });

  test("the slicer splits at every byte", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    proxy.add({ sliceBytes: 1 }, "down");
    far.write('{"op":"mcm"}\r\n');
    await until(() => user.received.length === 14);
    expect(user.received).toBe('{"op":"mcm"}\r\n');
    // The kernel may join two that the reader was late for, but not many.
    expect(user.chunks.length).toBeGreaterThan(8);
  });

  test("a limit ends the connection after exactly so many bytes, by a goodbye or by a reset", async () => {
    for (const [limitBy, end] of [
      ["cut", "FIN"],
      ["reset", "ECONNRESET"],
    ] as const) {
      const { proxy, target } = await setUp();
      proxy.add({ limitBytes: 10, limitBy }, "down");
      const { user, far } = await dial(proxy, target);
      far.write("0123");
      await until(() => user.received === "0123");
      far.write("456789abcdef");
      await until(() => user.ends.includes(end));
      if (limitBy === "cut") expect(user.received).toBe("0123456789");
      expect(proxy.counts.down).toBe(10);
      await until(() => proxy.open === 0);
    }
  });
});

describe("faults", () => {
  test("a cut says goodbye at both ends, a reset resets both", async () => {
    const { proxy, target } = await setUp();
    const first = await dial(proxy, target);
    expect(proxy.cut()).toBe(1);
    await until(() => first.user.ends.includes("FIN") && target.ends.includes("FIN"));
    const second = await dial(proxy, target);
    expect(proxy.reset()).toBe(1);
    await until(() => second.user.ends.includes("ECONNRESET") && target.ends.includes("ECONNRESET"));
    expect(proxy.counts).toMatchObject({ connections: 2, cuts: 1, resets: 1 });
  });

  test("a reset of one end travels to the other", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    far.resetAndDestroy();
    await until(() => user.ends.includes("ECONNRESET"));
    expect(proxy.open).toBe(0);
  });

  test("half-open: bytes, goodbyes and resets vanish, nobody is told, and a new connection is sound", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    expect(proxy.halfOpen()).toBe(1);
    user.socket.write("lost");
    far.end("lost too");
    await pause(50);
    expect([user.received, user.ends, target.received]).toEqual(["", [], ""]);
    user.socket.resetAndDestroy();
    await pause(50);
    expect(target.ends).toEqual([]);
    const next = await dial(proxy, target);
    next.far.write("fine");
    await until(() => next.user.received === "fine");
  });

  test("swallow: one direction goes silent for as long as it is set", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    proxy.add({ swallow: true }, "up");
    user.socket.write("lost");
    far.write("kept");
    await until(() => user.received === "kept");
    proxy.clear();
    user.socket.write("heard");
    await until(() => target.received === "heard");
  });

  test("refused: new connections find nobody, old ones go on, and afterwards all is well", async () => {
    const { proxy, target } = await setUp();
    const { user, far } = await dial(proxy, target);
    await proxy.refuse(true);
    expect(await listens(proxy.port)).toBe(false);
    far.write("still here");
    await until(() => user.received === "still here");
    await proxy.refuse(false);
    const next = await dial(proxy, target);
    next.far.write("again");
    await until(() => next.user.received === "again");
  });

  test("the same seed is the same chance", async () => {
    const [a, b] = [await FaultProxy.start(1, 5), await FaultProxy.start(1, 5)];
    expect([a.random.next(), a.random.next()]).toEqual([b.random.next(), b.random.next()]);
    await Promise.all([a.stop(), b.stop()]);
  });
});
