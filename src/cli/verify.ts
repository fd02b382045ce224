import { startGateway } from "../app.ts";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { systemRandom } from "../base/random.ts";
import { parseConfig } from "../config.ts";
import { bunDial, bunListen } from "../edge/sockets.ts";
import type { PlayedGateway, Through, Upstream } from "../sim/playthrough.ts";
import { verify as verifyFiles } from "../sim/verify.ts";
import { type Command, UsageError } from "./command.ts";
import { progressLine } from "./progress.ts";

const HOST = "127.0.0.1";
const SESSION = "verify-session-token";
const WAYS: readonly Through[] = ["websocket", "esa", "direct"];

export const verify: Command = {
  name: "verify",
  summary:
    "plays recordings through the simulated exchange, the gateway and a client, and compares every book with a naive one",
  operands: "FILE…",
  options: {
    through: {
      value: "DOOR",
      help: "The door to go through: websocket or esa; direct: without the gateway.",
      default: "websocket",
    },
    dump: { help: "Prints each state that came through as a JSON line; the table then goes to standard error." },
  },
  examples: [
    "oddswire verify 1.200806927.bz2",
    "oddswire verify --through esa recordings/*",
    "oddswire verify --dump 1.200806927 > states.jsonl",
  ],
  async run(call) {
    const through = call.word("through", WAYS) as Through;
    if (call.operands.length === 0) throw new UsageError("name at least one recording");
    const progress = progressLine();
    const stage = {
      clock: systemClock,
      random: systemRandom,
      dial: bunDial,
      listen: bunListen,
      startGateway: startFor,
    };
    const printer = { print: console.log, note: console.error, ...(progress && { progress }) };
    return verifyFiles({ files: call.operands, through, dump: call.flag("dump") }, stage, printer);
  },
};

/** A gateway with all doors on free ports, for one recording. */
async function startFor({ host, port, session, appKey }: Upstream): Promise<PlayedGateway> {
  const free = { host: HOST, port: 0 };
  const config = parseConfig({
    exchange: { host, port, tls: false, appKey, session },
    doors: { http: free, websocket: free, esa: free },
    visitors: [{ token: SESSION, name: "verify" }],
  });
  const gateway = await startGateway(config, { log: silentLog });
  return {
    websocketUrl: gateway.websocketUrl as string,
    esaPort: gateway.esaPort as number,
    session: SESSION,
    appKey,
    stop: () => gateway.stop(),
  };
}
