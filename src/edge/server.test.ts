import { afterEach, expect, test } from "bun:test";
import { OddswireError } from "../base/errors.ts";
import { loopbackCertificate } from "../sim/certificate.ts";
import type { HttpHandler } from "./http.ts";
import { bunServe, type HttpServer, REQUEST_BYTES_MAX, type ServeAt } from "./server.ts";

const HOST = "127.0.0.1";
const servers: HttpServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

function serve(handle: HttpHandler, rest: Partial<ServeAt> = {}): number {
  const server = bunServe({ host: HOST, port: 0, ...rest }, handle);
  servers.push(server);
  return server.port;
}

test("a port on which another server answers is refused, and not silently shared", () => {
  const port = serve(() => new Response("first"));
  expect(() => serve(() => new Response("second"), { port })).toThrow(OddswireError);
});

test("with a certificate it is HTTPS, for those who trust it", async () => {
  const tls = await loopbackCertificate();
  const port = serve((request, caller) => Response.json({ url: request.url, ...caller }), { tls });
  const answer = await fetch(`https://${HOST}:${port}/x`, { tls: { ca: tls.cert } });
  expect(await answer.json()).toEqual({ url: `https://${HOST}:${port}/x`, address: HOST, certificateName: null });
  const refused = (url: string) => fetch(url, { tls: { rejectUnauthorized: true } }).catch((error) => error);
  expect(await refused(`https://${HOST}:${port}/x`)).toBeInstanceOf(Error);
});

test("a certificate that is none is said to be, and nothing is served", () => {
  expect(() => serve(() => new Response(), { tls: { cert: "no", key: "no" } })).toThrow(OddswireError);
});

test("a body that is too long is refused before anybody reads it", async () => {
  const port = serve(async (request) => new Response(String((await request.arrayBuffer()).byteLength)));
  const post = async (bytes: number) =>
    fetch(`http://${HOST}:${port}/`, { method: "POST", body: new Uint8Array(bytes) });
  expect(await (await post(REQUEST_BYTES_MAX)).text()).toBe(String(REQUEST_BYTES_MAX));
  expect((await post(REQUEST_BYTES_MAX + 1)).status).toBe(413);
});
