import type { RunTotals, Send, Stretch } from '../core/run.ts';
import { type Fidelity, FidelityStatistics, type RecordedRequest } from './fidelity.ts';
import { type LatencyFigures, LatencyStatistics } from './latency-statistics.ts';
import { OutcomeCounts, type OutcomeFigures } from './outcome-counts.ts';
import { StatusMix, type StatusMixFigures } from './status-mix.ts';
import { type StreamFigures, StreamStatistics } from './stream-statistics.ts';

/** What a line of progress shows. */
export interface RunProgress extends RunTotals {
  readonly lagP99Us: number | null;
}

/** Everything that is known of a run when it is over; the histograms hold nanoseconds. */
export interface RunFigures {
  /** Exchanges of the window, replayable or not. */
  readonly recorded: number;
  readonly planned: number;
  readonly outcomes: OutcomeFigures;
  readonly latency: LatencyFigures;
  readonly streams: StreamFigures;
  readonly fidelity: Fidelity;
  readonly statusMix: StatusMixFigures;
  /** From the start to the last planned instant, and to the end of the last answer or error. */
  readonly plannedSpanNs: number;
  readonly endOffsetNs: number;
  /** From the first intended send to the end of the last answer or error; null when nothing was sent. */
  readonly makespanNs: number | null;
}

/**
 * Follows a run while it goes on, at constant memory: what is recorded and planned as the schedule is drawn,
 * what is sent as it ends.
 */
export class RunStatistics {
  readonly #fidelity = new FidelityStatistics();
  readonly #latency = new LatencyStatistics();
  readonly #outcomes = new OutcomeCounts();
  readonly #statusMix = new StatusMix();
  readonly #streams = new StreamStatistics();
  #recorded = 0;
  #planned = 0;
  #firstIntendedNs: number | null = null;
  #lastIntendedNs = 0;
  #endOffsetNs = 0;

  /** Takes an exchange of the window, whether it will be replayed or not, in order of arrival. */
  addRecorded(row: RecordedRequest): void {
    this.#recorded += 1;
    this.#fidelity.addRecorded(row);
  }

  /** Takes any exchange of a window that is filtered, in order. */
  addInWindow(offsetUs: number): void {
    this.#fidelity.addInWindow(offsetUs);
  }

  /** Takes a scheduled send, in the order of the schedule; its index is the count of those before it. */
  addPlanned(row: RecordedRequest, intendedOffsetNs: number): void {
    this.#planned += 1;
    this.#firstIntendedNs ??= intendedOffsetNs;
    this.#lastIntendedNs = intendedOffsetNs;
    this.#fidelity.addPlanned(row, intendedOffsetNs);
    this.#statusMix.addRecorded(row.status);
  }

  /** Takes finished sends, in any order, each once. */
  addSends(sends: readonly Send[]): void {
    for (const send of sends) this.#addSend(send);
  }

  progress(): RunProgress {
    const lagNs = this.#latency.lagP99Ns();
    return {
      ...totals(this.#planned, this.#outcomes.figures()),
      lagP99Us: lagNs === null ? null : lagNs / 1e3,
    };
  }

  /** Arrivals so far: all a dry run has to say. */
  fidelity(): Fidelity {
    return this.#fidelity.figures();
  }

  /** Planned requests by recorded status. */
  recordedStatuses(): Readonly<Record<string, number>> {
    return this.#statusMix.recordedStatuses();
  }

  /** The figures of a run that is over. To be called once; `stalls` are left out of lag and latency. */
  figures(stalls: readonly Stretch[]): RunFigures {
    this.#fidelity.finish();
    const first = this.#firstIntendedNs;
    const outcomes = this.#outcomes.figures();
    return {
      recorded: this.#recorded,
      planned: this.#planned,
      outcomes,
      latency: this.#latency.finish(stalls),
      streams: this.#streams.finish(stalls),
      fidelity: this.#fidelity.figures(),
      statusMix: this.#statusMix.figures(),
      plannedSpanNs: this.#lastIntendedNs,
      endOffsetNs: this.#endOffsetNs,
      makespanNs: first === null || outcomes.sent === 0 ? null : this.#endOffsetNs - first,
    };
  }

  #addSend(send: Send): void {
    const outcome = this.#outcomes.add(send);
    this.#fidelity.addSend(send);
    this.#streams.add(send, outcome);
    if (!hasLeft(send)) return;
    this.#endOffsetNs = Math.max(this.#endOffsetNs, send.lastByteOffsetNs ?? send.actualOffsetNs);
    this.#latency.add(send, outcome === 'completed');
    if (send.error === null) this.#statusMix.addSent(send.status);
  }
}

function hasLeft(send: Send): send is Send & { readonly actualOffsetNs: number } {
  return send.actualOffsetNs !== null;
}

function totals(planned: number, outcomes: OutcomeFigures): RunTotals {
  const { sent, completed, failed, cancelled, refused } = outcomes;
  return { planned, sent, completed, failed, cancelled, refused };
}

/** The counts a run store keeps beside its rows. */
export function totalsOf(figures: RunFigures): RunTotals {
  return totals(figures.planned, figures.outcomes);
}
