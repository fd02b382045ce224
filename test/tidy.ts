/**
 * The rules of the house, checked over its text: who may import whom, what nobody imports, and who may say `Bun`.
 * Works on a plain map of path to text, so that its own test can hand it a crooked house.
 */
export type SourceTree = ReadonlyMap<string, string>;

/** One broken rule, in words: "src/a/b.ts: …". */
export type Finding = string;

/** Rooms of one number are siblings and never import each other. What is not named here (main, app, config, cli) lives on the top floor. */
const FLOORS: Readonly<Record<string, number>> = {
  base: 0,
  market: 1,
  wire: 2,
  tenancy: 2,
  exchange: 3,
  feeds: 3,
  cluster: 3,
  delivery: 3,
  orders: 3,
  sports: 3,
  edge: 4,
  ops: 5,
  load: 5,
  sim: 5,
};
const TOP_FLOOR = 6;

/** Nobody imports these: they are what a person or `package.json` starts. */
const ENTRY_POINTS = ["src/main.ts", "src/sim/run.ts", "src/cli/crowd.ts"];

/** Where the runtime's own names may stand, so that another runtime stays a few files away. */
const BUN_ALLOWED = [
  /^src\/(main|app|doors|snapshot|workers)\.ts$/,
  /^src\/cli\//,
  /^src\/edge\//,
  /^src\/exchange\/client\.ts$/,
  /^src\/load\/sockets\.ts$/,
  /^(test|bench|bin|examples)\//,
];

/** Where the machine's own clock and chance may be asked: everybody else on the lower floors is handed them. */
const CLOCK_ALLOWED = [/^src\/base\/(clock|random)\.ts$/, /^src\/(edge|ops|sim|cli)\//, /^src\/[^/]+\.ts$/];

/** The judges: a mistake that they shared with what they judge would pass. */
const JUDGES = /^src\/sim\/(naive|oracle|shown|judge)[^/]*\.ts$/;
const JUDGED = ["market", "wire", "delivery"];

/** Everything that is wrong with the house; empty when it is tidy. */
export function findings(tree: SourceTree): Finding[] {
  const imports = importGraph(tree, "all");
  const found: Finding[] = [];
  for (const [path, text] of tree) {
    if (/(^|\/)index\.[jt]sx?$/.test(path)) found.push(`${path}: a barrel; import from the file itself`);
    found.push(...forbiddenNames(path, text));
    for (const target of imports.get(path) as string[]) found.push(...step(path, target));
  }
  return [...found, ...cycles(importGraph(tree, "loaded")), ...deadFiles(imports), ...partialJudges(imports)];
}

/**
 * What each file of the tree imports, as paths from the checkout; packages and runtime modules are left out.
 * All of it: a type from upstairs ties the floors together as a function does (so Bun.Transpiler, which drops types, is no help).
 * Or what is loaded with it: two nouns of a room may name each other's types, or load each other later, and only a circle of loading is a trap.
 */
function importGraph(tree: SourceTree, which: "all" | "loaded"): Map<string, string[]> {
  const graph = new Map<string, string[]>();
  for (const [path, text] of tree)
    graph.set(
      path,
      specifiers(text, which).flatMap((specifier) => resolve(path, specifier)),
    );
  return graph;
}

function specifiers(text: string, which: "all" | "loaded"): string[] {
  const code = withoutComments(text);
  const statement = /^\s*(?:import|export)\b(\s+type\b)?[^"'`;]*?\bfrom\s*["']([^"'\n]+)["']/gm;
  const bare = /^\s*import\s*["']([^"'\n]+)["']/gm;
  const dynamic = /\bimport\(\s*["']([^"'\n]+)["']\s*\)/g;
  const stated = [...code.matchAll(statement)].filter((match) => which === "all" || match[1] === undefined);
  return [
    ...stated.map((match) => match[2] as string),
    ...[...code.matchAll(bare)].map((match) => match[1] as string),
    ...(which === "all" ? [...code.matchAll(dynamic)].map((match) => match[1] as string) : []),
  ];
}

function resolve(from: string, specifier: string): string[] {
  if (!specifier.startsWith(".")) return [];
  return [new URL(specifier, `file:///${from}`).pathname.slice(1)];
}

function step(from: string, to: string): Finding[] {
  if (isTest(from)) return [];
  const [here, there] = [area(from), area(to)];
  const wrong = (why: string) => [`${from}: imports ${to}, ${why}`];
  if (isTest(to) && here !== "test" && here !== "bench") return wrong("a test");
  if (here === "client" || here === "web")
    return there === "src" ? wrong(`but ${here}/ imports nothing from src/`) : [];
  if (here !== "src") return [];
  if (there === "client")
    return ["sim", "ops"].includes(room(from)) || floor(from) === TOP_FLOOR
      ? []
      : wrong("but only sim, ops and app may use the client");
  if (there === "web") return floor(from) >= 4 ? [] : wrong("the page, from too far down");
  if (to === "package.json" && floor(from) === TOP_FLOOR) return [];
  if (there !== "src") return wrong("which is not part of the product");
  if (floor(to) > floor(from)) return wrong(`upstairs from floor ${floor(from)} to floor ${floor(to)}`);
  if (floor(to) === floor(from) && room(to) !== room(from) && floor(to) < TOP_FLOOR)
    return wrong("a sibling; they meet in app.ts");
  return [];
}

function forbiddenNames(path: string, text: string): Finding[] {
  if (isTest(path) || area(path) === "test") return [];
  const code = withoutComments(text);
  const found: Finding[] = [];
  if (
    !BUN_ALLOWED.some((allowed) => allowed.test(path)) &&
    /\bBun\b\s*[.[]|\bglobalThis\.Bun\b|["']bun(:[a-z]+)?["']/.test(code)
  )
    found.push(`${path}: says Bun, which only ${BUN_ALLOWED.length} places may`);
  if (area(path) === "src" && !CLOCK_ALLOWED.some((allowed) => allowed.test(path))) {
    const asked = code.match(
      /\b(Date\.now|performance\.now|Math\.random|setTimeout|setInterval|setImmediate)\b|\bnew Date\(\)/,
    );
    if (asked) found.push(`${path}: asks ${asked[0]}; take a Clock or a Random as an argument`);
  }
  return found;
}

/** Its own test does not count as a reader; what several tests share does have readers, and so does what a bench or `test/` uses. */
function deadFiles(imports: ReadonlyMap<string, string[]>): Finding[] {
  const used = new Set<string>(ENTRY_POINTS);
  for (const [path, targets] of imports)
    for (const target of targets) if (path !== target.replace(/\.tsx?$/, ".test.ts")) used.add(target);
  const mustBeUsed = (path: string) =>
    ["src", "client"].includes(area(path)) && !isTest(path) && !path.endsWith(".d.ts");
  return [...imports.keys()]
    .filter((path) => mustBeUsed(path) && !used.has(path))
    .map((path) => `${path}: nobody imports it`);
}

/** Depth first; a file met again while it is still on the way is a cycle. */
function cycles(imports: ReadonlyMap<string, string[]>): Finding[] {
  const found: Finding[] = [];
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]) => {
    if (way.includes(path)) found.push(`${path}: a cycle, ${[...way.slice(way.indexOf(path)), path].join(" → ")}`);
    if (done.has(path)) return;
    done.add(path);
    for (const target of imports.get(path) ?? []) visit(target, [...way, path]);
  };
  for (const path of imports.keys()) visit(path, []);
  return found;
}

function partialJudges(imports: ReadonlyMap<string, string[]>): Finding[] {
  const found: Finding[] = [];
  for (const judge of [...imports.keys()].filter((path) => JUDGES.test(path) && !isTest(path)))
    for (const path of reachable(judge, imports))
      if (JUDGED.includes(room(path))) found.push(`${judge}: a judge that leans on ${path}, which it judges`);
  return found;
}

function reachable(start: string, imports: ReadonlyMap<string, string[]>): Set<string> {
  const seen = new Set<string>([start]);
  for (const path of seen) for (const target of imports.get(path) ?? []) seen.add(target);
  return seen;
}

const area = (path: string): string => path.split("/")[0] as string;
const room = (path: string): string => (area(path) === "src" ? (path.split("/").slice(1, -1)[0] ?? "") : "");
const floor = (path: string): number => FLOORS[room(path)] ?? TOP_FLOOR;
const isTest = (path: string): boolean => /\.test\.tsx?$/.test(path);

/** Comments become blanks; strings stay (a string may well hold two slashes). */
function withoutComments(text: string): string {
  const pieces = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return text.replace(pieces, (_, string: string | undefined) => string ?? " ");
}
