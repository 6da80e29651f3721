import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { AppError, type ErrorCode } from '../core/errors.ts';
import { entryUrl } from './entry-url.ts';
import type { DryRunRequest } from './replay-dry-run.ts';
import type { Terminal } from './terminal.ts';

/** What the planner says while it works. */
export type FromPlanner =
  | { readonly kind: 'lines'; readonly lines: readonly string[] }
  | { readonly kind: 'document'; readonly document: object }
  | {
      readonly kind: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint: string | null;
    };

/**
 * A pass over millions of rows makes gigabytes of short-lived objects, and V8 would rather grow than collect:
 * to 450 MB where 10 MB are alive (1.95 million arrivals with requests). Only a thread can be held to limits.
 */
const PLANNER_LIMITS = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 128 } as const;

/**
 * Plans a window in a thread of its own and prints what it finds as it comes.
 * @throws AppError what the planning throws
 */
export async function planInThread(request: DryRunRequest, terminal: Terminal): Promise<void> {
  const planner = new Worker(entryUrl('planner'), { workerData: request, resourceLimits: PLANNER_LIMITS });
  let failure: AppError | null = null;
  planner.on('message', (message: FromPlanner) => {
    if (message.kind === 'lines') terminal.print(...message.lines);
    else if (message.kind === 'document') terminal.json(message.document);
    else
      failure = new AppError(
        message.code,
        message.message,
        message.hint === null ? {} : { hint: message.hint },
      );
  });
  // An error that is none of ours ends the thread and comes out of here as it is.
  await once(planner, 'exit');
  if (failure !== null) throw failure;
}
