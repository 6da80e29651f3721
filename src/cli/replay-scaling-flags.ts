import type { Command } from 'commander';
import { SCALINGS } from '../replay/scaling/kinds.ts';
import { SCALING_DEFAULTS } from '../replay/scaling/options.ts';
import { RepeatableOption } from './repeatable.ts';

/** The flags that say how the multiplier is reached. */
export function addScalingFlags(command: Command): Command {
  return command
    .option('--scaling <way>', `${SCALINGS.join(', ')} (default: compress, below 1x thin)`)
    .option('--stages <list>', 'the multiplier over the run, such as 10m@1x,5m@1x..2x,30s@4x')
    .option(
      '--target-share <share>',
      'replicas of the target / replicas that were recorded, such as 2/20',
      SCALING_DEFAULTS.targetShare,
    )
    .option('--seed <n>', 'decides which sessions are left out or played again', SCALING_DEFAULTS.seed)
    .option('--jitter <time>', 'copies of sessions begin up to so much later', SCALING_DEFAULTS.jitter)
    .addOption(
      new RepeatableOption('--perturb <place>', 'where copies differ: header:NAME or json:/POINTER'),
    );
}
