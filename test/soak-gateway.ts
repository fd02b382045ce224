/** `oddswire …` with a planted mistake, which the environment names: the negative controls of `prove -- soak`. */
import { openSync } from "node:fs";
import { Hub } from "../src/delivery/hub.ts";
import { Lobby } from "../src/edge/lobby.ts";

export type SoakMistake = keyof typeof SOAK_MISTAKES;

export const SOAK_MISTAKES = {
  "keep-who-has-gone": {
    mistake: "the hub keeps who has left",
    plant() {
      const { leave } = Hub.prototype;
      Hub.prototype.leave = function (session) {
        leave.call(this, session);
        this.sessions.add(session);
      };
    },
  },
  "keep-a-descriptor": {
    mistake: "one connection in a hundred leaves a descriptor open",
    plant() {
      const { closed } = Lobby.prototype;
      let connections = 0;
      Lobby.prototype.closed = function () {
        closed.call(this);
        if (++connections % 100 === 0) openSync("/dev/null", "r");
      };
    },
  },
  "keep-what-was-read": {
    mistake: "2 KB are kept of each message of the exchange",
    plant() {
      const { settled } = Hub.prototype;
      const kept: string[] = [];
      Hub.prototype.settled = function () {
        settled.call(this);
        kept.push(Buffer.alloc(2_048, `${kept.length} `).toString("latin1"));
      };
    },
  },
} as const;

if (import.meta.main) {
  const mistake = SOAK_MISTAKES[process.env.SOAK_MISTAKE as SoakMistake];
  mistake.plant();
  await import("../src/main.ts");
}
