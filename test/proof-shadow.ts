import { commit, writeReport } from "./proof.ts";
import { cleanDerby, FAULTS, faultyDerby } from "./shadow-stage.ts";

/** Of `oddswire shadow`: clean hours of a derby, and planted faults. A minute or two: it begins anew where it was stopped. */
export async function shadow(seeds: number): Promise<boolean> {
  const lines = [`Seed 1 for the hours, 1 to ${seeds} for the faults, commit ${commit()}.`, ""];
  let isGood = true;
  for (const conflateMs of [0, 500]) {
    const { findings, statesMatched, statesConflated, statesUnjudged } = await cleanDerby(60, { seed: 1, conflateMs });
    isGood &&= findings.total === 0 && statesUnjudged === 0;
    const counts = [statesMatched, statesConflated, statesUnjudged].map((count) => count.toLocaleString("en"));
    lines.push(
      `- A clean hour of simulated derby, conflateMs ${conflateMs}: **${findings.total} findings** (${counts[0]} states matched, ${counts[1]} passed over by conflation, ${counts[2]} not judged).`,
    );
  }
  for (const { spoil, kind } of FAULTS) {
    let found = 0;
    const runs = [0, 500].flatMap((conflateMs) =>
      Array.from({ length: seeds }, (_, i) => ({ seed: i + 1, conflateMs })),
    );
    for (const run of runs) {
      const { report, market } = await faultyDerby(spoil, run);
      const [first] = report.findings.samples;
      const isRight = report.findings.total === 1 && first?.kind === kind && first.market === market;
      if (isRight) found++;
      else
        console.error(`${spoil}, seed ${run.seed}, conflateMs ${run.conflateMs}: ${JSON.stringify(report.findings)}`);
    }
    isGood &&= found === runs.length;
    lines.push(
      `- Planted \`${spoil}\`: **${found} of ${runs.length}** found as one finding, \`${kind}\`, at the right market.`,
    );
  }
  writeReport("shadow", lines);
  console.log(lines.join("\n"));
  return isGood;
}
