import type { Tamper } from "./differential-reading.ts";
import type { ExchangeMessage } from "./exchange-visitor.ts";
import type { MarketChange } from "./naive.ts";

/** A mistake planted in what our door says: the negative control of the differential, which must find it. */
export interface Mistake {
  readonly name: string;
  readonly mistake: string;
  readonly tamper: Tamper;
}

const isChange = ({ op, ct, mc }: ExchangeMessage) => op === "mcm" && ct !== "HEARTBEAT" && mc !== undefined;

export const MISTAKES: readonly Mistake[] = [
  {
    name: "change-a-value",
    mistake: "one number of a runner is another",
    tamper: (message, n) => (isChange(message) && n % 5 === 0 ? withOtherNumber(message) : message),
  },
  {
    name: "drop-a-change",
    mistake: "an update is not sent",
    tamper: (message, n) => (isChange(message) && message.ct === undefined && n % 5 === 0 ? null : message),
  },
  {
    name: "swap-an-error",
    mistake: "a failure has another errorCode",
    tamper: (message) =>
      message.errorCode === "INVALID_INPUT" ? { ...message, errorCode: "INVALID_REQUEST" } : message,
  },
  {
    name: "succeed-all-the-same",
    mistake: "a subscription over the limit is said to be accepted",
    tamper: (message) =>
      message.errorCode === "SUBSCRIPTION_LIMIT_EXCEEDED" ? { ...message, statusCode: "SUCCESS" } : message,
  },
  {
    name: "forget-a-count",
    mistake: "an authentication is answered without connectionsAvailable",
    tamper: ({ connectionsAvailable: _, ...message }) => message,
  },
  {
    name: "image-without-img",
    mistake: "a market in an image does not say that it is one",
    tamper: (message) => (message.ct === "SUB_IMAGE" ? withMarkets(message, ({ img: _, ...rest }) => rest) : message),
  },
  {
    name: "image-without-a-market",
    mistake: "an image lacks a market",
    tamper: (message) => (message.ct === "SUB_IMAGE" ? { ...message, mc: message.mc?.slice(1) } : message),
  },
  {
    name: "another-interval",
    mistake: "what is in force is not what is echoed",
    tamper: (message) => (message.heartbeatMs === 1_000 ? { ...message, heartbeatMs: 2_000 } : message),
  },
  {
    name: "the-old-id",
    mistake: "changes come with the id of a subscription that was replaced",
    tamper: (message, n) =>
      isChange(message) && n % 9 === 0 ? { ...message, id: (message.id as number) - 1 } : message,
  },
  {
    name: "merge-in-silence",
    mistake: "con is not passed on",
    tamper: (message) => (isChange(message) ? withMarkets(message, ({ con: _, ...rest }) => rest) : message),
  },
  {
    name: "heartbeat-without-clk",
    mistake: "a heartbeat has no clk",
    tamper: ({ clk, ...message }) => (message.ct === "HEARTBEAT" ? message : { ...message, clk }),
  },
  {
    name: "clk-before-the-end",
    mistake: "a segment that is not the last has a clk",
    tamper: (message) => (message.segmentType === "SEG_START" ? { ...message, clk: "1" } : message),
  },
  {
    name: "anew-each-time",
    mistake: "a resume is answered by an image",
    tamper: (message) => (message.ct === "RESUB_DELTA" ? { ...message, ct: "SUB_IMAGE" } : message),
  },
];

function withMarkets(message: ExchangeMessage, of: (market: MarketChange) => MarketChange): ExchangeMessage {
  return { ...message, mc: message.mc?.map(of) };
}

/** The first number of the first runner that says one, one more. */
function withOtherNumber(message: ExchangeMessage): ExchangeMessage {
  const copy = structuredClone(message) as { mc: { rc?: Record<string, unknown>[] }[] } & ExchangeMessage;
  for (const { rc = [] } of copy.mc)
    for (const runner of rc)
      for (const [key, value] of Object.entries(runner)) {
        if (key === "id" || key === "hc") continue;
        if (typeof value === "number") runner[key] = value + 1;
        else if (Array.isArray(value) && value.length > 0 && value[0].at(-1) > 0) value[0][value[0].length - 1]++;
        else continue;
        return copy;
      }
  return copy;
}
