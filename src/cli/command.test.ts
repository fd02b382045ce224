import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runCommand } from "./command.ts";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));

describe("a mistake at the command line is one line that says what to do, and exit code 2", () => {
  const mistakes: readonly [string, string][] = [
    ["dmeo", "Did you mean `demo`?"],
    ["frobnicate", "Commands: demo, serve"],
    ["help nope", "Commands: demo, serve"],
    ["demo --marktes 5", "there is no option --marktes; did you mean --markets? See `oddswire demo --help`."],
    ["demo -x", "there is no option -x."],
    ["demo --markets 5", "--markets takes a whole number from 10 to 20000"],
    ["demo --markets 40.5", 'not "40.5"'],
    ["demo --log nonsense", "--log is one of debug, info, warn, error, silent"],
    ["simulate --log nonsense", "--log is one of debug, info, warn, error, silent"],
    ["demo --seed -1", "--seed needs a value; one that begins with a dash is written --seed=-1"],
    ["demo --recording", "--recording needs a value"],
    ["demo --loop=1", "--loop takes no value"],
    ["demo --speed 3", "without --recording FILE: add that"],
    [`demo --recording ${MAIN} --markets 20`, "with --recording FILE: leave it out"],
    ["demo --http-port 99999", "from 0 to 65535"],
    ["demo FILE", "to play recordings say --recording FILE"],
    ["demo --workload W9", "--workload is one of W1"],
    ["serve", "--config FILE is needed"],
    ["check --config a b", '"b" is not an option'],
    ["verify", "name at least one recording"],
    ["verify --through window FILE", "--through is one of websocket, esa, direct"],
    ["watch", "give a URL and a market's id"],
    ["shadow --through h:1", "--app-key KEY is needed"],
    ["shadow --app-key k", "--through HOST:PORT is needed"],
    ["shadow --app-key k --through h", '--through takes HOST:PORT, not "h"'],
    ["shadow --app-key k --through h:1", "give --session TOKEN or --username NAME"],
    ["shadow --app-key k --through h:1 --session t", "give --direct-session TOKEN or --direct-username NAME"],
    ["shadow --app-key k --through h:1 --username u", "needs its password in ODDSWIRE_SHADOW_PASSWORD"],
    ["shadow --app-key k --through h:1 --direct h:1 --session t --direct-session t", "are the same address"],
    ["shadow --filter {x", "--filter is not JSON: {x"],
    ['shadow --filter {},"conflateMs":5', '--filter is not JSON: {},"conflateMs":5'],
    ['shadow --filter {"eventTypeId":["1"]}', "--filter: a marketFilter has no eventTypeId"],
    ['shadow --filter {"eventIds":5}', "marketFilter.eventIds must be a list of strings"],
    ["shadow --fields EX_LTP,ltp", 'unknown field "ltp" in marketDataFilter.fields; there are EX_BEST_OFFERS_DISP'],
    ["shadow --levels 11", "--levels takes a whole number from 1 to 10"],
  ];
  for (const [words, says] of mistakes)
    test(`oddswire ${words.replace(MAIN, "FILE")}`, async () => {
      const { code, complaints } = await run(words);
      expect(complaints).toEqual([expect.stringContaining(says)]);
      expect(complaints[0]).toMatch(/^oddswire.*\.$/);
      expect(code).toBe(2);
    });
});

describe("what is in the way is said with its code, and exit code 1", () => {
  const ways: readonly [string, string][] = [
    ["demo --recording /nowhere", "FILE_NOT_FOUND"],
    ["demo --recording /tmp", "is a folder"],
    [`demo --recording ${MAIN}`, "INVALID_RECORDING"],
    ["check --config /nowhere", "FILE_NOT_FOUND: /nowhere: there is no such file"],
    ["check --config /tmp", "is a folder; name a file"],
    [`check --config ${MAIN}`, "is not JSON"],
    ["simulate --cert-file /nowhere/ca.pem", "/nowhere/ca.pem cannot be written (ENOENT)"],
    ["simulate --host 192.0.2.1", "choose an address of this machine"],
    ["watch nonsense 1.1", "is no address of a gateway"],
    ["watch http://127.0.0.1:1/ 1.1", "is it running"],
  ];
  for (const [words, says] of ways)
    test(`oddswire ${words.replace(MAIN, "FILE")}`, async () => {
      const { code, complaints } = await run(words);
      expect(complaints).toEqual([expect.stringContaining(says)]);
      expect(code).toBe(1);
    });

  test("a file without a market change is not played as if it had some", async () => {
    const folder = mkdtempSync(join(tmpdir(), "oddswire-test-"));
    writeFileSync(join(folder, "empty"), '{"op":"mcm","id":1,"pt":1,"clk":"a","ct":"HEARTBEAT"}\n');
    const { code, complaints } = await run(`demo --recording ${folder}/empty`);
    rmSync(folder, { recursive: true });
    expect(complaints).toEqual([expect.stringContaining("INVALID_RECORDING: no changes in")]);
    expect(code).toBe(1);
  });
});

test("help, a command's help and the version are on standard output", async () => {
  for (const [words, says] of [
    ["--help", "Usage: oddswire COMMAND"],
    ["help", "Usage: oddswire COMMAND"],
    ["demo --help", "Usage: oddswire demo"],
    ["help demo", "Usage: oddswire demo"],
    ["--version", "oddswire 0."],
  ] as const)
    expect(await run(words)).toEqual({ code: 0, printed: expect.stringContaining(says), complaints: [] });
});

async function run(words: string): Promise<{ code: number; printed: string; complaints: string[] }> {
  const printed: string[] = [];
  const complaints: string[] = [];
  const code = await runCommand(
    words.split(" "),
    (line: string) => printed.push(line),
    (line: string) => complaints.push(line),
  );
  return { code, printed: printed.join("\n"), complaints };
}
