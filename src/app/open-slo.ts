import { z } from 'zod';
import { metricsWith } from '../documents/metrics/metrics.ts';
import { invalidYaml, readYaml, type YamlDocument, type YamlProblem } from './yaml-file.ts';

const PURPOSE = {
  what: 'OpenSLO document',
  hint: 'See docs/guides/scenarios.md for the parts of OpenSLO v1 that become objectives, or write it as k6 does: "latency: p(99)<200".',
};

const METRIC = 'reprise/metric';
const UNIT = 'reprise/unit';

const TIMES = metricsWith(({ family }) => family === 'time');
const RATIOS = metricsWith(({ family, better }) => family === 'share' && better === 'less');
const UNITS = ['ms', 's'] as const;
/**
 * Decimal digits to round to. Targets are decimal fractions, but binary arithmetic makes 1 - 0.999 differ from 0.001.
 */
const DIGITS = 9;

const metadata = z.looseObject({
  name: z.string(),
  annotations: z
    .looseObject({ [METRIC]: z.string().optional(), [UNIT]: z.enum(UNITS).optional() })
    .optional(),
});

const indicator = z.looseObject({
  metadata: metadata.partial().optional(),
  spec: z.looseObject({
    thresholdMetric: z.unknown().optional(),
    ratioMetric: z.unknown().optional(),
  }),
});
type Indicator = z.infer<typeof indicator>;

const objective = z.looseObject({
  op: z.enum(['lte', 'lt', 'gte', 'gt']).optional(),
  value: z.number().nonnegative().optional(),
  target: z.number().gt(0).lte(1).optional(),
  targetPercent: z.number().gt(0).lte(100).optional(),
  indicator: indicator.optional(),
  indicatorRef: z.string().optional(),
});
type OpenSloObjective = z.infer<typeof objective>;

const slo = z.looseObject({
  apiVersion: z.literal('openslo/v1'),
  kind: z.literal('SLO'),
  metadata,
  spec: z.looseObject({
    indicator: indicator.optional(),
    indicatorRef: z.string().optional(),
    budgetingMethod: z.enum(['Occurrences', 'Timeslices', 'RatioTimeslices']).default('Occurrences'),
    objectives: z.array(objective).min(1),
  }),
});
const sli = indicator.extend({ apiVersion: z.literal('openslo/v1'), kind: z.literal('SLI'), metadata });

/** Whether a text of `--slo` names a file. */
const NAMES_FILE = /\.ya?ml$/i;

/**
 * Replaces each name of a YAML file by the objectives of its OpenSLO v1 documents. Other texts stay as they are.
 * @throws AppError OPTION_INVALID naming every invalid line
 */
export function withOpenSlo(texts: readonly string[]): string[] {
  return texts.flatMap((text) => (NAMES_FILE.test(text) ? objectivesIn(text) : [text]));
}

/**
 * The objectives of a file, in k6's terms. An SLO on a threshold metric becomes a percentile: 99 % of occurrences at
 * most 200 ms is `latency: p(99)<=200`. An SLO on a ratio becomes a limit of the share that is not good. The annotation
 * `reprise/metric` names the metric, because queries of other tools do not identify it.
 * @see https://github.com/OpenSLO/OpenSLO (v1)
 */
function objectivesIn(path: string): string[] {
  const documents = readYaml(path, PURPOSE);
  const problems: YamlProblem[] = [];
  const read = documents.flatMap((document) => {
    const kind = (document.value as { readonly kind?: unknown } | null)?.kind;
    const schema = kind === 'SLI' ? sli : slo;
    const { success, data, error } = schema.safeParse(document.value);
    if (success) return [{ document, data }];
    for (const { path: at, message } of error.issues) {
      problems.push({ text: `${at.join('.') || 'the file'}: ${message}`, place: document.placeOf(at) });
    }
    return [];
  });
  const shared = new Map(
    read.flatMap(({ data }) =>
      data.kind === 'SLI' ? [[data.metadata.name, data as Indicator] as const] : [],
    ),
  );
  const texts = read.flatMap(({ document, data }) =>
    data.kind === 'SLO' ? objectivesOf(data as z.infer<typeof slo>, shared, document, problems) : [],
  );
  if (problems.length === 0 && texts.length === 0) {
    problems.push({ text: 'it holds no document of kind SLO', place: null });
  }
  if (problems.length > 0) throw invalidYaml(path, problems, PURPOSE);
  return texts;
}

function objectivesOf(
  { spec, metadata: own }: z.infer<typeof slo>,
  shared: ReadonlyMap<string, Indicator>,
  document: YamlDocument,
  problems: YamlProblem[],
): string[] {
  const refuse = (path: readonly PropertyKey[], text: string) =>
    void problems.push({ text: `${path.join('.')}: ${text}`, place: document.placeOf(path) });
  if (spec.budgetingMethod !== 'Occurrences') {
    refuse(['spec', 'budgetingMethod'], `${spec.budgetingMethod} is not judged; only Occurrences is`);
    return [];
  }
  return spec.objectives.flatMap((each, at) => {
    const path = ['spec', 'objectives', at];
    // The indicator of an objective has priority over the indicator of its SLO.
    const { indicator: meantBy, indicatorRef: named } =
      each.indicator === undefined && each.indicatorRef === undefined ? spec : each;
    const meant = meantBy ?? (named === undefined ? undefined : shared.get(named));
    if (meant === undefined) {
      refuse(path, named === undefined ? 'it has no indicator' : `there is no SLI ${named} in this file`);
      return [];
    }
    const annotations = { ...own.annotations, ...meant.metadata?.annotations };
    const text = textOf(each, meant, { metric: annotations[METRIC], unit: annotations[UNIT] });
    if (typeof text === 'string') return [text];
    refuse(path, text.reason);
    return [];
  });
}

interface Meant {
  readonly metric: string | undefined;
  readonly unit: (typeof UNITS)[number] | undefined;
}

/** One objective in k6's terms, or the reason why it has no equivalent. */
function textOf(
  { op, value, target, targetPercent }: OpenSloObjective,
  { spec }: Indicator,
  { metric, unit }: Meant,
): string | { readonly reason: string } {
  const share = target ?? (targetPercent === undefined ? null : targetPercent / 100);
  if (share === null) return { reason: 'it has neither target nor targetPercent' };
  if (spec.ratioMetric !== undefined) {
    const ratio = RATIOS.find((known) => known === metric);
    if (ratio === undefined)
      return { reason: `the annotation ${METRIC} of a ratio is one of ${RATIOS.join(', ')}` };
    return `${ratio}: rate<=${rounded(1 - share)}`;
  }
  if (spec.thresholdMetric === undefined)
    return { reason: 'its indicator has no thresholdMetric and no ratioMetric' };
  const time = TIMES.find((known) => known === metric);
  if (time === undefined) return { reason: `the annotation ${METRIC} names none of ${TIMES.join(', ')}` };
  if (unit === undefined) return { reason: `the annotation ${UNIT} names none of ${UNITS.join(', ')}` };
  if (value === undefined || (op !== 'lte' && op !== 'lt')) {
    return { reason: 'a time needs a value, and op lte or lt' };
  }
  const aggregation = share === 1 ? 'max' : `p(${rounded(share * 100)})`;
  return `${time}: ${aggregation}${op === 'lt' ? '<' : '<='}${rounded(unit === 's' ? value * 1e3 : value)}`;
}

function rounded(value: number): string {
  return String(Number(value.toFixed(DIGITS)));
}
