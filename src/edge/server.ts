import { rmSync } from "node:fs";
import type { Server } from "bun";
import type { HttpHandler } from "./http.ts";
import { explained, freePort } from "./sockets.ts";

export interface HttpServer {
  readonly port: number;
  /** Closes at once, requests under way included. */
  stop(): void;
}

export interface ServeAt {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** PEM certificate chain and key; absent: plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** Answers HTTP at a socket of this machine's file system: among processes that are one gateway. */
export function bunServePath(path: string, handle: HttpHandler): HttpServer {
  // Whoever listened there before may have been killed, and its socket's name then stays.
  rmSync(path, { force: true });
  const nobody = { address: "", certificateName: null };
  const server = Bun.serve({ unix: path, fetch: (request) => handle(request, nobody), development: false });
  return { port: 0, stop: () => void server.stop(true) };
}

/** The longest body of a request; a larger one is answered 413. */
export const REQUEST_BYTES_MAX = 1024 * 1024;
/** A connection on which nothing moves is closed; longer than a login waits for its turn. */
const ANSWER_SECONDS_MAX = 30;

/** Answers HTTP, or HTTPS, by `Bun.serve`. Throws PORT_IN_USE or INVALID_CONFIG. */
export function bunServe(at: ServeAt, handle: HttpHandler): HttpServer {
  const port = at.port === 0 ? freePort(at.host) : at.port;
  let server: Server<undefined>;
  try {
    server = Bun.serve({
      hostname: at.host,
      port,
      fetch: (request, server) =>
        handle(request, { address: server.requestIP(request)?.address ?? "", certificateName: null }),
      ...(at.tls && { tls: { cert: at.tls.cert, key: at.tls.key } }),
      maxRequestBodySize: REQUEST_BYTES_MAX,
      idleTimeout: ANSWER_SECONDS_MAX,
      development: false,
      // Left out, Bun lets two servers bind one port, and whoever came second is silently never asked.
      reusePort: false,
    });
  } catch (error) {
    throw explained(error, at.host, port);
  }
  return { port: server.port as number, stop: () => void server.stop(true) };
}
