import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FAULTS } from "../src/base/errors.ts";
import { configPage } from "./config-page.ts";
import { metricsPage } from "./metrics-page.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const pages = ["*.md", "docs/**/*.md", "test/**/*.md"].flatMap((glob) => [
  ...new Bun.Glob(glob).scanSync({ cwd: ROOT }),
]);

describe("docs/PROTOCOL.md", () => {
  const rows = tableRows(read("docs/PROTOCOL.md"));

  for (const [code, fault] of Object.entries(FAULTS))
    test(`says what ${code} means and whether to come back`, () => {
      expect(rows.get(code)).toEqual([
        fault.meaning,
        String(fault.close),
        fault.comeBack,
        `\`${fault.esa}\``,
        String(fault.http),
      ]);
    });

  test("lists no code that is not in the table of errors", () => {
    const listed = [...rows.keys()].filter((name) => /^\d{4}$/.test(rows.get(name)?.[1] ?? ""));
    expect(listed.sort()).toEqual(Object.keys(FAULTS).sort());
  });
});

describe("docs/decisions/dependencies.md", () => {
  const rows = tableRows(read("docs/decisions/dependencies.md"));
  const { dependencies, devDependencies } = JSON.parse(read("package.json"));

  test("argues for every dependency, at its version", () => {
    const listed = Object.fromEntries(
      [...rows].filter(([name]) => name !== "package").map(([name, row]) => [name, row[0]]),
    );
    expect(listed).toEqual({ ...dependencies, ...devDependencies });
  });

  test("nothing is installed at run time that nobody imports", () => {
    const sources = ["src", "client", "web"].flatMap((area) => [
      ...new Bun.Glob(`${area}/**/*.{ts,tsx}`).scanSync({ cwd: ROOT }),
    ]);
    const text = sources
      .filter((path) => !path.includes(".test."))
      .map(read)
      .join("\n");
    const used = (name: string) =>
      name === "bun" || text.includes(`from "${name}"`) || text.includes(`import("${name}")`);
    expect(Object.keys(dependencies).filter((name) => !used(name))).toEqual([]);
  });
});

describe("docs/CONFIG.md", () => {
  test("is what the schema says; `node bin/bun.js test/config-page.ts` writes it anew", () => {
    expect(read("docs/CONFIG.md")).toBe(configPage());
  });
});

describe("docs/METRICS.md", () => {
  test("is what is told; `node bin/bun.js test/metrics-page.ts` writes it anew", () => {
    expect(read("docs/METRICS.md")).toBe(metricsPage());
  });
});

describe("links", () => {
  test("lead somewhere", () => {
    const dead = pages.flatMap((page) =>
      links(read(page))
        .filter((link) => !existsSync(join(ROOT, dirname(page), link)))
        .map((link) => `${page}: ${link}`),
    );
    expect(pages).toContain("README.md");
    expect(dead).toEqual([]);
  });
});

/** The rows of every table of a page, by their first cell without its backticks. */
function tableRows(text: string): Map<string, string[]> {
  const rows = text.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| ---"));
  return new Map(
    rows.map((line) => {
      const [name, ...cells] = line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim());
      return [(name as string).replaceAll("`", ""), cells];
    }),
  );
}

/** Links to files of ours, without what comes after a #; links out and those within the page are left out. */
function links(text: string): string[] {
  const found = [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g)].map(
    (match) => (match[1] ?? match[2]) as string,
  );
  return found.filter((link) => !/^([a-z]+:|#)/.test(link)).map((link) => link.replace(/#.*/, ""));
}
