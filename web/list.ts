import type { MarketBook } from "../client/book.ts";
import { arrange, byId, element, setAttribute, setText } from "./dom.ts";
import { byEvent, type Facts, factsOf, favouriteOf } from "./facts.ts";
import { flash } from "./flash.ts";
import { everyFrame } from "./frames.ts";
import { marketName, price, runnerName, sentence, startTime } from "./words.ts";

/** Rows in the page at most: whoever has more markets searches. */
const ROWS_SHOWN_MAX = 1_500;
/** Closed markets that stay in the list, the latest to close. */
const CLOSED_SHOWN_MAX = 50;
/** Markets come and go, start and close in bursts: the order is made anew at most this often, milliseconds. */
const ORDER_MS_MIN = 400;

/** Which markets the list shows: all, those in play, or those of one sport. */
type Chip = "All" | "In-play" | `sport:${string}`;

/**
 * The markets, grouped by event: in-play first, then by start, closed ones last. Messages only mark markets as touched;
 * what they say is drawn on the next frame, row by row, and the order is only made anew when a definition changes it.
 */
export class MarketList {
  readonly #events = byId("events");
  readonly #chips = byId("chips");
  readonly #note = byId("list-note");
  readonly #search = byId<HTMLInputElement>("search");
  readonly #facts = new Map<string, Facts>();
  readonly #touched = new Set<MarketBook>();
  readonly #rows = new Map<string, Row>();
  readonly #groups = new Map<string, EventGroup>();
  /** In the order in which they closed. */
  readonly #closed = new Set<string>();
  readonly #draw = everyFrame(() => this.#drawTouched());
  readonly #visible = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) target.toggleAttribute("data-visible", isIntersecting);
  });
  #chip: Chip = "All";
  #chosen: string | null = null;
  #ordering: number | null = null;
  #loaded = false;
  readonly #ordered: () => void;

  /** `ordered` is called whenever markets may have come, gone or changed places. */
  constructor(ordered: () => void) {
    this.#ordered = ordered;
    this.#search.addEventListener("input", () => this.#order());
    this.#chips.addEventListener("click", (event) => this.#pick(event.target as HTMLElement));
    this.#events.addEventListener("keydown", (event) => this.#walk(event));
    document.addEventListener("keydown", (event) => this.#shortcut(event));
  }

  /** These markets changed. */
  touch(books: readonly MarketBook[]): void {
    for (const book of books) this.#touched.add(book);
    this.#draw();
  }

  /** These markets have got names. */
  named(ids: readonly string[]): void {
    for (const id of ids) {
      const book = this.#facts.get(id)?.book;
      if (book === undefined) continue;
      this.#learn(book);
      this.#touched.add(book);
    }
    this.#draw();
  }

  /** A full image came: these are all the markets, and those are gone. */
  loaded(books: readonly MarketBook[], removed: readonly MarketBook[]): void {
    this.#loaded = true;
    this.touch(books);
    for (const book of removed) {
      this.#touched.delete(book);
      this.#facts.delete(book.id);
      this.#closed.delete(book.id);
    }
    this.#drawTouched();
    this.#order();
  }

  /** Marks the market that is looked at; null for none. */
  choose(id: string | null): void {
    if (this.#chosen !== null) setAttribute(this.#linkOf(this.#chosen), "aria-current", null);
    this.#chosen = id;
    this.#reveal();
  }

  /** The market at the top of the list; null while there is none. */
  get first(): string | null {
    return this.#events.querySelector<HTMLElement>("a.row")?.dataset.market ?? null;
  }

  /** The markets of the event that this one belongs to, in the order of the list. */
  siblings(id: string): MarketBook[] {
    const event = this.#facts.get(id)?.event;
    const same = [...this.#facts.values()].filter((facts) => facts.event === event);
    return (byEvent(same)[0] ?? []).map(({ book }) => book);
  }

  #reveal(): void {
    const link = this.#chosen === null ? null : this.#linkOf(this.#chosen);
    setAttribute(link, "aria-current", "page");
    link?.scrollIntoView({ block: "nearest" });
  }

  #linkOf(id: string): HTMLElement | null {
    return this.#rows.get(id)?.link ?? null;
  }

  #drawTouched(): void {
    for (const book of this.#touched) {
      if (this.#facts.get(book.id)?.definition !== book.definition) this.#learn(book);
      this.#rows.get(book.id)?.draw(book);
    }
    this.#touched.clear();
  }

  #learn(book: MarketBook): void {
    const facts = factsOf(book);
    this.#facts.set(book.id, facts);
    if (!facts.closed) this.#closed.delete(book.id);
    else if (!this.#closed.has(book.id)) this.#closed.add(book.id);
    this.#orderSoon();
  }

  #orderSoon(): void {
    this.#ordering ??= window.setTimeout(() => this.#order(), this.#rows.size === 0 ? 0 : ORDER_MS_MIN);
  }

  #order(): void {
    window.clearTimeout(this.#ordering ?? undefined);
    this.#ordering = null;
    const all = [...this.#facts.values()].filter((facts) => !facts.closed || this.#latelyClosed(facts.book.id));
    const found = all.filter((facts) => this.#shows(facts));
    const events = byEvent(found);
    let left = ROWS_SHOWN_MAX;
    const shown = events.map((markets) => markets.slice(0, left - (left -= Math.min(left, markets.length))));
    this.#forgetAllBut(shown.flat());
    arrange(
      this.#events,
      shown.filter((markets) => markets.length > 0).map((markets) => this.#group(markets)),
    );
    if (this.#linkOf(this.#chosen ?? "")?.ariaCurrent === null) this.#reveal();
    this.#drawChips(all);
    this.#say(all.length, found.length);
    this.#ordered();
  }

  #latelyClosed(id: string): boolean {
    return this.#closed.size <= CLOSED_SHOWN_MAX || [...this.#closed].slice(-CLOSED_SHOWN_MAX).includes(id);
  }

  #shows(facts: Facts): boolean {
    const words = this.#search.value.toLowerCase().split(/\s+/);
    if (this.#chip === "In-play" && !facts.inPlay) return false;
    if (this.#chip.startsWith("sport:") && this.#chip !== `sport:${facts.sport}`) return false;
    return words.every((word) => facts.text.includes(word));
  }

  #group(markets: readonly Facts[]): HTMLElement {
    const { event } = markets[0];
    let group = this.#groups.get(event);
    if (group === undefined) {
      this.#groups.set(event, (group = new EventGroup()));
      this.#visible.observe(group.element);
    }
    group.draw(markets, Date.now());
    arrange(
      group.list,
      markets.map(({ book }) => this.#row(book).element),
    );
    return group.element;
  }

  #row(book: MarketBook): Row {
    let row = this.#rows.get(book.id);
    if (row === undefined) this.#rows.set(book.id, (row = new Row(book.id)));
    row.draw(book);
    return row;
  }

  #forgetAllBut(shown: readonly Facts[]): void {
    const [markets, events] = [new Set(shown.map(({ book }) => book.id)), new Set(shown.map(({ event }) => event))];
    for (const id of this.#rows.keys()) if (!markets.has(id)) this.#rows.delete(id);
    for (const [event, group] of this.#groups) {
      if (events.has(event)) continue;
      this.#visible.unobserve(group.element);
      this.#groups.delete(event);
    }
  }

  #drawChips(all: readonly Facts[]): void {
    const counts = new Map<Chip, number>([["All", all.length]]);
    counts.set("In-play", all.filter(({ inPlay, closed }) => inPlay && !closed).length);
    for (const { sport } of all.toSorted((a, b) => (a.sport < b.sport ? -1 : 1)))
      counts.set(`sport:${sport}`, (counts.get(`sport:${sport}`) ?? 0) + 1);
    if (!counts.has(this.#chip)) this.#chip = "All";
    const wanted = Array.from(counts, ([chip, count]) => this.#chipButton(chip, count));
    arrange(this.#chips, wanted);
  }

  #chipButton(chip: Chip, count: number): HTMLElement {
    const known = this.#chips.querySelector<HTMLElement>(`[data-chip="${CSS.escape(chip)}"]`);
    const button = known ?? element("button", { type: "button", "data-chip": chip }, "", element("b"));
    if (known === null) button.firstChild!.nodeValue = chip.startsWith("sport:") ? chip.slice(6) : chip;
    setText(button.lastElementChild as HTMLElement, String(count));
    setAttribute(button, "aria-pressed", String(chip === this.#chip));
    return button;
  }

  #pick(target: HTMLElement): void {
    const chip = target.closest<HTMLElement>("[data-chip]")?.dataset.chip;
    if (chip === undefined) return;
    this.#chip = chip as Chip;
    this.#order();
    this.#events.scrollTop = 0;
  }

  #say(all: number, found: number): void {
    const more = found - ROWS_SHOWN_MAX;
    const words =
      all === 0 && this.#loaded
        ? "No markets yet. They appear here as the exchange opens them."
        : all === 0
          ? "Waiting for markets…"
          : found === 0
            ? "No market matches."
            : more > 0
              ? `${more} more: search to find them.`
              : "";
    setText(this.#note, words);
    this.#note.hidden = words === "";
  }

  /** Arrow keys walk the rows. */
  #walk(event: KeyboardEvent): void {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    const links = [...this.#events.querySelectorAll<HTMLElement>("a.row")];
    links[links.indexOf(document.activeElement as HTMLElement) + step]?.focus();
    event.preventDefault();
  }

  #shortcut(event: KeyboardEvent): void {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.#search.focus();
    } else if (event.key === "Escape" && event.target === this.#search) {
      this.#search.value = "";
      this.#order();
    }
  }
}

/** One event: its name, its sport, when it starts, and a list of rows. */
class EventGroup {
  readonly list = element("ul");
  readonly #name = element("h3");
  readonly #sport = element("span", { class: "sport" });
  readonly #when = element("span", { class: "when" });
  readonly element = element(
    "section",
    { class: "event" },
    element("header", {}, element("div", {}, this.#sport, this.#name), this.#when),
    this.list,
  );

  draw(markets: readonly Facts[], now: number): void {
    const [first] = markets;
    const inPlay = markets.some((facts) => facts.inPlay && !facts.closed);
    const closed = markets.every((facts) => facts.closed);
    setText(this.#name, first.eventName);
    setText(this.#sport, first.sport);
    setText(this.#when, inPlay ? "In-play" : closed ? "Closed" : startTime(first.definition?.marketTime, now));
    setAttribute(this.element, "data-in-play", inPlay ? "true" : null);
    setAttribute(this.element, "data-closed", closed ? "true" : null);
  }
}

/** One market in the list: its name, its state, and the last price of its favourite. */
class Row {
  readonly #name = element("span", { class: "name" });
  readonly #state = element("span", { class: "state" });
  readonly #favourite = element("span", { class: "favourite" });
  readonly #price = element("span", { class: "last" });
  readonly link: HTMLAnchorElement;
  readonly element: HTMLLIElement;

  constructor(id: string) {
    this.link = element(
      "a",
      { class: "row", href: `#${encodeURIComponent(id)}`, "data-testid": "market-row", "data-market": id },
      this.#name,
      this.#state,
      this.#favourite,
      this.#price,
    );
    this.element = element("li", {}, this.link);
  }

  draw(book: MarketBook): void {
    const favourite = favouriteOf(book);
    setText(this.#name, marketName(book));
    setAttribute(this.link, "data-status", book.status ?? "UNKNOWN");
    setAttribute(this.link, "data-in-play", book.inPlay ? "true" : null);
    setText(this.#state, book.status === null || book.status === "OPEN" ? "" : sentence(book.status));
    setText(this.#favourite, favourite === null ? "" : runnerName(favourite));
    const moved = setText(this.#price, favourite === null ? "" : price(favourite.ltp));
    if (moved && this.link.closest("[data-visible]")) flash(this.#price);
  }
}
