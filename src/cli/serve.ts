import process from "node:process";
import { startGateway, stderrLog } from "../app.ts";
import type { Config } from "../config.ts";
import { type Command, configPath } from "./command.ts";
import { untilStopped } from "./signals.ts";

export const serve: Command = {
  name: "serve",
  summary: "a gateway: holds the exchange's stream and serves users, as the configuration says",
  options: {
    config: { value: "FILE", help: "The configuration (JSON); `oddswire check --options` lists what it may hold." },
    worker: {
      value: "NAME",
      help: "How a gateway of several workers starts one of them; the rest comes on standard input.",
    },
  },
  examples: [
    "oddswire serve --config oddswire.json",
    "ODDSWIRE_EXCHANGE_PASSWORD=… oddswire serve --config oddswire.json",
  ],
  async run(call) {
    if (call.text("worker") !== undefined) return (await import("../worker.ts")).runWorker();
    const config = checkedConfig(configPath(call));
    if (config === null) return 1;
    const log = stderrLog(config.log.level);
    if (config.workers > 0) return serveByWorkers(config, log);
    const gateway = await startGateway(config, { log });
    const { httpUrl: http, websocketUrl: websocket, esaPort, esaTlsPort, metricsUrl: metrics } = gateway;
    log.info({ role: config.role, http, websocket, esaPort, esaTlsPort, metrics }, "started");
    await untilStopped();
    log.info({}, "stopping: users are told to come back");
    await gateway.stop();
    return 0;
  },
};

async function serveByWorkers(config: Config, log: ReturnType<typeof stderrLog>): Promise<number> {
  const { Workers } = await import("../workers.ts");
  const workers = new Workers(config, log);
  const { http } = await workers.start();
  const { metricsUrl: metrics, pids } = workers;
  log.info({ role: config.role, workers: config.workers, http, metrics, pids: JSON.stringify(pids) }, "started");
  await untilStopped();
  log.info({}, "stopping: users are told to come back");
  await workers.stop();
  return 0;
}

/**
 * The configuration in force, from `oddswire check` in a process of its own; null when it has complained. What checks a configuration (the schema and
 * its library) is 15 MB of memory that a gateway has need of once.
 */
function checkedConfig(path: string): Config | null {
  const checked = Bun.spawnSync([process.execPath, process.argv[1] as string, "check", "--config", path, "--json"]);
  if (checked.exitCode === 0) return JSON.parse(checked.stdout.toString()) as Config;
  process.stderr.write(checked.stderr.toString().replace(/^oddswire check/gm, "oddswire serve"));
  return null;
}
