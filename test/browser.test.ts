import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, chromium as driver, type Page } from "playwright-core";
import { Demo } from "./demo.ts";
import { chromium } from "./parts.ts";

const browserPart = chromium();
const ARTIFACTS = fileURLToPath(new URL("../artifacts/", import.meta.url));
/** Long enough for a goal or a wicket in a world of this many markets. */
const SUSPENSION_MS_MAX = 60_000;

describe.skipIf(browserPart.kind === "missing")("the page, in Chromium", () => {
  let demo: Demo;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    mkdirSync(ARTIFACTS, { recursive: true });
    demo = await Demo.start("--markets", "120");
    browser = await driver.launch({ executablePath: browserPart.path, args: ["--no-sandbox"] });
    page = await browser.newPage({ viewport: { width: 1360, height: 860 } });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    await page.goto(demo.url);
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await demo?.stop();
  }, 30_000);

  test("gets in by itself, says that it is live and lists markets by event", async () => {
    await page.locator('[data-testid="connection-state"][data-state="live"]').waitFor();
    await page.getByTestId("market-row").first().waitFor();
    expect(await page.getByTestId("market-row").count()).toBeGreaterThan(10);
    expect(await page.locator("section.event h3").first().innerText()).not.toBe("");
  });

  test("moves prices", async () => {
    const seen = new Set<string>();
    await until(async () => seen.add((await page.locator("a.row .last").allInnerTexts()).join(" ")).size > 3, 20_000);
    await page.screenshot({ path: `${ARTIFACTS}page-prices.png` });
  });

  test("shows three prices of each side of the chosen market, and they change", async () => {
    await page.getByTestId("market-row").first().click();
    const ladder = page.getByTestId("ladder");
    await ladder.waitFor();
    const seen = new Set<string>();
    await until(async () => seen.add(await ladder.innerText()).size > 2, 20_000);
    await page.screenshot({ path: `${ARTIFACTS}page-ladder.png` });
  });

  test("lays a suspension over a market's prices", async () => {
    const overlay = page.locator('[data-testid="ladder"][data-status="SUSPENDED"] [data-testid="overlay"]');
    await until(async () => {
      const suspended = page.locator('a.row[data-status="SUSPENDED"]').first();
      if ((await suspended.count()) > 0) await suspended.click({ timeout: 1_000 }).catch(() => {});
      if (!(await overlay.isVisible())) return false;
      await page.screenshot({ path: `${ARTIFACTS}page-suspended.png` });
      return /suspended/i.test(await overlay.innerText({ timeout: 1_000 }).catch(() => ""));
    }, SUSPENSION_MS_MAX);
  }, 90_000);

  test("says so when the gateway is gone, and the console stayed clean until then", async () => {
    expect(complaints).toEqual([]);
    expect(await demo.stop()).toBe(0);
    await page.locator('[data-testid="connection-state"]:not([data-state="live"])').waitFor();
    await page.screenshot({ path: `${ARTIFACTS}page-gone.png` });
  });
});

/** Asks again and again; throws when it was never so. */
async function until(holds: () => Promise<boolean>, msMax: number): Promise<void> {
  const deadline = performance.now() + msMax;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${msMax} ms`);
    await Bun.sleep(50);
  }
}
