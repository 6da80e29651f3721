import { readFileSync } from 'node:fs';
import { systemClock } from '../../core/clock.ts';
import { AppError, Problems } from '../../core/errors.ts';
import { addressedHeader, parseAddedHeader, type Secrets } from '../../core/headers.ts';
import {
  type Asked,
  askedFor,
  deciding,
  grouped,
  ofOneRun,
  readOptions,
  text,
  value,
} from '../../core/options.ts';
import { countOf } from '../../core/units.ts';
import { isOwnMetric } from '../../documents/metrics/metrics.ts';
import { type Objective, parseObjectives } from '../../documents/metrics/objectives.ts';
import type { Labels } from '../../documents/parts.ts';
import {
  MONITOR_OPTIONS,
  type MonitorOptions,
  monitorOptionsOf,
  objectiveNames,
} from '../../monitors/options.ts';
import { REPLAY_OPTIONS } from '../../replay/options/replay-flags.ts';
import {
  HEADER_RECEIVERS,
  type ReplayOptions,
  resolveReplayOptions,
} from '../../replay/options/replay-options.ts';
import { TELEMETRY_OPTIONS, type TelemetryOptions, telemetryOptionsOf } from '../../telemetry/options.ts';
import { LABEL_OPTIONS, labelsOf } from '../labels.ts';
import { encryptionKeyOption } from '../open-capture.ts';
import { withOpenSlo } from '../open-slo.ts';
import { VERDICT_OPTIONS, type VerdictRequest } from '../verdict/options.ts';
import { ratePerReplicaOf } from './replica-rate.ts';

/** Options about the directory of a run and the key of its capture. */
const KEEPING_OPTIONS = grouped('Where the run is kept', {
  ...ofOneRun({
    ...deciding('output', {
      out: text('-o, --out <directory>', 'directory of the run (default: runs/<run id>)'),
    }),
    capacity: value(
      '--capacity <file>',
      'document of capacity --json: what one replica carries, to judge an autoscaler by',
      ratePerReplicaOf,
    ),
    faults: text('--faults <file>', 'plan of failures of dependencies (YAML), applied by reprise faults'),
  }),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
  ...ofOneRun(VERDICT_OPTIONS),
});
const OWN_OPTIONS = { ...KEEPING_OPTIONS, ...LABEL_OPTIONS };

/** All options of a replay and its storage. */
export const RUN_OPTIONS = {
  ...REPLAY_OPTIONS,
  ...MONITOR_OPTIONS,
  ...TELEMETRY_OPTIONS,
  ...OWN_OPTIONS,
};

/** The resolved options of a run. */
export interface RunOptions extends VerdictRequest {
  readonly options: ReplayOptions;
  readonly monitors: MonitorOptions;
  readonly telemetry: TelemetryOptions;
  /** Null for `runs/<run id>`. */
  readonly out: string | null;
  readonly encryptionKeyFile: string | null;
  /** File of the fault plan. */
  readonly faults: string | null;
  /** Capacity of one replica of the target, requests per second; null if not stated. */
  readonly capacity: number | null;
  /** Labels of the build that serves. */
  readonly labels: Labels;
}

const SECRETS: Secrets = {
  environment: (name) => process.env[name],
  readFile: (path) => readFileSync(path, 'utf8'),
};
/**
 * @param asksPrometheus whether a Prometheus of the monitors is also used for something other than series
 * @throws AppError OPTION_INVALID listing every problem
 */
export function resolveRunOptions(asked: Asked<typeof RUN_OPTIONS>, asksPrometheus = false): RunOptions {
  const problems = new Problems();
  const watched = readOptions(MONITOR_OPTIONS, askedFor(MONITOR_OPTIONS, asked), problems);
  const exported = readOptions(TELEMETRY_OPTIONS, askedFor(TELEMETRY_OPTIONS, asked), problems);
  const { build, label, ...keeping } = readOptions(OWN_OPTIONS, askedFor(OWN_OPTIONS, asked), problems);
  const labels = problems.attempt(() => labelsOf({ build, label }, process.env), {});
  const headers = [askedFor(REPLAY_OPTIONS, asked).stated.header ?? []].flat().flatMap((each) => {
    const { to, text } = addressedHeader(String(each), HEADER_RECEIVERS);
    if (to === null) return [];
    return problems.attempt(() => [{ to, header: parseAddedHeader(text, SECRETS) }], []);
  });
  const ofMonitors = headers.filter(({ to }) => to.startsWith('monitor'));
  const monitors = monitorOptionsOf(watched, ofMonitors, problems, isOwnMetric, asksPrometheus);
  const telemetry = telemetryOptionsOf(exported, headers, problems);
  const monitored = objectiveNames(monitors);
  problems.throwIfAny();
  const { stated } = askedFor(REPLAY_OPTIONS, asked);
  const slo = stated.slo == null ? {} : { slo: withOpenSlo([stated.slo].flat().map(String)) };
  const options = resolveReplayOptions(
    { ...stated, ...slo },
    {
      ...SECRETS,
      nowUs: () => systemClock.epochUs(),
      originOf: asked.originOf,
      monitored,
    },
  );
  if (options.shard !== null && keeping.history !== null) {
    const reason = '--shard cannot be combined with --history: a shard is no whole test';
    throw new AppError('OPTION_INVALID', reason, { hint: 'Give --history to merge.' });
  }
  if (keeping.faults !== null && options.concurrency !== null) {
    throw new AppError('OPTION_INVALID', '--concurrency cannot be combined with --faults', {
      hint: 'Faults are judged by objectives, and a closed loop has no verdict. Use --rate.',
    });
  }
  if (keeping.faults !== null && options.untilSure) {
    throw new AppError('OPTION_INVALID', '--faults cannot be combined with --confidence until-sure', {
      hint: 'A run that ends early may end before its faults. Leave until-sure out.',
    });
  }
  if (keeping.faults !== null && options.shard !== null) {
    throw new AppError('OPTION_INVALID', '--faults cannot be combined with --shard', {
      hint: 'Each shard would apply the plan; set faults by hand with reprise faults add.',
    });
  }
  return { options, monitors, telemetry, labels, ...keeping };
}

/** @throws AppError OPTION_INVALID for an objective on a stage that the run does not have */
export function objectivesOf({ slo, stages }: ReplayOptions, monitors: MonitorOptions): readonly Objective[] {
  const objectives = parseObjectives(slo, objectiveNames(monitors));
  const count = stages?.length ?? 1;
  for (const { expression, slice } of objectives) {
    const stage = slice?.tags.find(({ key }) => key === 'stage')?.value ?? '1';
    if (Number(stage) <= count) continue;
    throw new AppError('OPTION_INVALID', `--slo: ${expression}: the run has ${countOf(count, 'stage')}`, {
      hint: 'Stages are counted from 1, as --stages lists them.',
    });
  }
  return objectives;
}
