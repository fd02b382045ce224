/** One event as a browser would dispatch it. */
export interface StreamEvent {
  readonly event: string;
  readonly data: string;
  readonly lastEventId: string;
}

/** Reads an event stream as the HTML standard has it ("interpreting an event stream"), from text cut anywhere. Shares nothing with what writes it. */
export class EventReader {
  readonly events: StreamEvent[] = [];
  readonly comments: string[] = [];
  lastEventId = "";
  /** What the server asked to wait before coming back. */
  retryMs: number | null = null;
  #text = "";
  #event = "";
  #data: string[] = [];
  #id = "";

  push(text: string): void {
    this.#text += text;
    for (;;) {
      // A CR at the end may be the first half of a line's end.
      const match = /\r\n|\n|\r(?!$)/.exec(this.#text);
      if (match === null) return;
      this.#line(this.#text.slice(0, match.index));
      this.#text = this.#text.slice(match.index + match[0].length);
    }
  }

  /** The stream has ended: what was not finished by an empty line is forgotten. */
  end(): void {
    this.#text = "";
    this.#event = "";
    this.#data = [];
    this.#id = this.lastEventId;
  }

  #line(line: string): void {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return void this.comments.push(line.slice(1).trim());
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(): void {
    this.lastEventId = this.#id;
    const [event, data] = [this.#event || "message", this.#data.join("\n")];
    const isEmpty = this.#data.length === 0;
    this.#event = "";
    this.#data = [];
    if (!isEmpty) this.events.push({ event, data, lastEventId: this.lastEventId });
  }
}
