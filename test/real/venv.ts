import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";

/** A Python that has what a list of requirements pins, or why there is none. */
export type Venv =
  | { readonly kind: "ready"; readonly python: string }
  | { readonly kind: "failed"; readonly reason: string };

/** The lists, each with the folder that is made from it. flumine wants another betfairlightweight than the list of that name pins. */
const LISTS = {
  betfairlightweight: { folder: ".venv/betfairlightweight", file: "requirements.txt" },
  flumine: { folder: ".venv/flumine", file: "requirements-flumine.txt" },
} as const;

/** The longest that one step (making the folder, installing) may take, milliseconds. */
const STEP_MS_MAX = 180_000;

/**
 * Makes the list's folder in the checkout, or takes the one that is there if it was made from the same requirements.
 * A stamp written last tells a finished one from one that was interrupted, which is thrown away.
 */
export function venvPython(root: string, list: keyof typeof LISTS): Venv {
  // What used to be one: there was a single list once.
  if (existsSync(`${root}.venv/pyvenv.cfg`)) rmSync(`${root}.venv`, { recursive: true, force: true });
  const folder = `${root}${LISTS[list].folder}`;
  const requirements = `${root}test/real/${LISTS[list].file}`;
  const stamp = `${folder}/requirements.installed`;
  const python = `${folder}/bin/python`;
  const wanted = readFileSync(requirements, "utf8");
  if (existsSync(python) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted)
    return { kind: "ready", python };
  rmSync(folder, { recursive: true, force: true });
  const reason = make(folder, python, requirements);
  if (reason !== null) return { kind: "failed", reason };
  writeFileSync(stamp, wanted);
  return { kind: "ready", python };
}

function make(folder: string, python: string, requirements: string): string | null {
  if (run("python3", ["-c", "import venv, ensurepip"]) !== null)
    return "no python3 with venv: apt-get install python3-venv";
  const venv = run("python3", ["-m", "venv", folder]);
  if (venv !== null) return `python3 -m venv failed: ${venv}`;
  const pip = run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]);
  return pip === null ? null : `pip install failed (is PyPI reachable?): ${pip}`;
}

/** Null when it worked, else its last line. */
function run(command: string, args: readonly string[]): string | null {
  const done = spawnSync(command, args, {
    timeout: STEP_MS_MAX,
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (done.status === 0) return null;
  return done.error?.message ?? (done.stderr.trim().split("\n").at(-1) || `exit code ${done.status}`);
}
