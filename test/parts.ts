import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { whyNoNamespace } from "./real/namespace.ts";
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

/** Prometheus's own judge of what a scraper is given. */
export function promtool(): Part {
  const places = [process.env.ODDSWIRE_PROMTOOL, "/usr/bin/promtool", "/usr/local/bin/promtool"];
  const path = places.find((place) => place !== undefined && existsSync(place));
  if (path !== undefined) return { kind: "present", name: "promtool", path };
  return missing("promtool", "apt-get install prometheus, or set ODDSWIRE_PROMTOOL to its path");
}

/** A Python with the real betfairlightweight; made in `.venv` on the first call, which takes half a minute and needs PyPI. */
export function betfairlightweight(): Part {
  return python("betfairlightweight");
}

/** A Python with the real flumine and its own betfairlightweight; made as the other one is. */
export function flumine(): Part {
  return python("flumine");
}

/** A network of our own, where the exchange's host names and its port 443 are ours to give. */
export function networkNamespace(): Part {
  const reason = whyNoNamespace();
  return reason === null
    ? { kind: "present", name: "network namespaces", path: "" }
    : missing("network namespaces", reason);
}

/** The parts that are not there; `test/run.ts` says so at the end, and in CI counts each as a failure. */
export function missingParts(): Extract<Part, { kind: "missing" }>[] {
  const parts = [recordings(), chromium(), promtool(), betfairlightweight(), flumine(), networkNamespace()];
  return parts.filter((part) => part.kind === "missing");
}

function python(name: "betfairlightweight" | "flumine"): Part {
  const made = venvPython(ROOT, name);
  if (made.kind === "ready") return { kind: "present", name, path: made.python };
  return missing(name, made.reason);
}

function missing(name: string, install: string): Part {
  return { kind: "missing", name, path: "", install };
}
