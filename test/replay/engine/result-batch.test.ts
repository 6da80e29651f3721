import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FINISH_REASONS } from '../../../src/core/exchange.ts';
import { SEND_ERRORS } from '../../../src/core/run.ts';
import { MAX_CHOICES } from '../../../src/replay/answers/stream-end.ts';
import { packed, unpacked } from '../../../src/replay/engine/messages.ts';

const offset = fc.oneof(fc.constant(null), fc.nat(2 ** 53 - 1));

const answer = fc.record({
  firstTokenOffsetNs: offset,
  lastTokenOffsetNs: offset,
  contentEvents: fc.nat(),
  gapMaxNs: offset,
  gaps: fc.oneof(fc.constant(null), fc.uint8Array({ minLength: 1, maxLength: 20 })),
  promptTokens: offset,
  outputTokens: offset,
  finish: fc.oneof(fc.constant(null), fc.constantFrom(...FINISH_REASONS)),
  finishes: fc.oneof(
    fc.constant(null),
    fc.array(fc.constantFrom(null, ...FINISH_REASONS), { minLength: 2, maxLength: MAX_CHOICES }),
  ),
});

test('results arrive as they were, with null for what never happened and 0 for what did at the start', () => {
  const result = fc.record({
    index: fc.nat(),
    intendedOffsetNs: fc.nat(2 ** 53 - 1),
    actualOffsetNs: offset,
    connectionWaitNs: offset,
    startOffsetNs: offset,
    firstByteOffsetNs: offset,
    lastByteOffsetNs: offset,
    status: fc.oneof(fc.constant(null), fc.integer({ min: 200, max: 599 })),
    responseBytes: fc.nat(2 ** 40),
    error: fc.oneof(fc.constant(null), fc.constantFrom(...SEND_ERRORS)),
    refused: fc.boolean(),
    cancelled: fc.boolean(),
    streamed: fc.constantFrom(null, false, true),
    answer: fc.oneof(fc.constant(null), answer),
  });
  fc.assert(
    fc.property(fc.array(result, { maxLength: 20 }), (results) => {
      expect(unpacked(structuredClone(packed(results)))).toEqual(results);
    }),
  );
});
