import { Hub } from "../delivery/hub.ts";
import { Deadlines } from "../edge/deadlines.ts";
import { Visit } from "../edge/visit.ts";

/** A mistake planted in the production code for as long as a run lasts: the negative control of the fuzz, which must find it. */
export interface FuzzMistake {
  readonly name: string;
  readonly mistake: string;
  /** Plants it; what it returns takes it out again. */
  plant(): () => void;
}

export const FUZZ_MISTAKES: readonly FuzzMistake[] = [
  {
    name: "throw-at-a-byte",
    mistake: "the reading of a message throws at a certain byte",
    plant: () =>
      instead(
        Visit.prototype,
        "receive",
        (receive) =>
          function (this: Visit, text: string) {
            if (text.includes("\u007f")) throw new Error("a byte that nobody thought of");
            receive.call(this, text);
          },
      ),
  },
  {
    name: "keep-who-has-gone",
    mistake: "the hub keeps who has left",
    plant: () =>
      instead(
        Hub.prototype,
        "leave",
        (leave) =>
          function (this: Hub, session) {
            leave.call(this, session);
            this.sessions.add(session);
          },
      ),
  },
  {
    name: "take-anothers-place",
    mistake: "a subscription now and then ends somebody else's",
    plant: () => {
      let calls = 0;
      return instead(
        Hub.prototype,
        "subscribe",
        (subscribe) =>
          function (this: Hub, session, request, accepted) {
            const [first] = this.sessions;
            const others = first === session ? undefined : first?.subscriptions[0];
            if (++calls % 50 === 0 && others !== undefined) this.end(others);
            return subscribe.call(this, session, request, accepted);
          },
      );
    },
  },
  {
    name: "never-stop-waiting",
    mistake: "who has subscribed or gone still counts as idle",
    plant: () => instead(Deadlines.prototype, "drop", () => () => {}),
  },
  {
    name: "keep-what-was-said",
    mistake: "what clients send is kept for ever",
    plant: () => {
      const kept: unknown[] = [];
      return instead(
        Visit.prototype,
        "receive",
        (receive) =>
          function (this: Visit, text: string) {
            kept.push([...text.slice(0, 2_000)]);
            receive.call(this, text);
          },
      );
    },
  },
];

function instead<T extends object, K extends keyof T>(
  prototype: T,
  name: K,
  replace: (original: T[K]) => T[K],
): () => void {
  const original = prototype[name];
  prototype[name] = replace(original);
  return () => {
    prototype[name] = original;
  };
}
