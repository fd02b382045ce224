import { connect } from "node:net";

/** Where ports for tests are taken from: below the range that the system hands out by itself, so that no outgoing connection sits on one. */
const FIRST = 20_000;
const LAST = 32_000;
const TRIES_MAX = 50;

/** A port on 127.0.0.1 that nobody listens on right now. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!(await listens(port))) return port;
  }
  throw new Error(`no free port in ${TRIES_MAX} tries`);
}

/** True if somebody accepts connections there. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const answer = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.on("connect", () => answer(true)).on("error", () => answer(false));
  });
}
