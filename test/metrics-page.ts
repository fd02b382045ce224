/** docs/METRICS.md, made of what is told. `node bin/bun.js test/metrics-page.ts` writes it anew; a test says when that is due. */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { WORKER_UP } from "../src/ops/metrics-gather.ts";
import { LOOP_LAG, METRICS, type MetricDefinition } from "../src/ops/metrics-list.ts";

type Row = Pick<MetricDefinition, "name" | "help" | "labels"> & { readonly type: string };

export function metricsPage(): string {
  const lag: Row = { ...LOOP_LAG, type: "histogram", labels: ["le"] };
  return `# Metrics

\`GET /metrics\` at the port that \`metrics.port\` names ([CONFIG.md](CONFIG.md)), for Prometheus or whatever reads its text form; OpenMetrics where it is asked for.
Nothing is counted for it that is not counted anyway, and nothing is read before somebody asks. With \`workers\` one scrape tells of all processes: each line has the label \`worker\` then, and \`oddswire_worker_up\` says who
answered within a second. What is one figure for the whole gateway is a sum: \`sum without (worker) (oddswire_connections)\`. Changes applied, markets and the feed are each process's own, and the ingest's are the exchange's.

Counters begin at 0 with the process. Labels have few values, all known beforehand: never a market, a user or an address. What a process has not (users in an ingest, doors that are not open) is left out. \`process_…\` are named as in every
Prometheus client. This page is made of the list in \`src/ops/metrics-list.ts\`.

| metric | type | unit | labels | what it says |
| --- | --- | --- | --- | --- |
${[WORKER_UP, ...METRICS, lag].map(row).join("\n")}

## Values of labels

| label | values |
| --- | --- |
| \`feed\`, \`stream\` | market, order, race, cricket: those that are carried |
| \`door\` | websocket, sse, esa, esa_tls: those that are open |
| \`state\` | of a feed: live, stale, down; of users: in_step, behind, held |
| \`code\` | the codes of [PROTOCOL.md](PROTOCOL.md#errors), and LEFT |
| \`outcome\` | of logins of users: token, refused, busy; of calls at the exchange: result, error, unanswered |
| \`operation\` | login, keepAlive, listMarketCatalogue, listCurrentOrders, listClearedOrders |
| \`worker\` | ingest, edge-1, edge-2 …; only with \`workers\` |
| \`reason\` | logout, expired, pushed_out |
| \`role\` | all, ingest, edge (one of several \`workers\`) |
| \`version\`, \`runtime\` | of this program, and of what runs it |

## Questions and their answers

| question | expression |
| --- | --- |
| is the exchange there? | \`oddswire_feed_state{state="live"}\` |
| changes a second | \`rate(oddswire_changes_total[1m])\` |
| messages a second to users, by stream | \`rate(oddswire_sent_messages_total[1m])\` |
| bytes a second out, by door | \`rate(oddswire_sent_bytes_total[1m])\` |
| what sharing saves: messages for each market encoded | \`rate(oddswire_sent_messages_total{stream="market"}[1m]) / ignoring(stream) rate(oddswire_encodes_total[1m])\` |
| how many users are let go as too slow? | \`increase(oddswire_closes_total{code="SLOW"}[10m])\` |
| cores in use | \`rate(process_cpu_seconds_total[1m])\` |
| how late is the loop, at the 99th percentile? | \`histogram_quantile(0.99, rate(oddswire_event_loop_lag_seconds_bucket[1m]))\` |
| would a restart be a quick one? | \`oddswire_snapshot_age_seconds\`, \`oddswire_snapshot_failing\` |
| calls at the exchange that had no answer | \`increase(oddswire_exchange_calls_total{outcome="unanswered"}[10m])\` |
| does every worker answer, and which was started anew? | \`oddswire_worker_up == 0\`, \`changes(process_start_time_seconds[1h]) > 0\` |
| how near is the limit of memory? | \`oddswire_memory_load_ratio\` |
`;
}

function row({ name, type, labels, help }: Row): string {
  const said = labels.map((label) => `\`${label}\``).join(", ");
  return `| \`${name}\` | ${type} | ${unitOf(name)} | ${said} | ${help} |`;
}

/** By its name, as Prometheus has it. */
function unitOf(name: string): string {
  return /_(bytes|seconds|ratio)(_total)?$/.exec(name)?.[1] ?? "";
}

if (import.meta.main) writeFileSync(fileURLToPath(new URL("../docs/METRICS.md", import.meta.url)), metricsPage());
