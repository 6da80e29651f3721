import { z } from 'zod';
import { count, type Immutable, maybeNumber } from './parts.ts';

const requestsPerConnection = z.object({ mean: z.number(), max: count });

const connectionsOfRun = z.object({
  policy: z.string(),
  opened: count,
  openedAhead: count.describe('Of these, opened before a request needed them.'),
  failed: count,
  openedAtLimit: count
    .optional()
    .describe('Of HTTP/2: opened because the others had as many streams as the target allows.'),
  overtaken: count
    .optional()
    .describe('Messages of request streams sent before an answer that they had followed in the recording.'),
  openMax: count.describe('Most connections open at one time.'),
  used: count.describe('Connections that carried a request.'),
  connect: z.object({ count, p50Ns: z.number(), p90Ns: z.number(), p99Ns: z.number(), maxNs: z.number() }),
  requestsPerConnection,
  byAddress: z.array(
    z.object({
      address: z.string(),
      connections: count,
      requests: count,
      firstRequestS: maybeNumber
        .optional()
        .describe('Of its first request, after the start of the run; null where it had none.'),
    }),
  ),
  recorded: z.object({
    connections: count,
    requestsPerConnection,
    unknown: count,
    forgotten: count,
    byRecorder: z.array(z.object({ recorder: z.string(), connections: count, requests: count })),
  }),
});
/** The opened connections, and the recorded connections of the same requests. */
export type ConnectionsDocument = Immutable<z.infer<typeof connectionsOfRun>>;

export const connections = connectionsOfRun
  .partial()
  .required({ opened: true, failed: true })
  .describe('Connections opened, compared with those on which the requests were recorded.');
