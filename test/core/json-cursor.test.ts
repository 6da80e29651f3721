import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  jsonAfterElement,
  jsonElement,
  jsonLength,
  jsonMember,
  jsonNumber,
  jsonStart,
  jsonText,
} from '../../src/core/json-cursor.ts';
import { repeated } from '../support/long-form.ts';

const key = fc.stringMatching(/^[a-z0-9_]{1,6}$/);
/** As its text has it: JSON.stringify writes -0 as 0. */
const document = fc
  .dictionary(key, fc.jsonValue({ maxDepth: 4 }), { minKeys: 1, maxKeys: 6, noNullPrototype: true })
  .map((value) => JSON.parse(JSON.stringify(value)) as typeof value);
const spaced = fc.constantFrom(undefined, 1, '\t');

describe('a cursor over JSON', () => {
  it('finds what JSON.parse finds, however the document is written', () => {
    fc.assert(
      fc.property(document, spaced, (value, indent) => {
        const text = Buffer.from(`\n ${JSON.stringify(value, null, indent)} `);
        const start = jsonStart(text);
        for (const [name, member] of Object.entries(value)) {
          const at = jsonMember(text, start, name);
          expect(at).toBeGreaterThan(0);
          if (typeof member === 'string') expect(jsonText(text, at)).toBe(member);
          else if (typeof member === 'number') expect(jsonNumber(text, at)).toBe(member);
          else if (Array.isArray(member)) {
            expect(jsonLength(text, at)).toBe(member.length);
            for (const [index, element] of member.entries()) {
              const found = jsonElement(text, at, index);
              if (typeof element === 'string') expect(jsonText(text, found)).toBe(element);
              else expect(found).toBeGreaterThan(at);
            }
            expect(jsonElement(text, at, member.length)).toBe(-1);
            for (let index = 0; index < member.length; index += 1) {
              expect(jsonAfterElement(text, jsonElement(text, at, index))).toBe(
                jsonElement(text, at, index + 1),
              );
            }
          }
        }
        expect(jsonMember(text, start, 'not there')).toBe(-1);
      }),
      { numRuns: repeated(75, 300) },
    );
  });

  it('knows where a long text ends, however many quotes and backslashes are in it', () => {
    const text = fc
      .array(fc.constantFrom('"', '\\\\', 'words and more words ', '\\n', 'é'), { maxLength: 40 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, text, (before, after) => {
        const bytes = Buffer.from(JSON.stringify({ before, after, end: 'end' }));
        const start = jsonStart(bytes);
        expect(jsonText(bytes, jsonMember(bytes, start, 'after'))).toBe(after);
        expect(jsonText(bytes, jsonMember(bytes, start, 'end'))).toBe('end');
      }),
      { numRuns: repeated(125, 500) },
    );
  });

  it('says of a document cut anywhere only what is certain', () => {
    fc.assert(
      fc.property(document, fc.double({ min: 0, max: 1, noNaN: true }), (value, share) => {
        const whole = Buffer.from(JSON.stringify(value));
        const text = whole.subarray(0, Math.floor(share * whole.length));
        for (const [name, member] of Object.entries(value)) {
          const at = jsonMember(text, jsonStart(text), name);
          if (at < 0) continue;
          const [said, number, length] = [jsonText(text, at), jsonNumber(text, at), jsonLength(text, at)];
          if (said !== null) expect(said).toBe(member);
          if (number !== null) expect(number).toBe(member);
          if (length >= 0) expect(length).toBe((member as unknown[]).length);
        }
      }),
      { numRuns: repeated(75, 300) },
    );
  });

  it('ends on any bytes, in time linear in them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const at = jsonStart(bytes);
        for (const found of [jsonMember(bytes, at, 'a'), jsonElement(bytes, at, 3), jsonLength(bytes, at)])
          expect(found).toBeGreaterThanOrEqual(-1);
        for (const say of [jsonText, jsonNumber]) expect(() => say(bytes, at)).not.toThrow();
      }),
    );
    // Of the processor, which is ours alone: what others take of the machine is no work on these bytes.
    const started = process.cpuUsage();
    for (const piece of ['[', '{"a":', '"', '\\"', '[1,', ' ', '{"a":[']) {
      const text = Buffer.from(piece.repeat(100_000));
      jsonMember(text, jsonStart(text), 'b');
      jsonLength(text, jsonStart(text));
    }
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e3).toBeLessThan(1_000);
  });
});
