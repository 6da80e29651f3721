import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BodyRedaction } from '../../../src/redaction/body-redaction.ts';
import { BODY_ACTIONS } from '../../../src/redaction/body-rules.ts';
import { AnswerComparer } from '../../../src/replay/check/checker.ts';
import { CHECK_TOLERANCE } from '../../../src/replay/options/parsers.ts';
import { responseMessage, testHash, wholeBody } from '../../support/exchanges.ts';
import { repeated } from '../../support/long-form.ts';

const comparer = new AnswerComparer({
  level: 'values',
  tolerance: CHECK_TOLERANCE,
  ignore: [],
  finishes: true,
});
const documents = fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.stringify({ answer: value }));

/** A pointer to some value of the document; `*` for each step that is drawn so. */
function pointerInto(value: unknown, draws: readonly number[]): string {
  const [draw, ...rest] = draws;
  if (draw === undefined || typeof value !== 'object' || value === null) return '';
  const members = Object.entries(value);
  const found = members[draw % Math.max(1, members.length)];
  if (found === undefined) return '';
  const step =
    draw % 3 === 0 || found[0] === '-' ? '*' : found[0].replaceAll('~', '~0').replaceAll('/', '~1');
  return `/${step}${pointerInto(found[1], rest)}`;
}

test('what redaction leaves of an answer is never taken for a difference', () => {
  fc.assert(
    fc.property(
      documents,
      fc.array(fc.nat(20), { minLength: 1, maxLength: 5 }),
      fc.constantFrom(...BODY_ACTIONS),
      (document, draws, action) => {
        const pointer = pointerInto(JSON.parse(document), draws);
        const redaction = new BodyRedaction({ rules: [{ pointer, action }], presets: [] }, testHash);
        const about = {
          contentType: 'application/json',
          contentEncoding: null,
          truncated: false,
          inferenceHeaderLength: null,
        };
        const { kept, names } = redaction.redact(Buffer.from(document), about);
        const response = {
          ...responseMessage(200, document),
          redacted: names,
          body: wholeBody(kept as Uint8Array),
        };
        const check = comparer.check(
          { request: null, response, requestChunks: [], responseChunks: [] },
          {
            index: 0,
            segment: 's',
            exchangeId: 1,
            route: 'POST /predict',
            streamed: false,
            facts: null,
            kept: {
              bytes: Buffer.from(document),
              contentType: 'application/json',
              contentEncoding: null,
              inferenceHeaderLength: null,
            },
          },
        );
        expect(check).toEqual(
          names.length === 0 ? { result: 'same' } : { result: 'unchecked', reason: 'redacted' },
        );
      },
    ),
    { numRuns: repeated(75, 300) },
  );
});
