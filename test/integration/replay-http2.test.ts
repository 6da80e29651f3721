import { expect, test } from 'vitest';
import { captureOf } from '../support/captures.ts';
import { exchangeOf, TEST_EPOCH_US, wholeBody } from '../support/exchanges.ts';
import { callHead, grpcMessage } from '../support/grpc.ts';
import { documentOf, replay, requestsOf, serverOf } from '../support/replaying.ts';

const CALL_PATH = '/inference.GRPCInferenceService/ModelInfer';

/** Calls that were recorded by HTTP/2. */
function callsOf(count: number) {
  return Array.from({ length: count }, (_, at) =>
    exchangeOf({
      arrivalUs: TEST_EPOCH_US + at * 1_000,
      protocol: 'h2',
      route: `POST ${CALL_PATH}`,
      request: {
        head: callHead(CALL_PATH),
        redacted: [],
        body: wholeBody(grpcMessage('call')),
        trailers: null,
      },
      grpcStatus: 0,
      requestMessages: 1,
      responseMessages: 1,
    }),
  );
}

test('calls recorded by HTTP/2 are counted as left out, and are not sent by HTTP/1.1', async () => {
  const server = await serverOf();
  const capture = captureOf([...callsOf(3), ...requestsOf(2)]);
  const run = await replay(capture, server.url, ['--json']);
  expect(documentOf(run)).toMatchObject({
    planned: 2,
    sent: 2,
    unreplayable: 3,
    audit: { unreplayableByReason: { http2: 3 } },
  });
  expect(server.requests.map(({ target }) => target)).toEqual([
    '/v2/models/m/infer?n=0',
    '/v2/models/m/infer?n=1',
  ]);
});

test('a window of HTTP/2 alone sends nothing and is no PASS', async () => {
  const server = await serverOf();
  const run = await replay(captureOf(callsOf(3)), server.url, ['--json', '--slo', 'errors: rate<0.1']);
  expect(server.requests).toEqual([]);
  const { verdict, planned, unreplayable } = documentOf(run);
  expect({ verdict, planned, unreplayable, status: run.status }).toMatchObject({
    verdict: 'INCONCLUSIVE',
    planned: 0,
    unreplayable: 3,
    status: 4,
  });
});
