import { stderrLog } from "../app.ts";
import { type Command, LOG_OPTION, logLevel } from "./command.ts";
import { DEMO_ACCOUNT, EXCHANGE_OPTIONS, startExchange } from "./exchange.ts";
import { writeText } from "./files.ts";
import { replayProgress } from "./progress.ts";
import { untilStopped } from "./signals.ts";

export const simulate: Command = {
  name: "simulate",
  summary: "the simulated exchange alone, for a gateway or any other exchange client",
  operands: "[FILE…]",
  options: {
    ...EXCHANGE_OPTIONS,
    host: { value: "ADDRESS", help: "Where to listen.", default: "127.0.0.1" },
    port: { value: "PORT", help: "ESA on TLS; 0: any free port.", default: "0" },
    "plain-port": { value: "PORT", help: "ESA on plain TCP; 0: any free port.", default: "0" },
    "identity-port": { value: "PORT", help: "Identity service and betting API over HTTP.", default: "0" },
    connections: { value: "N", help: "Connections that the account may have open at once.", default: "10" },
    "cert-file": { value: "FILE", help: "Where to write the certificate that clients must trust (PEM)." },
    log: LOG_OPTION,
  },
  examples: [
    "oddswire simulate --markets 500",
    "oddswire simulate --recording 1.200806927.bz2 --speed 10 --loop",
    "oddswire simulate --workload W1 --cert-file ca.pem",
  ],
  async run(call) {
    const port = (name: string) => call.number(name, 0, 65_535) as number;
    const host = call.text("host") as string;
    const ports = {
      host,
      tls: port("port"),
      plain: port("plain-port"),
      identity: port("identity-port"),
      connectionsMax: call.number("connections", 1, 19_000),
    };
    const exchange = await startExchange(call, ports, stderrLog(logLevel(call)));
    const certFile = call.text("cert-file");
    if (certFile !== undefined) writeText(certFile, exchange.certificate.cert);
    const { username, password, appKey } = DEMO_ACCOUNT;
    console.log(`ESA (TLS)    ${host}:${exchange.tlsPort}`);
    console.log(`ESA (TCP)    ${host}:${exchange.plainPort}`);
    console.log(`Identity     ${exchange.identityUrl}/api/login`);
    console.log(`Betting API  ${exchange.identityUrl}/exchange/betting/json-rpc/v1`);
    console.log(`Credentials  appKey ${appKey}, username ${username}, password ${password}`);
    const stopped = untilStopped();
    const playing = exchange.play(replayProgress());
    await Promise.race([
      stopped,
      playing.then(() => console.log("The recording has ended; the last books stand.")).then(() => stopped),
    ]);
    exchange.stop();
    return 0;
  },
};
