import type { Clock, Timer } from "../base/clock.ts";
import type { SportChange, SportOp } from "./exchange-sports.ts";
import type { MarketChange } from "./naive.ts";
import { type RecordedMessage, type RecordingMessage, recordingMessages } from "./recording.ts";

export interface ReplayOptions {
  readonly files: readonly string[];
  /** Files one after the other, or all at once in the order of their publish times. */
  readonly order: "in turn" | "merged";
  /** 1 is as it happened, 10 ten times as quick; Infinity or 0 as quick as it is taken. */
  readonly speed: number;
  /** After the end everything begins anew, with images; implies `rewritePt`, or time would go back. */
  readonly loop: boolean;
  /** Publish times become the time of publishing; else they stay as recorded. */
  readonly rewritePt: boolean;
  /** Longer silences of the recording are cut down to this, milliseconds at its own pace. */
  readonly gapMsMax?: number;
}

export interface ReplayProgress {
  /** The file being played. */
  readonly file: string;
  /** Published so far, over all rounds. */
  readonly messages: number;
  readonly changes: number;
  /** The recording's own time, milliseconds since the Unix epoch. */
  readonly pt: number;
  /** Counts from 1; grows only in a loop. */
  readonly round: number;
}

/** What a replay plays on. */
export interface ReplayStage {
  readonly clock: Clock;
  publish(pt: number, changes: readonly MarketChange[]): void;
  /** Takes races and cricket; absent: they are skipped. */
  publishSport?(op: SportOp, pt: number, changes: readonly SportChange[]): void;
  /** Resolves when readers can take more; asked between messages when there is no pace to keep. */
  settled?(): Promise<void>;
  onProgress?(progress: ReplayProgress): void;
  /** Where messages come from, for tests. */
  read?(file: string): AsyncIterable<RecordedMessage>;
}

/** So many messages in a row at most, before everybody else gets a turn of the event loop. */
const MESSAGES_PER_TURN = 64;
const PROGRESS_EVERY_MS = 250;

/** Plays recordings into an exchange: markets, races and cricket; other messages are skipped. After the end the last books stand. */
export class Replay {
  readonly #options: ReplayOptions;
  readonly #stage: ReplayStage;
  #messages = 0;
  #changes = 0;
  #round = 1;
  /** Markets that had their first change of this round. */
  #begun = new Set<string>();
  #pace: Pace | null = null;
  #lastPt = 0;
  #inTurn = 0;
  #toldAt = Number.NEGATIVE_INFINITY;
  #stopped = false;
  #wait: { readonly timer: Timer; readonly over: () => void } | null = null;

  constructor(options: ReplayOptions, stage: ReplayStage) {
    this.#options = options;
    this.#stage = stage;
  }

  /** Plays to the end, or until stopped. Rejects with the OddswireError of the file that cannot be read. */
  async run(): Promise<ReplayProgress> {
    let progress = this.#progress("", 0);
    do {
      for await (const recorded of this.#recorded()) {
        if (this.#stopped) return progress;
        const { file, message } = recorded;
        if (!this.#isPlayed(message)) continue;
        await this.#untilDue(message.pt);
        if (this.#stopped) return progress;
        this.#publish(message);
        progress = this.#progress(file, message.pt);
        this.#tell(progress);
      }
    } while (this.#nextRound(progress.messages));
    this.#stage.onProgress?.(progress);
    return progress;
  }

  /** Ends `run` soon; what was published stands. */
  stop(): void {
    this.#stopped = true;
    this.#wait?.timer.cancel();
    this.#wait?.over();
  }

  async *#recorded(): AsyncGenerator<RecordedMessage> {
    const read = this.#stage.read ?? recordingMessages;
    const { files, order } = this.#options;
    if (order === "merged") return yield* mergedByPt(files.map((file) => read(file)));
    for (const file of files) {
      this.#pace = null;
      yield* read(file);
    }
  }

  /** A loop over nothing would never end. */
  #nextRound(messages: number): boolean {
    if (!this.#options.loop || this.#stopped || messages === 0) return false;
    this.#round++;
    this.#begun.clear();
    this.#pace = null;
    return true;
  }

  async #untilDue(pt: number): Promise<void> {
    const { speed, gapMsMax } = this.#options;
    const { clock, settled } = this.#stage;
    const free = speed === 0 || speed === Number.POSITIVE_INFINITY;
    if (free) await settled?.();
    this.#pace ??= new Pace(clock.monotonic(), pt, speed, gapMsMax ?? Number.POSITIVE_INFINITY);
    const wait = free ? 0 : this.#pace.dueAt(pt) - clock.monotonic();
    if (wait < 1 && ++this.#inTurn < MESSAGES_PER_TURN) return;
    this.#inTurn = 0;
    await this.#sleep(wait);
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const over = () => {
        this.#wait = null;
        resolve();
      };
      this.#wait = { timer: this.#stage.clock.after(ms, over), over };
    });
  }

  #isPlayed(message: RecordingMessage): message is RecordingMessage & { readonly pt: number } {
    const isSport = (message.op === "rcm" || message.op === "ccm") && this.#stage.publishSport !== undefined;
    return (message.op === "mcm" || isSport) && message.pt !== undefined;
  }

  #publish(message: RecordingMessage & { readonly pt: number }): void {
    const { rewritePt, loop } = this.#options;
    this.#lastPt = rewritePt || loop ? Math.max(this.#lastPt, Math.trunc(this.#stage.clock.wall())) : message.pt;
    this.#messages++;
    if (message.op === "rcm" || message.op === "ccm") {
      const entries = sportChanges(message[message.op === "rcm" ? "rc" : "cc"]);
      this.#changes += entries.length;
      return this.#stage.publishSport?.(message.op, this.#lastPt, entries);
    }
    const changes = message.mc ?? [];
    this.#changes += changes.length;
    this.#stage.publish(this.#lastPt, this.#round === 1 ? changes : changes.map((change) => this.#anew(change)));
  }

  /** In a later round a market's first change is an image: what stood from the round before ends there. */
  #anew(change: MarketChange): MarketChange {
    if (this.#begun.has(change.id)) return change;
    this.#begun.add(change.id);
    return { ...change, img: true };
  }

  #progress(file: string, pt: number): ReplayProgress {
    return { file, messages: this.#messages, changes: this.#changes, pt, round: this.#round };
  }

  #tell(progress: ReplayProgress): void {
    const now = this.#stage.clock.monotonic();
    if (now - this.#toldAt < PROGRESS_EVERY_MS) return;
    this.#toldAt = now;
    this.#stage.onProgress?.(progress);
  }
}

function sportChanges(entries: unknown): readonly SportChange[] {
  const isEntry = (entry: unknown) => typeof entry === "object" && entry !== null && !Array.isArray(entry);
  return Array.isArray(entries) ? entries.filter(isEntry) : [];
}

/** When each message of a recording is due, on the monotonic clock. */
class Pace {
  readonly #speed: number;
  readonly #gapMsMax: number;
  #pt: number;
  #at: number;

  constructor(at: number, pt: number, speed: number, gapMsMax: number) {
    this.#at = at;
    this.#pt = pt;
    this.#speed = speed;
    this.#gapMsMax = gapMsMax;
  }

  dueAt(pt: number): number {
    this.#at += Math.min(Math.max(0, pt - this.#pt), this.#gapMsMax) / this.#speed;
    this.#pt = Math.max(this.#pt, pt);
    return this.#at;
  }
}

/** Several recordings as one, in the order of their publish times; of those published at once, in the order given. */
async function* mergedByPt(recordings: readonly AsyncIterable<RecordedMessage>[]): AsyncGenerator<RecordedMessage> {
  const heads: { readonly rest: AsyncIterator<RecordedMessage>; message: RecordedMessage }[] = [];
  for (const recording of recordings) {
    const rest = recording[Symbol.asyncIterator]();
    const first = await rest.next();
    if (first.done !== true) heads.push({ rest, message: first.value });
  }
  while (heads.length > 0) {
    let earliest = 0;
    for (let i = 1; i < heads.length; i++) if (ptOf(heads, i) < ptOf(heads, earliest)) earliest = i;
    const head = heads[earliest] as (typeof heads)[number];
    yield head.message;
    const next = await head.rest.next();
    if (next.done === true) heads.splice(earliest, 1);
    else head.message = next.value;
  }
}

function ptOf(heads: readonly { readonly message: RecordedMessage }[], i: number): number {
  return heads[i]?.message.message.pt ?? 0;
}
