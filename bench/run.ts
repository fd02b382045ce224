/** `npm run bench -- NAME [--json] [--keep] [FILE…]`: prints rows, exits 0 only when every number was reached. `--keep` makes docs/BENCHMARKS.md anew. */
import { parseArgs } from "node:util";
import { apply } from "./apply.ts";
import { beforeAfter } from "./before-after.ts";
import { esa } from "./esa.ts";
import { keep } from "./results.ts";
import { type Report, table } from "./table.ts";
import { w1 } from "./w1.ts";
import { w8 } from "./w8.ts";

type Bench = (files: readonly string[], progress: (text: string) => void) => Report | Promise<Report>;

const BENCHES: Readonly<Record<string, Bench>> = { apply, "before-after": beforeAfter, esa, W1: w1, W8: w8 };

process.exit(await main());

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { json: { type: "boolean" }, keep: { type: "boolean" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  const [name = "", ...files] = positionals;
  const bench = BENCHES[name];
  if (bench === undefined || values.help) {
    console.error(
      `usage: npm run bench -- NAME [--json] [--keep] [FILE…], NAME one of ${Object.keys(BENCHES).join(", ")}`,
    );
    return values.help ? 0 : 2;
  }
  const report = await bench(files, (text) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`));
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  if (values.keep) keep(report);
  console.log(values.json ? JSON.stringify(report, null, 2) : table(report.rows));
  return report.rows.length > 0 && report.rows.every((row) => row.passed) ? 0 : 1;
}
