import { Histogram } from '../../core/histogram.ts';
import { hasFailed, type RunPosition, type Send } from '../../core/run.ts';
import type { SecondEvent } from '../../documents/events.ts';
import { lagNsOf } from './latency.ts';

/** What happened since the last look; counts, not rates. The warm-up counts as everything else. */
export interface Pulse
  extends Omit<SecondEvent, 'event' | 'phase' | 'elapsedS' | 'spanS' | 'etaS'>,
    Pick<RunPosition, 'elapsedNs'> {
  readonly spanNs: number;
}

/** Follows a run for somebody who looks at it now and then. */
export class RunPulse {
  #lag = new Histogram();
  #ended = 0;
  #failed = 0;
  #refused = 0;
  #last = { elapsedNs: 0, due: 0, ended: 0, failed: 0, refused: 0 };

  /** Takes finished sends, in any order, each once. */
  add(sends: readonly Send[]): void {
    for (const send of sends) {
      if (send.refused) this.#refused += 1;
      const { actualOffsetNs } = send;
      if (actualOffsetNs === null) continue;
      this.#ended += 1;
      if (hasFailed(send)) this.#failed += 1;
      this.#lag.record(lagNsOf({ ...send, actualOffsetNs }));
    }
  }

  take({ elapsedNs, outstanding, inFlight, waiting }: RunPosition): Pulse {
    const last = this.#last;
    // What is outstanding is known as of the last report, so that a sum may fall for a moment.
    const due = Math.max(last.due, this.#ended + this.#refused + outstanding);
    const lagNs = this.#lag.percentile(99);
    const pulse = {
      elapsedNs,
      spanNs: elapsedNs - last.elapsedNs,
      offered: due - last.due,
      achieved: this.#ended - last.ended,
      inFlight,
      waiting,
      lagP99Us: lagNs === null ? null : lagNs / 1e3,
      errors: this.#failed - last.failed,
      refused: this.#refused - last.refused,
    };
    this.#last = { elapsedNs, due, ended: this.#ended, failed: this.#failed, refused: this.#refused };
    if (this.#lag.count > 0) this.#lag = new Histogram();
    return pulse;
  }
}
