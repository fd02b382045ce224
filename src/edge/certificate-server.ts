import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTls, type Server, type TLSSocket } from "node:tls";
import type { Caller, HttpHandler } from "./http.ts";
import { type HttpServer, REQUEST_BYTES_MAX, type ServeAt } from "./server.ts";
import { explained, freePort } from "./sockets.ts";

export interface CertificateServeAt extends ServeAt {
  /** As for any HTTPS server; `clientCa`, PEM: the authorities that sign the certificates of those who come. */
  readonly tls: { readonly cert: string; readonly key: string; readonly clientCa: string };
}

/** Connections at a time, and how long each may take from its first byte to the end of its one answer. */
export const CONNECTIONS_MAX = 256;
export const CONNECTION_MS_MAX = 20_000;

/**
 * HTTPS that asks for a client certificate and tells the handler whose it is. `Bun.serve` can ask, and cannot tell; here `node:tls` ends the TLS and `node:http`
 * reads what is in it (docs/decisions/0006-identity.md). For logins: a connection is good for one request. Throws PORT_IN_USE or INVALID_CONFIG.
 *
 * Whoever shows no certificate, or one that is not signed as it should be, is let through without a name: the handler says so in words.
 */
export async function certificateServe(
  at: CertificateServeAt,
  handle: HttpHandler,
  connectionMsMax = CONNECTION_MS_MAX,
): Promise<HttpServer> {
  const { cert, key, clientCa: ca } = at.tls;
  const http = createHttp((request, response) => void answer(request, response, handle));
  const open = new Set<TLSSocket>();
  const port = at.port === 0 ? freePort(at.host) : at.port;
  const tls = createTls({ cert, key, ca, requestCert: true, rejectUnauthorized: false }, (socket) => {
    http.emit("connection", socket);
  });
  tls.maxConnections = CONNECTIONS_MAX;
  tls.on("connection", (socket: TLSSocket) => track(socket, open, connectionMsMax));
  // A handshake that fails costs its own connection, and is not worth a word.
  tls.on("tlsClientError", (_, socket) => socket.destroy());
  http.on("clientError", (_, socket) => socket.destroy());
  await listening(tls, at.host, port);
  return {
    port,
    stop() {
      tls.close();
      for (const socket of open) socket.destroy();
    },
  };
}

/** From before the handshake to its end. The timeouts that Node has for this do not hold for sockets that are handed over. */
function track(socket: TLSSocket, open: Set<TLSSocket>, msMax: number): void {
  open.add(socket);
  const limit = setTimeout(() => socket.destroy(), msMax);
  socket.on("error", () => {});
  socket.on("close", () => {
    clearTimeout(limit);
    open.delete(socket);
  });
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(explained(error, host, port));
    server.once("error", failed);
    server.listen(port, host, () => {
      server.off("error", failed);
      resolve();
    });
  });
}

async function answer(request: IncomingMessage, response: ServerResponse, handle: HttpHandler): Promise<void> {
  const socket = request.socket as TLSSocket;
  try {
    const answered = await handle(await standard(request), callerOf(socket));
    const body = Buffer.from(await answered.arrayBuffer());
    const headers = { ...Object.fromEntries(answered.headers), "Content-Length": body.length, Connection: "close" };
    response.writeHead(answered.status, headers);
    response.end(body);
  } catch {
    // Not HTTP as it should be, too large a body, or gone before its end.
    socket.destroy();
  }
}

/** Node's request as a web-standard one. */
async function standard(request: IncomingMessage): Promise<Request> {
  const { method = "GET", url = "/", headers } = request;
  const pairs = Object.entries(headers).flatMap(([name, value]) => [value ?? []].flat().map((one) => [name, one]));
  const body = method === "GET" || method === "HEAD" ? undefined : await bodyOf(request);
  return new Request(new URL(url, `https://${headers.host}`), { method, headers: pairs as [string, string][], body });
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > REQUEST_BYTES_MAX) throw new Error(`a body is longer than ${REQUEST_BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  return new Uint8Array(Buffer.concat(pieces));
}

function callerOf(socket: TLSSocket): Caller {
  // Several names are nobody's name.
  const name: unknown = socket.authorized ? socket.getPeerCertificate().subject?.CN : null;
  return { address: socket.remoteAddress ?? "", certificateName: typeof name === "string" ? name : null };
}
