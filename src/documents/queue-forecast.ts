import { z } from 'zod';
import { count, type Immutable } from './parts.ts';

const stretch = z.object({ from: z.string(), to: z.string(), requests: count });

/** What a search without a server assumes, and how well that explains the recording. */
export const queueForecast = z.object({
  executors: count.describe(
    'Requests that the recorded server worked on at once, as far as the recording tells.',
  ),
  executorsLeast: count,
  executorsMost: count.describe('The recording cannot tell these numbers apart.'),
  isOpen: z.boolean().describe('Whether there may be more: hardly a request was seen to wait.'),
  services: z
    .array(
      z.object({
        upToBytes: z.number().nullable().describe('Size of the largest request; null for the last class.'),
        requests: count,
        meanMs: z.number(),
      }),
    )
    .describe('Service times by size of request.'),
  fitted: stretch,
  checked: stretch
    .extend({
      percentiles: z.array(
        z.object({
          percent: z.number(),
          recordedMs: z.number(),
          modelledMs: z.number(),
          error: z.number().describe('Modelled over recorded, less 1.'),
        }),
      ),
    })
    .describe('A part of the recording that the model was not fitted to.'),
  assumptions: z.array(z.string()),
});
export type QueueForecast = Immutable<z.infer<typeof queueForecast>>;
