import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { findings } from "./tidy.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

describe("the house", () => {
  const tree = readHouse();

  test("is read at all", () => {
    expect(tree.has("src/main.ts")).toBe(true);
    expect(tree.has("test/tidy.test.ts")).toBe(true);
  });

  test("is tidy: imports go downstairs, nothing is dead, nothing goes round in circles", () => {
    expect(findings(tree)).toEqual([]);
  });
});

describe("a crooked house is found out", () => {
  test("a straight one is not", () => {
    expect(
      crooked({
        "src/main.ts": `import { a } from "./market/a.ts";\nconst later = () => import("./cli/demo.ts");\n// import "../test/x.ts" and Bun.serve\nBun.serve({});`,
        "src/market/a.ts": `import type { Clock } from "../base/clock.ts";\nconst url = "wss://x"; // Bun.listen`,
        "src/base/clock.ts": "export const now = () => Date.now();",
        "src/market/a.test.ts": `import { run } from "../sim/run.ts";\nimport { any } from "./arbitrary.ts";`,
        "src/market/arbitrary.ts": "export const any = 1;",
        "src/delivery/view.ts": `import { Hub } from "./hub.ts";`,
        "src/delivery/hub.ts": `import type { View } from "./view.ts";`,
        "src/market/seek.d.ts": "",
        "src/cli/demo.ts": `import "../main.ts";`,
        "src/sim/run.ts": `import { connect } from "../../client/client.ts";`,
        "client/client.ts": "export function connect() {}",
      }),
    ).toEqual([]);
  });

  const planted: readonly [string, Record<string, string>, string][] = [
    ["a step upstairs", { "src/market/a.ts": `import { b } from "../delivery/b.ts";` }, "upstairs from floor 1"],
    [
      "a type from upstairs",
      { "src/base/a.ts": `import type {\n  B,\n} from "../wire/b.ts";` },
      "upstairs from floor 0",
    ],
    ["a dynamic import upstairs", { "src/base/a.ts": `await import("../wire/b.ts");` }, "upstairs from floor 0"],
    ["a re-export from upstairs", { "src/base/a.ts": `export { b } from "../edge/b.ts";` }, "upstairs from floor 0"],
    ["siblings that meet", { "src/delivery/a.ts": `import "../exchange/b.ts";` }, "a sibling"],
    ["an unknown room below the top", { "src/edge/a.ts": `import "../attic/b.ts";` }, "upstairs from floor 4"],
    [
      "a client that leans on src",
      { "client/a.ts": `import { b } from "../src/base/b.ts";` },
      "imports nothing from src/",
    ],
    ["a page that leans on src", { "web/a.ts": `import { b } from "../src/base/b.ts";` }, "imports nothing from src/"],
    ["the client in the engine room", { "src/delivery/a.ts": `import "../../client/b.ts";` }, "may use the client"],
    ["a product that leans on a test", { "src/edge/a.ts": `import "../../test/b.ts";` }, "not part of the product"],
    ["a barrel", { "src/market/index.ts": "" }, "a barrel"],
    ["Bun where it may not be", { "src/delivery/a.ts": "Bun.sleep(1);" }, "says Bun"],
    ["a runtime module where it may not be", { "src/sim/a.ts": `import { Database } from "bun:sqlite";` }, "says Bun"],
    ["the machine's clock downstairs", { "src/market/a.ts": "const t = Date.now();" }, "take a Clock"],
    ["a dead file", { "src/market/dead.ts": "export {};" }, "nobody imports it"],
    [
      "a file only its own test imports",
      { "src/market/a.ts": "", "src/market/a.test.ts": `import "./a.ts";` },
      "nobody imports it",
    ],
    [
      "a cycle",
      {
        "src/market/a.ts": `import "./b.ts";`,
        "src/market/b.ts": `import "./c.ts";`,
        "src/market/c.ts": `import "./a.ts";`,
      },
      "src/market/a.ts → src/market/b.ts → src/market/c.ts → src/market/a.ts",
    ],
    [
      "a judge that leans on what it judges",
      { "src/sim/naive.ts": `import "./shared.ts";`, "src/sim/shared.ts": `import type { A } from "../market/a.ts";` },
      "src/sim/naive.ts: a judge that leans on src/market/a.ts",
    ],
  ];
  for (const [what, files, complaint] of planted)
    test(what, () => {
      expect(crooked(files).join("\n")).toContain(complaint);
    });
});

function crooked(files: Record<string, string>): string[] {
  return findings(new Map(Object.entries(files)));
}

function readHouse(): Map<string, string> {
  const tree = new Map<string, string>();
  for (const area of ["src", "client", "web", "bench", "test", "examples"])
    for (const path of new Bun.Glob(`${area}/**/*.{ts,tsx}`).scanSync({ cwd: ROOT }))
      tree.set(path, readFileSync(`${ROOT}/${path}`, "utf8"));
  return tree;
}
