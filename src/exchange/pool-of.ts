import type { MarketFilter } from "../market/filter.ts";
import type { ExchangeClient, Upstream } from "./client.ts";
import { both, Demand, type DemandOptions } from "./demand.ts";
import { ExchangePool, type PoolWorld } from "./pool.ts";

export interface PoolPlan {
  readonly base: MarketFilter;
  readonly shards: readonly MarketFilter[];
  readonly demand: Omit<DemandOptions, "base"> & { readonly enabled: boolean };
  /** Makes one connection's client, the `n`th (from 0); its session is shared. */
  readonly client: (name: string, filter: MarketFilter, n: number) => ExchangeClient;
  /** All are stopped: the session may go. */
  readonly stopped: () => void;
}

/** Connections by fixed shards, or by what is wanted. A shard with nothing in common with `base` has no connection. */
export function poolOf(plan: PoolPlan, world: PoolWorld): Upstream {
  return plan.demand.enabled ? byDemand(plan, world) : byShards(plan, world);
}

function byShards({ base, shards, client, stopped }: PoolPlan, world: PoolWorld): ExchangePool {
  const filters = shards.flatMap((shard) => both(base, shard) ?? []);
  return new ExchangePool("exchange", clientsFor(filters, client), filters, { ...world, stopped });
}

function byDemand({ base, demand, client, stopped }: PoolPlan, world: PoolWorld): ExchangePool {
  const wishes = new Demand({ ...demand, base }, world.clock, () => {
    pool.carry(wishes.plan());
    if (wishes.unserved > 0)
      world.log.warn({ markets: wishes.unserved }, "more markets are wanted than the connections may carry");
  });
  const filters = wishes.plan();
  const clients = clientsFor(filters, client);
  const want = (filter: MarketFilter) => wishes.want(filter);
  const pool: ExchangePool = new ExchangePool(
    "exchange",
    clients,
    filters,
    {
      ...world,
      stopped: () => {
        wishes.stop();
        stopped();
      },
    },
    want,
  );
  return pool;
}

function clientsFor(filters: readonly (MarketFilter | null)[], client: PoolPlan["client"]): ExchangeClient[] {
  return filters.map((filter, n) => client(`exchange-${n + 1}`, filter ?? {}, n));
}
