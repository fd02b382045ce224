import process from "node:process";
import { watch as watchMarket } from "../ops/watch.ts";
import { type Command, UsageError } from "./command.ts";

export const watch: Command = {
  name: "watch",
  summary: "a market's live ladder in this terminal",
  operands: "URL MARKET",
  options: {
    session: { value: "TOKEN", help: "Your session token; a demo's page gives its own." },
    "app-key": { value: "KEY", help: "Your application key, where one is asked for." },
    once: { help: "Prints the book once and ends." },
  },
  examples: [
    "oddswire watch http://127.0.0.1:8080/ 1.200000001",
    "oddswire watch --session TOKEN wss://prices.example.com/v1/ws 1.200806927",
  ],
  async run(call) {
    const [url, market, ...rest] = call.operands;
    if (url === undefined || market === undefined || rest.length > 0)
      throw new UsageError("give a URL and a market's id");
    const session = call.text("session");
    const appKey = call.text("app-key");
    return watchMarket({
      url,
      market,
      out: process.stdout,
      once: call.flag("once"),
      ...(session && { session }),
      ...(appKey && { appKey }),
    });
  },
};
