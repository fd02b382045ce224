import { startGateway } from "../src/app.ts";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { type Random, seededRandom } from "../src/base/random.ts";
import { type ConfigInput, parseConfig } from "../src/config.ts";
import { bunListen } from "../src/edge/sockets.ts";
import { SimExchange } from "../src/sim/exchange.ts";
import { FaultProxy } from "./proxy.ts";

const HOST = "127.0.0.1";
export const SESSION = "stage-session-token";
/** With what the gateway comes to the exchange. */
export const UPSTREAM = { session: "upstream-token", appKey: "stage-app-key" };

/** Exchange → fault proxy → gateway → fault proxies → users, on real sockets, in this process and in a hurry. */
export async function openStage(
  seed: number,
  options: Pick<ConfigInput, "cache" | "delivery" | "doors" | "metrics" | "orders" | "sports" | "visitors"> = {},
) {
  const exchange = new SimExchange({
    clock: systemClock,
    random: seededRandom(seed),
    log: silentLog,
    sessions: { accountOf: (token) => (token === UPSTREAM.session ? "stage" : null) },
    appKeys: [UPSTREAM.appKey],
    sportsAppKeys: [UPSTREAM.appKey],
    limits: { marketsMax: Number.POSITIVE_INFINITY },
  });
  const { port } = exchange.listen(bunListen, { host: HOST, port: 0 });
  const upstream = await FaultProxy.start(port, seed);
  const free = { host: HOST, port: 0 };
  const gateway = await startGateway(
    parseConfig({
      exchange: {
        host: HOST,
        port: upstream.port,
        tls: false,
        ...UPSTREAM,
        heartbeatMs: 500,
        retryFirstMs: 20,
        retryMaxMs: 100,
      },
      doors: { http: free, websocket: free, esa: free },
      visitors: [{ token: SESSION, name: "stage" }],
      ...options,
    }),
    { log: silentLog },
  );
  const websocket = await FaultProxy.start(Number(new URL(gateway.websocketUrl as string).port), seed + 1);
  const esa = await FaultProxy.start(gateway.esaPort as number, seed + 2);
  return {
    exchange,
    upstream,
    gateway,
    websocket,
    esa,
    websocketUrl: `ws://${HOST}:${websocket.port}/v1/ws`,
    esaAddress: { host: HOST, port: esa.port },
    async close() {
      await gateway.stop();
      exchange.stop();
      for (const proxy of [upstream, websocket, esa]) await proxy.stop();
    },
  };
}

export type OpenStage = Awaited<ReturnType<typeof openStage>>;

/** Chance that makes every jittered wait a short one: for users that are to be back at once. */
export const HASTE: Random = { next: () => 0 };

/** Polls until it holds; an error with these words when it does not within `msMax`. */
export async function until(holds: () => boolean, words: string, msMax = 20_000): Promise<void> {
  const deadline = performance.now() + msMax;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${msMax} ms: ${words}`);
    await Bun.sleep(5);
  }
}
