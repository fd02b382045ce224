import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { connect as dial, type Socket } from "node:net";
import { type ConnectionOptions, connect } from "node:tls";
import { type Authority, authority } from "../../test/authority.ts";
import { OddswireError } from "../base/errors.ts";
import { type Certificate, loopbackCertificate } from "../sim/certificate.ts";
import { CONNECTIONS_MAX, certificateServe } from "./certificate-server.ts";
import type { HttpHandler } from "./http.ts";
import { type HttpServer, REQUEST_BYTES_MAX } from "./server.ts";

const HOST = "127.0.0.1";
const GET = "GET /x?y=1 HTTP/1.1\r\nHost: h\r\nX-Odd: one\r\n\r\n";
let ours: Authority;
let own: Certificate;
const servers: HttpServer[] = [];

beforeAll(async () => {
  [ours, own] = [await authority(), await loopbackCertificate()];
});
afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

async function serve(handle: HttpHandler, port = 0, connectionMsMax?: number): Promise<number> {
  const at = { host: HOST, port, tls: { ...own, clientCa: ours.cert } };
  const server = await certificateServe(at, handle, connectionMsMax);
  servers.push(server);
  return server.port;
}

/** Sends it and resolves to all that came until the connection closed. */
function exchange(port: number, sent: string | Uint8Array, options: ConnectionOptions = {}): Promise<string> {
  return new Promise((resolve) => {
    let came = "";
    const socket = connect({ host: HOST, port, rejectUnauthorized: false, ...options });
    socket.on("secureConnect", () => socket.write(sent));
    socket.on("data", (bytes) => (came += bytes));
    socket.on("error", () => {});
    socket.on("close", () => resolve(came));
  });
}

describe("a server that asks for certificates", () => {
  test("says whose certificate it is, where our authority has signed it", async () => {
    const port = await serve((_, caller) => Response.json(caller));
    const name = async (shown?: Certificate) =>
      /"certificateName":"?([^"}]*)/.exec(await exchange(port, GET, { ...shown }))?.[1];
    expect(await name(await ours.sign("ann-bot"))).toBe("ann-bot");
    expect(await name()).toBe("null");
    expect(await name(await (await authority()).sign("ann-bot"))).toBe("null");
    expect(await name(await loopbackCertificate())).toBe("null");
  });

  test("hands a request on as it came, and the answer back", async () => {
    const port = await serve(async (request, { address }) => {
      const seen = [request.method, request.url, request.headers.get("X-Odd"), await request.text(), address];
      return new Response(seen.join(" "), { status: 418, headers: { "X-Even": "two" } });
    });
    const posted = await exchange(port, `${GET.replace("GET", "POST").trim()}\r\nContent-Length: 4\r\n\r\nbody`);
    expect(posted).toStartWith("HTTP/1.1 418 ");
    expect(posted).toEndWith(`\r\n\r\nPOST https://h/x?y=1 one body ${HOST}`);
    expect(posted.toLowerCase()).toContain("x-even: two");
    expect(await exchange(port, GET)).toContain("GET https://h/x?y=1 one  127");
  });

  test("answers one request a connection, and closes", async () => {
    const port = await serve(({ url }) => new Response(url));
    expect((await exchange(port, GET)).toLowerCase()).toContain("connection: close");
    expect((await exchange(port, GET.repeat(3))).match(/HTTP\/1\.1 200/g)).toHaveLength(1);
  });

  test("costs what is no HTTP its connection, and nobody else", async () => {
    const port = await serve(() => new Response("fine"));
    const tooLong = `POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ${REQUEST_BYTES_MAX + 1}\r\n\r\n`;
    for (const odd of [
      "\0\0\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
      tooLong + "x".repeat(REQUEST_BYTES_MAX + 1),
    ])
      expect(await exchange(port, odd)).not.toContain("fine");
    const plain = dial(port, HOST, () => plain.write(GET)).on("error", () => {});
    await new Promise((closed) => plain.on("close", closed));
    expect(await exchange(port, GET)).toContain("fine");
  });

  test("takes so many connections at a time, those in their handshake included", async () => {
    const port = await serve(() => new Response("fine"));
    const idle = await Promise.all(Array.from({ length: CONNECTIONS_MAX }, () => opened(port)));
    expect(await exchange(port, GET)).toBe("");
    for (const socket of idle) socket.destroy();
    let came = "";
    for (let tries = 0; tries < 100 && came === ""; tries++) came = await exchange(port, GET);
    expect(came).toContain("fine");
  });

  test("ends who takes too long over a handshake, a request, or waits too long for an answer", async () => {
    const port = await serve(() => new Promise<Response>(() => {}), 0, 200);
    const from = performance.now();
    const silent = await opened(port);
    const silence = new Promise((closed) => silent.resume().on("close", closed));
    const half = `POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf`;
    const came = await Promise.all(["GET / HTTP/1.1\r\nHo", half, GET].map((sent) => exchange(port, sent)));
    expect(came).toEqual(["", "", ""]);
    await silence;
    expect(performance.now() - from).toBeLessThan(3_000);
  });

  test("says when its port is taken", async () => {
    const port = await serve(() => new Response());
    const error = await serve(() => new Response(), port).catch((error) => error);
    expect(error).toBeInstanceOf(OddswireError);
    expect((error as OddswireError).code).toBe("PORT_IN_USE");
  });
});

function opened(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket: Socket = dial(port, HOST, () => resolve(socket)).on("error", () => {});
  });
}
