import type { Send } from '../../core/run.ts';
import { isRefusal, type SendCategory } from '../run/outcomes.ts';
import { WindowShare } from '../stats/percentiles.ts';

/** Failures and refusals by windows of a run. */
export class ShareWindows {
  readonly errors: WindowShare;
  readonly rejected: WindowShare;

  constructor(originNs: number) {
    this.errors = new WindowShare(originNs);
    this.rejected = new WindowShare(originNs);
  }

  add(send: Send, outcome: SendCategory): void {
    if (!isOfSent(outcome)) return;
    this.errors.record(send.intendedOffsetNs, outcome === 'failed');
    this.rejected.record(send.intendedOffsetNs, isRejected(send));
  }
}

export function isOfSent(outcome: SendCategory): boolean {
  return outcome === 'completed' || outcome === 'failed';
}

export function isRejected({ error, status }: Send): boolean {
  return error === null && status !== null && isRefusal(status);
}
