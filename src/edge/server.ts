import type { Server } from "bun";
import { OddswireError } from "../base/errors.ts";
import { freePort } from "./sockets.ts";

export interface HttpServer {
  readonly port: number;
  /** Closes at once, requests under way included. */
  stop(): void;
}

/** Answers HTTP by `Bun.serve`; port 0 is any free one. Throws PORT_IN_USE. */
export function bunServe(
  at: { host: string; port: number },
  handle: (request: Request) => Response | Promise<Response>,
): HttpServer {
  const port = at.port === 0 ? freePort(at.host) : at.port;
  let server: Server<undefined>;
  try {
    server = Bun.serve({ hostname: at.host, port, fetch: handle, development: false });
  } catch (error) {
    if ((error as { code?: string }).code !== "EADDRINUSE") throw error;
    throw new OddswireError(
      "PORT_IN_USE",
      `another program listens on ${at.host}:${port}; give another port, or 0 for any free one`,
    );
  }
  return { port: server.port as number, stop: () => void server.stop(true) };
}
