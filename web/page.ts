import { type Connection, type ConnectionState, connect } from "../client/connection.ts";
import type { FieldName } from "../client/messages.ts";
import type { Subscription } from "../client/subscription.ts";
import {
  askForCredentials,
  type Credentials,
  credentialsFor,
  fetchInfo,
  type Info,
  webSocketUrl,
} from "./credentials.ts";
import { byId } from "./dom.ts";
import { Ladder } from "./ladder.ts";
import { MarketList } from "./list.ts";
import { NameLoader } from "./names.ts";
import { Vitals } from "./vitals.ts";
import { marketName } from "./words.ts";

/** The list is looked at, not traded on: once a second is plenty. The chosen market comes ten times a second. */
const LIST = { fields: ["EX_MARKET_DEF", "EX_LTP"] as FieldName[], conflateMs: 1_000 };
const MARKET = {
  fields: ["EX_ALL_OFFERS", "EX_TRADED_VOL", "EX_LTP", "EX_MARKET_DEF"] as FieldName[],
  conflateMs: 100,
};
/** How long to wait before asking a gateway that did not answer what it is, milliseconds. */
const INFO_RETRY_MS = 2_000;

const WIDE = matchMedia("(min-width: 781px)");
const NOT_HERE = "Not opened yet, or not for this session to see. It appears here as soon as it is.";

const vitals = new Vitals();
const list = new MarketList(() => ladder.linkTo(chosen ? list.siblings(chosen) : []));
const ladder = new Ladder(byId("market"));

let chosen: string | null | undefined;
let all: Subscription;
let market: Subscription | null = null;

const info = await infoAtLast();
open(info, await credentialsFor(info));

function open(info: Info, credentials: Credentials): void {
  const session = () => (info.demo ? freshDemoSession() : Promise.resolve(credentials.session));
  const shown = () => all.books.values();
  const names = new NameLoader(session, shown, (ids) => {
    list.named(ids);
    touch();
  });
  const connection = connect({
    url: webSocketUrl(info),
    appKey: credentials.appKey,
    session: info.demo ? freshDemoSession : credentials.session,
    state: (state) => changed(state, info),
  });
  all = connection.subscribe(LIST, {
    change(books) {
      list.touch(books);
      names.want(books);
    },
    image: (removed) => {
      list.loaded([...all.books.values()], removed);
      names.want(shown());
      showSomething();
    },
    status: touch,
  });
  vitals.watch(connection, () => (market === null ? [all] : [all, market]));
  addEventListener("hashchange", () => choose(connection));
  choose(connection);
  document.querySelector("[data-skip]")?.addEventListener("click", (event) => {
    event.preventDefault();
    byId("market").focus();
  });
}

/** A demo that was restarted has another token: ask each time. */
async function freshDemoSession(): Promise<string> {
  const { demo } = await fetchInfo();
  if (!demo) throw new Error("the gateway is not a demo any more");
  return demo.session;
}

/** What can be believed changed. */
function touch(): void {
  vitals.touch();
  ladder.touch();
}

function changed(state: ConnectionState, info: Info): void {
  touch();
  if (state.kind === "closed" && !info.demo && /TOKEN|SESSION|APP_KEY|AUTHORIZED|410[2-6]/.test(state.code))
    void askForCredentials(state.reason).then(() => location.reload());
}

function choose(connection: Connection): void {
  const id = marketOf(location.hash);
  document.body.dataset.view = id === null ? "list" : "market";
  list.choose(id);
  if (id === chosen) return;
  chosen = id;
  market?.unsubscribe();
  market = null;
  document.title = "Oddswire";
  if (id === null)
    return ladder.say("Choose a market", "Every price here is the exchange's own, as it stands this moment.");
  ladder.say("", "Loading…");
  market = subscribeTo(connection, id);
}

/** Where list and market stand side by side, an address without a market begins with the first of the list. */
function showSomething(): void {
  if (location.hash === "" && WIDE.matches && list.first !== null) location.replace(`#${list.first}`);
}

/** The market that the address names, `#1.234`; null for the list. */
function marketOf(hash: string): string | null {
  // a broken escape in an address somebody typed is not worth an error, which decodeURIComponent would throw
  const id = new URLSearchParams(`id=${hash.slice(1)}`).get("id") ?? "";
  return id === "" || id === "all" ? null : id;
}

function subscribeTo(connection: Connection, id: string): Subscription {
  const draw = () => {
    const book = subscription.books.get(id);
    if (id !== chosen) return;
    if (book === undefined) return ladder.say(`Market ${id} is not here`, NOT_HERE);
    if (ladder.show(book)) ladder.linkTo(list.siblings(id));
    document.title = `${marketName(book)} · Oddswire`;
  };
  const subscription = connection.subscribe(
    { ...MARKET, filter: { marketIds: [id] } },
    { change: draw, image: draw, status: touch },
  );
  return subscription;
}

async function infoAtLast(): Promise<Info> {
  for (;;) {
    try {
      return await fetchInfo();
    } catch (error) {
      vitals.trouble(
        "No gateway",
        `The gateway does not answer (${error instanceof Error ? error.message : error}). Trying again.`,
      );
      await new Promise((resolve) => setTimeout(resolve, INFO_RETRY_MS * (0.5 + Math.random())));
    }
  }
}
