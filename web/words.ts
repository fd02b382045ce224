import type { MarketBook, RunnerBook } from "../client/book.ts";
import { namesOf, runnerNameOf } from "./names.ts";

/** How the page says what the stream says. Names where somebody told them, otherwise the next best thing it knows. */

const SPORTS: Readonly<Record<string, string>> = {
  "1": "Football",
  "2": "Tennis",
  "3": "Golf",
  "4": "Cricket",
  "5": "Rugby Union",
  "6": "Boxing",
  "7": "Horse Racing",
  "8": "Motor Sport",
  "1477": "Rugby League",
  "2378961": "Politics",
  "3503": "Darts",
  "4339": "Greyhounds",
  "6422": "Snooker",
  "6423": "American Football",
  "7511": "Baseball",
  "7522": "Basketball",
  "7524": "Ice Hockey",
};

const RACING = ["7", "4339"];

export function sportName(eventTypeId: string | undefined): string {
  return eventTypeId === undefined ? "Other" : (SPORTS[eventTypeId] ?? `Sport ${eventTypeId}`);
}

/** "Match Odds"; from the type where there is no name; with its time where an event is a day of races. */
export function marketName(book: MarketBook): string {
  const { name, marketType, marketTime, eventTypeId } = book.definition ?? {};
  const words = namesOf(book.id)?.name ?? name ?? (marketType ? titleCase(marketType) : `Market ${book.id}`);
  const time = RACING.includes(eventTypeId ?? "") && marketTime ? timeOfDay(marketTime) : "";
  return time === "" ? words : `${time} ${words}`;
}

/** "Arsenal v Chelsea"; for races without a name, where they are run. */
export function eventName(book: MarketBook): string {
  const { eventName, venue, eventId } = book.definition ?? {};
  const words = namesOf(book.id)?.eventName ?? eventName ?? venue;
  if (words) return words;
  return eventId ? `Event ${eventId}` : `Market ${book.id}`;
}

export function runnerName(runner: RunnerBook): string {
  const name = runner.name ?? runnerNameOf(runner.id) ?? `Runner ${runner.id}`;
  return runner.hc === 0 ? name : `${name} ${runner.hc > 0 ? "+" : "−"}${Math.abs(runner.hc)}`;
}

const PRICE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 4, useGrouping: false });
const SMALL = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });
const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const LARGE = new Intl.NumberFormat("en-GB", { notation: "compact", maximumSignificantDigits: 3 });

export function price(value: number | null): string {
  return value === null || !Number.isFinite(value) ? "–" : PRICE.format(value);
}

/** A stake or a volume, in the exchange's currency: as exact as is of use at a glance. */
export function amount(value: number | null): string {
  if (value === null) return "–";
  return value < 10 ? SMALL.format(value) : value < 100_000 ? WHOLE.format(value) : LARGE.format(value);
}

/** "0.4 s", "12 s", "3 min". */
export function age(ms: number): string {
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 120_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`;
}

export function timeOfDay(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

/** "14:05" today, "Sat 14:05" in the coming days, "3 Oct 14:05" otherwise. */
export function startTime(iso: string | undefined, now: number): string {
  const time = iso === undefined ? "" : timeOfDay(iso);
  if (iso === undefined || time === "") return "";
  const [date, today] = [new Date(iso), new Date(now)];
  if (date.toDateString() === today.toDateString()) return time;
  const soon = date.getTime() > now && date.getTime() - now < 6 * 86_400_000;
  const day = soon ? { weekday: "short" as const } : { day: "numeric" as const, month: "short" as const };
  return `${date.toLocaleDateString("en-GB", day)} ${time}`;
}

/** SUSPENDED → "Suspended". */
export function sentence(word: string): string {
  return word.charAt(0) + word.slice(1).toLowerCase().replaceAll("_", " ");
}

/** OVER_UNDER_25 → "Over Under 25". */
function titleCase(type: string): string {
  return type
    .toLowerCase()
    .split("_")
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join(" ");
}
