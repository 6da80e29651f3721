import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { metricsOf } from '../../src/proxy/control/metrics.ts';
import { RunInstruments } from '../../src/telemetry/instruments.ts';
import { type Sample, samplesOf } from '../../src/telemetry/remote-write.ts';
import { goPackage, systemProgram } from '../support/peer-tools.ts';
import { runProcess } from '../support/process.ts';
import { failed, refused, send } from '../support/sends.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { someStatus } from '../support/some-status.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const reader = goPackage(join(import.meta.dirname, 'programs', 'dashboards'));
const promtool = systemProgram('promtool');
const grafana = join(repositoryRoot, 'deploy', 'grafana');
const dashboards = readdirSync(grafana).map((name) => join(grafana, name));

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string }[];
  }[];
}

/** The rules as a Prometheus without an operator reads them. */
function alertRules(): Rules {
  const path = join(repositoryRoot, 'deploy/kubernetes/monitoring/alerts.yaml');
  return (parse(readFileSync(path, 'utf8')) as { spec: Rules }).spec;
}

/** What the variables of a dashboard and of Grafana stand for. */
function filledIn(expr: string): string {
  return expr.replaceAll('$__rate_interval', '1m').replaceAll(/\$\w+/g, '.*');
}

async function known(): Promise<Set<string>> {
  const scraped = await metricsOf(
    someStatus({ disk: { directory: '', bytes: 1, maxBytes: 2, freeBytes: 3 } }),
  );
  const ofReplay = new RunInstruments().collect().map(({ prometheus }) => prometheus);
  return new Set([...[...scraped.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name), ...ofReplay]);
}

test("Grafana's own types read the dashboards, and their queries ask for metrics that there are", {
  timeout: 300_000,
}, async ({ skip }) => {
  if ('missing' in reader) return skip(reader.missing);
  if ('missing' in promtool) return skip(promtool.missing);
  const { status, stdout, stderr } = await runProcess(reader.path, dashboards);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const exprs = stdout
    .trimEnd()
    .split('\n')
    .map((line) => filledIn((JSON.parse(line) as { expr: string }).expr));
  expect(exprs.length).toBeGreaterThan(45);
  const names = await known();
  const asked = exprs.flatMap((expr) => expr.match(/reprise_\w+/g) ?? []);
  expect(
    asked.filter((name) => !names.has(name.replace(/_(?:bucket|sum|count)$/, '')) && !names.has(name)),
  ).toEqual([]);
  // As rules, for promtool reads no expressions alone.
  const directory = temporaryDirectory();
  const file = join(directory, 'queries.json');
  const rules = exprs.map((expr, at) => ({ record: `query_${at}`, expr }));
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'queries', rules }] }));
  expect(await runProcess('promtool', ['check', 'rules', '--lint-fatal', file])).toMatchObject({ status: 0 });
});

test("Grafana's own types would find something", { timeout: 300_000 }, async ({ skip }) => {
  if ('missing' in reader) return skip(reader.missing);
  const file = join(temporaryDirectory(), 'bad.json');
  writeFileSync(file, readFileSync(dashboards[0] ?? '', 'utf8').replace('"fieldConfig"', '"fieldsConfig"'));
  const { status, stderr } = await runProcess(reader.path, [file]);
  expect(status).not.toBe(0);
  expect(stderr).toContain('fieldsConfig');
});

/** What a series is, in the notation of promtool, so that its alert fires. */
const FIRING: Readonly<Record<string, readonly (readonly [series: string, values: string])[]>> = {
  RepriseNotRecording: [
    ['reprise_state{state="OFF"}', '1x20'],
    ['reprise_paused', '0x20'],
  ],
  RepriseLosing: [['reprise_lost_turns_total{reason="quota"}', '0+1x20']],
  RepriseRecorderRestarts: [['reprise_restarts_total{process="recorder"}', '0+1x20']],
  RepriseDiskNearlyFull: [['reprise_store_free_bytes', '5e8x20']],
  RepriseProbesCrowded: [['reprise_probe_connections_dropped_total', '0+1x20']],
  RepriseTurnsClientsAway: [['reprise_proxy_connections_turned_away_total', '0+1x20']],
  RepriseTargetDown: [['reprise_proxy_connections_failed_total{failure="upstream_refused"}', '0+1x20']],
  RepriseNotReady: [['reprise_ready', '0x20']],
  RepriseReplayLate: [
    ['reprise_replay_lag_seconds_bucket{le="0.05"}', '0+1x20'],
    ['reprise_replay_lag_seconds_bucket{le="0.1"}', '0+9x20'],
    ['reprise_replay_lag_seconds_bucket{le="+Inf"}', '0+9x20'],
  ],
  RepriseReplayRefuses: [['reprise_replay_requests_total{outcome="refused"}', '0+1x20']],
  RepriseReplayFails: [
    ['reprise_replay_requests_total{outcome="failed"}', '0+1x20'],
    ['reprise_replay_requests_total{outcome="completed"}', '0+9x20'],
  ],
};

/** The samples of the exports of a run in promtool's notation: one value for each export, with nothing before the first. */
function exportedSeries(exports: readonly (readonly Sample[])[]) {
  const values = new Map<string, (number | '_')[]>();
  exports.forEach((samples, at) => {
    for (const { labels, value } of samples) {
      if (typeof value !== 'number') continue;
      const { __name__: name, ...others } = labels;
      const pairs = Object.entries(others).map(([label, text]) => `${label}=${JSON.stringify(text)}`);
      const series = `${name}{${pairs.join(',')}}`;
      const before = values.get(series) ?? Array.from({ length: at }, () => '_' as const);
      values.set(series, [...before, value]);
    }
  });
  return [...values].map(([series, each]) => ({ series, values: each.join(' ') }));
}

test.each([
  ['RepriseReplayRefuses', Array.from({ length: 40 }, (_, index) => refused(index))],
  ['RepriseReplayFails', Array.from({ length: 40 }, (_, index) => failed(index))],
])('%s fires on a single burst of a run as it is exported', async (name, burst) => {
  if ('missing' in promtool) return;
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'alerts.json'), JSON.stringify(alertRules()));
  const instruments = new RunInstruments();
  const exported = () => samplesOf(instruments.collect(), { instance: 'run', test: 'nightly' }, false);
  const { route, model } = send({ index: 0 });
  instruments.expect({ route, model });
  // Planned, then the burst, then nothing for five minutes.
  const exports = [exported()];
  instruments.addSends(burst);
  exports.push(...Array.from({ length: 10 }, exported));
  const fires = {
    expr: `count(ALERTS{alertname="${name}"}) or vector(0)`,
    eval_time: '1m',
    exp_samples: [{ labels: '{}', value: 1 }],
  };
  const test = { interval: '30s', input_series: exportedSeries(exports), promql_expr_test: [fires] };
  const file = join(directory, 'test.json');
  writeFileSync(
    file,
    JSON.stringify({ rule_files: ['alerts.json'], evaluation_interval: '30s', tests: [test] }),
  );
  const { status, stdout, stderr } = await runProcess('promtool', ['test', 'rules', file]);
  expect({ status, said: `${stdout}${stderr}`.slice(0, 2000) }).toMatchObject({ status: 0 });
});

test('promtool reads the alerts, and each fires on what it is for and on nothing else of the list', async ({
  skip,
}) => {
  if ('missing' in promtool) return skip(promtool.missing);
  const directory = temporaryDirectory();
  const rules = alertRules();
  const alerts = rules.groups.flatMap((group) => group.rules.map(({ alert }) => alert));
  expect(Object.keys(FIRING)).toEqual(alerts);
  writeFileSync(join(directory, 'alerts.json'), JSON.stringify(rules));
  expect(
    await runProcess('promtool', ['check', 'rules', '--lint-fatal', join(directory, 'alerts.json')]),
  ).toMatchObject({ status: 0 });
  const tests = Object.entries(FIRING).map(([name, series]) => ({
    interval: '30s',
    input_series: series.map(([text, values]) => ({ series: text, values })),
    promql_expr_test: alerts.map((alert) => ({
      expr: `count(ALERTS{alertname="${alert}",alertstate="firing"}) or vector(0)`,
      eval_time: '9m',
      exp_samples: [{ labels: '{}', value: alert === name ? 1 : 0 }],
    })),
  }));
  writeFileSync(
    join(directory, 'test.json'),
    JSON.stringify({ rule_files: ['alerts.json'], evaluation_interval: '30s', tests }),
  );
  const { status, stdout, stderr } = await runProcess('promtool', [
    'test',
    'rules',
    join(directory, 'test.json'),
  ]);
  expect({ status, said: `${stdout}${stderr}`.slice(0, 2000) }).toMatchObject({
    status: 0,
    said: expect.stringContaining('SUCCESS'),
  });
});
