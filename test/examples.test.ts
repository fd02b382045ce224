import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium as driver } from "playwright-core";
import { parseConfig } from "../src/config.ts";
import { Demo } from "./demo.ts";
import { betfairlightweight, chromium } from "./parts.ts";
import { freePort } from "./ports.ts";

const EXAMPLES = fileURLToPath(new URL("../examples/", import.meta.url));
/** An event, its status, and runners, one of which at least has a price to back and one to lay. */
const PRICES = /^.+ \| [A-Z]+ \| .*[0-9]\/[0-9]/;
const python = betfairlightweight();
const browser = chromium();

describe("the examples, against a running demo", () => {
  let demo: Demo;
  beforeAll(async () => {
    demo = await Demo.start();
    while (!(await fetch(`${demo.url}readyz`)).ok) await Bun.sleep(20);
  }, 30_000);
  afterAll(async () => void (await demo.stop()));

  test("prices.mjs prints best prices as they change", async () => {
    const { port, path } = demo.info.websocket;
    const lines = await firstLines(20, process.execPath, "prices.mjs", `ws://127.0.0.1:${port}${path}`);
    expect(lines.filter((line) => PRICES.test(line)).length).toBeGreaterThan(10);
  });

  test("prices.mjs says why it is not let in", () => {
    const { port, path } = demo.info.websocket;
    const done = run(process.execPath, "prices.mjs", `ws://127.0.0.1:${port}${path}`, "wrong");
    expect(done.stderr).toContain("INVALID_SESSION_INFORMATION the session token is not valid");
  });

  test.skipIf(Bun.which("curl") === null)(
    "stream.sh: events of two subscriptions, and what changed after the last id",
    async () => {
      const { port, path } = demo.info.sse;
      const [url, token] = [`http://127.0.0.1:${port}${path}`, demo.info.demo.session];
      const isImage = (line: string) => line.startsWith("data:") && line.includes('"ct":"SUB_IMAGE"');
      const first = await firstLines(12, "bash", "stream.sh", url, token);
      expect(first.filter(isImage)).toHaveLength(2);
      const id = first.findLast((line) => line.startsWith("id: "))?.slice(4) as string;
      const second = await firstLines(9, "bash", "stream.sh", url, token, id);
      expect(second.filter(isImage)).toHaveLength(0);
      expect(second.filter((line) => line.includes('"ct":"RESUB_DELTA"'))).toHaveLength(2);
    },
  );

  test.skipIf(browser.kind === "missing")(
    "eventsource.mjs: a page of its own with prices, by cookie and through its site",
    async () => {
      const { port, path } = demo.info.sse;
      const words = [`http://127.0.0.1:${port}${path}`, demo.info.demo.session, String(await freePort())];
      const site = spawn(process.execPath, [`${EXAMPLES}eventsource.mjs`, ...words], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const chrome = await driver.launch({ executablePath: browser.path, args: ["--no-sandbox"] });
      try {
        for await (const line of createInterface(site.stdout)) {
          const page = await chrome.newPage();
          await page.goto(line.replace("open ", ""));
          await page
            .locator("li", { hasText: /: [0-9.]+ \/ [0-9.]+/ })
            .first()
            .waitFor({ timeout: 10_000 });
          expect(await page.locator("#state").innerText()).toBe("live");
          break;
        }
      } finally {
        await chrome.close();
        site.kill();
      }
    },
    30_000,
  );

  test.skipIf(python.kind === "missing")("exchange_client.py: betfairlightweight at the ESA door", () => {
    const done = run(python.path, "exchange_client.py", "--port", String(demo.esaPort), "--books", "8");
    expect(done.stderr).toBe("");
    const lines = done.stdout.trim().split("\n");
    expect(lines.filter((line) => PRICES.test(line)).length).toBeGreaterThan(4);
  });

  test.skipIf(Bun.which("curl") === null)("rest.sh: health, two pages of a list, one book", () => {
    const done = run("bash", "rest.sh", demo.url);
    expect(done.stderr).toBe("");
    const [ready, first, second, book] = done.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(ready).toEqual({ ready: true });
    expect([first.markets.length, second.markets.length]).toEqual([2, 2]);
    expect(second.markets[0].id).not.toBe(first.markets[0].id);
    expect(book.market.id).toBe(first.markets[0].id);
  });
});

test("oddswire.json is a good configuration, but for the password that the environment brings", async () => {
  const example = await Bun.file(`${EXAMPLES}oddswire.json`).json();
  expect(parseConfig(example, { ODDSWIRE_EXCHANGE_PASSWORD: "…" }).visitors).toHaveLength(2);
  expect(() => parseConfig(example)).toThrow("ODDSWIRE_EXCHANGE_PASSWORD");
});

function run(program: string, example: string, ...words: string[]) {
  return spawnSync(program, [`${EXAMPLES}${example}`, ...words], { encoding: "utf8", timeout: 20_000 });
}

/** The first lines that an example prints, which then is ended. */
async function firstLines(count: number, program: string, example: string, ...words: string[]): Promise<string[]> {
  const child = spawn(program, [`${EXAMPLES}${example}`, ...words], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) if (lines.push(line) === count) break;
  child.kill();
  return lines;
}
