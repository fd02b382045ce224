import { startGateway } from "../app.ts";
import { systemClock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { nearest } from "../base/nearest.ts";
import { systemRandom } from "../base/random.ts";
import { parseConfig } from "../config.ts";
import { bunDial, bunListen } from "../edge/sockets.ts";
import { FIELD_FLAGS, type FieldFlag, LADDER_LEVELS_MAX } from "../sim/exchange-fields.ts";
import type { Asked } from "../sim/onlooker.ts";
import type { PlayedGateway, Through, Upstream } from "../sim/playthrough.ts";
import { verify as verifyFiles } from "../sim/verify.ts";
import { type Call, type Command, UsageError } from "./command.ts";
import { progressLine } from "./progress.ts";

const HOST = "127.0.0.1";
const SESSION = "verify-session-token";
const CONFLATE_MS_MAX = 120_000;
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
    fields: {
      value: "F1,F2,…",
      help: "The fields to ask for, of the exchange's flags such as EX_BEST_OFFERS; by default what is recorded.",
    },
    levels: { value: "N", help: "How many levels of the level ladders to ask for, 1 to 10.", default: "10" },
    conflate: {
      value: "MS",
      help: "Milliseconds to merge changes for, 0 to 120000. Books are then compared at each flush.",
      default: "0",
    },
    dump: { help: "Prints each state that came through as a JSON line; the table then goes to standard error." },
  },
  examples: [
    "oddswire verify 1.200806927.bz2",
    "oddswire verify --through esa recordings/*",
    "oddswire verify --fields EX_BEST_OFFERS,EX_LTP --levels 3 --conflate 180 1.200806927.bz2",
    "oddswire verify --dump 1.200806927 > states.jsonl",
  ],
  async run(call) {
    const through = call.word("through", WAYS) as Through;
    const asked = askedIn(call);
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
    return verifyFiles({ files: call.operands, through, asked, dump: call.flag("dump") }, stage, printer);
  },
};

/** What the client is to ask for. Throws UsageError. */
function askedIn(call: Call): Asked {
  const fields = (call.text("fields") ?? "").split(",").filter((name) => name !== "");
  const unknown = fields.find((name) => !FIELD_FLAGS.includes(name as FieldFlag));
  if (unknown !== undefined) {
    const meant = nearest(unknown, FIELD_FLAGS);
    throw new UsageError(`there is no field ${unknown}${meant === null ? "" : `; did you mean ${meant}?`}`);
  }
  return {
    fields: fields as FieldFlag[],
    ladderLevels: call.number("levels", 1, LADDER_LEVELS_MAX) as number,
    conflateMs: call.number("conflate", 0, CONFLATE_MS_MAX) as number,
  };
}

/** A gateway with all doors on free ports, for one recording. */
export async function startFor({ host, port, session, appKey }: Upstream): Promise<PlayedGateway> {
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
