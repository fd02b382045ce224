/** Another process of the same gateway. */
export interface Colleague {
  readonly name: string;
  /** What it has to tell, in Prometheus's text form. Rejects where it does not answer in time. */
  ask(): Promise<string>;
}

/** Told where several processes are one gateway. */
export const WORKER_UP = {
  name: "oddswire_worker_up",
  type: "gauge",
  help: "1 for each process of the gateway that answered; only with workers.",
  labels: ["worker"],
} as const;

/** What all processes tell, on one page: each line with the label `worker`, each metric's lines together, as the text form wants it. */
export async function gathered(
  name: string,
  own: () => Promise<string>,
  others: readonly Colleague[],
): Promise<string> {
  const answers = await Promise.allSettled([own(), ...others.map((other) => other.ask())]);
  const names = [name, ...others.map((other) => other.name)];
  const families = new Families();
  const up = answers.map(
    ({ status }, n) => `${WORKER_UP.name}{worker="${names[n]}"} ${status === "fulfilled" ? 1 : 0}`,
  );
  families.add(head(WORKER_UP).concat(up));
  for (const [n, answer] of answers.entries())
    if (answer.status === "fulfilled") families.add(labelled(answer.value.split("\n"), names[n] as string));
  return families.text();
}

/** The lines of each metric, in the order in which the first of them came. */
class Families {
  readonly #byHelp = new Map<string, string[]>();

  /** Lines of one process: what is said about a metric, and its samples after it. */
  add(lines: readonly string[]): void {
    let family: string[] = [];
    for (const line of lines) {
      const help = /^# HELP (\S+)/.exec(line)?.[1];
      if (help !== undefined) {
        family = this.#byHelp.get(help) ?? [];
        if (!this.#byHelp.has(help)) this.#byHelp.set(help, family);
      }
      // What it is stands there once.
      if (!line.startsWith("#") || !family.includes(line)) family.push(line);
    }
  }

  text(): string {
    return [...this.#byHelp.values()].map((lines) => `${lines.join("\n")}\n`).join("\n");
  }
}

function head({ name, type, help }: typeof WORKER_UP): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function labelled(lines: readonly string[], worker: string): string[] {
  const label = `worker="${worker}"`;
  return lines
    .filter((line) => line !== "")
    .map((line) =>
      line.startsWith("#")
        ? line
        : line.replace(/^([^{ ]+)(\{?)/, (_, name, open) => (open ? `${name}{${label},` : `${name}{${label}}`)),
    );
}
