import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { type Browser, chromium, type Page } from "playwright-core";
import { chromium as findChromium } from "../test/parts.ts";

const CHROMIUM = findChromium();
const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"].concat([
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]);
/** The machine's own range of free ports reaches over this. */
const PORTS = { from: 21_000, to: 31_000 };

describe.skipIf(CHROMIUM.kind === "missing")("the page in a browser", () => {
  let browser: Browser;
  let script: string;
  let gateway: Gateway;
  const errors: string[] = [];

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM.path, args: ARGUMENTS });
    const built = await Bun.build({ entrypoints: [`${import.meta.dir}/page.ts`], target: "browser" });
    script = await built.outputs[0].text();
  });
  afterAll(() => browser?.close());
  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    gateway.stop();
    expect(errors.splice(0)).toEqual([]);
  });

  async function open(hash = "", options: { demo?: boolean; width?: number } = {}): Promise<Page> {
    gateway = new Gateway(script, options.demo ?? true);
    const context = await browser.newContext({ viewport: { width: options.width ?? 1280, height: 800 } });
    const page = await context.newPage();
    await page.addInitScript(NOTE_FLASHES);
    page.setDefaultTimeout(10_000);
    page.on("pageerror", (error) => errors.push(error.message));
    await page.goto(`${gateway.url}/${hash}`);
    return page;
  }

  test("lists the markets by event, shows the first, and its prices move", async () => {
    const page = await open();
    await page.waitForSelector('[data-testid="ladder"]');
    const rows = page.getByTestId("market-row");
    expect(await rows.evaluateAll((all) => all.map((row) => (row as HTMLElement).dataset.status))).toEqual([
      "OPEN",
      "SUSPENDED",
      "OPEN",
    ]);
    expect(await page.locator(".event h3").allTextContents()).toEqual(["Arsenal v Chelsea", "Ascot"]);
    await page.getByTestId("connection-state").filter({ hasText: "Live" }).waitFor();
    expect(await page.getByTestId("last-message-age").textContent()).toMatch(/^\d\.\d s$/);
    const runner = page.getByTestId("runner").first();
    const prices = ["back-2", "back-1", "back-0", "lay-0", "lay-1", "lay-2"].map((id) =>
      runner.getByTestId(id).locator("b"),
    );
    expect(await Promise.all(prices.map((cell) => cell.textContent()))).toEqual([
      "1.84",
      "1.85",
      "1.86",
      "1.87",
      "1.88",
      "1.89",
    ]);
    gateway.say("1.1", { id: "1.1", tv: 900, rc: [{ id: 1, atb: [[1.86, 0]], atl: [[1.86, 5]], ltp: 1.86 }] });
    await prices[3].filter({ hasText: "1.86" }).waitFor();
    expect(await prices[2].textContent()).toBe("1.85");
    expect(await page.evaluate("flashed.has('back-0') && flashed.has('ltp')")).toBe(true);
    expect(await page.getByTestId("total-matched").textContent()).toBe("900");
  });

  test("a suspension lies over the prices at once, in the list and on the ladder, and lifts again", async () => {
    const page = await open("#1.1");
    const overlay = page.getByTestId("overlay");
    await overlay.waitFor({ state: "hidden" });
    gateway.define("1.1", { status: "SUSPENDED", suspendReason: "Goal" });
    await overlay.waitFor();
    expect(await overlay.innerText()).toMatch(/SUSPENDED\s+Goal/);
    await page.locator('[data-market="1.1"][data-status="SUSPENDED"]').waitFor();
    gateway.define("1.1", { status: "OPEN" });
    await overlay.waitFor({ state: "hidden" });
    gateway.define("1.1", { status: "CLOSED" });
    await overlay.filter({ hasText: "CLOSED" }).waitFor();
  });

  test("a lost connection is said, the prices are not offered meanwhile, and it comes back by itself", async () => {
    const page = await open("#1.1");
    await page.getByTestId("ladder").waitFor();
    gateway.cut();
    await page.getByTestId("overlay").filter({ hasText: "NOT LIVE" }).waitFor();
    await page.getByTestId("stale-banner").filter({ hasText: "may be old" }).waitFor();
    await page.getByTestId("connection-state").filter({ hasText: "Reconnecting" }).waitFor();
    gateway.comeBack();
    await page.getByTestId("overlay").waitFor({ state: "hidden" });
    await page.getByTestId("stale-banner").waitFor({ state: "hidden" });
  });

  test("a search and a click lead to a market; one that is not there is said to be not there", async () => {
    const page = await open();
    await page.getByTestId("market-row").first().waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("copper");
    await page.getByTestId("market-row").nth(1).waitFor({ state: "detached" });
    await page.getByTestId("market-row").click();
    await page.locator("h1", { hasText: "1m Hcap" }).waitFor();
    expect(page.url()).toEndWith("#1.3");
    await page.goto(`${gateway.url}/#1.99`);
    await page.getByTestId("empty").filter({ hasText: "Market 1.99 is not here" }).waitFor();
  });

  test("on a phone the list leads to the ladder and back, and nothing is wider than the screen", async () => {
    const page = await open("", { width: 390 });
    const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
    await page.getByTestId("market-row").first().click();
    await page.getByTestId("ladder").waitFor();
    expect([await page.getByTestId("market-list").isVisible(), await fits()]).toEqual([false, true]);
    await page.locator(".back-to-list").click();
    await page.getByTestId("market-row").first().waitFor();
    expect([await page.getByTestId("ladder").isVisible(), await fits()]).toEqual([false, true]);
  });

  test("without a demo it asks for a token, says when it is refused, and keeps a good one in the tab", async () => {
    const page = await open("", { demo: false });
    const token = page.getByLabel("Session token");
    await token.fill("wrong");
    await page.getByRole("button", { name: "Connect" }).click();
    await page.getByText("the session token is not valid").first().waitFor();
    await token.fill(TOKEN);
    await page.getByRole("button", { name: "Connect" }).click();
    await page.getByTestId("market-row").first().waitFor();
    await page.reload();
    await page.getByTestId("market-row").first().waitFor();
  });

  test("shows the names that the gateway's list has where the stream has none, also when they come later", async () => {
    const page = await open("#1.3");
    await page.locator(".event h3").filter({ hasText: "Ascot" }).waitFor();
    const runners = [{ id: 5, sortPriority: 1, status: "ACTIVE" }];
    gateway.define("1.3", { name: undefined, eventName: undefined, runners });
    await page.locator(".event h3").filter({ hasText: "Event 2" }).waitFor();
    expect(await page.getByTestId("runner").first().innerText()).toContain("Runner 5");
    gateway.names = [{ id: "1.3", name: "2m Hcap", eventName: "Epsom", runners: [{ id: 5, name: "Silver Breeze" }] }];
    await page.locator(".event h3").filter({ hasText: "Epsom" }).waitFor();
    await page.locator('[data-market="1.3"]').filter({ hasText: "2m Hcap" }).first().waitFor();
    await page.getByTestId("runner").filter({ hasText: "Silver Breeze" }).waitFor();
    await page.getByRole("searchbox").fill("breeze");
    await page.locator(".event h3").filter({ hasText: "Arsenal" }).waitFor({ state: "detached" });
    expect(await page.getByTestId("market-row").count()).toBe(1);
  });
});

/** A flash is over before a slow machine has looked: the page notes what was lit. */
const NOTE_FLASHES = `
  globalThis.flashed = new Set();
  const { animate } = Element.prototype;
  Element.prototype.animate = function (...how) {
    flashed.add(this.dataset.testid);
    return animate.apply(this, how);
  };`;

const TOKEN = "a-good-token";

interface Asked {
  readonly op: string;
  readonly id: number;
  readonly session?: string;
  readonly subscription: number;
  readonly marketFilter: { readonly marketIds?: string[] };
}

interface Market {
  definition: { status: string; [key: string]: unknown };
  readonly rc: object[];
}

/** A gateway that says what it is told to. */
class Gateway {
  readonly url: string;
  readonly #sockets = new Map<Bun.ServerWebSocket<unknown>, Map<number, string[] | undefined>>();
  readonly #server: Bun.Server<unknown>;
  readonly #markets = new Map<string, Market>(worldOfThree());
  readonly #script: string;
  readonly #demo: boolean;
  /** What its list of markets tells. */
  names: readonly {
    readonly id: string;
    readonly name: string;
    readonly eventName: string;
    readonly runners: object[];
  }[] = [];
  #away = false;

  constructor(script: string, demo: boolean) {
    this.#script = script;
    this.#demo = demo;
    this.#server = listen((request, server) => this.#answer(request, server), {
      open: (socket) => this.#open(socket),
      message: (socket, text) => this.#receive(socket, JSON.parse(String(text))),
      close: (socket) => void this.#sockets.delete(socket),
    });
    this.url = `http://127.0.0.1:${this.#server.port}`;
  }

  stop(): void {
    void this.#server.stop(true);
  }

  /** Everybody is thrown out, and nobody let in until `comeBack`. */
  cut(): void {
    this.#away = true;
    for (const socket of this.#sockets.keys()) socket.terminate();
  }

  comeBack(): void {
    this.#away = false;
  }

  define(id: string, definition: object): void {
    const market = this.#markets.get(id) as Market;
    market.definition = { ...market.definition, ...definition };
    this.say(id, { id, marketDefinition: market.definition });
  }

  say(id: string, change: object): void {
    for (const [socket, subscriptions] of this.#sockets)
      for (const [subscription, ids] of subscriptions)
        if (ids?.includes(id) ?? true)
          socket.send(JSON.stringify({ op: "mcm", id: subscription, pt: 2, clk: "2", mc: [change] }));
  }

  #answer(request: Request, server: Bun.Server<unknown>): Response | undefined {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/v1/markets" && request.headers.get("Authorization") === `Bearer ${TOKEN}`)
      return Response.json({
        markets: this.names.filter(({ id }) => searchParams.get("marketIds")?.split(",").includes(id)),
      });
    const page = (name: string) => new Response(Bun.file(`${import.meta.dir}/${name}`));
    if (pathname === "/ws")
      return !this.#away && server.upgrade(request, { data: undefined })
        ? undefined
        : new Response("", { status: 503 });
    if (pathname === "/v1/info") return Response.json(this.#info());
    if (pathname === "/page.js") return new Response(this.#script, { headers: { "Content-Type": "text/javascript" } });
    return page(pathname === "/page.css" ? "page.css" : "page.html");
  }

  #info(): object {
    const demo = this.#demo ? { demo: { session: TOKEN, appKey: "demo" } } : {};
    return { version: "0", websocket: { port: this.#server.port, path: "/ws" }, ...demo };
  }

  #open(socket: Bun.ServerWebSocket<unknown>): void {
    this.#sockets.set(socket, new Map());
    socket.send(JSON.stringify({ op: "connection", connectionId: "c" }));
  }

  #receive(socket: Bun.ServerWebSocket<unknown>, message: Asked): void {
    const status = { op: "status", id: message.id, connectionClosed: false, statusCode: "SUCCESS" };
    if (message.op === "authentication" && message.session !== TOKEN) return this.#refuse(socket, message.id);
    socket.send(JSON.stringify(status));
    if (message.op === "unsubscribe") this.#sockets.get(socket)?.delete(message.subscription);
    if (message.op === "marketSubscription") this.#subscribe(socket, message.id, message.marketFilter.marketIds);
  }

  #refuse(socket: Bun.ServerWebSocket<unknown>, id: number): void {
    const errorMessage = "the session token is not valid";
    socket.send(
      JSON.stringify({
        op: "status",
        id,
        statusCode: "FAILURE",
        errorCode: "INVALID_SESSION_INFORMATION",
        errorMessage,
      }),
    );
    socket.close(4105, errorMessage);
  }

  #subscribe(socket: Bun.ServerWebSocket<unknown>, id: number, ids: string[] | undefined): void {
    this.#sockets.get(socket)?.set(id, ids);
    const wanted = [...this.#markets].filter(([market]) => ids?.includes(market) ?? true);
    const mc = wanted.map(([market, { definition, rc }]) => ({
      id: market,
      img: true,
      marketDefinition: definition,
      rc,
    }));
    socket.send(JSON.stringify({ op: "mcm", id, ct: "SUB_IMAGE", initialClk: "i", clk: "1", pt: 1, mc }));
  }
}

function listen(
  fetch: (request: Request, server: Bun.Server<unknown>) => Response | undefined,
  websocket: Bun.WebSocketHandler<unknown>,
): Bun.Server<unknown> {
  for (let tries = 0; ; tries++) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.to - PORTS.from));
    try {
      return Bun.serve({ hostname: "127.0.0.1", port, fetch, websocket });
    } catch (error) {
      if (tries === 20) throw error;
    }
  }
}

function worldOfThree(): [string, Market][] {
  const football = { eventId: "1", eventTypeId: "1", eventName: "Arsenal v Chelsea", inPlay: true };
  const runners = ["Arsenal", "Chelsea"].map((name, i) => ({ id: i + 1, name, sortPriority: i + 1, status: "ACTIVE" }));
  const rc = [
    {
      id: 1,
      ltp: 1.87,
      atb: [
        [1.84, 9],
        [1.86, 4],
        [1.85, 2],
      ],
      atl: [
        [1.89, 3],
        [1.87, 7],
        [1.88, 1],
      ],
    },
    { id: 2, ltp: 4, atb: [[3.9, 9]], atl: [[4, 7]] },
  ];
  const horses = [{ id: 5, name: "Copper Lane", sortPriority: 1, status: "ACTIVE" }];
  const race = {
    eventId: "2",
    eventTypeId: "7",
    eventName: "Ascot",
    name: "1m Hcap",
    marketType: "WIN",
    runners: horses,
  };
  return [
    ["1.1", { definition: { status: "OPEN", ...football, name: "Match Odds", marketType: "MATCH_ODDS", runners }, rc }],
    ["1.2", { definition: { status: "SUSPENDED", ...football, name: "Correct Score", runners: [] }, rc: [] }],
    ["1.3", { definition: { status: "OPEN", ...race }, rc: [] }],
  ];
}
