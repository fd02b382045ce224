import type { MarketBook, RunnerBook } from "../client/book.ts";
import type { PriceSize } from "../client/messages.ts";
import { arrange, element, setAttribute, setText } from "./dom.ts";
import { flash } from "./flash.ts";
import { everyFrame } from "./frames.ts";
import { Trail } from "./trail.ts";
import { amount, eventName, marketName, price, runnerName, sentence, sportName, startTime } from "./words.ts";

/** Prices shown of each side. */
const DEPTH = 3;

/**
 * One market as an exchange shows it: a row a runner, three prices to back on the left with the best nearest the middle,
 * three to lay on the right. What is not to be bet on lies under an overlay that says why.
 */
export class Ladder {
  readonly #parent: HTMLElement;
  readonly #draw = everyFrame(() => this.#drawAll());
  readonly #heading = new Heading();
  readonly #siblings = element("nav", { class: "siblings", "aria-label": "Markets of this event" });
  readonly #columns = new Columns();
  readonly #rows = new Map<string, RunnerRow>();
  readonly #body = element("div", { class: "runners", role: "rowgroup" });
  readonly #overlayWord = element("strong");
  readonly #overlayReason = element("span");
  readonly #overlay = element(
    "div",
    { class: "overlay", "data-testid": "overlay" },
    element("p", { role: "status" }, this.#overlayWord, this.#overlayReason),
  );
  readonly #table: HTMLElement;
  readonly element: HTMLElement;
  #book: MarketBook | null = null;
  #words: readonly [title: string, words: string] = ["", ""];

  constructor(parent: HTMLElement) {
    this.#parent = parent;
    const rows = element(
      "div",
      { class: "table", role: "table", "aria-label": "Prices" },
      this.#columns.element,
      this.#body,
    );
    this.#table = element("div", { class: "ladder", "data-testid": "ladder" }, rows, this.#overlay);
    this.element = element("article", {}, this.#heading.element, this.#siblings, this.#table);
  }

  /** Shows this market from now on; the prices of another are not lit up as changes. True where it showed another before. */
  show(book: MarketBook): boolean {
    const other = book.id !== this.#book?.id;
    if (other) this.#rows.clear();
    this.#book = book;
    this.#draw();
    return other;
  }

  /** Shows words instead of a market. */
  say(title: string, words: string): void {
    this.#book = null;
    this.#words = [title, words];
    this.#draw();
  }

  /** Links to these markets, this one among them; a market that is alone has nowhere to link to. */
  linkTo(markets: readonly MarketBook[]): void {
    this.#siblings.hidden = markets.length < 2;
    arrange(
      this.#siblings,
      markets.length < 2 ? [] : markets.map((book) => siblingLink(book, book.id === this.#book?.id)),
    );
  }

  /** Its book changed, or what can be believed of it. */
  touch(): void {
    this.#draw();
  }

  #drawAll(): void {
    const book = this.#book;
    if (book === null) return this.#drawWords();
    arrange(this.#parent, [this.element]);
    const active = [...book.inOrder()].filter((runner) => runner.status !== "HIDDEN");
    this.#heading.draw(book, active);
    this.#columns.draw(active);
    arrange(
      this.#body,
      active.map((runner) => this.#row(runner)),
    );
    this.#drawOverlay(book);
  }

  #row(runner: RunnerBook): HTMLElement {
    const key = `${runner.id}/${runner.hc}`;
    const known = this.#rows.get(key);
    const row = known ?? new RunnerRow();
    if (known === undefined) this.#rows.set(key, row);
    row.draw(runner, known !== undefined);
    return row.element;
  }

  #drawOverlay(book: MarketBook): void {
    const word = overlayWord(book);
    setText(this.#overlayWord, word ?? "");
    setText(this.#overlayReason, (word === "SUSPENDED" && book.definition?.suspendReason) || "");
    setAttribute(this.#table, "data-status", book.status ?? "UNKNOWN");
    setAttribute(this.#table, "data-stale", book.stale ? "true" : null);
    setAttribute(this.#overlay, "hidden", word === null ? "" : null);
  }

  #drawWords(): void {
    const [title, words] = this.#words;
    const text = [element("h2", {}, title), element("p", {}, words), element("a", { href: "#all" }, "All markets")];
    arrange(this.#parent, [element("div", { class: "empty", "data-testid": "empty" }, ...text)]);
  }
}

function siblingLink(book: MarketBook, here: boolean): HTMLElement {
  const link = element("a", { href: `#${encodeURIComponent(book.id)}` }, marketName(book));
  setAttribute(link, "data-status", book.status);
  setAttribute(link, "aria-current", here ? "page" : null);
  return link;
}

/** Event, market, its state, and how much is matched. */
class Heading {
  readonly #event = element("p", { class: "of-event" });
  readonly #name = element("h1");
  readonly #status = element("span", { class: "badge", "data-testid": "market-status" });
  readonly #inPlay = element("span", { class: "badge live" }, "In-play");
  readonly #facts = element("p", { class: "facts" });
  readonly #matched = element("b", { "data-testid": "total-matched" });
  readonly element = element(
    "header",
    { class: "heading" },
    element("a", { class: "back-to-list", href: "#all", "aria-label": "All markets" }, "‹"),
    element(
      "div",
      { class: "titles" },
      this.#event,
      element("div", { class: "title" }, this.#name, this.#status, this.#inPlay),
      this.#facts,
    ),
    element("p", { class: "matched" }, this.#matched, " matched"),
  );

  draw(book: MarketBook, runners: readonly RunnerBook[]): void {
    setText(this.#event, eventName(book));
    setText(this.#name, marketName(book));
    setText(this.#status, sentence(book.status ?? "Waiting"));
    setAttribute(this.#status, "data-status", book.status ?? "UNKNOWN");
    this.#inPlay.hidden = book.inPlay !== true || book.closed;
    setText(this.#facts, factsOf(book, runners).join(" · "));
    setText(this.#matched, amount(book.totalMatched ?? totalOf(runners)));
  }
}

/** The names of the columns, with each side's book percentage: what backing, or laying, every runner at the best price adds up to. */
class Columns {
  readonly #back = element("b", { title: "Book percentage of the best back prices" });
  readonly #lay = element("b", { title: "Book percentage of the best lay prices" });
  readonly element = element(
    "div",
    { class: "columns-row", role: "row" },
    element("span", { role: "columnheader", class: "c-runner" }, "Runner"),
    element("span", { role: "columnheader", class: "c-last" }, "Last"),
    element("span", { role: "columnheader", class: "c-volume" }, "Volume"),
    element("span", { role: "columnheader", class: "c-back", "aria-colspan": "3" }, "Back ", this.#back),
    element("span", { role: "columnheader", class: "c-lay", "aria-colspan": "3" }, "Lay ", this.#lay),
  );

  draw(runners: readonly RunnerBook[]): void {
    const active = runners.filter(({ status }) => status === null || status === "ACTIVE");
    const best = active.map((runner) => runner.best(1));
    setText(this.#back, percentage(best.map(({ back }) => back[0])));
    setText(this.#lay, percentage(best.map(({ lay }) => lay[0])));
  }
}

/** One runner: its name, the last price with where it came from, its volume, and six prices. */
class RunnerRow {
  readonly #name = element("span", { class: "runner-name" });
  readonly #result = element("span", { class: "result" });
  readonly #trail = new Trail();
  readonly #last = element("span", { class: "c-last", role: "cell", "data-testid": "ltp" });
  readonly #volume = element("span", { class: "c-volume", role: "cell" });
  readonly #back = Array.from({ length: DEPTH }, (_, level) => new PriceCell("back", level));
  readonly #lay = Array.from({ length: DEPTH }, (_, level) => new PriceCell("lay", level));
  readonly element = element(
    "div",
    { class: "runner", role: "row", "data-testid": "runner" },
    element("span", { class: "c-runner", role: "rowheader" }, this.#name, this.#result),
    element("span", { class: "c-trail", "aria-hidden": "true" }, this.#trail.element),
    this.#last,
    this.#volume,
    ...this.#back.map((cell) => cell.element).reverse(),
    ...this.#lay.map((cell) => cell.element),
  );
  #ltp: number | null = null;

  /** `lit`: changes light up. */
  draw(runner: RunnerBook, lit: boolean): void {
    const { back, lay } = runner.best(DEPTH);
    setText(this.#name, runnerName(runner));
    setText(this.#result, runner.status === null || runner.status === "ACTIVE" ? "" : sentence(runner.status));
    setAttribute(this.element, "data-status", runner.status ?? "ACTIVE");
    this.#drawLast(runner.ltp, lit);
    setText(this.#volume, amount(runner.tv));
    for (const [level, cell] of this.#back.entries()) cell.draw(back[level], lit);
    for (const [level, cell] of this.#lay.entries()) cell.draw(lay[level], lit);
  }

  #drawLast(ltp: number | null, lit: boolean): void {
    const before = this.#ltp;
    this.#ltp = ltp;
    if (ltp !== null && ltp !== before) this.#trail.add(ltp);
    if (!setText(this.#last, price(ltp)) || before === null || ltp === null) return;
    setAttribute(this.#last, "data-move", ltp > before ? "up" : "down");
    if (lit) flash(this.#last);
  }
}

/** One price with its size; level 0 is the best. */
class PriceCell {
  readonly #price = element("b");
  readonly #size = element("span");
  readonly element: HTMLElement;

  constructor(side: "back" | "lay", level: number) {
    const attributes = { class: `price ${side} level-${level}`, role: "cell", "data-testid": `${side}-${level}` };
    this.element = element("span", attributes, this.#price, this.#size);
  }

  draw(entry: PriceSize | undefined, lit: boolean): void {
    const moved = setText(this.#price, entry === undefined ? "" : price(entry[0]));
    const resized = setText(this.#size, entry === undefined ? "" : amount(entry[1]));
    setAttribute(this.element, "data-empty", entry === undefined ? "true" : null);
    if (lit && (moved || resized)) flash(this.element);
  }
}

/** What lies over the prices, or null where they may be acted on. */
function overlayWord(book: MarketBook): string | null {
  if (book.closed) return "CLOSED";
  if (book.suspended) return "SUSPENDED";
  if (book.stale) return "NOT LIVE";
  return book.status === "INACTIVE" ? "INACTIVE" : null;
}

function factsOf(book: MarketBook, runners: readonly RunnerBook[]): string[] {
  const { marketTime, eventTypeId, venue, betDelay, numberOfActiveRunners } = book.definition ?? {};
  const when = startTime(marketTime, Date.now());
  return [
    ...(eventTypeId ? [sportName(eventTypeId)] : []),
    ...(venue && !eventName(book).includes(venue) ? [venue] : []),
    ...(when && !book.inPlay ? [when] : []),
    `${numberOfActiveRunners || runners.length} runners`,
    ...(betDelay && book.inPlay ? [`${betDelay} s bet delay`] : []),
    book.id,
  ];
}

function totalOf(runners: readonly RunnerBook[]): number | null {
  const volumes = runners.flatMap(({ tv }) => (tv === null ? [] : [tv]));
  return volumes.length === 0 ? null : volumes.reduce((sum, tv) => sum + tv, 0);
}

/** Only a side on which every runner has a price has a percentage. */
function percentage(best: readonly (PriceSize | undefined)[]): string {
  if (best.length === 0 || !best.every((entry) => entry !== undefined && entry[0] > 0)) return "";
  const sum = best.reduce((total, entry) => total + 100 / (entry as PriceSize)[0], 0);
  return `${sum.toFixed(1)}%`;
}
