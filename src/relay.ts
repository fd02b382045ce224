import type { Clock } from "./base/clock.ts";
import type { Log } from "./base/log.ts";
import type { Config } from "./config.ts";
import { Hub } from "./delivery/hub.ts";
import { EsaDoor } from "./edge/esa.ts";
import { Lobby } from "./edge/lobby.ts";
import { bunListen } from "./edge/sockets.ts";
import type { Session } from "./exchange/session.ts";
import { Cache } from "./market/cache.ts";
import { exchangeSides, Sides } from "./sides.ts";
import type { Account } from "./tenancy/tokens.ts";

/** A connection of each edge for each stream, and some that are on their way out. */
const CONNECTIONS_MAX = 1_000;

/** Whoever finds the socket, which is in a folder that only we can open. */
const EDGE: Account = {
  name: "edge",
  tenant: "default",
  connectionsMax: CONNECTIONS_MAX,
  subscriptionsMax: 1,
  marketsMax: 0,
  orders: "account",
  sports: ["race", "cricket"],
};

/**
 * Orders and sports for the edges: the process that holds the upstream has a connection to the exchange for each, and is the exchange to the edges, in its own
 * protocol. An edge takes them as it would take them there, and cuts for each user what is the user's.
 */
export function openRelay(config: Config, path: string, session: Session, clock: Clock, log: Log): Relay {
  const sides = new Sides(config, exchangeSides(config, session), clock, log);
  // Prices go over the bus: this hub has none, and writes what the desks say.
  const cache = new Cache({ epoch: "", clock, ...config.cache, deletionsMax: 2 });
  const hub = new Hub({ cache, clock, ...config.delivery });
  const tokens = { authenticate: () => EDGE };
  const lobby = new Lobby({ hub, tokens, clock, sides: sides.streams, connectionsMax: CONNECTIONS_MAX });
  const door = new EsaDoor({ listen: bunListen, at: { host: "relay", port: 0, path }, lobby, log });
  sides.start();
  return {
    sides,
    stop() {
      door.stop();
      sides.stop();
      lobby.closeAll({ code: "GOING_AWAY", message: "the ingest is stopping" });
      sides.close();
      hub.stop();
    },
  };
}

export interface Relay {
  readonly sides: Sides;
  stop(): void;
}
