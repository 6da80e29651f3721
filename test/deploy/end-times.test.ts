import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SUPERVISION } from '../../src/core/limits.ts';
import { parseDurationMs } from '../../src/core/units.ts';
import { deploy, filesUnder, guide, yamlOf } from '../support/manifests.ts';

describe('the time that an end is given', () => {
  const unit = readFileSync(join(deploy, 'systemd/reprise.service'), 'utf8');
  const composed = yamlOf('compose/compose.yaml').services.recorder;
  const predictor = yamlOf('kserve/inferenceservice.yaml').spec.predictor;
  const podOf = (workload: string) => yamlOf(`kubernetes/${workload}`).spec.template.spec;
  const pod = (workload: string, settings: string) => {
    const { terminationGracePeriodSeconds, containers } = podOf(workload);
    // A native sidecar is told last: after the model's sleep, and its own drain of 20 s.
    const beforeS = containers[0].lifecycle.preStop.sleep.seconds + 20;
    return [terminationGracePeriodSeconds - beforeS, yamlOf(settings).record];
  };
  /** A forwarder that does not end is killed, then one that died is waited for, the last commit, and the seal. */
  const ownMs =
    SUPERVISION.flushMs +
    SUPERVISION.heartbeatLimitMs +
    SUPERVISION.flushMs +
    SUPERVISION.recorderStopMs +
    SUPERVISION.sealMs;
  /** A command that is told to end, is killed, and leaves its output to a process out of reach. */
  const hookMs = SUPERVISION.sealHookMs + 2 * SUPERVISION.commandGraceMs;
  const SPARE_MS = 5_000;
  const flagsOf = (args: readonly string[]) =>
    Object.fromEntries(args.map((argument) => argument.replace(/^--/, '').split(/=(.*)/s)));

  test.each([
    ['base', () => pod('base/deployment.yaml', 'kubernetes/base/reprise.yaml')],
    ['production', () => pod('base/deployment.yaml', 'kubernetes/overlays/production/reprise.yaml')],
    ['stateful set', () => pod('statefulset/statefulset.yaml', 'kubernetes/statefulset/reprise.yaml')],
    ['KServe', () => [predictor.terminationGracePeriodSeconds, flagsOf(predictor.containers[0].args)]],
    ['compose', () => [Number.parseInt(composed.stop_grace_period, 10), flagsOf(composed.command)]],
    [
      'systemd',
      () => [Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1]), yamlOf('systemd/reprise.yaml').record],
    ],
    [
      'the chart',
      () => {
        const { terminationGracePeriodSeconds, record } = yamlOf('helm/reprise/values.yaml').standalone;
        return [terminationGracePeriodSeconds, { ...record, 'on-seal': 'one may be set' }];
      },
    ],
  ])('is enough at worst in the example for %s, or the last hour is killed over its seal', (_, example) => {
    const [graceS, settings] = example();
    const ms = (key: string, otherwise: number) =>
      settings[key] === undefined ? otherwise : parseDurationMs(settings[key], key);
    const drainMs =
      ms('drain-delay', SUPERVISION.drainDelayMs) + ms('drain-deadline', SUPERVISION.drainDeadlineMs);
    const endMs = settings['on-seal'] === undefined ? ownMs : ownMs + hookMs;
    expect(graceS * 1000).toBe(drainMs + endMs + SPARE_MS);
  });

  test('is what the guide and the examples say', () => {
    const ownS = ownMs / 1000;
    expect(guide).toContain(`delay, deadline and ${ownS} s, with a hook ${ownS + hookMs / 1000} s`);
    const said = filesUnder(deploy).flatMap((path) => {
      const text = readFileSync(path, 'utf8');
      return [...text.matchAll(/(seal|shipping) (\d+) s at worst/g)].map(([, last, s]) => [last, Number(s)]);
    });
    expect(said).toHaveLength(6);
    for (const [last, s] of said) expect(s).toBe(last === 'seal' ? ownS : ownS + hookMs / 1000);
  });
});
