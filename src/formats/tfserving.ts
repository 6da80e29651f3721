import type { Exchange } from '../core/exchange.ts';
import { resolveOptions, value } from '../core/options.ts';
import { TextCounts } from '../core/text.ts';
import { parsePositiveMs } from '../core/units.ts';
import { originOption } from './arrival-trace.ts';
import {
  BODIES_OPTION,
  type ImportedResponse,
  ImportSource,
  type ImportSourceDeps,
  importedExchange,
  importFormat,
  type OpenImport,
  wholeBody,
} from './import-source.ts';
import { inputBytes } from './input.ts';
import { factsOfCall, type LoggedCall, loggedCall, tfRecords } from './prediction-log.ts';

const ANSWER_HEAD = Buffer.from('HTTP/2 200\r\ncontent-type: application/grpc\r\n\r\n', 'latin1');

const ANSWER_TRAILERS = Buffer.from('grpc-status: 0\r\n');

/** What such a log never contains. */
const MISSING_FROM_LOGS = [
  'times: calls have the gaps that were asked for',
  'metadata of calls',
  'calls that failed: only answered ones are logged',
  'latencies, connections, clients, sessions',
] as const;

const TFSERVING_OPTIONS = {
  ...BODIES_OPTION,
  gap: value('--gap <time>', 'gap between calls, such as 20ms: the log has no times', parsePositiveMs, {
    required: true,
  }),
  origin: originOption('the first call'),
};

/**
 * Reads request logs of TensorFlow Serving: TFRecords of `PredictionLog`. Its warm-up files are the same.
 * @see https://www.tensorflow.org/tfx/serving/serving_config
 */
function openTfserving(path: string, gapMs: number, originUs: number): OpenImport {
  return async (deps) => {
    const lacking = new TextCounts();
    return new ImportSource({
      path,
      requests: true,
      missing: MISSING_FROM_LOGS,
      details: { format: 'tfserving', gapMs, originUs },
      lacking,
      read: async function* (signal) {
        let calls = 0;
        for await (const record of tfRecords(inputBytes(path, signal))) {
          const call = loggedCall(record, lacking);
          if (call === null) continue;
          yield [exchangeOf(call, originUs + Math.round(calls * gapMs * 1e3), deps)];
          calls += 1;
        }
      },
    });
  };
}

function exchangeOf(call: LoggedCall, arrivalUs: number, deps: ImportSourceDeps): Exchange {
  const { draft, answer } = call;
  const response: ImportedResponse | null =
    answer === null ? null : { status: 200, head: ANSWER_HEAD, body: wholeBody(answer) };
  const request = { ...draft, body: wholeBody(draft.body) };
  const exchange = importedExchange({ arrivalUs, request, response }, deps);
  const facts = { ...exchange, ...factsOfCall(call), answerError: null };
  if (exchange.response === null) return facts;
  const answered = { ...exchange.response, trailers: ANSWER_TRAILERS };
  return { ...facts, response: answered, grpcStatus: 0, responseMessages: 1 };
}

export const TFSERVING = importFormat({
  summary: 'from request logs of TensorFlow Serving',
  description:
    'Build a capture from request logs of TensorFlow Serving: TFRecords of PredictionLog. They have no times, so give a --gap. Or pair them with the arrivals of another file: reprise import arrivals TRACE --payloads LOG.',
  files: ['<file>', 'a TFRecord of PredictionLog'],
  rows: 'exchanges',
  options: TFSERVING_OPTIONS,
  open: ([file = ''], asked) => {
    const { gap, origin } = resolveOptions(TFSERVING_OPTIONS, asked);
    return openTfserving(file, gap, origin);
  },
});
