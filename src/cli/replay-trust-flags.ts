import type { Command } from 'commander';
import type { JudgementBounds } from '../analysis/judgement-bounds.ts';
import type { ReplayOptions } from '../replay/options.ts';
import { TRUST_DEFAULTS } from '../replay/trust-options.ts';

/** The flags that say what precedes the judged part, and where a result can no longer be trusted. */
export function addTrustFlags(command: Command): Command {
  return command
    .option('--warmup <time>', 'play so much of what precedes the window first, in no figure')
    .option(
      '--calibrate [time]',
      `hold the target against the recording first, at 1x for ${TRUST_DEFAULTS.calibrate} or so long`,
    )
    .option(
      '--calibrate-bounds <list>',
      'how far it may be from the recording',
      TRUST_DEFAULTS.calibrateBounds,
    )
    .option(
      '--lag-bound <list>',
      'lag p99 that is allowed: a time, a share of the median service latency, or both',
    );
}

/** The bounds of the judgement that were stated; the others stay as they are. */
export function statedBounds({ lagBound }: Pick<ReplayOptions, 'lagBound'>): Partial<JudgementBounds> {
  return {
    ...(lagBound.lagMs === null ? {} : { lagNs: lagBound.lagMs * 1e6 }),
    ...(lagBound.ofServiceShare === null ? {} : { lagOfServiceShare: lagBound.ofServiceShare }),
  };
}
