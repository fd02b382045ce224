/** A row of a bench: what was measured, what was to be reached, and whether it was. */
export interface Row {
  readonly name: string;
  readonly values: Readonly<Record<string, string | number>>;
  readonly passed: boolean;
  /** What each run gave, where there were several; kept with the result. */
  readonly runs?: readonly (number | null)[];
  /** For the chart of the page. */
  readonly bar?: Bar;
}

/** A measure that must stay below a limit: each run's, and each of what is measured beside it. */
export interface Bar {
  readonly ours: readonly number[];
  readonly limit: number;
  readonly other?: { readonly name: string; readonly values: readonly number[] };
}

export interface Report {
  readonly bench: string;
  /** What was measured and how, for the page; absent: it stands with the page. */
  readonly about?: string;
  readonly rows: readonly Row[];
}

/** The rows as a table for people, the numbers right-aligned. */
export function table(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
  const cells = [
    ["", ...columns, ""],
    ...rows.map((row) => [
      row.name,
      ...columns.map((column) => shown(row.values[column])),
      row.passed ? (row.values["to reach"] === "" ? "" : "ok") : "MISSED",
    ]),
  ];
  const widths = cells[0]?.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0))) ?? [];
  return cells
    .map((line) =>
      line
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
        .join("  "),
    )
    .join("\n");
}

function shown(value: string | number | undefined): string {
  if (typeof value !== "number") return value ?? "";
  return value >= 1000 ? Math.round(value).toLocaleString("en") : String(Math.round(value * 1000) / 1000);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
}
