/**
 * The exchange's stream messages as JSON gives them. Everything optional may also be null, which means the same as absent.
 * Keys that are not listed are carried along and ignored.
 */

/** [price, size]. Size 0 in a change deletes the price. */
export type PriceSize = readonly [price: number, size: number];
/** [level, price, size], levels from 0 for the best. Size 0 in a change deletes the level. */
export type LevelPriceSize = readonly [level: number, price: number, size: number];
/** A number, or one of the two that JSON cannot write and the exchange sends as strings. */
export type WireNumber = number | "NaN" | "Infinity";

export type FieldName =
  | "EX_BEST_OFFERS_DISP"
  | "EX_BEST_OFFERS"
  | "EX_ALL_OFFERS"
  | "EX_TRADED"
  | "EX_TRADED_VOL"
  | "EX_LTP"
  | "EX_MARKET_DEF"
  | "SP_TRADED"
  | "SP_PROJECTED";

/** Fields are ANDed, values within one ORed; an empty filter is every market, future ones included. */
export interface MarketFilter {
  readonly marketIds?: readonly string[];
  readonly bspMarket?: boolean;
  readonly bettingTypes?: readonly string[];
  readonly eventTypeIds?: readonly string[];
  readonly eventIds?: readonly string[];
  readonly turnInPlayEnabled?: boolean;
  readonly marketTypes?: readonly string[];
  readonly venues?: readonly string[];
  readonly countryCodes?: readonly string[];
  readonly raceTypes?: readonly string[];
}

export interface RunnerDefinition {
  readonly id: number;
  readonly hc?: number | null;
  /** ACTIVE, WINNER, LOSER, PLACED, REMOVED, REMOVED_VACANT or HIDDEN. */
  readonly status?: string;
  readonly sortPriority?: number;
  readonly name?: string;
  readonly adjustmentFactor?: number;
  readonly bsp?: WireNumber;
  readonly removalDate?: string;
}

/** A market's definition, always whole. The keys that a book or a page commonly asks for are typed; the rest is there as sent. */
export interface MarketDefinition {
  /** INACTIVE, OPEN, SUSPENDED or CLOSED. */
  readonly status?: string;
  readonly inPlay?: boolean;
  readonly version?: number;
  readonly betDelay?: number;
  readonly name?: string;
  readonly eventName?: string;
  readonly eventId?: string;
  readonly eventTypeId?: string;
  readonly marketType?: string;
  readonly bettingType?: string;
  readonly marketTime?: string;
  readonly countryCode?: string;
  readonly venue?: string;
  readonly suspendReason?: string;
  readonly numberOfWinners?: number;
  readonly numberOfActiveRunners?: number;
  readonly runners?: readonly RunnerDefinition[];
  readonly [key: string]: unknown;
}

export interface RunnerChange {
  readonly id: number;
  readonly hc?: number | null;
  readonly tv?: number | null;
  readonly ltp?: number | null;
  readonly spn?: WireNumber | null;
  readonly spf?: WireNumber | null;
  readonly atb?: readonly PriceSize[] | null;
  readonly atl?: readonly PriceSize[] | null;
  readonly trd?: readonly PriceSize[] | null;
  readonly spb?: readonly PriceSize[] | null;
  readonly spl?: readonly PriceSize[] | null;
  readonly batb?: readonly LevelPriceSize[] | null;
  readonly batl?: readonly LevelPriceSize[] | null;
  readonly bdatb?: readonly LevelPriceSize[] | null;
  readonly bdatl?: readonly LevelPriceSize[] | null;
}

export interface MarketChange {
  readonly id: string;
  /** Forget what you have of this market and start from here. */
  readonly img?: boolean | null;
  /** Several changes merged into one. */
  readonly con?: boolean | null;
  readonly tv?: number | null;
  readonly marketDefinition?: MarketDefinition | null;
  readonly rc?: readonly RunnerChange[] | null;
}

export interface ChangeMessage {
  readonly op: "mcm";
  readonly id?: number | null;
  /** The server's send time, milliseconds since the Unix epoch. */
  readonly pt: number;
  readonly ct?: "SUB_IMAGE" | "RESUB_DELTA" | "HEARTBEAT" | null;
  readonly segmentType?: "SEG_START" | "SEG" | "SEG_END" | null;
  readonly initialClk?: string | null;
  readonly clk?: string | null;
  readonly conflateMs?: number | null;
  readonly heartbeatMs?: number | null;
  /** 503 where the server knows its data to be unreliable. */
  readonly status?: number | null;
  readonly mc?: readonly MarketChange[] | null;
}

export interface ConnectionMessage {
  readonly op: "connection";
  readonly connectionId?: string;
}

export interface StatusMessage {
  readonly op: "status";
  readonly id?: number | null;
  readonly statusCode?: "SUCCESS" | "FAILURE";
  readonly connectionClosed?: boolean;
  readonly errorCode?: string | null;
  readonly errorMessage?: string | null;
  /** What is in force, in the answer to `limits`. */
  readonly bytesPerSecond?: number | null;
}

export type ServerMessage = ChangeMessage | ConnectionMessage | StatusMessage;
