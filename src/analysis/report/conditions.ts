import type { FaultPhase } from '../../documents/faults.ts';
import { IDC_WINDOWS, LAG_PERCENTS } from '../../documents/parts.ts';
import { PERCENTILE_NAMES, percentilesIn } from '../../documents/percentiles.ts';
import type { ArrivalFigures, ReplayDocument } from '../../documents/replay.ts';
import { columnsOf, msText, NONE, numberText, shareText, type Table } from '../render/table.ts';

interface ArrivalStream {
  readonly name: 'recorded' | 'planned' | 'came due' | 'sent';
  readonly figures: ArrivalFigures;
}

/**
 * The streams of a run in order; each results from the previous one. `due` is the stream that `sent` is compared with.
 */
export function arrivalStreams({ recorded, planned, resolved, sent }: ReplayDocument['fidelity']): {
  readonly streams: readonly ArrivalStream[];
  readonly due: ArrivalStream;
} {
  const plan: ArrivalStream = { name: 'planned', figures: planned };
  const due: ArrivalStream = resolved === null ? plan : { name: 'came due', figures: resolved };
  const before: ArrivalStream[] = [{ name: 'recorded', figures: recorded }, ...(due === plan ? [] : [plan])];
  return { streams: [...before, due, { name: 'sent', figures: sent }], due };
}

/** The arrivals as recorded, planned, sent, and also as they came due if that differs from the plan. */
export function arrivalTable({ fidelity, bounds, interrupted }: ReplayDocument): Table {
  const { streams, due } = arrivalStreams(fidelity);
  const names = streams.map(({ name }) => name);
  const row = (name: string, value: (figures: ArrivalFigures) => number | null | undefined) => [
    name,
    ...streams.map(({ figures }) => numberText(value(figures))),
    changeText(value(due.figures) ?? null, value(fidelity.sent) ?? null),
  ];
  return {
    title: `Arrivals: ${names.join(', ')}`,
    unit: 'requests/s for rates; CV and index of dispersion (IDC) are ratios, 1 for random traffic',
    source: `arrivals as recorded, intended instants, and instants of sending${interrupted === null ? '' : ', as far as the plan was read before the run was stopped'}; IDC in windows from the first arrival, left out below 20 windows`,
    lookFor: `sent compared with ${due.name}: CV and IDC may differ by ${shareText(bounds.arrivalShare)} or ${numberText(bounds.arrivalDifference)}. Recorded compared with planned shows what the scaling changes${due.name === 'planned' ? '' : `, planned compared with came due what the waiting of ${fidelity.waitsFor ?? 'sessions'} does`}`,
    columns: columnsOf(['measure'], [...names, `sent − ${due.name}`]),
    rows: [
      row('requests', ({ count }) => count),
      row('requests/s', ({ ratePerSecond }) => ratePerSecond),
      row('most in 1 s, counted from the first', ({ peak1s }) => peak1s),
      row('the same ÷ mean', ({ peakToMean1s }) => peakToMean1s),
      row('CV of gaps', ({ cv }) => cv),
      ...IDC_WINDOWS.map((window) => row(`IDC ${window} s`, ({ idc }) => idc[window])),
      row('ties', ({ ties }) => ties),
      row('gap p50, ms', ({ gapMs }) => gapMs?.p50),
      row('gap p99, ms', ({ gapMs }) => gapMs?.p99),
    ],
  };
}

function changeText(due: number | null, sent: number | null): string {
  if (due === null || sent === null) return NONE;
  const difference = sent - due;
  const text = numberText(difference);
  return difference > 0 ? `+${text}` : text;
}

/** The distances between the streams. */
export function distanceTable({ fidelity }: ReplayDocument): Table {
  const { recordedToPlanned, mixDistance } = fidelity;
  const { due } = arrivalStreams(fidelity);
  const ofSent = due.name === 'planned' ? '' : ` (of sent: to what ${due.name})`;
  return {
    title: 'Distances and repeats',
    unit: 'shares from 0 (alike) to 1',
    source:
      'KS distance of gaps scaled to one mean, of what was sent without differences of a millisecond; mix as total variation over route, model and size; duplicates by method, route and body',
    lookFor:
      'anything far from 0 between planned and sent. Many duplicates: a cache of the target answers them, and production’s might not',
    columns: columnsOf(['measure'], ['recorded to planned', 'planned to sent']),
    rows: [
      [`KS distance of gaps${ofSent}`, numberText(recordedToPlanned.ksGaps), sentGapsText(fidelity)],
      ['distance of the mix', numberText(recordedToPlanned.mixDistance), numberText(mixDistance)],
      [
        `requests that repeat an earlier one${fidelity.duplicateRatioExact ? '' : ' (estimate)'}`,
        NONE,
        shareText(fidelity.duplicateRatio),
      ],
      ['recorded with 429 or 503', shareText(fidelity.recordedRejected), NONE],
    ],
  };
}

function sentGapsText({ ksGaps, sent }: ReplayDocument['fidelity']): string {
  return ksGaps === null && sent.count > 1 ? 'none: gaps are under 2 ms' : numberText(ksGaps);
}

/** The state of the sending side. */
export function healthTable(document: ReplayDocument): Table {
  const { health, lagUs, connectMs, connectionWaitMs, connectionWaits, pauses, bounds, closedLoop } =
    document;
  const us = (value: number | null) => msText(value === null ? null : value / 1e3);
  const known = (value: boolean | null) => (value === null ? 'not known' : value ? 'yes' : 'no');
  const waits =
    connectionWaits === null
      ? []
      : [
          [
            'waiting for the recorded connection p50 / p99 / max',
            [connectionWaitMs.p50, connectionWaitMs.p99, connectionWaitMs.max].map(msText).join(' / '),
          ],
          [
            'waited for the recorded connection',
            `${numberText(connectionWaits.waited)}, ${numberText(connectionWaits.late)} for over ${msText(connectionWaits.boundMs)}`,
          ],
        ];
  return {
    title: 'The generator',
    unit: 'as named in each row',
    source: 'the sending process itself',
    lookFor: `lag p99 over ${msText(bounds.lagNs / 1e6)} (or ${shareText(bounds.lagShare)} of the least latency objective), a sender thread busy over ${shareText(bounds.busyShare)}, any stall: then ${closedLoop === undefined ? 'scheduled ' : ''}latency includes delays of the replay`,
    columns: columnsOf(['measure'], ['value']),
    rows: [
      ...LAG_PERCENTS.map((percent) => [`schedule lag p${percent}`, us(lagUs[`p${percent}`])]),
      ['schedule lag max', us(lagUs.max)],
      ['connecting p50 / p99 / max', [connectMs.p50, connectMs.p99, connectMs.max].map(msText).join(' / ')],
      ['answers that waited for a paused generator', pausesText(pauses)],
      ...waits,
      ['busiest sender thread', shareText(health.busyShare)],
      ['niceness of the threads that send', numberText(health.niceness ?? null)],
      ['held back by a CPU quota', known(health.throttled)],
      ['due before they reached a sender', numberText(health.starved)],
      ['stalls', `${numberText(health.stalls)}, ${msText(health.stalledMs)} in all`],
    ],
  };
}

function pausesText(pauses: ReplayDocument['pauses']): string {
  if (pauses?.share == null) return 'not known';
  return `${shareText(pauses.share)}, for up to ${msText(pauses.maxMs)}`;
}

/** For each planned fault: its requests before, during and after, and the recovery time. */
export function faultTable({ faults = null }: ReplayDocument): Table | null {
  if (faults === null) return null;
  const second = (value: number | null) => (value === null ? NONE : msText(value * 1e3));
  const rows = faults.faults.flatMap(({ recovery, ...fault }) => {
    const { s, limitS, ok } = recovery;
    const limit = limitS === null ? '' : ` of ${second(limitS)}${ok === false ? ', NOT in time' : ''}`;
    const what = `${fault.name} (${fault.fault} on ${fault.proxy})`;
    const cells = ({ requests, errorShare, checked, mismatched, ...times }: FaultPhase) => [
      ...[numberText(requests), shareText(errorShare), ...percentilesIn(times, 'Ms').map(msText)],
      shareText(checked === 0 ? null : mismatched / checked),
    ];
    const judged = fault.judgedBy.length === 0 ? "the run's objectives" : fault.judgedBy.join('; ');
    return [
      [`before ${what}`, ...cells(fault.before), ''],
      [
        `during, ${second(fault.fromS)} to ${second(fault.toS)}`,
        ...cells(fault.during),
        fault.problem ?? `acted ${numberText(fault.injected)} times; judged by ${judged}`,
      ],
      [
        'after',
        ...cells(fault.after),
        `${s === null ? 'not seen to recover' : `recovered after ${second(s)}`}${limit}`,
      ],
    ];
  });
  return {
    title: 'Planned failures of dependencies',
    unit: 'times from the intended send; shares of what was sent, and of answers that were compared',
    source: 'requests by their planned instant; those in flight when a fault began count to it',
    lookFor: 'errors and times that stay high after a fault: the target does not recover',
    columns: columnsOf(['phase'], ['requests', 'failed', ...PERCENTILE_NAMES, 'mismatched', '']),
    rows,
  };
}

/** The answers of the target at the recorded rate, compared with the recorded answers. */
export function calibrationTable({ calibration }: ReplayDocument): Table | null {
  if (calibration === null) return null;
  const { p50Ms, responseBytes, statusDistance, bounds, pairs, representative } = calibration;
  const state = representative === null ? 'not known' : representative ? 'as recorded' : 'NOT as recorded';
  return {
    title: `Calibration at 1x: ${state}`,
    unit: 'as named in each row',
    source: `${numberText(pairs)} requests that were answered while recording, sent again at recorded speed`,
    lookFor:
      'a target that is faster than production before any load: a cache, a smaller model, an error page',
    columns: columnsOf(['measure'], ['recorded', 'observed', 'allowed']),
    rows: [
      [
        'median latency',
        msText(p50Ms.recorded),
        msText(p50Ms.observed),
        `factor ${numberText(bounds.p50Factor)}`,
      ],
      [
        'median bytes of an answer',
        numberText(responseBytes.recorded),
        numberText(responseBytes.observed),
        shareText(bounds.sizeShare),
      ],
      ['answers with another status', NONE, shareText(statusDistance), shareText(bounds.statusShare)],
    ],
  };
}

const OBJECTIVE = {
  kept: 'met',
  met_again: 'met again',
  not_met: 'NOT MET',
  unknown: NONE,
} as const;

/** The actions of the autoscaler after each load step; null if no replicas were monitored. */
export function autoscalingTable({ autoscaling }: ReplayDocument): Table | null {
  if (autoscaling == null || autoscaling.steps.length === 0) return null;
  const seconds = (value: number | null) => (value === null ? NONE : `${numberText(value)} s`);
  return {
    title: 'After each load step',
    unit: 'seconds after the step; load in requests/s, counted when they were due',
    source: `ready: ${autoscaling.ready}; desired: ${autoscaling.desired ?? 'not watched'}; no instant is known better than ${numberText(autoscaling.intervalS)} s, the time between two readings`,
    lookFor:
      'the longest time: to desired, the autoscaler; from there to ready, a replica starts; from there to the objective, the queue is served',
    columns: columnsOf(
      ['step'],
      ['at', 'load', 'desired', 'first ready', 'all ready', 'new address', 'objective', 'after', 'violated'],
    ),
    rows: autoscaling.steps.map((step) => [
      step.direction,
      seconds(step.atS),
      `${numberText(step.offeredBefore)} → ${numberText(step.offeredAfter)}`,
      ...[step.desiredS, step.readyFirstS, step.readyS, step.newAddressS].map(seconds),
      OBJECTIVE[step.objective],
      seconds(step.objectiveMetS),
      step.objective === 'unknown' ? NONE : `${step.violatedS} s`,
    ]),
  };
}

/** Elasticity compared with the demand curve; null without one. */
export function elasticityTable({ autoscaling }: ReplayDocument): Table | null {
  const figures = autoscaling?.elasticity;
  if (figures == null) return null;
  const percent = (value: number) => `${numberText(value)} %`;
  const { under, over, replicaSeconds } = figures;
  return {
    title: 'Elasticity against the capacity that was measured',
    unit: 'percent, and replica-seconds',
    source: `one replica carries ${numberText(figures.ratePerReplica)} requests/s; windows of ${numberText(figures.windowS)} s, ${numberText(figures.knownS)} s in all (metrics of the SPEC Research Group)`,
    lookFor: 'too few replicas against violated seconds, too many against cost: there is no single score',
    columns: columnsOf(['figure'], ['too few', 'too many', 'both']),
    rows: [
      [
        'accuracy: replicas off, of those needed',
        percent(under.accuracyPercent),
        percent(over.accuracyPercent),
        NONE,
      ],
      ['timeshare', percent(under.timesharePercent), percent(over.timesharePercent), NONE],
      ['instability: moved otherwise than the load', NONE, NONE, percent(figures.instabilityPercent)],
      ['replica-seconds over a perfect scaler', NONE, numberText(replicaSeconds.overPerfect), NONE],
      [
        'replica-seconds supplied, and needed',
        NONE,
        NONE,
        `${numberText(replicaSeconds.supplied)}, ${numberText(replicaSeconds.needed)}`,
      ],
    ],
  };
}
