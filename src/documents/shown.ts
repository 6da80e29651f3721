import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText } from './parts.ts';

const message = z.object({
  head: z.string().describe('Start line and header lines, as recorded: masked values stay masked.'),
  body: maybeText.describe('Without its content coding; null if nothing was kept.'),
  encoding: z.enum(['utf8', 'base64']).describe('Of `body`.'),
  bytes: count.describe('True size of the body, however much is here.'),
  shown: count.describe('Bytes of the body that are here.'),
  messages: z
    .object({
      list: z.array(
        z.object({
          offsetMs: maybeNumber.describe(
            'After the arrival: its first byte in a request, its last byte in an answer; null past the limit on times.',
          ),
          bytes: count.describe('Without its prefix of five bytes.'),
          compressed: z.boolean(),
          json: z
            .record(z.string(), z.unknown())
            .nullable()
            .describe(
              'The message in short. Fields that are not known have their number as name; null if it is no protobuf.',
            ),
        }),
      ),
      end: z
        .enum(['whole', 'inside', 'broken', 'limit'])
        .describe(
          'How what was kept of the body ends: with a whole message, inside one, with bytes that are none, or with more messages than are listed.',
        ),
    })
    .optional()
    .describe('Of a gRPC call.'),
  trailers: z.string().optional().describe('Lines as recorded; absent if there were none.'),
});
export type ShownMessage = Immutable<z.infer<typeof message>>;

const shown = z.object({
  exchange: z.string().describe('The recorded exchange: SEGMENT:ID.'),
  send: count.nullable().describe('Position in the plan of a run; null in a capture.'),
  at: z.string().describe('Arrival in a capture; planned instant in a run. ISO 8601.'),
  route: maybeText,
  model: maybeText,
  status: count.nullable(),
  grpc: z
    .object({
      status: maybeText.describe(
        'Name of its status code, such as `UNAVAILABLE`; null if it ended without one.',
      ),
      requestMessages: count.nullable().describe('Null in a run.'),
      responseMessages: count.nullable().describe('Null in a run.'),
    })
    .optional()
    .describe('Of a gRPC call.'),
  result: maybeText.describe(
    '`completed`, or how it ended otherwise: `client_aborted`, `reset`, `refused` …; null if an import does not say.',
  ),
  failed: z.boolean().describe('A 5xx, or no complete answer although the client waited for it.'),
  streamed: z.boolean().nullable(),
  requestBytes: count.nullable(),
  responseBytes: count.nullable(),
  ms: z
    .object({
      sent: maybeNumber.describe('How late it left; null in a capture, or if it was never sent.'),
      firstByte: maybeNumber,
      firstToken: maybeNumber,
      lastByte: maybeNumber.describe('Its latency; of a failure, until that was seen.'),
    })
    .describe('Milliseconds after `at`.'),
  tokens: z.object({ prompt: count.nullable(), output: count.nullable() }),
  recorded: z
    .object({ status: count, ms: maybeNumber, bytes: count.nullable() })
    .nullable()
    .describe('What production answered; null in a capture, or if that is not known.'),
  check: maybeText.describe('How the answer compares with the recorded one: `same`, `mismatch:values` …'),
  trace: maybeText
    .optional()
    .describe(
      'Id of the trace that the request was sent in: in a capture by its client, in a run by us; null if none is known.',
    ),
  links: z
    .array(
      z.object({
        from: maybeText.describe(
          'The exchange whose answer issued the value: SEGMENT:ID. Null if it is not here.',
        ),
        place: z.string().describe('Where the value is in that answer, such as `json /id`.'),
        to: z.string().describe('Where it is in this request.'),
      }),
    )
    .optional()
    .describe(
      'Values of this request that an earlier answer of its session issued; of an exchange given by its id.',
    ),
  payload: z
    .object({ request: message.nullable(), response: message.nullable() })
    .nullable()
    .describe('As recorded: a run keeps no payloads. Null unless asked for.'),
});
/** One request of a capture or a run. */
export type ShownRequest = Immutable<z.infer<typeof shown>>;

/** The document of `show --json`. */
export const shownSchema = z.object({
  schemaVersion: z.literal(1),
  kind: z.literal('requests'),
  of: z.enum(['capture', 'run']),
  directory: z.string(),
  matching: count.describe('Requests that were asked for, however many are listed.'),
  requests: z.array(shown),
});
export type ShownDocument = Immutable<z.infer<typeof shownSchema>>;
