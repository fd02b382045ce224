import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { generate } from "selfsigned";
import { OddswireError } from "../base/errors.ts";
import { seededRandom } from "../base/random.ts";
import type { Address, Listener, ListenOptions, Socket, SocketHandler, TlsClientOptions } from "../base/socket.ts";
import { bunDial, bunListen, FREE_PORT_MAX, FREE_PORT_MIN, freePort } from "./sockets.ts";

const HOST = "127.0.0.1";
interface Pem {
  readonly cert: string;
  readonly key: string;
}
let own: Pem;
let foreign: Pem;
let client: Pem;

beforeAll(async () => {
  [own, foreign, client] = await Promise.all([
    certificate(["localhost", HOST]),
    certificate(["other.example"]),
    certificate(["a client"]),
  ]);
});

const listeners: Listener[] = [];
afterEach(() => {
  for (const listener of listeners.splice(0)) listener.stop();
});

for (const kind of ["TCP", "TLS"] as const) {
  const tls = () => (kind === "TLS" ? { cert: own.cert, key: own.key } : undefined);
  const trust = () => (kind === "TLS" ? { ca: own.cert } : undefined);

  describe(kind, () => {
    test("bytes go both ways and a connection ends once at both ends", async () => {
      const { near, far } = await connected({ tls: tls() }, trust());
      near.socket.write(bytes("ping"));
      await until(() => far.text() === "ping");
      far.socket.write(bytes("pong"));
      await until(() => near.text() === "pong");
      near.socket.end();
      await until(() => near.closed && far.closed);
      expect([near.closes, far.closes]).toEqual([1, 1]);
      expect([near.error, far.error]).toEqual([undefined, undefined]);
      expect([near.drains, far.drains]).toEqual([0, 0]);
      expect(near.socket.write(bytes("x"))).toBe(0);
      expect(far.socket.remote).toMatch(/^127\.0\.0\.1:\d+$/);
    });

    test("what write says it took arrives, in order, whatever is written next; the rest does not; drain comes once", async () => {
      const { near, far } = await connected({ tls: tls() }, trust());
      const random = seededRandom(7);
      const sent: number[] = [];
      near.onData = () => blockFor(1); // a reader slower than the writer
      for (let round = 0; round < 6; round++) {
        const drains = far.drains;
        for (let short = false; !short; ) {
          const message = new Uint8Array(1 + Math.floor(random.next() * 90_000)).fill(random.next() * 256);
          const taken = far.socket.write(message);
          short = taken < message.length;
          for (let i = 0; i < taken; i++) sent.push(message[i] as number);
        }
        expect(far.drains).toBe(drains);
        await until(() => far.drains > drains);
        expect(far.drains).toBe(drains + 1);
      }
      far.socket.end();
      await until(() => near.closed);
      expect(near.bytes().equals(Buffer.from(sent))).toBe(true);
    });

    test("end delivers the last words though the peer's bytes were never read", async () => {
      const { near, far } = await connected({ tls: tls() }, trust());
      near.socket.write(new Uint8Array(300_000));
      const taken = far.socket.write(new Uint8Array(300_000).fill(1));
      far.socket.end();
      expect(far.socket.write(bytes("more"))).toBe(0);
      await until(() => near.closed && far.closed);
      expect(near.error).toBeUndefined();
      expect(near.bytes().length).toBe(taken);
      expect(far.bytes().length).toBe(0);
    });

    test("a peer that ends gets what was taken before, and its end closes our side too", async () => {
      const { near, far } = await connected({ tls: tls() }, trust());
      far.onData = () => far.socket.write(new Uint8Array(200_000));
      near.socket.write(bytes("last request"));
      await until(() => near.bytes().length === 200_000);
      near.socket.end();
      await until(() => far.closed);
      expect(far.text()).toBe("last request");
      expect(far.error).toBeUndefined();
    });

    test("destroy resets: the peer is told at once, our own close comes after the call and nothing after it", async () => {
      const { near, far } = await connected({ tls: tls() }, trust());
      near.socket.write(bytes("x"));
      far.socket.destroy();
      expect(far.closed).toBe(false);
      await until(() => near.closed && far.closed);
      expect(far.bytes().length).toBe(0);
      expect(far.closes).toBe(1);
      far.socket.destroy();
      far.socket.end();
      await Bun.sleep(5);
      expect(far.closes).toBe(1);
    });

    test("a handler that throws costs its own connection, which hears why, and no other", async () => {
      const { near, far, listener } = await connected({ tls: tls() }, trust());
      const other = new End();
      const address = { host: HOST, port: listener.port, tls: trust() };
      other.socket = bunDial(address, other);
      await until(() => other.opened);
      far.onData = () => {
        throw new Error("boom");
      };
      near.socket.write(bytes("x"));
      await until(() => near.closed && far.closed);
      expect(far.error?.message).toBe("boom");
      expect([far.closes, other.closed]).toEqual([1, false]);
      other.socket.end();
    });

    test("accept can refuse", async () => {
      const listener = listen({ tls: tls() }, () => null);
      const near = new End();
      near.socket = bunDial({ host: HOST, port: listener.port, tls: trust() }, near);
      await until(() => near.closed);
      expect(near.closes).toBe(1);
    });

    test("stop ends the accepting, not the connections", async () => {
      const { near, far, listener } = await connected({ tls: tls() }, trust());
      listener.stop();
      near.socket.write(bytes("still here"));
      await until(() => far.text() === "still here");
      const late = new End();
      late.socket = bunDial({ host: HOST, port: listener.port, tls: trust() }, late);
      await until(() => late.closed);
      expect(late.opened).toBe(false);
    });

    test("destroyed before it opened: one close, no open", async () => {
      const listener = listen({ tls: tls() }, () => new End());
      const near = new End();
      near.socket = bunDial({ host: HOST, port: listener.port, tls: trust() }, near);
      expect(near.socket.write(bytes("too early"))).toBe(0);
      near.socket.destroy();
      await Bun.sleep(30);
      expect([near.opened, near.closes]).toEqual([false, 1]);
    });
  });
}

describe("a TLS certificate", () => {
  async function refusal(server: Pem, tls: TlsClientOptions): Promise<string> {
    const far: End[] = [];
    const listener = listen({ tls: server }, (socket) => pushed(far, new End(socket)));
    const near = new End();
    near.socket = bunDial({ host: HOST, port: listener.port, tls }, near);
    await until(() => near.closed || near.opened);
    near.socket.destroy();
    return near.opened ? "" : (near.error?.message ?? "closed without a reason");
  }

  test("of a CA we do not trust is refused", async () => {
    expect(await refusal(own, { ca: foreign.cert })).toContain("self signed");
    expect(await refusal(own, {})).toContain("self signed");
  });

  test("of another name is refused, and of the name we ask for accepted", async () => {
    expect(await refusal(foreign, { ca: foreign.cert })).toContain("altnames");
    expect(await refusal(own, { ca: own.cert, serverName: "somewhere.example" })).toContain("altnames");
    expect(await refusal(own, { ca: own.cert, serverName: "localhost" })).toBe("");
    expect(await refusal(foreign, { ca: foreign.cert, serverName: "other.example" })).toBe("");
  });

  test("is checked though the environment says not to", async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      expect(await refusal(own, { ca: foreign.cert })).toContain("self signed");
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });

  test("of the client reaches a server that asks for one", async () => {
    const names: string[] = [];
    const port = freePort(HOST);
    const server = Bun.listen({
      hostname: HOST,
      port,
      tls: { cert: own.cert, key: own.key, ca: client.cert, requestCert: true, rejectUnauthorized: true },
      socket: { data() {}, handshake: (socket) => void names.push(String(socket.getPeerCertificate()?.subject?.CN)) },
    });
    const near = new End();
    const tls = { ca: own.cert, cert: client.cert, key: client.key };
    near.socket = bunDial({ host: HOST, port, tls }, near);
    await until(() => names.length > 0);
    expect(names).toEqual(["a client"]);
    near.socket.destroy();
    server.stop(true);
  });

  test("that is not one is said when listening, and closes when dialling", async () => {
    expect(() => listen({ tls: { cert: "nonsense", key: "nonsense" } }, () => null)).toThrow(OddswireError);
    const near = new End();
    bunDial({ host: HOST, port: 1, tls: { cert: "nonsense", key: "nonsense" } }, near);
    expect(near.closed).toBe(false);
    await until(() => near.closed);
    expect(near.error).toBeInstanceOf(Error);
  });

  test("is not shown to a peer that does not speak TLS: it is closed, and the next one served", async () => {
    const far: End[] = [];
    const listener = listen({ tls: own }, (socket) => pushed(far, new End(socket)));
    const near = new End();
    near.socket = bunDial({ host: HOST, port: listener.port }, near);
    await until(() => near.opened);
    near.socket.write(bytes("GET / HTTP/1.1\r\n\r\n"));
    await until(() => near.closed);
    expect([far[0]?.opened, far[0]?.closes]).toEqual([false, 1]);
    expect(await refusal(own, { ca: own.cert })).toBe("");
  });
});

describe("a connection that cannot be made", () => {
  const cases: readonly (readonly [string, Address, string])[] = [
    ["to a port where nobody listens", { host: HOST, port: 1 }, "ECONNREFUSED"],
    ["to a host that does not exist", { host: "no-such-host.invalid", port: 443 }, "ENOTFOUND"],
  ];
  for (const [what, address, code] of cases) {
    test(`${what} is closed with an error, later, once, and without an open`, async () => {
      const near = new End();
      near.socket = bunDial(address, near);
      expect(near.closed).toBe(false);
      await until(() => near.closed);
      expect(near.error).toMatchObject({ code });
      await Bun.sleep(1);
      expect([near.opened, near.closes]).toEqual([false, 1]);
    });
  }
});

describe("a port", () => {
  test("in use is said by name, with what to do", () => {
    const listener = listen({}, () => null);
    const again = () => bunListen({ host: HOST, port: listener.port }, () => null);
    expect(again).toThrow(`port ${listener.port} on ${HOST} is in use: stop the program`);
    expect(codeOf(again)).toBe("PORT_IN_USE");
  });

  test("on an address that is not ours is a mistake of the configuration", () => {
    const at = { host: "192.0.2.1", port: 20_001 };
    expect(codeOf(() => bunListen(at, () => null))).toBe("INVALID_CONFIG");
  });

  test("of 0 is a free one below the range of outgoing connections", () => {
    for (const port of [listen({}, () => null).port, freePort(HOST)]) {
      expect(port).toBeGreaterThanOrEqual(FREE_PORT_MIN);
      expect(port).toBeLessThan(FREE_PORT_MAX);
    }
  });

  test("that is free is found past ones that are not, and the search has an end", () => {
    const random = () => seededRandom(99);
    const first = bunListen({ host: HOST, port: freePort(HOST, random()) }, () => null);
    listeners.push(first);
    expect(freePort(HOST, random())).not.toBe(first.port);
    const stubborn = { next: () => (first.port - FREE_PORT_MIN) / (FREE_PORT_MAX - FREE_PORT_MIN) };
    expect(codeOf(() => freePort(HOST, stubborn))).toBe("PORT_IN_USE");
  });
});

/** One end of a connection under test: what came, how often it drained and closed, and why. */
class End implements SocketHandler {
  opened = false;
  drains = 0;
  closes = 0;
  error: Error | undefined;
  onData: () => void = () => {};
  readonly #chunks: Buffer[] = [];

  constructor(public socket: Socket = undefined as unknown as Socket) {}

  get closed(): boolean {
    return this.closes > 0;
  }
  open(): void {
    this.opened = true;
  }
  data(_: Socket, chunk: Uint8Array): void {
    expect(this.closed).toBe(false);
    this.#chunks.push(Buffer.from(chunk));
    this.onData();
  }
  drain(): void {
    this.drains++;
  }
  close(_: Socket, error?: Error): void {
    this.closes++;
    this.error = error;
  }
  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
  text(): string {
    return this.bytes().toString();
  }
}

function listen(at: Partial<ListenOptions>, accept: (socket: Socket) => SocketHandler | null): Listener {
  return pushed(listeners, bunListen({ host: HOST, port: 0, ...at }, accept));
}

async function connected(at: Partial<ListenOptions>, tls: TlsClientOptions | undefined) {
  const ends: End[] = [];
  const listener = listen(at, (socket) => pushed(ends, new End(socket)));
  const near = new End();
  near.socket = bunDial({ host: HOST, port: listener.port, tls }, near);
  await until(() => near.opened && ends[0]?.opened === true);
  return { near, far: ends[0] as End, listener };
}

function pushed<T>(list: T[], item: T): T {
  list.push(item);
  return item;
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 3000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited 3 s in vain for ${condition}`);
    await Bun.sleep(1);
  }
}

function blockFor(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return (error as OddswireError).code;
  }
  return "nothing thrown";
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

async function certificate(names: readonly string[]): Promise<Pem> {
  const altNames = names.map((name) =>
    /^\d/.test(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name },
  );
  const pems = await generate([{ name: "commonName", value: names[0] as string }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames },
    ],
  });
  return { cert: pems.cert, key: pems.private };
}
