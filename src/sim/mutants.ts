import { MarketSubscription } from "../../client/subscription.ts";
import { Wheel } from "../base/wheel.ts";
import { Allowance } from "../delivery/allowance.ts";
import { Beat } from "../delivery/beat.ts";
import { CatchUpWriter } from "../delivery/catchup.ts";
import { Hub } from "../delivery/hub.ts";
import { Outbox } from "../delivery/outbox.ts";
import { Roll } from "../delivery/roll.ts";
import { Subscription } from "../delivery/subscription.ts";
import type { View } from "../delivery/view.ts";
import { ExchangeClient } from "../exchange/client.ts";
import { TABLE } from "../exchange/connection.ts";
import { ChangeBatch } from "../market/batch.ts";
import { Cache } from "../market/cache.ts";
import { Deletions } from "../market/deletions.ts";
import { trial, type Verdict } from "./trial.ts";

/** Seeds within which a planted mistake must be found. */
export const MUTANT_SEEDS_MAX = 60;

/** A mistake planted in the production code, for as long as a run lasts: the negative control of the oracle, which must find it. */
export interface Mutant {
  readonly name: string;
  readonly mistake: string;
  /** Plants it; what it returns takes it out again. */
  plant(): () => void;
}

/** Mistakes in what a client gets of level ladders. */
const LEVEL_MUTANTS: readonly Mutant[] = [
  {
    name: "drop-a-level",
    mistake: "a level ladder comes without its last level",
    plant: () => patchLevels((levels) => levels.slice(0, -1)),
  },
  {
    name: "shift-a-level",
    mistake: "the levels of a level ladder are each called the next one",
    plant: () => patchLevels((levels) => levels.map(([level, ...rest]) => [(level as number) + 1, ...rest])),
  },
  {
    name: "a-level-too-many",
    mistake: "a level more is sent than was asked for",
    plant: () =>
      patch(Hub.prototype, "encode", (encode) => (hub, book, since, { fields, ladderLevels }, out, con) => {
        encode.call(hub, book, since, { fields, ladderLevels: ladderLevels + 1 }, out, con);
      }),
  },
];

/** Mistakes that `oddswire verify` must find in any recording with depth, when it asks for levels and for conflation. */
export const VERIFY_MUTANTS: readonly Mutant[] = [
  ...LEVEL_MUTANTS,
  {
    name: "hold-over-a-flush",
    mistake: "a market that changed is kept back now and then until the beat after",
    plant: () =>
      patch(Beat.prototype, "take", (take, now) => (beat) => {
        const taken = [...take.call(beat)];
        if (beat.cadence === 0 || taken.length < 2 || !now(3)) return taken;
        beat.touched.push(taken.shift() as View);
        return taken;
      }),
  },
  {
    name: "ignore-the-interval",
    mistake: "who asks for conflation is told of everything as it comes",
    plant: () =>
      patch(Hub.prototype, "subscribe", (subscribe) => (hub, session, request, accepted) => {
        return subscribe.call(hub, session, { ...request, conflateMs: 0 }, accepted);
      }),
  },
];

export const MUTANTS: readonly Mutant[] = [
  ...LEVEL_MUTANTS,
  {
    name: "drop-a-delta",
    mistake: "the cache ignores a message now and then",
    plant: () =>
      patch(Cache.prototype, "apply", (apply, now) => (cache, batch) => {
        if (batch.kind === "update" && batch.segment === "whole" && now(60)) return [];
        return apply.call(cache, batch);
      }),
  },
  {
    name: "old-message-again",
    mistake: "the hub takes a message of a while ago once more",
    plant: () => {
      const kept: ChangeBatch[] = [];
      return patch(Hub.prototype, "batch", (batch, now) => (hub, given) => {
        if (given.kind === "update" && given.segment === "whole" && !hub.cache.midGroup) {
          if (kept.length >= 10 && now(10)) batch.call(hub, kept[0] as ChangeBatch);
          kept.push(copyOf(given));
          if (kept.length > 10) kept.shift();
        }
        batch.call(hub, given);
      });
    },
  },
  {
    name: "swap-a-clk",
    mistake: "a clk claims messages that were not sent yet",
    plant: () =>
      patch(Hub.prototype, "headText", (headText) => (hub, sequence, pt, said) => {
        return headText.call(hub, sequence === null || sequence === 0 ? sequence : sequence + 2, pt, said);
      }),
  },
  {
    name: "clk-too-early",
    mistake: "a suspension that overtakes, and the first segment of a catch-up, claim everything by a clk",
    plant: () =>
      patch(Hub.prototype, "headText", (headText) => (hub, sequence, pt, said) => {
        return headText.call(hub, sequence ?? hub.cache.sequence, pt, said);
      }),
  },
  {
    name: "skip-a-suspension",
    mistake: "a market that stops waits for its users' beat",
    plant: () => patchTouched((book) => (book.suspended = 0)),
  },
  {
    name: "lose-a-suspension",
    mistake: "a market that stops is passed on without its definition",
    plant: () => patchTouched((book, cache) => book.suspended === cache.sequence && (book.definitionChanged = 0)),
  },
  {
    name: "lose-a-tombstone",
    mistake: "a ladder that threw tombstones away does not remember that it did",
    plant: () => patch(Deletions.prototype, "lostSince", () => () => false),
  },
  {
    name: "resume-with-nothing",
    mistake: "who resumes is told that nothing has changed",
    plant: () =>
      patch(Subscription.prototype, "begin", (begin) => (subscription, kind, from, to) => {
        begin.call(subscription, kind, kind === "resume" ? to : from, to);
      }),
  },
  {
    name: "catch-up-with-nothing",
    mistake: "who falls behind is called in step without being told what it missed",
    plant: () =>
      patch(CatchUpWriter.prototype, "step", (step) => (writer, subscription) => {
        if (subscription.catchUp?.kind === "behind") subscription.catchUp.from = subscription.catchUp.to;
        return step.call(writer, subscription);
      }),
  },
  {
    name: "told-but-not-sent",
    mistake: "a view believes now and then that it has sent what it has not",
    plant: () =>
      patch(Hub.prototype, "encode", (encode, now) => (hub, book, since, projection, out, con) => {
        if (since === 0 || !now(40)) encode.call(hub, book, since, projection, out, con);
      }),
  },
  {
    name: "image-without-img",
    mistake: "an image of a market does not say that it is one",
    plant: () =>
      patch(Hub.prototype, "encode", (encode) => (hub, book, since, projection, out, con) => {
        const start = out.length;
        encode.call(hub, book, since, projection, out, con);
        const at = out.bytes.subarray(0, out.length).indexOf('"img":true', start);
        if (at !== -1) out.bytes.write('"img":null', at, "latin1");
      }),
  },
  {
    name: "merge-in-silence",
    mistake: "merged changes do not say con",
    plant: () =>
      patch(Hub.prototype, "encode", (encode) => (hub, book, since, projection, out) => {
        encode.call(hub, book, since, projection, out, false);
      }),
  },
  {
    name: "enter-as-a-delta",
    mistake: "a market that comes into a filter is told by what changed, as if it had been there",
    plant: () => patch(Subscription.prototype, "sinceFor", () => (_, _book, from) => from),
  },
  {
    name: "add-as-a-delta",
    mistake: "a market that is added is told by what changed, as if it had been there",
    plant: () =>
      patch(Roll.prototype, "add", (add) => (roll, subscription, ids) => {
        add.call(roll, subscription, ids);
        return [];
      }),
  },
  {
    name: "keep-what-was-removed",
    mistake: "a market that was taken out is told of on and on",
    plant: () => patch(Roll.prototype, "drop", () => () => undefined),
  },
  {
    name: "alter-and-forget",
    mistake: "who alters its subscription is not told what waited for its beat",
    plant: () =>
      patch(Subscription.prototype, "changed", (changed) => (subscription, fresh, now) => {
        changed.call(subscription, fresh, now);
        if (subscription.catchUp !== null) subscription.catchUp.from = now;
      }),
  },
  {
    name: "alter-in-words-only",
    mistake: "other fields are accepted, and what comes is in the old ones",
    plant: () =>
      patch(Subscription.prototype, "become", (become) => (subscription, filter, terms, beat) => {
        const { fields, ladderLevels } = subscription.terms;
        become.call(subscription, filter, { ...terms, fields, ladderLevels }, beat);
      }),
  },
  {
    name: "hold-a-stop",
    mistake: "a market that stops waits for its users' allowance",
    plant: () => patch(CatchUpWriter.prototype, "overtake", () => () => true),
  },
  {
    name: "hold-for-good",
    mistake: "an allowance that is spent does not come back",
    plant: () => patch(Allowance.prototype, "waitMs", () => () => 1_000),
  },
  {
    name: "hold-without-a-heartbeat",
    mistake: "who waits for its allowance hears nothing",
    plant: () =>
      patch(Outbox.prototype, "send", (send) => (outbox, bytes) => {
        const beat = bytes.indexOf('"ct":"HEARTBEAT"') !== -1 && bytes.indexOf('"clk":') === -1;
        return beat || send.call(outbox, bytes);
      }),
  },
  {
    name: "hide-the-silence",
    mistake: "users are not told that the source has fallen silent",
    plant: () =>
      patch(Hub.prototype, "state", (state) => (hub, said) => {
        if (said === "live") state.call(hub, said);
      }),
  },
  {
    name: "deaf-to-silence",
    mistake: "a dead connection to the exchange is waited on for ever",
    plant: () => {
      const live = TABLE.live as { silence: typeof TABLE.live.silence };
      const { silence } = live;
      live.silence = (state) => ({ state, actions: [] });
      return () => {
        live.silence = silence;
      };
    },
  },
  {
    name: "no-heartbeats",
    mistake: "quiet subscriptions hear nothing",
    plant: () => patch(Wheel.prototype, "add", () => () => undefined),
  },
  {
    name: "client-believes-on",
    mistake: "the client library takes its books for live when its connection is gone",
    plant: () => patch(MarketSubscription.prototype, "lost", () => () => undefined),
  },
  {
    name: "never-let-go",
    mistake: "the hub keeps who has left",
    plant: () =>
      patch(Hub.prototype, "leave", (leave) => (hub, session) => {
        leave.call(hub, session);
        hub.sessions.add(session);
      }),
  },
  {
    name: "timer-left-running",
    mistake: "a client of the exchange that was stopped leaves a timer behind",
    plant: () =>
      patch(ExchangeClient.prototype, "stop", (stop) => (client) => {
        stop.call(client);
        client.start({ batch() {}, settled() {}, state() {} });
      }),
  },
];

/** The first seed whose run goes wrong with the mistake in it. */
export async function firstFailure(mutant: Mutant, from: number, seeds: number): Promise<Verdict | null> {
  const restore = mutant.plant();
  try {
    for (let seed = from; seed < from + seeds; seed++) {
      const verdict = await trial(seed);
      if (verdict.violations.length > 0) return verdict;
    }
    return null;
  } finally {
    restore();
  }
}

type Method = (...given: never[]) => unknown;
type Methods<T> = { [K in keyof T]: T[K] extends Method ? K : never }[keyof T];
type Args<T, K extends keyof T> = T[K] extends (...given: infer A) => unknown ? A : never;
type Result<T, K extends keyof T> = T[K] extends (...given: never[]) => infer R ? R : never;

/** Puts another method in a prototype's place. `now(n)` is true once in `n` times. */
function patch<T extends object, K extends Methods<T>>(
  prototype: T,
  name: K,
  replace: (
    original: (this: T, ...given: Args<T, K>) => Result<T, K>,
    now: (n: number) => boolean,
  ) => (self: T, ...given: Args<T, K>) => Result<T, K>,
): () => void {
  const original = prototype[name] as (this: T, ...given: Args<T, K>) => Result<T, K>;
  let calls = 0;
  const replacement = replace(original, (n) => ++calls % n === 0);
  prototype[name] = function (this: T, ...given: Args<T, K>) {
    return replacement(this, ...given);
  } as T[K];
  return () => {
    prototype[name] = original as T[K];
  };
}

const LEVEL_LISTS = /"(bd?at[bl])":(\[\[\d+,[-\d.e]+,[-\d.e+]+\](?:,\[[^\]]*\])+\])/g;

/** Spoils each list of two levels or more that is sent. */
function patchLevels(spoil: (levels: number[][]) => number[][]): () => void {
  return patch(Hub.prototype, "encode", (encode) => (hub, book, since, projection, out, con) => {
    const start = out.length;
    encode.call(hub, book, since, projection, out, con);
    const text = out.bytes.toString("latin1", start, out.length);
    out.length = start;
    const spoilt = (_: string, name: string, list: string) => `"${name}":${JSON.stringify(spoil(JSON.parse(list)))}`;
    out.ascii(text.replace(LEVEL_LISTS, spoilt));
  });
}

/** Does something to each book that a batch has touched. */
function patchTouched(spoil: (book: ReturnType<Cache["apply"]>[number], cache: Cache) => unknown): () => void {
  return patch(Cache.prototype, "apply", (apply) => (cache, batch) => {
    const touched = apply.call(cache, batch);
    for (const book of touched) spoil(book, cache);
    return touched;
  });
}

function copyOf(batch: ChangeBatch): ChangeBatch {
  const copy = new ChangeBatch();
  copy.pt = batch.pt;
  copy.tape = batch.tape.slice();
  copy.length = batch.length;
  copy.changes = batch.changes;
  copy.ids.push(...batch.ids);
  copy.definitions.push(...batch.definitions);
  copy.facts.push(...batch.facts);
  return copy;
}
