import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SEND_ERRORS } from '../../src/core/run.ts';
import { packResults, unpackResults } from '../../src/replay/result-batch.ts';

const offset = fc.oneof(fc.constant(null), fc.nat(2 ** 53 - 1));

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
    reusedConnection: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(result, { maxLength: 20 }), (results) => {
      expect(unpackResults(structuredClone(packResults(results)))).toEqual(results);
    }),
  );
});
