import { pinoLog, startGateway } from "../app.ts";
import { readConfig } from "../config.ts";
import { configPath } from "./check.ts";
import type { Command } from "./command.ts";
import { untilStopped } from "./signals.ts";

export const serve: Command = {
  name: "serve",
  summary: "a gateway: holds the exchange's stream and serves users, as the configuration says",
  options: {
    config: { value: "FILE", help: "The configuration (JSON); `oddswire check --help` lists what it may hold." },
  },
  examples: [
    "oddswire serve --config oddswire.json",
    "ODDSWIRE_EXCHANGE_PASSWORD=… oddswire serve --config oddswire.json",
  ],
  async run(call) {
    const config = readConfig(configPath(call), process.env);
    const log = pinoLog(config.log.level);
    const gateway = await startGateway(config, { log });
    const { httpUrl, websocketUrl, esaPort, esaTlsPort } = gateway;
    log.info({ role: config.role, http: httpUrl, websocket: websocketUrl, esaPort, esaTlsPort }, "started");
    await untilStopped();
    log.info({}, "stopping: users are told to come back");
    await gateway.stop();
    return 0;
  },
};
