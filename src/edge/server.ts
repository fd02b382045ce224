import type { Server } from "bun";
import { explained, freePort } from "./sockets.ts";

export interface HttpServer {
  readonly port: number;
  /** Closes at once, requests under way included. */
  stop(): void;
}

/** Answers HTTP by `Bun.serve`; port 0 is any free one. Throws PORT_IN_USE or INVALID_CONFIG. */
export function bunServe(
  at: { host: string; port: number },
  handle: (request: Request) => Response | Promise<Response>,
): HttpServer {
  const port = at.port === 0 ? freePort(at.host) : at.port;
  let server: Server<undefined>;
  try {
    // Left out, Bun lets two servers bind one port, and whoever came second is silently never asked.
    server = Bun.serve({ hostname: at.host, port, fetch: handle, development: false, reusePort: false });
  } catch (error) {
    throw explained(error, at.host, port);
  }
  return { port: server.port as number, stop: () => void server.stop(true) };
}
