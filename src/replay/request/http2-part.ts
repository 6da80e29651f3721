import { type ExchangePayload, type ExchangeRow, isHttp2 } from '../../core/exchange.ts';
import { NS_PER_US } from '../../core/units.ts';
import { GRPC_PREFIX_BYTES, grpcMessagesOf, isGrpc, parseGrpcTimeoutUs } from '../../inference/grpc.ts';
import type { Http2Part } from '../engine/messages.ts';
import { type BuiltRequest, flatValue } from './build.ts';

/** What leaves less than this after the begin of a part belongs to it. */
const PART_US = 1_000;

/**
 * How a request that was recorded by HTTP/2 is sent. The messages of a request stream leave at their recorded offsets.
 * Null for another request.
 * @param connection number of the recorded connection that carries it; null for any
 */
export function http2PartOf(
  row: ExchangeRow,
  payload: ExchangePayload | null,
  request: BuiltRequest,
  connection: number | null,
): Http2Part | null {
  if (!isHttp2(row)) return null;
  const grpc = isGrpc(flatValue(request.headers, 'content-type'));
  const timeoutUs = parseGrpcTimeoutUs(flatValue(request.headers, 'grpc-timeout'));
  return {
    grpc,
    connection,
    deadlineNs: grpc && timeoutUs !== null ? timeoutUs * NS_PER_US : null,
    wantsMessage: grpc && (row.responseMessages ?? 0) > 0,
    parts: grpc && payload !== null ? partsOf(row, payload, request.body ?? NO_BODY) : [],
  };
}

const NO_BODY = new Uint8Array();

/** The sizes of the messages as they are sent: an id may have another length than the recorded one. */
function sizesOf(requestChunks: readonly number[], body: Uint8Array): readonly number[] {
  const recorded = requestChunks.filter((_, at) => at % 2 === 1);
  if (recorded.reduce((sum, bytes) => sum + bytes, 0) === body.length) return recorded;
  const { messages, end } = grpcMessagesOf(body);
  const isWhole = end === 'whole' && messages.length === recorded.length;
  return isWhole ? messages.map(({ from, to }) => to - from + GRPC_PREFIX_BYTES) : recorded;
}

/** Empty if all leaves with the head, as of a unary call, or if it is unknown when its messages came. */
function partsOf(
  { requestEndOffsetUs }: ExchangeRow,
  { requestChunks, responseChunks }: ExchangePayload,
  body: Uint8Array,
): number[] {
  const answersBefore = (offsetUs: number): number => {
    let answers = 0;
    for (let at = 0; at < responseChunks.length; at += 2)
      if ((responseChunks[at] ?? 0) < offsetUs) answers += 1;
    return answers;
  };
  const parts: { fromUs: number; bytes: number; answers: number }[] = [];
  const add = (fromUs: number, bytes: number): void => {
    const answers = answersBefore(fromUs);
    const last = parts.at(-1);
    if (last !== undefined && fromUs - last.fromUs < PART_US && answers === last.answers) last.bytes += bytes;
    else parts.push({ fromUs, bytes, answers });
  };
  const sizes = sizesOf(requestChunks, body);
  let total = 0;
  for (let at = 0; at < requestChunks.length; at += 2) {
    const bytes = sizes[at / 2] ?? 0;
    add(requestChunks[at] ?? 0, bytes);
    total += bytes;
  }
  if (total !== body.length) return [];
  const endUs = requestEndOffsetUs ?? 0;
  const isAnswered = answersBefore(endUs) > (parts.at(-1)?.answers ?? 0);
  // The end of a single message came later only because the message was long, unless an answer came before it.
  if (requestEndOffsetUs !== null && (requestChunks.length > 2 || isAnswered)) add(endUs, 0);
  const [first] = parts;
  if (parts.length <= 1 && (first?.fromUs ?? 0) < PART_US) return [];
  return parts.flatMap(({ fromUs, bytes, answers }) => [fromUs * NS_PER_US, bytes, answers]);
}
