import { formatMs } from '../../core/units.ts';
import type { ReportDocument } from '../../documents/report.ts';
import { type ChartData, type TimeSeriesParts, timeSeries } from './time-series.ts';

/** What happened over time: load, requests in flight, latency, failures, our own lateness. */
export function reportSeries(
  document: ReportDocument,
): { readonly html: string; readonly data: ChartData }[] {
  const { overTime, run } = document;
  if (overTime.at.length === 0) return [];
  // A run that was not sealed does not say when it began: its times count from 1970, and the page says so.
  const startS = run.startedAt === null ? 0 : Date.parse(run.startedAt) / 1e3;
  const at = overTime.at.map((second) => startS + second);
  return [load(document), inFlight(document), latency(document), trouble(document), lag(document)].flatMap(
    (parts) => (parts === null ? [] : [timeSeries({ ...parts, at })]),
  );
}

type Parts = Omit<TimeSeriesParts, 'at'>;

function stepText({ overTime, run }: ReportDocument): string {
  const clock = run.startedAt === null ? '; times count from the start of the run' : '';
  return `in steps of ${formatMs(overTime.stepS * 1e3)}${clock}`;
}

function load(document: ReportDocument): Parts {
  const { overTime, run } = document;
  const perSecond = (counts: readonly number[]) => counts.map((count) => count / overTime.stepS);
  return {
    id: 'load',
    title: 'Offered, sent and completed over time',
    unit: 'requests/s',
    source: `offered by intended instant, sent by actual instant, completed by last byte, ${stepText(document)}, of which the last may be a part${run.warmupS === 0 ? '' : `; the first ${formatMs(run.warmupS * 1e3)} are warm-up`}`,
    lookFor:
      'completed that stays under offered: the target is over its limit there. Sent under offered: our side was',
    lines: [
      { label: 'offered', values: perSecond(overTime.offered) },
      { label: 'sent', values: perSecond(overTime.sent) },
      { label: 'completed', values: perSecond(overTime.completed) },
    ],
  };
}

function inFlight(document: ReportDocument): Parts {
  return {
    id: 'in-flight',
    title: 'Requests in flight over time',
    unit: 'requests',
    source: `sent and not yet over, the most at the end of a second, ${stepText(document)}`,
    lookFor: 'a climb that does not come down: a queue that grows as long as the load lasts',
    lines: [{ label: 'in flight', values: document.overTime.inFlight }],
  };
}

function latency(document: ReportDocument): Parts | null {
  const { samples, p50Ms, p95Ms, p99Ms, serviceP99Ms } = document.overTime;
  const counts = samples.filter((count) => count > 0).sort((a, b) => a - b);
  if (counts.length === 0) return null;
  const typical = counts[Math.floor(counts.length / 2)] ?? 0;
  return {
    id: 'latency',
    title: 'Latency over time',
    unit: 'ms',
    source: `completed requests by intended send, ${stepText(document)}; half of the steps have ${typical.toLocaleString('en')} or more`,
    lookFor: `latency that follows the load, and how long it takes to come down after a peak${typical < 130 ? '. With so few requests in a step its p99 is the slowest of them' : ''}`,
    lines: [
      { label: 'p50', values: p50Ms },
      { label: 'p95', values: p95Ms },
      { label: 'p99', values: p99Ms },
      { label: 'p99 service', values: serviceP99Ms },
    ],
  };
}

function trouble(document: ReportDocument): Parts | null {
  const { failed, refused, stepS } = document.overTime;
  if (failed.every((count) => count === 0) && refused.every((count) => count === 0)) return null;
  const perSecond = (counts: readonly number[]) => counts.map((count) => count / stepS);
  return {
    id: 'trouble',
    title: 'Failed and refused over time',
    unit: 'requests/s',
    source: `failed by the instant it was noticed, refused by intended instant, ${stepText(document)}`,
    lookFor: 'failures at peaks (capacity) or alone (faults); refused: our own cap',
    lines: [
      { label: 'failed', values: perSecond(failed) },
      { label: 'refused', values: perSecond(refused) },
    ],
  };
}

function lag(document: ReportDocument): Parts | null {
  const { lagMaxMs } = document.overTime;
  if (lagMaxMs.every((value) => value === null)) return null;
  return {
    id: 'lag',
    title: 'Schedule lag over time',
    unit: 'ms',
    source: `the latest send of a step, actual minus intended, ${stepText(document)}`,
    lookFor: 'peaks where latency has peaks: that latency is our lateness and not the target’s',
    lines: [{ label: 'greatest lag', values: lagMaxMs }],
  };
}
