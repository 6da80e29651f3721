import type { Exchange } from '../../src/core/exchange.ts';
import { exchangeOf } from '../../test/support/exchanges.ts';
import { ANSWER_HEAD, callHead, grpcMessage } from '../../test/support/grpc.ts';
import { type ArrivalPlan, FIRST_ARRIVAL_US, wholeOf, writtenCapture } from './arrival-plan.ts';

export const UNARY = '/inference.GRPCInferenceService/ModelInfer';
const STREAM = '/inference.GRPCInferenceService/ModelStreamInfer';
/** As long as the index of the last request of any plan. */
const INDEX_CHARS = 7;

/** Fills messages up to their size. */
export const PADDING = 'x';

/** A message with the index of a request where the stamped target looks for it. */
function messageOf(index: number, bytes: number): Buffer {
  return grpcMessage(`#${String(index).padStart(INDEX_CHARS, '0')}#`.padEnd(bytes, PADDING));
}

/**
 * A capture of gRPC calls, each with messages at these offsets from its begin. The messages of a plan are numbered in the
 * order of their calls.
 * @param offsetsUs of the messages of a call; one for a unary call
 * @param messageBytes without the prefix of a message
 * @returns its directory, and when each message is planned
 */
export function callsOf(
  plan: ArrivalPlan,
  offsetsUs: readonly number[],
  messageBytes: number,
  parent: string,
  name: string,
): { readonly capture: string; readonly messages: ArrivalPlan; readonly first: Buffer } {
  const messages = plan.flatMap((atUs) => offsetsUs.map((offsetUs) => atUs + offsetUs));
  const calls = plan.map((atUs, at) => {
    const body = offsetsUs.map((_, nth) => messageOf(at * offsetsUs.length + nth, messageBytes));
    return callOf(FIRST_ARRIVAL_US + atUs, offsetsUs, body);
  });
  return { capture: writtenCapture(calls, parent, name), messages, first: messageOf(0, messageBytes) };
}

function callOf(arrivalUs: number, offsetsUs: readonly number[], messages: readonly Buffer[]): Exchange {
  const path = messages.length === 1 ? UNARY : STREAM;
  const endUs = offsetsUs.at(-1) ?? 0;
  const answer = grpcMessage('');
  const message = (head: Buffer, body: Buffer) => ({
    head,
    redacted: [],
    body: wholeOf(body),
    trailers: null,
  });
  return exchangeOf({
    arrivalUs,
    protocol: 'h2',
    route: `POST ${path}`,
    status: 200,
    grpcStatus: 0,
    connection: 1,
    streamed: messages.length > 1,
    requestMessages: messages.length,
    responseMessages: 1,
    request: message(callHead(path), Buffer.concat(messages)),
    response: message(Buffer.from(ANSWER_HEAD), answer),
    requestChunks: messages.flatMap(({ length }, nth) => [offsetsUs[nth] ?? 0, length]),
    requestEndOffsetUs: endUs,
    responseChunks: [endUs + 1_000, answer.length],
    firstByteOffsetUs: endUs + 1_000,
    lastByteOffsetUs: endUs + 1_000,
  });
}
