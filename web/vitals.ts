import type { Connection, ConnectionState } from "../client/connection.ts";
import type { Subscription, SubscriptionState } from "../client/subscription.ts";
import { byId, setAttribute, setText } from "./dom.ts";
import { everyFrame } from "./frames.ts";
import { age } from "./words.ts";

/** How often the header says how old the last message is, milliseconds. */
const VITALS_MS = 200;
/** What counts as recent for the message rate, milliseconds. */
const RATE_MS = 3_000;

/** The head of the page: is it live, how old is the last message, how much is coming; and the banner when prices may be old. */
export class Vitals {
  readonly #state = byId("connection-state");
  readonly #age = byId("last-message-age");
  readonly #count = byId("market-count");
  readonly #rate = byId("message-rate");
  readonly #banner = byId("stale-banner");
  #watched = () => {};
  /** Something changed: what the head says may be old. */
  readonly touch = everyFrame(() => this.#watched());
  #counted: { readonly at: number; readonly messages: number }[] = [];

  /** Shows these from now on. */
  watch(connection: Connection, subscriptions: () => readonly Subscription[]): void {
    this.#watched = () => {
      const all = subscriptions();
      this.#drawState(connection.state, all);
      setText(this.#age, connection.messageAgeMs === null ? "–" : age(connection.messageAgeMs));
      setText(this.#count, String(all[0]?.books.size ?? 0));
      setText(this.#rate, `${this.#messagesASecond(all)}/s`);
    };
    setInterval(this.touch, VITALS_MS);
  }

  /** Something is wrong before there is a connection. */
  trouble(state: string, words: string): void {
    this.#say("waiting", state, words);
  }

  #drawState(state: ConnectionState, subscriptions: readonly Subscription[]): void {
    const states = subscriptions.map((subscription) => subscription.state);
    switch (state.kind) {
      case "connecting":
      case "authenticating":
        return this.#say(
          "connecting",
          "Connecting",
          this.#old(states) ? "Connecting again. The prices below may be old." : null,
        );
      case "waiting":
        return this.#say(
          "waiting",
          "Reconnecting",
          `Connection lost. Trying again within ${Math.ceil(state.waitMs / 1_000)} s. The prices below may be old.`,
        );
      case "idle":
        return this.#say("waiting", "Disconnected", state.reason);
      case "closed":
        return this.#say(
          "closed",
          "Closed",
          `The gateway ended this session: ${state.reason}. Reload the page to try again.`,
        );
      case "ready":
        return this.#drawReady(states);
    }
  }

  #drawReady(states: readonly SubscriptionState[]): void {
    const refused = states.find((state) => state.kind === "refused");
    if (refused) return this.#say("closed", "Refused", `The gateway refused: ${refused.message}`);
    if (states.some((state) => state.kind === "stale" && state.reason === "upstream"))
      return this.#say("stale", "Stale", "The exchange is late or silent. The prices below may be old.");
    if (states.every((state) => state.kind === "live")) return this.#say("live", "Live", null);
    this.#say("connecting", "Loading", this.#old(states) ? "Catching up. The prices below may be old." : null);
  }

  #old(states: readonly SubscriptionState[]): boolean {
    return states.some((state) => state.kind === "stale");
  }

  #say(state: string, word: string, banner: string | null): void {
    setAttribute(this.#state, "data-state", state);
    setAttribute(document.body, "data-stale", banner === null ? null : "true");
    setText(this.#state, word);
    this.#banner.hidden = banner === null;
    setText(this.#banner, banner ?? "");
  }

  #messagesASecond(subscriptions: readonly Subscription[]): number {
    const at = performance.now();
    const messages = subscriptions.reduce((sum, { counters }) => sum + counters.messages, 0);
    this.#counted = [...this.#counted.filter((count) => at - count.at <= RATE_MS), { at, messages }];
    const [first] = this.#counted;
    return at === first.at ? 0 : Math.max(0, Math.round(((messages - first.messages) * 1_000) / (at - first.at)));
  }
}
