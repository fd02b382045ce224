import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { venvPython } from "./real/venv.ts";

/** Something from outside that tests run against: there, with its path, or not, with what to do about it. */
export type Part =
  | { readonly kind: "present"; readonly name: string; readonly path: string }
  | { readonly kind: "missing"; readonly name: string; readonly path: ""; readonly install: string };

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Real recorded streams, a folder beside the checkout that is not ours to ship. */
export function recordings(): Part {
  const path = process.env.ODDSWIRE_RECORDINGS ?? fileURLToPath(new URL("../../shared/recordings", import.meta.url));
  if (existsSync(path)) return { kind: "present", name: "recordings", path };
  return missing("recordings", "set ODDSWIRE_RECORDINGS to a folder of recorded streams");
}

/** A Chromium for the page's tests. */
export function chromium(): Part {
  const places = [
    process.env.ODDSWIRE_CHROMIUM,
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
  ];
  const path = places.find((place) => place !== undefined && existsSync(place));
  if (path !== undefined) return { kind: "present", name: "Chromium", path };
  return missing("Chromium", "apt-get install chromium, or set ODDSWIRE_CHROMIUM to its path");
}

/** A Python with the real betfairlightweight; made in `.venv` on the first call, which takes half a minute and needs PyPI. */
export function betfairlightweight(): Part {
  const made = venvPython(ROOT);
  if (made.kind === "ready") return { kind: "present", name: "betfairlightweight", path: made.python };
  return missing("betfairlightweight", made.reason);
}

/** The parts that are not there; `test/run.ts` says so at the end, and in CI counts each as a failure. */
export function missingParts(): Extract<Part, { kind: "missing" }>[] {
  return [recordings(), chromium(), betfairlightweight()].filter((part) => part.kind === "missing");
}

function missing(name: string, install: string): Part {
  return { kind: "missing", name, path: "", install };
}
