import { listed } from '../../core/text.ts';
import { countOf, formatMs, formatMultiplier } from '../../core/units.ts';
import type { CapacityDocument } from '../../documents/capacity.ts';
import type { LatencyMs, NistEvidence, NistMeasure } from '../../documents/parts.ts';
import { PERCENTS } from '../../documents/percentiles.ts';
import type { ObjectiveLine, ReplayDocument } from '../../documents/replay.ts';
import { columnsOf, msText, numberText, type Section, sectionOf, shareText } from '../render/table.ts';
import { stateOf, stateText } from './requests.ts';

/** What a search found, for the evidence of a statement; null for a run alone. */
type Searched = Pick<CapacityDocument, 'breakingPoint' | 'noise'> | null;
type Sentences = (run: ReplayDocument, searched: Searched) => readonly (string | null | false)[];

/** A subcategory: its requirement in our words, the evidence of a run, and missing evidence. */
interface Subcategory {
  readonly id: string;
  readonly asks: string;
  readonly evidence: Sentences;
  readonly missing: Sentences;
}

const LIKENESS = { true: 'alike', false: 'not alike', null: 'too little to tell' } as const;

/** The figures of an inconclusive run are no proof, so what they decide is said with this. */
function doubtOf(line: ObjectiveLine, run: Pick<ReplayDocument, 'verdict' | 'reasons' | 'notes'>): string {
  const isDoubted = run.verdict === 'INCONCLUSIVE' && stateOf(line, run) !== 'undecided';
  return isDoubted ? ', by figures that are in doubt' : '';
}

const SUBCATEGORIES: readonly Subcategory[] = [
  {
    id: 'MEASURE 2.1',
    asks: 'test sets, metrics and tools are documented',
    evidence: ({ run, version, capture, windows, selected, slo, options }) => [
      `run ${run} by Reprise ${version}, with every option kept in its document (seed ${options['seed'] ?? 'not known'})`,
      `test set: ${countOf(selected, 'exchange')} of the capture ${capture}${windows?.[0] === undefined ? '' : `, ${windows[0].from} to ${windows.at(-1)?.to}`}`,
      slo.length > 0 && `metrics: ${slo.map(({ expression }) => expression).join('; ')}`,
    ],
    missing: ({ slo }) => [slo.length === 0 && 'no objective was stated: give --slo'],
  },
  {
    id: 'MEASURE 2.3',
    asks: 'performance is shown under conditions like those of deployment',
    evidence: ({
      fidelity: { recorded, planned, sent, ksGaps, mixDistance },
      latencyMs,
      calibration,
      ...run
    }) => [
      `${run.closedLoop === undefined ? `recorded traffic ${stagesOf(run) ?? `at ${formatMultiplier(run.multiplier)} times its rate`}` : `recorded requests, ${run.closedLoop.concurrency} in flight at all times`}: ${numberText(recorded.ratePerSecond)} requests/s recorded, ${numberText(sent.ratePerSecond)} sent`,
      `burstiness (CV of gaps): ${numberText(recorded.cv)} recorded, ${numberText(planned.cv)} planned, ${numberText(sent.cv)} sent; KS distance of gaps ${numberText(ksGaps)}; distance of the mix ${numberText(mixDistance)}`,
      run.closedLoop === undefined
        ? `latency from the intended send: ${percentilesText(latencyMs.scheduled)}`
        : `latency from the actual send: ${percentilesText(latencyMs.service)}`,
      ...run.slo.map(
        (line) => `objective ${line.expression}: ${stateText(line, run).toLowerCase()}${doubtOf(line, run)}`,
      ),
      calibration !== null &&
        `compared with the recording at 1x over ${countOf(calibration.pairs, 'request')}: ${LIKENESS[`${calibration.representative}`]}`,
    ],
    missing: ({ calibration }) => [
      calibration === null && 'whether the target answers as production did: give --compare-at-1x',
    ],
  },
  {
    id: 'MEASURE 2.4',
    asks: 'the system is monitored in production',
    evidence: ({ coverage, recorded, asRecorded }) => [
      coverage !== null && `the recorder kept ${shareText(coverage)} of the traffic that it saw`,
      `${countOf(recorded, 'recorded exchange')} in the window, repeats included`,
      asRecorded !== undefined &&
        asRecorded.answers > 0 &&
        `the requests of this run, as recorded: latency p50 ${msText(asRecorded.latencyMs.p50)}, p99 ${msText(asRecorded.latencyMs.p99)}; ${shareText(asRecorded.failedShare)} failed`,
    ],
    missing: ({ coverage }) => [
      coverage === null && 'the coverage of the recording is not known',
      'drift of the traffic: compare profiles of two months with reprise compare',
    ],
  },
  {
    id: 'MEASURE 2.5',
    asks: 'the system is valid and reliable, and the limits of that are documented',
    evidence: ({ verdict, valid, reasons, notes, scalingPlan, completed, sent }) => [
      `verdict ${verdict ?? 'none'}; the run is ${valid ? 'valid' : 'not valid'}; ${numberText(completed)} of ${countOf(sent, 'request')} completed`,
      ...reasons.map(({ code, text }) => `${code}: ${text}`),
      notes.length > 0 && `limits noted: ${notes.map(({ code }) => code).join(', ')}`,
      scalingPlan !== undefined && `the scaling keeps ${scalingPlan.keeps}; it changes ${scalingPlan.bends}`,
    ],
    missing: () => ['other windows, models and hardware than those of this run'],
  },
  {
    id: 'MEASURE 2.6',
    asks: 'the system is robust and fails safely, and its response to failures is timed',
    evidence: ({ failed, sent, errors, streams, faults }) => [
      `${countOf(failed, 'request')} of ${numberText(sent)} failed${
        failed === 0
          ? ''
          : `: ${Object.entries(errors)
              .map(([kind, count]) => `${kind} ${count}`)
              .join(', ')}`
      }`,
      streams.failed > 0 && `${countOf(streams.failed, 'stream')} broke off`,
      ...(faults?.faults ?? []).map(
        ({ name, recovery: { s, limitS } }) =>
          `after ${name} was over, objectives held again ${s === null ? 'at no time that was seen' : `in ${formatMs(s * 1e3)}`}${limitS === null ? '' : `; the limit is ${formatMs(limitS * 1e3)}`}`,
      ),
    ],
    missing: ({ faults }) => [
      (faults?.faults ?? []).length === 0 && 'failures of dependencies: give --faults',
      'safety of the content of answers',
    ],
  },
  {
    id: 'MEASURE 2.7',
    asks: 'security and resilience are evaluated',
    evidence: (
      { multiplier, effectiveMultiplier, closedLoop, failed, refused, faults, statuses, scalingPlan },
      searched,
    ) => [
      `${closedLoop === undefined ? (stagesOf({ scalingPlan }) ?? `under ${numberText(effectiveMultiplier ?? multiplier)} times the recorded load`) : `under ${closedLoop.concurrency} requests in flight`}: ${countOf(failed, 'request')} failed, ${numberText(refused)} not sent by our own limits`,
      (statuses['429'] ?? 0) + (statuses['503'] ?? 0) > 0 &&
        `the target turned away ${countOf((statuses['429'] ?? 0) + (statuses['503'] ?? 0), 'request')} (429, 503)`,
      (faults?.faults.length ?? 0) > 0 &&
        `${countOf(faults?.faults.length ?? 0, 'planned failure')} of dependencies`,
      searched !== null && breakingSentence(searched),
    ],
    missing: (_, searched) => [
      searched === null && 'the breaking point: reprise capacity',
      'attacks and misuse',
    ],
  },
  {
    id: 'MEASURE 2.10',
    asks: 'the risk to privacy is examined',
    evidence: ({ audit }) => [
      audit !== undefined && maskedText(audit.maskedRequests),
      audit !== undefined && namesOf('masked headers', audit.maskedHeaders),
      audit !== undefined && namesOf('masked query keys', audit.maskedQueryKeys),
      'no document and no page of this run holds a payload',
    ],
    missing: ({ audit }) => [
      audit === undefined && 'what the recorder masked is not known',
      'whether bodies of the capture hold personal data: see its rules of redaction with reprise inspect',
    ],
  },
  {
    id: 'MEASURE 2.12',
    asks: 'the impact on the environment is assessed',
    evidence: (run) => powerSentences(run),
    missing: (run) => [
      powerSentences(run).length === 0 &&
        'power was not watched: give --monitor with the metrics of the accelerators',
      powerSentences(run).length > 1 &&
        'the power of all devices: sources may watch the same ones, so they are not added',
      'emissions and the power of what was not watched',
    ],
  },
  {
    id: 'MEASURE 2.13',
    asks: 'the metrics and the process of testing are effective',
    evidence: ({ lagUs, health, planned, sent, bounds, calibration }) => [
      `${shareText(planned === 0 ? null : sent / planned)} of the plan was sent; at least ${shareText(bounds.achievedShare)} is needed`,
      `requests were late by ${msOf(lagUs.p50)} at p50 and ${msOf(lagUs.p99)} at p99, and their latency counts it`,
      `the busiest sender worked ${shareText(health.busyShare)} of the time; it stood still ${countOf(health.stalls, 'time')}`,
      bounds.confidence !== null &&
        `a percentile passes only with ${shareText(bounds.confidence)} confidence`,
      calibration !== null &&
        `the target was compared with its recording before: ${LIKENESS[`${calibration.representative}`]}`,
    ],
    missing: (_, searched) => [
      'what this machine can send: reprise selftest',
      (searched?.noise.source ?? 'none') === 'none' && 'noise of the target: reprise capacity measures it',
    ],
  },
  {
    id: 'MEASURE 3.1',
    asks: 'risks are tracked over time',
    evidence: ({ options, startedAt }) => [
      typeof options['name'] === 'string' &&
        `the run of ${startedAt} belongs to the test ${JSON.stringify(options['name'])}`,
    ],
    missing: ({ options }) => [
      typeof options['name'] !== 'string' && 'a name that runs of one test share: give --name',
      'earlier runs: reprise history shows where a metric changed',
    ],
  },
];

const OUT_OF_SCOPE: NistEvidence['outOfScope'] = [
  { id: 'MEASURE 2.2', why: 'no people are subjects of a load test' },
  { id: 'MEASURE 2.8', why: 'transparency and accountability of the organisation' },
  { id: 'MEASURE 2.9', why: 'how a model comes to its answers' },
  { id: 'MEASURE 2.11', why: 'fairness and bias of answers' },
  { id: 'MEASURE 3.3', why: 'feedback of users' },
];

/** The evidence of a run for the MEASURE function of the NIST AI Risk Management Framework (NIST AI 100-1, 2023). */
export function nistEvidenceOf(run: ReplayDocument, searched: Searched = null): NistEvidence {
  const said = (sentences: Sentences) =>
    sentences(run, searched).filter((each): each is string => typeof each === 'string');
  const measures = SUBCATEGORIES.map(
    ({ id, asks, evidence, missing }): NistMeasure => ({
      id,
      asks,
      evidence: said(evidence),
      missing: said(missing),
    }),
  );
  return { framework: 'NIST AI RMF 1.0', measures, outOfScope: OUT_OF_SCOPE };
}

/** The evidence as a section of the page. */
export function nistSection({ framework, measures, outOfScope }: NistEvidence): Section<'nist'> {
  const source = 'the document of this run; nothing is certified by it';
  const lookFor = 'evidence that an assessment can cite, and what has to come from elsewhere';
  const rows = measures.flatMap(({ id, asks, evidence, missing }) =>
    [...evidence, ...missing.map((each) => `not shown: ${each}`)].map((sentence, at) => [
      ...(at === 0 ? [id, asks] : ['', '']),
      sentence,
    ]),
  );
  return sectionOf('nist', `Evidence for ${framework}`, [
    {
      title: 'MEASURE',
      unit: 'as stated',
      source,
      lookFor,
      columns: columnsOf(['measure', 'what it asks', 'what this run shows'], []),
      rows,
    },
    {
      title: 'Out of scope',
      unit: 'none',
      source: 'what a load test cannot show',
      lookFor,
      columns: columnsOf(['measure', 'why'], []),
      rows: outOfScope.map(({ id, why }) => [id, why]),
    },
  ]);
}

function breakingSentence({ breakingPoint: { interval } }: NonNullable<Searched>): string {
  if (interval === null) return 'the breaking point was searched and not found';
  return `the breaking point lies between ${interval.map(formatMultiplier).join(' and ')} times the load that was searched`;
}

/** What a run sent in place of masked values. */
export function maskedText(requests: number): string {
  return `${countOf(requests, 'request')} went out without the values that the recorder had masked`;
}

/** Mean power of the devices of each source, and the energy for each completed request. */
function powerSentences({ monitors, durationS, completed }: ReplayDocument): string[] {
  const bySource = new Map<string, number[]>();
  for (const { unit, kind, mean, source } of monitors?.series ?? []) {
    if (unit !== 'W' || kind !== 'gauge' || mean === null) continue;
    bySource.set(source, [...(bySource.get(source) ?? []), mean]);
  }
  return [...bySource].map(([source, known]) => {
    const watts = known.reduce((sum, mean) => sum + mean, 0);
    const each =
      completed === 0 ? '' : `, ${numberText((watts * durationS) / completed)} J for each completed request`;
    return `mean power of ${countOf(known.length, 'device')} by ${source}: ${numberText(watts)} W over ${formatMs(durationS * 1e3)}${each}`;
  });
}

function namesOf(what: string, counts: Readonly<Record<string, number>>): string | null {
  const names = Object.keys(counts);
  return names.length === 0 ? null : `${what}: ${names.join(', ')}`;
}

function msOf(us: number | null): string {
  return msText(us === null ? null : us / 1e3);
}

/** `in stages 60s@1x, 60s@2x`, as `--stages` has them; null without stages. */
function stagesOf({ scalingPlan }: Pick<ReplayDocument, 'scalingPlan'>): string | null {
  const stages = scalingPlan?.stages ?? null;
  return stages === null ? null : `in stages ${listed(stages)}`;
}

function percentilesText(times: LatencyMs): string {
  return PERCENTS.map((percent) => `p${percent} ${msText(times[`p${percent}`])}`).join(', ');
}
