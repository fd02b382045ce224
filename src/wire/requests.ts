import type { FaultCode } from "../base/errors.ts";
import type { MarketFilter } from "../market/filter.ts";
import type { FieldSet } from "../market/types.ts";

/** A marketSubscription, checked and with the exchange's defaults and clamps filled in. */
export interface SubscribeRequest {
  readonly id: number;
  readonly filter: MarketFilter;
  readonly fields: FieldSet;
  readonly ladderLevels: number;
  /** 0 to 120,000 as asked and clamped. */
  readonly conflateMs: number;
  /** 500 to 5,000 as asked and clamped. */
  readonly heartbeatMs: number;
  readonly segmentationEnabled: boolean;
  readonly initialClk: string | null;
  readonly clk: string | null;
}

/** What a client may ask, told apart by `kind`; `invalid` carries what is wrong in the protocol's words. */
export type ClientRequest =
  | {
      readonly kind: "authentication";
      readonly id: number | null;
      readonly appKey: string | null;
      readonly session: string | null;
    }
  | { readonly kind: "marketSubscription"; readonly id: number | null; readonly request: SubscribeRequest }
  | { readonly kind: "orderSubscription"; readonly id: number | null }
  | { readonly kind: "heartbeat"; readonly id: number | null }
  /** Extension (WebSocket, SSE): ends the subscription of that id. */
  | { readonly kind: "unsubscribe"; readonly id: number | null; readonly subscription: number }
  | { readonly kind: "invalid"; readonly id: number | null; readonly code: FaultCode; readonly message: string };
