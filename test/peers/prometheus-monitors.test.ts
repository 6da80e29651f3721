import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { MonitoredSeries } from '../../src/documents/monitors.ts';
import type { ReplayDocument } from '../../src/documents/replay.ts';
import { serversOf } from '../../src/monitors/process-tree.ts';
import { RunReader } from '../../src/storage/runs/reader.ts';
import { captureOf } from '../support/captures.ts';
import { requestMessage } from '../support/exchanges.ts';
import { freePort } from '../support/free-port.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { systemProgram } from '../support/peer-tools.ts';
import { type RunningProcess, startProcess } from '../support/process.ts';
import { documentOf, replay, requestsOf } from '../support/replaying.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const prometheus = systemProgram('prometheus');
const exporter = systemProgram('prometheus-node-exporter');

const SCRAPE_S = 1;
const SECONDS = 12;
/** As the model server calls that of the requests; it counts scrapes under another. */
const PROTOCOL = 'open_inference';
const BODY = '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}';

function start(command: string, args: readonly string[]): RunningProcess {
  const running = startProcess(command, args);
  atFileEnd(() => running.kill('SIGKILL'));
  return running;
}

/** Waits until a place answers with this text. */
async function answers(url: string, text = ''): Promise<void> {
  for (let tries = 0; tries < 150; tries += 1) {
    const isThere = await fetch(url).then(
      async (response) => response.ok && (await response.text()).includes(text),
      () => false,
    );
    if (isThere) return;
    await setTimeout(200);
  }
  throw new Error(`nothing answers at ${url}`);
}

async function ports(count: number): Promise<number[]> {
  const found: number[] = [];
  while (found.length < count) found.push(await freePort());
  return found;
}

/** The model server, node-exporter, and a Prometheus that scrapes both. */
async function stage() {
  const [model = 0, node = 0, api = 0] = await ports(3);
  start(process.execPath, [
    join(repositoryRoot, 'fixtures/model-server/main.ts'),
    ...['--listen', `127.0.0.1:${model}`, '--executors', '2', '--base-ms', '15'],
  ]);
  start('prometheus-node-exporter', [`--web.listen-address=127.0.0.1:${node}`]);
  const directory = temporaryDirectory();
  const config = join(directory, 'prometheus.yml');
  writeFileSync(
    config,
    `global: {scrape_interval: ${SCRAPE_S}s}
scrape_configs:
  - {job_name: model, static_configs: [{targets: ['127.0.0.1:${model}']}]}
  - {job_name: node, static_configs: [{targets: ['127.0.0.1:${node}']}]}
`,
  );
  start('prometheus', [
    ...[`--config.file=${config}`, `--storage.tsdb.path=${join(directory, 'data')}`],
    `--web.listen-address=127.0.0.1:${api}`,
  ]);
  const [modelUrl, nodeUrl, apiUrl] = [model, node, api].map((port) => `http://127.0.0.1:${port}`);
  await Promise.all([
    answers(`${modelUrl}/metrics`),
    answers(`${nodeUrl}/metrics`),
    // Some seconds pass before a Prometheus scrapes what it was told to.
    answers(`${apiUrl}/api/v1/query?query=model_server_queue_depth`, '"value"'),
    answers(`${apiUrl}/api/v1/query?query=node_memory_MemAvailable_bytes`, '"value"'),
  ]);
  // Some scrapes more, which the recorded window will hold.
  await setTimeout(4 * SCRAPE_S * 1e3);
  return { model, modelUrl: modelUrl ?? '', nodeUrl: nodeUrl ?? '', apiUrl: apiUrl ?? '' };
}

/** Every value that the API has for a query in a span. A late scrape's may stand for some milliseconds only. */
async function valuesBetween(apiUrl: string, query: string, fromS: number, toS: number): Promise<number[]> {
  const range = { start: String(fromS), end: String(toS), step: '0.002' };
  const url = `${apiUrl}/api/v1/query_range?${new URLSearchParams({ query, ...range })}`;
  const { data } = (await (await fetch(url)).json()) as {
    data: { result: { values: [number, string][] }[] };
  };
  return [...new Set(data.result.flatMap(({ values }) => values.map(([, value]) => Number(value))))];
}

const seriesOf = (document: ReplayDocument, name: string, source: string): MonitoredSeries => {
  const found = document.monitors?.series.find(
    (each) => each.name === name && each.source.startsWith(source),
  );
  if (found === undefined) throw new Error(`no series ${name} of ${source}`);
  return found;
};

/** CPU seconds of a process so far. */
function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

test("values are those of Prometheus' API, and those of scrapes and of /proc", { timeout: 120_000 }, async ({
  skip,
}) => {
  if ('missing' in prometheus) return skip(prometheus.missing);
  if ('missing' in exporter) return skip(exporter.missing);
  const { model, modelUrl, nodeUrl, apiUrl } = await stage();
  const [pid = 0] = serversOf(model);
  const cpuBefore = cpuOf(pid);
  // Recorded while this Prometheus was already there: the recorded window is one that it knows.
  const nowUs = Date.now() * 1e3;
  const request = requestMessage({ target: '/v2/models/iris/infer', body: BODY });
  const exchanges = requestsOf(SECONDS * 100, 10_000, { request }).map((each, at) => ({
    ...each,
    arrivalUs: nowUs - 3_500_000 + at * 1_000,
  }));
  const result = await replay(captureOf(exchanges), modelUrl, [
    ...['--json', '--multiplier', '0.1', '--scaling', 'compress', '--monitor', 'interval=1s'],
    ...['--monitor', 'target', '--monitor', `pid:${pid}`, '--monitor', `${nodeUrl}/metrics`],
    ...['--monitor', `prom=${apiUrl}`],
    ...['--monitor', 'depth=model_server_queue_depth{job="model"}'],
    ...['--monitor', 'served=model_server_requests_total'],
    ...['--monitor', 'sum_served=sum(model_server_requests_total{job="model"})'],
    ...['--monitor', 'cpu_spent=process_cpu_seconds_total{job="model"}'],
    ...['--monitor', 'host_available=node_memory_MemAvailable_bytes{job="node"}'],
  ]);
  const cpuSpent = cpuOf(pid) - cpuBefore;
  const document = documentOf(result);
  const startS = Date.parse(document.startedAt) / 1e3;

  // Each value that was kept is the API's at that instant, or at the scrape next to it.
  const reader = new RunReader(result.out);
  const stored = reader.monitorSeries().filter(({ source }) => source.startsWith('prometheus'));
  let compared = 0;
  // A look is placed in the middle of the time it took: that, and a scrape, is how far off it may stand.
  const looks = document.monitors?.sources.find(({ kind }) => kind === 'prometheus');
  const offS = SCRAPE_S / 2 + (looks?.tookMs.max ?? 0) / 2e3;
  for (const { series, name, metric } of stored) {
    if (name === 'served') continue;
    for (const { offsetNs, value } of reader.monitorSamples(series)) {
      if (value === null) continue;
      const atS = startS + offsetNs / 1e9;
      const near = await valuesBetween(apiUrl, metric, atS - offS, atS + offS);
      expect(near).toContain(value);
      compared += 1;
    }
  }
  reader.close();
  expect(compared).toBeGreaterThan(3 * (SECONDS - 4));

  // What the server was asked for, by its own counter: every request of the run, and no scrape.
  const counted = document.monitors?.series.filter(
    ({ name, source, labels }) => name === 'served' && source === 'target' && labels['protocol'] === PROTOCOL,
  );
  const change = (counted ?? []).reduce((sum, each) => sum + (each.change ?? 0), 0);
  expect(change).toBe(document.sent);
  expect(seriesOf(document, 'sum_served', 'prometheus').max).toBeGreaterThan(document.sent * 0.8);

  // A scrape, a process and /proc tell of one CPU.
  const direct = seriesOf(document, 'cpu', 'target').change ?? Number.NaN;
  const process = seriesOf(document, 'cpu', 'pid').change ?? Number.NaN;
  expect(Math.abs(direct / cpuSpent - 1)).toBeLessThan(0.1);
  expect(Math.abs(process / cpuSpent - 1)).toBeLessThan(0.1);
  // Between the scrapes right before and right after the run, in which the server is idle.
  const scraped = seriesOf(document, 'cpu_spent', 'prometheus').change ?? Number.NaN;
  expect(Math.abs(scraped / cpuSpent - 1)).toBeLessThan(0.15);
  const memory = [seriesOf(document, 'memory', 'target').p50, seriesOf(document, 'memory', 'pid').p50];
  expect(Math.abs((memory[0] ?? 0) / (memory[1] ?? 0) - 1)).toBeLessThan(0.1);
  expect(seriesOf(document, 'host_memory_available', '127.0.0.1').p50).toBeGreaterThan(1e8);

  // The recorded window stands beside the run.
  expect(document.monitors?.notes).toEqual([]);
  expect(seriesOf(document, 'depth', 'prometheus').recorded?.samples).toBeGreaterThan(0);
  const failed = document.monitors?.sources.filter(({ off }) => off !== null) ?? [];
  expect(failed).toEqual([]);
  expect(document.monitors?.sources.find(({ kind }) => kind === 'prometheus')?.ageMs.max).toBeLessThan(
    3 * SCRAPE_S * 1e3,
  );
});
